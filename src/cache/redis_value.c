/*
 * redis_value: an entry as bytes for Redis, and back. Pure; trusts nothing that comes back.
 *
 *   magic 'W','e','1',flags | checksum u64 | body length u32 | body
 *   body (LZ4 when flag 1): stored u64 | expires u64 | cost u64 | key length u32 | vector count u32 | part
 * lengths u32 × 3 | key | (relation u32, kind u8, value u64) × count | parts
 *
 * The checksum (XXH3-64) is over flags, body length and the body as stored.
 */
#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#include "weir/cache/store_redis.h"

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include <xxhash.h>
#pragma GCC diagnostic pop

enum {
    FLAG_LZ4 = 1,
    HEAD_BYTES = 4 + 8 + 4,
    FIXED_BYTES = 3 * 8 + 2 * 4 + ENTRY_PART_COUNT * 4,
    VECTOR_ITEM_BYTES = 4 + 1 + 8,
    COMPRESS_FROM = 1024,
    BODY_MAX = 1 << 30,
};

/* --- out --- */

static void append_body(const struct entry *entry, const struct value_form *form, struct buf *body)
{
    size_t count;
    const struct vector_item *vector = entry_vector(entry, &count);
    struct slice key = form != NULL ? form->key : entry_key_bytes(entry);
    uint64_t ahead = form != NULL ? form->ahead_us : 0, expires = entry_expires_us(entry);
    buf_append_u64(body, entry_stored_us(entry) + ahead);
    buf_append_u64(body, expires == UINT64_MAX ? expires : expires + ahead);
    buf_append_u64(body, entry_cost_us(entry));
    buf_append_u32(body, (uint32_t)key.len);
    buf_append_u32(body, (uint32_t)count);
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        buf_append_u32(body, (uint32_t)entry_part(entry, (enum entry_part)i).len);
    buf_append_slice(body, key);
    for (size_t i = 0; i < count; i++) {
        buf_append_u32(body, vector[i].slot->relation);
        buf_append_u8(body, (uint8_t)vector[i].slot->kind);
        buf_append_u64(body, form != NULL ? vector[i].shared : vector[i].value);
    }
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        buf_append_slice(body, entry_part(entry, (enum entry_part)i));
}

/* Replaces the body by its compressed form if that is smaller by an eighth. */
static bool compress(struct buf *body)
{
    if (body->len < COMPRESS_FROM || body->len > LZ4_MAX_INPUT_SIZE)
        return false;
    struct buf packed = BUF_INIT;
    int bound = (int)(body->len - body->len / 8);
    if (!buf_reserve(&packed, (size_t)bound))
        return false;
    int len = LZ4_compress_default((const char *)body->data, (char *)packed.data, (int)body->len, bound);
    if (len <= 0) {
        buf_free(&packed);
        return false;
    }
    packed.len = (size_t)len;
    buf_free(body);
    *body = packed;
    return true;
}

static uint64_t checksum(uint8_t flags, uint32_t body_len, struct slice stored)
{
    return XXH3_64bits_withSeed(stored.data, stored.len, (uint64_t)flags << 32 | body_len);
}

void redis_value_encode(const struct entry *entry, const struct value_form *form, struct buf *out)
{
    struct buf body = BUF_INIT;
    append_body(entry, form, &body);
    if (buf_failed(&body) || body.len > BODY_MAX) {
        out->failed = true;
        buf_free(&body);
        return;
    }
    uint32_t len = (uint32_t)body.len;
    uint8_t flags = compress(&body) ? FLAG_LZ4 : 0;
    buf_append(out, "We1", 3);
    buf_append_u8(out, flags);
    buf_append_u64(out, checksum(flags, len, buf_slice(&body)));
    buf_append_u32(out, len);
    buf_append_slice(out, buf_slice(&body));
    buf_free(&body);
}

/* --- back --- */

static uint64_t get(struct slice *rest, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | rest->data[i];
    *rest = slice_make(rest->data + bytes, rest->len - bytes);
    return value;
}

