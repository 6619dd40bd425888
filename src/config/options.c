/*
 * Reads and writes fields through the rows: the only code that knows how a type looks in text and in memory.
 */
#include "weir/config/options.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "option_rows.h"
#include "units.h"
#include "weir/config/settings.h"

const struct option *option_table(enum option_scope scope, size_t *count)
{
    switch (scope) {
    case OPTION_GLOBAL:
        *count = option_global_count;
        return option_global_rows;
    case OPTION_DATABASE:
        *count = option_database_count;
        return option_database_rows;
    case OPTION_USER:
        *count = option_user_count;
        return option_user_rows;
    case OPTION_PEER:
        break;
    }
    *count = option_peer_count;
    return option_peer_rows;
}

const struct option *option_find(enum option_scope scope, const char *name)
{
    size_t count;
    const struct option *rows = option_table(scope, &count);
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(rows[i].name, name) == 0 ||
            (rows[i].alias != NULL && strcasecmp(rows[i].alias, name) == 0))
            return &rows[i];
    return NULL;
}

/* Levenshtein distance, swapped neighbours counted as one; names longer than 63 bytes are far from
 * everything. UINT_MAX as soon as it is known to be more than `limit`: the least of a row never falls. */
static unsigned distance(const char *a, const char *b, unsigned limit)
{
    enum { MAX = 64 };
    size_t n = strlen(a), m = strlen(b);
    if (n >= MAX || m >= MAX)
        return UINT_MAX;
    unsigned rows[3][MAX];
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
        unsigned least = now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = before[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            if (before[j] + 1 < best)
                best = before[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && earlier[j - 2] + 1 < best)
                best = earlier[j - 2] + 1;
            now[j] = best;
            if (best < least)
                least = best;
        }
        if (least > limit)
            return UINT_MAX;
    }
    return rows[n % 3][m];
}

const struct option *option_nearest(enum option_scope scope, const char *name)
{
    size_t count;
    const struct option *rows = option_table(scope, &count);
    const struct option *best = NULL;
    size_t len = strlen(name);
    unsigned least = 1 + (unsigned)len / 4;
    for (size_t i = 0; i < count; i++) {
        /* Names whose lengths differ by more are farther apart than that, and need not be compared. */
        size_t other = strlen(rows[i].name);
        if ((len > other ? len - other : other - len) > least)
            continue;
        unsigned d = distance(name, rows[i].name, least);
        if (d <= least && (best == NULL || d < least)) {
            best = &rows[i];
            least = d;
        }
    }
    return best;
}

static void *field_of(const struct option *option, void *base)
{
    return (char *)base + option->offset;
}

static const void *const_field_of(const struct option *option, const void *base)
{
    return (const char *)base + option->offset;
}

static bool parse_int(const char *text, int base, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, base);
    if (errno != 0 || end == text || *end != '\0' || text[0] == ' ')
        return false;
    *out = value;
    return true;
}

static bool parse_bool(const char *text, int64_t *out)
{
    static const char *const words[2][5] = {{"0", "off", "no", "false", "disable"},
                                            {"1", "on", "yes", "true", "enable"}};
    for (int value = 0; value < 2; value++) {
        for (size_t i = 0; i < 5; i++) {
            if (strcasecmp(text, words[value][i]) == 0) {
                *out = value;
                return true;
            }
        }
    }
    return false;
}

static bool parse_name(const struct option *option, const char *text, int64_t *out)
{
    for (const struct option_name *n = option->names; n->name != NULL; n++) {
        if (strcasecmp(n->name, text) == 0) {
            *out = n->value;
            return true;
        }
    }
    return false;
}

static bool parse_number(const struct option *option, const char *text, int64_t *out)
{
    bool is_number = false;
    switch (option->type) {
    case OPTION_TEXT:
        return false;
    case OPTION_ENUM:
        return parse_name(option, text, out);
    case OPTION_INT:
        is_number = parse_int(text, 10, out);
        break;
    case OPTION_BOOL:
        is_number = parse_bool(text, out);
        break;
    case OPTION_MODE:
        is_number = parse_int(text, 8, out);
        break;
    case OPTION_SECONDS:
        is_number = units_parse_seconds(text, out);
        break;
    case OPTION_BYTES:
        is_number = units_parse_bytes(text, out);
        break;
    }
    return is_number && *out >= option->min && *out <= option->max;
}

