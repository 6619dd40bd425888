/* row_key: a literal or a bound value as bytes that are the same whenever PostgreSQL takes the values for
 * equal. */
#include "weir/cache/row_key.h"

#include <string.h>

#include "weir/sql/template.h"
#include "weir/wire/decode.h"

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include <xxhash.h>
#pragma GCC diagnostic pop

enum { FORMAT_BINARY = 1 };

/* OIDs of built-in types, which never change. */
enum {
    TYPE_INFERRED = 0,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_TEXT = 25,
    TYPE_UNKNOWN = 705,
    TYPE_VARCHAR = 1043,
    TYPE_UUID = 2950,
};

/* A value as it was given. */
struct given {
    struct slice bytes;
    bool is_binary;
};

/* --- finding it --- */

/* With a cast the parameter may be of a type that is written alike. */
static bool is_type_fit(const struct row_key *key, uint32_t type)
{
    if (type == TYPE_INFERRED || type == TYPE_UNKNOWN)
        return true;
    if (key->equality.cast != SQL_CAST_NONE && (type == TYPE_TEXT || type == TYPE_VARCHAR))
        return true;
    switch (key->kind) {
    case CATALOG_KEY_INTEGER:
        return type == TYPE_INT2 || type == TYPE_INT4 || type == TYPE_INT8;
    case CATALOG_KEY_UUID:
        return type == TYPE_UUID;
    case CATALOG_KEY_TEXT:
        return type == TYPE_TEXT || type == TYPE_VARCHAR;
    case CATALOG_KEY_NONE:
        break;
    }
    return false;
}

static bool is_cast_fit(const struct row_key *key)
{
    switch (key->equality.cast) {
    case SQL_CAST_NONE:
        return true;
    case SQL_CAST_INTEGER:
        return key->kind == CATALOG_KEY_INTEGER;
    case SQL_CAST_UUID:
        return key->kind == CATALOG_KEY_UUID;
    case SQL_CAST_TEXT:
        return key->kind == CATALOG_KEY_TEXT;
    }
    return false;
}

static bool find_literal(const struct cache_values *values, unsigned literal, struct slice *bytes)
{
    const struct template *t = values->template;
    if (t == NULL || literal >= t->place_count)
        return template_literal(values->text, literal, bytes);
    *bytes = slice_make(values->text.data + t->places[literal].start, t->places[literal].len);
    return t->places[literal].is_plain;
}

static bool find(const struct row_key *key, const struct cache_values *values, struct given *given)
{
    const struct sql_equality *e = &key->equality;
    if (!is_cast_fit(key))
        return false;
    *given = (struct given){SLICE_EMPTY, false};
    if (e->param == 0)
        return find_literal(values, e->literal, &given->bytes);
    uint32_t type = e->param <= values->type_count ? values->types[e->param - 1] : TYPE_INFERRED;
    struct bind_view bind;
    bool is_null;
    uint16_t format;
    if (!is_type_fit(key, type) || !decode_bind_tail(values->bind, &bind) ||
        !decode_bind_value(&bind, e->param, &given->bytes, &is_null, &format) || is_null ||
        format > FORMAT_BINARY)
        return false;
    given->is_binary = format == FORMAT_BINARY;
    /* Text is sent in binary as it is. */
    if (type == TYPE_TEXT || type == TYPE_VARCHAR)
        given->is_binary = false;
    return true;
}

/* --- reading it --- */

/* As little as is sure: digits, perhaps with a minus; PostgreSQL reads more (blanks, a plus). */
static bool read_integer(struct given given, int64_t *number)
{
    struct slice s = given.bytes;
    if (given.is_binary) {
        if (s.len != 2 && s.len != 4 && s.len != 8)
            return false;
        uint64_t bits = (s.data[0] & 0x80) != 0 ? UINT64_MAX : 0;
        for (size_t i = 0; i < s.len; i++)
            bits = bits << 8 | s.data[i];
        *number = (int64_t)bits;
        return true;
    }
    bool is_negative = s.len > 0 && s.data[0] == '-';
    if (is_negative)
        s = slice_from(s, 1);
    if (s.len == 0 || s.len > 18)
        return false;
    *number = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
        *number = *number * 10 + (s.data[i] - '0');
    }
    if (is_negative)
        *number = -*number;
    return true;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The usual form alone, with a hyphen after the 8th, 12th, 16th and 20th digit. */
static bool read_uuid(struct given given, uint8_t bytes[16])
{
    struct slice s = given.bytes;
    if (given.is_binary) {
        if (s.len == 16)
            memcpy(bytes, s.data, 16);
        return s.len == 16;
    }
    size_t digits = 0;
    if (s.len != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (s.data[i] != '-')
                return false;
            continue;
        }
        int digit = hex_digit(s.data[i]);
        if (digit < 0)
            return false;
        bytes[digits / 2] = (uint8_t)(digits % 2 == 0 ? digit << 4 : bytes[digits / 2] | digit);
        digits++;
    }
    return true;
}

/* Other characters are other bytes in another client_encoding. */
static bool is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] > 127)
            return false;
    return true;
}

static bool hash_bytes(uint32_t relation, const void *bytes, size_t len, uint64_t *hash)
{
    *hash = XXH3_64bits_withSeed(bytes, len, relation);
    return true;
}

static bool hash_given(uint32_t relation, enum catalog_key kind, struct given given, uint64_t *hash)
{
    int64_t number;
    uint8_t uuid[16];
    switch (kind) {
    case CATALOG_KEY_INTEGER:
        return read_integer(given, &number) && hash_bytes(relation, &number, sizeof(number), hash);
    case CATALOG_KEY_UUID:
        return read_uuid(given, uuid) && hash_bytes(relation, uuid, sizeof(uuid), hash);
    case CATALOG_KEY_TEXT:
        return is_ascii(given.bytes) && hash_bytes(relation, given.bytes.data, given.bytes.len, hash);
    case CATALOG_KEY_NONE:
        break;
    }
    return false;
}

bool row_key_hash(const struct row_key *key, const struct cache_values *values, uint64_t *hash)
{
    struct given given;
    return key->relation != 0 && find(key, values, &given) &&
           hash_given(key->relation, key->kind, given, hash);
}

bool row_key_hash_text(uint32_t relation, enum catalog_key kind, struct slice text, uint64_t *hash)
{
    return hash_given(relation, kind, (struct given){text, false}, hash);
}
