/*
 * logical: lines of test_decoding look like
 *
 *   BEGIN 731 · COMMIT 731 · table public.items: UPDATE: id[integer]:1 … · table a.b, c."D": TRUNCATE: …
 *   message: transactional: 1 prefix: weir, sz: 0 content:
 *
 * Names are quoted as quote_identifier does it: plain ones are of lower case letters, digits and underscores.
 */
#include "weir/wire/logical.h"

#include <string.h>

/* Between 1970, where Unix counts from, and 2000, where PostgreSQL does. */
#define EPOCHS_APART_US (UINT64_C(946684800) * 1000000)

/* --- messages --- */

static uint64_t number_at(struct slice s, size_t offset)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++)
        value = value << 8 | s.data[offset + i];
    return value;
}

bool logical_message_read(struct slice bytes, struct logical_message *message)
{
    *message = (struct logical_message){.data = SLICE_EMPTY};
    if (bytes.len >= 25 && bytes.data[0] == 'w') {
        message->kind = LOGICAL_DATA;
        message->lsn = number_at(bytes, 1);
        message->data = slice_from(bytes, 25);
        return true;
    }
    if (bytes.len != 18 || bytes.data[0] != 'k')
        return false;
    message->kind = LOGICAL_KEEPALIVE;
    message->lsn = number_at(bytes, 1);
    message->wants_reply = bytes.data[17] != 0;
    return true;
}

static uint8_t *put_number(uint8_t *at, uint64_t value)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(value >> shift);
    return at;
}

void logical_status_write(uint8_t out[LOGICAL_STATUS_SIZE], uint64_t lsn, uint64_t unix_us, bool wants_reply)
{
    uint8_t *at = out;
    *at++ = 'r';
    for (int i = 0; i < 3; i++)
        at = put_number(at, lsn);
    at = put_number(at, unix_us - EPOCHS_APART_US);
    *at = wants_reply ? 1 : 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One to eight digits up to `end`. */
static const char *parse_half(const char *text, char end, uint64_t *half)
{
    *half = 0;
    size_t count = 0;
    for (; hex_digit(*text) >= 0; text++, count++)
        *half = *half << 4 | (uint64_t)hex_digit(*text);
    return count >= 1 && count <= 8 && *text == end ? text : NULL;
}

bool logical_lsn_parse(const char *text, uint64_t *lsn)
{
    uint64_t high, low;
    const char *slash = parse_half(text, '/', &high);
    if (slash == NULL || parse_half(slash + 1, '\0', &low) == NULL)
        return false;
    *lsn = high << 32 | low;
    return true;
}

/* --- numbers in text --- */

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Takes digits off the beginning; false where there are none, or more than 64 bits hold. */
static bool take_number(struct slice *s, uint64_t *value)
{
    size_t i = 0;
    *value = 0;
    for (; i < s->len && is_digit(s->data[i]); i++) {
        uint64_t digit = (uint64_t)(s->data[i] - '0');
        if (*value > (UINT64_MAX - digit) / 10)
            return false;
        *value = *value * 10 + digit;
    }
    *s = slice_from(*s, i);
    return i > 0;
}

static bool take_prefix(struct slice *s, struct slice prefix)
{
    if (s->len < prefix.len || memcmp(s->data, prefix.data, prefix.len) != 0)
        return false;
    *s = slice_from(*s, prefix.len);
    return true;
}

/* --- changes --- */

static bool take_xid(struct slice text, struct slice word, uint32_t *xid)
{
    uint64_t value;
    if (!take_prefix(&text, word) || !take_number(&text, &value) || value > UINT32_MAX)
        return false;
    *xid = (uint32_t)value;
    return text.len == 0 || text.data[0] == ' ';
}

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_';
}

