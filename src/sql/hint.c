/* hint: reads "weir: key=value, ..." in the comments before the first token. */
#include "weir/sql/hint.h"

#include "weir/sql/lex.h"

#define YEAR_MS (UINT64_C(365) * 24 * 3600 * 1000)

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

/* Takes what stands before `separator` off the front of `rest`; all of it when there is none. */
static struct slice cut(struct slice *rest, uint8_t separator)
{
    size_t len = 0;
    while (len < rest->len && rest->data[len] != separator)
        len++;
    struct slice head = slice_make(rest->data, len);
    *rest = slice_from(*rest, len + 1);
    return trim(head);
}

static bool parse_ttl(struct slice value, struct hint *hint)
{
    uint64_t number = 0;
    size_t i = 0;
    for (; i < value.len && value.data[i] >= '0' && value.data[i] <= '9'; i++) {
        number = number * 10 + (uint64_t)(value.data[i] - '0');
        if (number > YEAR_MS)
            return false;
    }
    struct slice unit = trim(slice_from(value, i));
    uint64_t unit_ms = 0;
    if (unit.len == 0 || slice_equal_nocase(unit, SLICE_LITERAL("s")))
        unit_ms = 1000;
    else if (slice_equal_nocase(unit, SLICE_LITERAL("ms")))
        unit_ms = 1;
    else if (slice_equal_nocase(unit, SLICE_LITERAL("min")))
        unit_ms = 60 * 1000;
    if (i == 0 || unit_ms == 0 || number * unit_ms > YEAR_MS)
        return false;
    hint->has_ttl = true;
    hint->ttl_ms = number * unit_ms;
    return true;
}

static bool parse_pair(struct slice pair, struct hint *hint)
{
    struct slice value = pair;
    struct slice key = cut(&value, '=');
    value = trim(value);
    if (slice_equal_nocase(key, SLICE_LITERAL("ttl")))
        return parse_ttl(value, hint);
    if (!slice_equal_nocase(key, SLICE_LITERAL("cache")))
        return false;
    if (slice_equal_nocase(value, SLICE_LITERAL("off")))
        hint->cache = HINT_CACHE_OFF;
    else if (slice_equal_nocase(value, SLICE_LITERAL("on")))
        hint->cache = HINT_CACHE_ON;
    else
        return false;
    return true;
}

/* One comment with its delimiters; anything but a weir: comment changes nothing. */
static void parse_comment(struct slice comment, struct hint *hint)
{
    if (comment.len < 4 || comment.data[0] != '/')
        return;
    struct slice body = trim(slice_make(comment.data + 2, comment.len - 4));
    struct slice prefix = SLICE_LITERAL("weir:");
    if (body.len < prefix.len || !slice_equal_nocase(slice_make(body.data, prefix.len), prefix))
        return;
    struct slice rest = slice_from(body, prefix.len);
    struct hint read = *hint;
    if (body.data[body.len - 1] == ',') {
        hint->is_malformed = true;
        return;
    }
    do {
        if (!parse_pair(cut(&rest, ','), &read)) {
            hint->is_malformed = true;
            return;
        }
    } while (rest.data != NULL);
    *hint = read;
}

struct hint hint_parse(struct slice text)
{
    struct hint hint = {HINT_CACHE_UNSAID, false, false, 0};
    struct lexer lexer = lex_start(text);
    for (;;) {
        struct lexeme piece = lex_next(&lexer);
        if (piece.kind == LEX_COMMENT)
            parse_comment(slice_make(piece.start, piece.len), &hint);
        else if (piece.kind != LEX_SPACE)
            return hint;
    }
}