static void store_number(const struct option *option, int64_t number, void *base)
{
    void *field = field_of(option, base);
    if (option->type == OPTION_SECONDS) {
        uint64_t value = (uint64_t)number;
        memcpy(field, &value, sizeof(value));
    } else if (option->type == OPTION_BYTES) {
        size_t value = (size_t)number;
        memcpy(field, &value, sizeof(value));
    } else {
        int value = (int)number;
        memcpy(field, &value, sizeof(value));
    }
}

static int64_t load_number(const struct option *option, const void *base)
{
    const void *field = const_field_of(option, base);
    if (option->type == OPTION_SECONDS)
        return (int64_t) * (const uint64_t *)field;
    if (option->type == OPTION_BYTES)
        return (int64_t) * (const size_t *)field;
    return *(const int *)field;
}

static bool store_text(const struct option *option, const char *text, void *base)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return false;
    char **field = field_of(option, base);
    free(*field);
    *field = copy;
    return true;
}

/* Is `text` one of the comma list? */
static bool is_listed(const char *list, const char *text)
{
    size_t len = strlen(text);
    for (const char *p = list; p != NULL; p = strchr(p, ',') != NULL ? strchr(p, ',') + 1 : NULL)
        if (strncasecmp(p, text, len) == 0 && (p[len] == ',' || p[len] == '\0'))
            return true;
    return false;
}

static bool is_at_default(const struct option *option, const char *text, int64_t number)
{
    const char *normal = option->default_text != NULL ? option->default_text : "";
    if (option->type == OPTION_TEXT)
        return strcmp(text, normal) == 0;
    int64_t expected;
    return parse_number(option, normal, &expected) && expected == number;
}

static bool refuse_later(const struct option *option, const char *text, int64_t number, struct error *error)
{
    if (is_at_default(option, text, number) || is_listed(option->accepts, text))
        return true;
    const char *shown = option->is_secret ? "..." : text;
    if (option->accepts != NULL)
        return error_set_state(error, "F0000", "%s = %s is not built yet; accepted for now: %s", option->name,
                               shown, option->accepts);
    if (option->default_text == NULL || option->default_text[0] == '\0')
        return error_set_state(error, "F0000", "%s is not built yet; leave it out", option->name);
    return error_set_state(error, "F0000", "%s = %s is not built yet; leave it out, or at its default, %s",
                           option->name, shown, option->default_text);
}

bool option_parse(const struct option *option, const char *text, void *base, struct error *error)
{
    int64_t number = 0;
    if (option->type != OPTION_TEXT && !parse_number(option, text, &number)) {
        struct buf accepted = BUF_INIT;
        option_describe(option, &accepted);
        const char *what = buf_text(&accepted);
        error_set_state(error, "F0000", "%s = \"%.80s\" is not accepted; it takes %s", option->name,
                        option->is_secret ? "..." : text, what != NULL ? what : "something else");
        buf_free(&accepted);
        return false;
    }
    if (option->status == OPTION_LATER && !refuse_later(option, text, number, error))
        return false;
    if (option->type == OPTION_TEXT)
        return store_text(option, text, base) || error_set(error, "out of memory");
    store_number(option, number, base);
    return true;
}

/* What a database or user has where its key does not stand. */
static int64_t inherited(const struct option *option)
{
    return option->type == OPTION_SECONDS ? (int64_t)CONFIG_INHERIT_US : CONFIG_INHERIT;
}

bool option_set_defaults(enum option_scope scope, void *base)
{
    size_t count;
    const struct option *rows = option_table(scope, &count);
    bool is_ok = true;
    for (size_t i = 0; i < count; i++) {
        const char *text = rows[i].default_text;
        int64_t number = 0;
        if (rows[i].type == OPTION_TEXT) {
            is_ok = store_text(&rows[i], text != NULL ? text : "", base) && is_ok;
        } else if (text != NULL) {
            is_ok = parse_number(&rows[i], text, &number) && is_ok;
            store_number(&rows[i], number, base);
        } else {
            store_number(&rows[i], scope == OPTION_GLOBAL ? 0 : inherited(&rows[i]), base);
        }
    }
    return is_ok;
}

void option_free_values(enum option_scope scope, void *base)
{
    size_t count;
    const struct option *rows = option_table(scope, &count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].type != OPTION_TEXT)
            continue;
        char **field = field_of(&rows[i], base);
        if (*field != NULL && rows[i].is_secret)
            explicit_bzero(*field, strlen(*field));
        free(*field);
        *field = NULL;
    }
}