/* Takes one identifier, `out` of LOGICAL_NAME_SIZE bytes. */
static bool take_identifier(struct slice *s, char *out)
{
    size_t i = 0, len = 0;
    bool is_quoted = s->len > 0 && s->data[0] == '"';
    for (i = is_quoted ? 1 : 0; i < s->len; i++) {
        if (is_quoted ? s->data[i] == '"' : !is_plain(s->data[i])) {
            if (!is_quoted || i + 1 == s->len || s->data[i + 1] != '"')
                break;
            i++;
        }
        if (len + 1 == LOGICAL_NAME_SIZE || s->data[i] == '\0')
            return false;
        out[len++] = (char)s->data[i];
    }
    if (len == 0 || (is_quoted && i == s->len))
        return false;
    out[len] = '\0';
    *s = slice_from(*s, is_quoted ? i + 1 : i);
    return true;
}

/* "a.b" and what separates it from what follows; `names` is left alone unless all of it can be read. */
static bool take_name(struct slice *names, struct logical_name *name)
{
    struct slice rest = *names;
    if (!take_identifier(&rest, name->schema) || !take_prefix(&rest, SLICE_LITERAL(".")) ||
        !take_identifier(&rest, name->relation))
        return false;
    if (rest.len > 0 && (!take_prefix(&rest, SLICE_LITERAL(", ")) || rest.len == 0))
        return false;
    *names = rest;
    return true;
}

bool logical_name_next(struct slice *names, struct logical_name *name)
{
    return names->len > 0 && take_name(names, name);
}

static bool take_action(struct slice rest, struct logical_change *change)
{
    static const struct {
        const char *word;
        enum logical_action action;
    } actions[] = {{": INSERT:", LOGICAL_INSERT},
                   {": UPDATE:", LOGICAL_UPDATE},
                   {": DELETE:", LOGICAL_DELETE},
                   {": TRUNCATE:", LOGICAL_TRUNCATE}};
    for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++) {
        change->row = rest;
        change->action = actions[i].action;
        if (take_prefix(&change->row, slice_str(actions[i].word)))
            return true;
    }
    return false;
}

/* How long the names are: they end where the action begins, and a colon in quotes ends nothing. */
static bool find_names(struct slice text, struct logical_change *change)
{
    bool is_quoted = false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"')
            is_quoted = !is_quoted;
        if (text.data[i] != ':' || is_quoted)
            continue;
        change->names = slice_make(text.data, i);
        return i > 0 && take_action(slice_from(text, i), change);
    }
    return false;
}

static bool take_note(struct slice text, struct slice *prefix)
{
    if (!take_prefix(&text, SLICE_LITERAL("message: transactional: ")) || text.len == 0 ||
        !is_digit(text.data[0]))
        return false;
    *prefix = slice_from(text, 1);
    return take_prefix(prefix, SLICE_LITERAL(" prefix: "));
}

void logical_change_read(struct slice text, struct logical_change *change)
{
    *change = (struct logical_change){.kind = LOGICAL_UNKNOWN};
    struct slice rest = text;
    if (take_xid(text, SLICE_LITERAL("BEGIN "), &change->xid))
        change->kind = LOGICAL_BEGIN;
    else if (take_xid(text, SLICE_LITERAL("COMMIT "), &change->xid))
        change->kind = LOGICAL_COMMIT;
    else if (take_prefix(&rest, SLICE_LITERAL("table ")) && find_names(rest, change))
        change->kind = LOGICAL_ROWS;
    else if (take_note(text, &change->prefix))
        change->kind = LOGICAL_NOTE;
}

/* --- columns: ` name[type]:value name[type]:value` --- */

/* Past a quoted piece, in which the quote itself is doubled; `inner` is what is between the quotes. */
static bool take_quoted(struct slice *s, uint8_t quote, struct slice *inner, bool *is_plain_inside)
{
    size_t i = 1;
    *is_plain_inside = true;
    for (; i < s->len; i++) {
        if (s->data[i] != quote)
            continue;
        if (i + 1 == s->len || s->data[i + 1] != quote)
            break;
        *is_plain_inside = false;
        i++;
    }
    if (i >= s->len)
        return false;
    *inner = slice_make(s->data + 1, i - 1);
    *s = slice_from(*s, i + 1);
    return true;
}