static struct slice cut(struct slice *rest, size_t bytes)
{
    struct slice piece = slice_make(rest->data, bytes);
    *rest = slice_make(rest->data + bytes, rest->len - bytes);
    return piece;
}

/* The body, unpacked into `scratch` if need be; empty when anything is wrong. */
static struct slice open_body(struct slice value, struct buf *scratch)
{
    if (value.len < HEAD_BYTES || memcmp(value.data, "We1", 3) != 0)
        return SLICE_EMPTY;
    cut(&value, 3);
    uint8_t flags = (uint8_t)get(&value, 1);
    uint64_t sum = get(&value, 8);
    uint32_t len = (uint32_t)get(&value, 4);
    if (flags > FLAG_LZ4 || len > BODY_MAX || sum != checksum(flags, len, value))
        return SLICE_EMPTY;
    if (flags == 0)
        return len == value.len ? value : SLICE_EMPTY;
    /* LZ4 packs no better than 1 to 255, so a length beyond that is a lie that need not cost memory. */
    if (value.len > INT32_MAX || len / 256 > value.len || !buf_reserve(scratch, len))
        return SLICE_EMPTY;
    int got = LZ4_decompress_safe((const char *)value.data, (char *)scratch->data, (int)value.len, (int)len);
    return got >= 0 && (uint32_t)got == len ? slice_make(scratch->data, len) : SLICE_EMPTY;
}

static bool is_vector_same(struct slice *rest, const struct vector_item *vector, size_t count, bool is_shared)
{
    bool is_same = true;
    for (size_t i = 0; i < count; i++) {
        is_same &= (uint32_t)get(rest, 4) == vector[i].slot->relation;
        is_same &= get(rest, 1) == (uint64_t)vector[i].slot->kind;
        is_same &= get(rest, 8) == (is_shared ? vector[i].shared : vector[i].value);
    }
    return is_same;
}

static uint64_t back(uint64_t time_us, uint64_t ahead_us)
{
    return time_us > ahead_us ? time_us - ahead_us : 0;
}

static struct entry *read_body(struct slice body, const struct entry_key *key, const struct value_form *form,
                               const struct vector_item *vector, size_t vector_count, size_t found_count)
{
    struct slice key_bytes = form != NULL ? form->key : key->bytes;
    if (body.len < FIXED_BYTES)
        return NULL;
    struct entry_contents contents = {.key = *key, .vector = vector};
    contents.stored_us = get(&body, 8);
    contents.expires_us = get(&body, 8);
    contents.cost_us = get(&body, 8);
    uint64_t key_len = get(&body, 4), count = get(&body, 4), lengths[ENTRY_PART_COUNT];
    uint64_t total = key_len + count * VECTOR_ITEM_BYTES;
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        total += lengths[i] = get(&body, 4);
    contents.vector_count = count;
    if (total != body.len || (count != vector_count && count != found_count) ||
        !slice_equal(cut(&body, key_len), key_bytes) || !is_vector_same(&body, vector, count, form != NULL))
        return NULL;
    if (form != NULL) {
        contents.stored_us = back(contents.stored_us, form->ahead_us);
        if (contents.expires_us != UINT64_MAX)
            contents.expires_us = back(contents.expires_us, form->ahead_us);
    }
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        contents.parts[i] = cut(&body, lengths[i]);
    return entry_new(&contents);
}

struct entry *redis_value_decode(struct slice value, const struct entry_key *key,
                                 const struct value_form *form, const struct vector_item *vector,
                                 size_t vector_count, size_t found_count)
{
    struct buf scratch = BUF_INIT;
    struct slice body = open_body(value, &scratch);
    struct entry *entry = read_body(body, key, form, vector, vector_count, found_count);
    buf_free(&scratch);
    return entry;
}

void store_redis_encode(const struct entry *entry, struct buf *out)
{
    redis_value_encode(entry, NULL, out);
}

struct entry *store_redis_decode(struct slice value, const struct entry_key *key,
                                 const struct vector_item *vector, size_t vector_count, size_t found_count)
{
    return redis_value_decode(value, key, NULL, vector, vector_count, found_count);
}
