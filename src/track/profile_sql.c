/* profile_sql: rounds of Close, Parse, Bind, Execute, Close, Close; protocol chapter "Message Formats". */
#include "weir/track/profile_sql.h"

#define NAME          "weir profile"
#define MAX_PER_ROUND 500u

/* Changes are gathered first, into a struct buf, because a message announces how many there are. */
struct change {
    struct slice name;
    struct slice value; /* data NULL: back to the default */
};

static void gather(void *context, struct slice name, struct slice value)
{
    struct change change = {name, value};
    buf_append(context, &change, sizeof(change));
}

static bool is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] >= 0x80)
            return false;
    }
    return true;
}

/* --- messages --- */

static size_t message_start(struct buf *out, char type)
{
    buf_append_u8(out, (uint8_t)type);
    size_t at = out->len;
    buf_append_u32(out, 0);
    return at;
}

static void message_end(struct buf *out, size_t at)
{
    if (!buf_failed(out))
        buf_put_u32(out, at, (uint32_t)(out->len - at));
}

static void append_name(struct buf *out)
{
    buf_append(out, NAME, sizeof(NAME));
}

static void append_close(struct buf *out, char what)
{
    size_t at = message_start(out, 'C');
    buf_append_u8(out, (uint8_t)what);
    append_name(out);
    message_end(out, at);
}

static void append_parse(struct buf *out, size_t count)
{
    size_t at = message_start(out, 'P');
    append_name(out);
    buf_append_str(out, "SELECT ");
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%spg_catalog.set_config($%zu,$%zu,false)", i > 0 ? "," : "", 2 * i + 1, 2 * i + 2);
    buf_append_u8(out, 0);
    buf_append_u16(out, 0); /* parameter types: text, as set_config has them */
    message_end(out, at);
}

static void append_value(struct buf *out, struct slice value)
{
    if (value.data == NULL) {
        buf_append_u32(out, UINT32_MAX); /* NULL: set_config takes it for RESET */
        return;
    }
    buf_append_u32(out, (uint32_t)value.len);
    buf_append_slice(out, value);
}

static void append_bind(struct buf *out, const struct change *changes, size_t count)
{
    size_t at = message_start(out, 'B');
    append_name(out); /* portal */
    append_name(out); /* statement */
    buf_append_u16(out, 0);
    buf_append_u16(out, (uint16_t)(2 * count));
    for (size_t i = 0; i < count; i++) {
        append_value(out, changes[i].name);
        append_value(out, changes[i].value);
    }
    buf_append_u16(out, 0);
    message_end(out, at);
}

static void append_execute(struct buf *out)
{
    size_t at = message_start(out, 'E');
    append_name(out);
    buf_append_u32(out, 0);
    message_end(out, at);
}

static void append_round(struct buf *out, const struct change *changes, size_t count)
{
    append_close(out, 'S');
    append_parse(out, count);
    append_bind(out, changes, count);
    append_execute(out);
    append_close(out, 'P');
    append_close(out, 'S');
}

/* --- rounds --- */

/*
 * How many changes of the front go into one round. The server reads Bind in the encoding that holds when it
 * arrives, so a new client_encoding must have taken effect before text in it can be understood.
 */
static size_t round_size(const struct change *changes, size_t count)
{
    size_t size = count < MAX_PER_ROUND ? count : MAX_PER_ROUND;
    bool all_ascii = true;
    for (size_t i = 0; i < count; i++)
        all_ascii = all_ascii && is_ascii(changes[i].name) && is_ascii(changes[i].value);
    for (size_t i = 0; i < size && !all_ascii; i++) {
        if (slice_equal_str(changes[i].name, "client_encoding"))
            return i + 1;
    }
    return size;
}

size_t profile_diff_batch(struct buf *out, const struct profile *from, const struct profile *to)
{
    struct buf memory = BUF_INIT;
    size_t rounds = 0;
    profile_diff(from, to, gather, &memory);
    if (buf_failed(&memory))
        out->failed = true;
    const struct change *changes = (const struct change *)(const void *)memory.data;
    size_t count = buf_failed(&memory) ? 0 : memory.len / sizeof(*changes);
    while (count > 0) {
        size_t size = round_size(changes, count);
        append_round(out, changes, size);
        changes += size;
        count -= size;
        rounds++;
    }
    buf_free(&memory);
    return rounds;
}

/* '...' or, with a backslash in it, E'...': right whatever standard_conforming_strings says. */
static void append_literal(struct buf *out, struct slice text)
{
    if (text.data == NULL) {
        buf_append_str(out, "NULL");
        return;
    }
    bool has_backslash = text.len > 0 && memchr(text.data, '\\', text.len) != NULL;
    buf_append_str(out, has_backslash ? "E'" : "'");
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\'' || text.data[i] == '\\')
            buf_append_u8(out, text.data[i]);
        buf_append_u8(out, text.data[i]);
    }
    buf_append_u8(out, '\'');
}

bool profile_diff_query(struct buf *out, const struct profile *from, const struct profile *to)
{
    struct buf memory = BUF_INIT;
    profile_diff(from, to, gather, &memory);
    const struct change *changes = (const struct change *)(const void *)memory.data;
    size_t count = memory.len / sizeof(*changes);
    bool fits = !buf_failed(&memory) && count > 0 && count <= MAX_PER_ROUND;
    for (size_t i = 0; i < count && fits; i++)
        fits = is_ascii(changes[i].name) && is_ascii(changes[i].value);
    if (fits) {
        size_t at = message_start(out, 'Q');
        buf_append_str(out, "SELECT ");
        for (size_t i = 0; i < count; i++) {
            buf_append_str(out, i > 0 ? ",pg_catalog.set_config(" : "pg_catalog.set_config(");
            append_literal(out, changes[i].name);
            buf_append_str(out, ",");
            append_literal(out, changes[i].value);
            buf_append_str(out, ",false)");
        }
        buf_append_u8(out, 0);
        message_end(out, at);
    }
    buf_free(&memory);
    return fits;
}