/* The name of a type may have quotes and brackets in it (`"odd]:"[]`); it ends with a bracket and a colon. */
static bool skip_type(struct slice *s)
{
    struct slice inner;
    bool is_plain_inside;
    if (!take_prefix(s, SLICE_LITERAL("[")))
        return false;
    while (s->len > 0) {
        if (take_prefix(s, SLICE_LITERAL("]:")))
            return true;
        if (s->data[0] != '"')
            *s = slice_from(*s, 1);
        else if (!take_quoted(s, '"', &inner, &is_plain_inside))
            return false;
    }
    return false;
}

/* A value without quotes ends with a blank. `is_plain_value`: it is the column's text as it stands. */
static bool take_value(struct slice *s, struct slice *value, bool *is_plain_value)
{
    size_t len = 0;
    if (s->len > 0 && s->data[0] == '\'')
        return take_quoted(s, '\'', value, is_plain_value);
    while (len < s->len && s->data[len] != ' ' && s->data[len] != '\'')
        len++;
    *value = slice_make(s->data, len);
    *s = slice_from(*s, len);
    *is_plain_value = len > 0 && !slice_equal(*value, SLICE_LITERAL("null")) &&
                      !slice_equal(*value, SLICE_LITERAL("unchanged-toast-datum"));
    bool is_odd; /* B'101' */
    struct slice inner;
    if (s->len > 0 && s->data[0] == '\'') {
        *is_plain_value = false;
        return take_quoted(s, '\'', &inner, &is_odd);
    }
    return len > 0;
}

bool logical_column(struct slice row, const char *column, struct slice *value)
{
    char name[LOGICAL_NAME_SIZE];
    bool is_plain_value;
    struct slice rest = row;
    if (take_prefix(&rest, SLICE_LITERAL(" old-key:")))
        return false;
    while (row.len > 0) {
        if (!take_prefix(&row, SLICE_LITERAL(" ")) || !take_identifier(&row, name) || !skip_type(&row) ||
            !take_value(&row, value, &is_plain_value))
            return false;
        if (strcmp(name, column) == 0)
            return is_plain_value;
    }
    return false;
}

/* --- snapshots --- */

struct snapshot {
    uint64_t xmin; /* everything before has ended */
    uint64_t xmax; /* nothing from here on has */
    struct slice running;
};

static bool take_snapshot(struct slice text, struct snapshot *s)
{
    bool is_one = take_number(&text, &s->xmin) && take_prefix(&text, SLICE_LITERAL(":")) &&
                  take_number(&text, &s->xmax) && take_prefix(&text, SLICE_LITERAL(":"));
    s->running = text;
    uint64_t xid;
    while (is_one && text.len > 0) {
        is_one = take_number(&text, &xid) && (text.len == 0 || take_prefix(&text, SLICE_LITERAL(",")));
    }
    return is_one && s->xmin <= s->xmax;
}

static bool next_running(struct slice *running, uint64_t *xid)
{
    bool is_one = take_number(running, xid);
    take_prefix(running, SLICE_LITERAL(","));
    return is_one;
}

static bool shows(const struct snapshot *s, uint64_t xid)
{
    struct slice running = s->running;
    uint64_t other;
    if (xid >= s->xmax)
        return false;
    while (xid >= s->xmin && next_running(&running, &other))
        if (other == xid)
            return false;
    return true;
}

bool logical_snapshot_shows(struct slice snapshot, uint32_t xid)
{
    struct snapshot s;
    if (!take_snapshot(snapshot, &s))
        return false;
    /* The nearest to xmax of all that end in these 32 bits. */
    int32_t distance = (int32_t)(xid - (uint32_t)s.xmax);
    return shows(&s, s.xmax + (uint64_t)(int64_t)distance);
}

bool logical_snapshot_shows_all(struct slice newer, struct slice older)
{
    struct snapshot now, then;
    if (!take_snapshot(newer, &now) || !take_snapshot(older, &then))
        return false;
    uint64_t xid;
    while (next_running(&then.running, &xid))
        if (!shows(&now, xid))
            return false;
    return true;
}