bool option_copy(const struct option *option, const void *from, void *to)
{
    if (option->type == OPTION_TEXT)
        return store_text(option, *(char *const *)const_field_of(option, from), to);
    store_number(option, load_number(option, from), to);
    return true;
}

bool option_is_equal(const struct option *option, const void *a, const void *b)
{
    if (option->type == OPTION_TEXT)
        return strcmp(*(char *const *)const_field_of(option, a), *(char *const *)const_field_of(option, b)) ==
               0;
    return load_number(option, a) == load_number(option, b);
}

/* A secret is shown as stars; of a URL only what stands between // and @ is secret. */
static void format_text(const struct option *option, const char *text, struct buf *out)
{
    const char *at = strrchr(text, '@');
    const char *from = strstr(text, "//");
    if (!option->is_secret || text[0] == '\0')
        buf_append_str(out, text);
    else if (from != NULL && at == NULL)
        buf_append_str(out, text);
    else if (from != NULL)
        buf_printf(out, "%.*s***%s", (int)(from + 2 - text), text, at);
    else
        buf_append_str(out, "***");
}

bool option_format(const struct option *option, const void *base, struct buf *out)
{
    if (option->type == OPTION_TEXT) {
        const char *text = *(char *const *)const_field_of(option, base);
        if (text[0] == '\0' && option->default_text == NULL)
            return false;
        format_text(option, text, out);
        return true;
    }
    int64_t number = load_number(option, base);
    if (option->default_text == NULL && option->min >= 0 && number == inherited(option))
        return false;
    if (option->type == OPTION_SECONDS) {
        units_format_seconds(number, out);
    } else if (option->type == OPTION_BYTES) {
        units_format_bytes(number, out);
    } else if (option->type == OPTION_MODE) {
        buf_printf(out, "0%" PRIo64, (uint64_t)number);
    } else if (option->type == OPTION_ENUM) {
        for (const struct option_name *n = option->names; n->name != NULL; n++)
            if (n->value == number)
                buf_append_str(out, n->name);
    } else {
        buf_printf(out, "%" PRId64, number);
    }
    return true;
}

static void describe_names(const struct option *option, struct buf *out)
{
    buf_append_str(out, "one of");
    for (const struct option_name *n = option->names; n->name != NULL; n++)
        buf_printf(out, "%s %s", n == option->names ? "" : ",", n->name);
}

void option_describe(const struct option *option, struct buf *out)
{
    switch (option->type) {
    case OPTION_TEXT:
        buf_append_str(out, "text");
        return;
    case OPTION_ENUM:
        describe_names(option, out);
        return;
    case OPTION_BOOL:
        buf_append_str(out, "0 or 1");
        return;
    case OPTION_MODE:
        buf_append_str(out, "octal permissions from 0 to 07777");
        return;
    case OPTION_INT:
        buf_printf(out, "a whole number from %" PRId64 " to %" PRId64, option->min, option->max);
        return;
    case OPTION_SECONDS:
        buf_append_str(out, "seconds, with a fraction if need be, from ");
        units_format_seconds(option->min, out);
        buf_append_str(out, " to ");
        units_format_seconds(option->max, out);
        return;
    case OPTION_BYTES:
        buf_append_str(out, "a size in bytes, kB, MB or GB from ");
        units_format_bytes(option->min, out);
        buf_append_str(out, " to ");
        units_format_bytes(option->max, out);
        return;
    }
}

void option_print_table(struct buf *out)
{
    static const char *const scopes[] = {"weir", "databases", "users", "peers"};
    static const char *const types[] = {"text", "int", "bool", "mode", "seconds", "bytes", "enum"};
    static const char *const states[] = {"works", "no effect", "later"};
    for (int scope = OPTION_GLOBAL; scope <= OPTION_PEER; scope++) {
        size_t count;
        const struct option *rows = option_table((enum option_scope)scope, &count);
        for (size_t i = 0; i < count; i++) {
            const struct option *o = &rows[i];
            buf_printf(out, "%s\t%s\t%s\t%s\t%s\t%s\t", scopes[scope], o->name, types[o->type],
                       o->default_text != NULL ? o->default_text : "-", o->is_reloadable ? "yes" : "no",
                       states[o->status]);
            option_describe(o, out);
            buf_printf(out, "\t%s\n", o->help);
        }
    }
}
