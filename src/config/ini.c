/*
 * Reads line by line; an included file is read in place, so the section in force carries into it and out
 * again. A problem is reported and the line skipped: the user sees all of them at once.
 */
#include "weir/config/ini.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "weir/util/arena.h"

struct ini {
    atomic_int refs;
    struct arena texts;
    struct ini_entry *entries;
    size_t count;
    size_t cap;
};

struct ini_reader {
    struct ini *ini;
    ini_read_fn *read;
    void *read_arg;
    ini_report_fn *report;
    void *report_arg;
    const char *section;
    const char *file;
    int line;
    int depth;
    int files;
    bool is_bad;
};

static void complain(struct ini_reader *r, const char *what, struct slice detail)
{
    struct error problem = ERROR_INIT;
    int shown = detail.len > 80 ? 80 : (int)detail.len;
    error_set_state(&problem, "F0000", "%s:%d: %s%s%.*s%s", r->file, r->line, what, shown > 0 ? ": \"" : "",
                    shown, (const char *)detail.data, shown > 0 ? "\"" : "");
    r->is_bad = true;
    if (r->report != NULL)
        r->report(r->report_arg, &problem);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.data[0]))
        s = (struct slice){s.data + 1, s.len - 1};
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

static const char *keep(struct ini_reader *r, struct slice text)
{
    const char *copy = arena_text(&r->ini->texts, text);
    if (copy == NULL)
        complain(r, "out of memory", SLICE_EMPTY);
    return copy;
}

static void add_entry(struct ini_reader *r, const char *key, struct slice value)
{
    struct ini *ini = r->ini;
    if (ini->count == ini->cap) {
        size_t cap = ini->cap == 0 ? 64 : ini->cap * 2;
        struct ini_entry *grown = realloc(ini->entries, cap * sizeof(*grown));
        if (grown == NULL) {
            complain(r, "out of memory", SLICE_EMPTY);
            return;
        }
        ini->entries = grown;
        ini->cap = cap;
    }
    const char *text = keep(r, value);
    if (key == NULL || text == NULL)
        return;
    ini->entries[ini->count++] = (struct ini_entry){r->file, r->line, r->section, key, text};
}

/* Takes `"a ""quoted"" name"` off the front of `line`. NULL (reported) when the quote does not end. */
static const char *quoted_key(struct ini_reader *r, struct slice *line)
{
    struct buf name = BUF_INIT;
    size_t i = 1;
    for (; i < line->len; i++) {
        if (line->data[i] == '"') {
            if (i + 1 >= line->len || line->data[i + 1] != '"')
                break;
            i++;
        }
        buf_append_u8(&name, line->data[i]);
    }
    const char *key = NULL;
    if (i >= line->len)
        complain(r, "quoted name does not end", *line);
    else if (!buf_failed(&name))
        key = keep(r, buf_slice(&name));
    *line = slice_from(*line, i + 1);
    buf_free(&name);
    return key;
}

static const char *bare_key(struct ini_reader *r, struct slice *line)
{
    size_t end = 0;
    while (end < line->len && line->data[end] != '=' && !is_blank(line->data[end]))
        end++;
    struct slice key = {line->data, end};
    *line = slice_from(*line, end);
    if (key.len == 0) {
        complain(r, "a key is missing before '='", SLICE_EMPTY);
        return NULL;
    }
    return keep(r, key);
}

static void read_pair(struct ini_reader *r, struct slice line)
{
    struct slice rest = line;
    const char *key = line.data[0] == '"' ? quoted_key(r, &rest) : bare_key(r, &rest);
    if (key == NULL)
        return;
    rest = trim(rest);
    if (rest.len == 0 || rest.data[0] != '=') {
        /* The text itself is not shown: it may be a misplaced password. */
        complain(r, "expected key = value after", slice_str(key));
        return;
    }
    add_entry(r, key, trim(slice_from(rest, 1)));
}

static void read_section(struct ini_reader *r, struct slice line)
{
    if (line.data[line.len - 1] != ']') {
        complain(r, "section name does not end with ']'", line);
        return;
    }
    const char *name = keep(r, trim((struct slice){line.data + 1, line.len - 2}));
    if (name == NULL)
        return;
    r->section = name;
    for (char *c = (char *)(uintptr_t)name; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
}

static void read_file(struct ini_reader *r, const char *path);

static void read_include(struct ini_reader *r, struct slice line)
{
    const struct slice word = SLICE_LITERAL("%include");
    if (line.len <= word.len || memcmp(line.data, word.data, word.len) != 0 ||
        !is_blank(line.data[word.len])) {
        complain(r, "unknown directive, only %include FILE is known", line);
        return;
    }
    if (r->files >= INI_MAX_FILES)
        return; /* said once, or it would be said for every way through them */
    if (++r->files == INI_MAX_FILES) {
        complain(r, "too many files are included", line);
        return;
    }
    if (r->depth >= INI_MAX_DEPTH) {
        r->files = INI_MAX_FILES;
        complain(r, "files include each other too deeply", line);
        return;
    }
    const char *path = keep(r, trim(slice_from(line, word.len)));
    if (path == NULL)
        return;
    const char *file = r->file;
    int number = r->line;
    r->depth++;
    read_file(r, path);
    r->depth--;
    r->file = file;
    r->line = number;
}

static void read_line(struct ini_reader *r, struct slice line)
{
    line = trim(line);
    if (line.len == 0 || line.data[0] == ';' || line.data[0] == '#')
        return;
    if (memchr(line.data, '\0', line.len) != NULL)
        complain(r, "a NUL byte in the text", SLICE_EMPTY);
    else if (line.data[0] == '[')
        read_section(r, line);
    else if (line.data[0] == '%')
        read_include(r, line);
    else
        read_pair(r, line);
}

static void read_file(struct ini_reader *r, const char *path)
{
    struct buf text = BUF_INIT;
    struct error why = ERROR_INIT;
    bool is_open = r->read(r->read_arg, path, &text, &why);
    if (!is_open || buf_failed(&text)) {
        struct error problem = ERROR_INIT;
        const char *reason = why.message[0] != '\0' ? why.message : "cannot be read";
        if (r->depth > 0)
            error_set_state(&problem, "F0000", "%s:%d: %s: %s", r->file, r->line, path, reason);
        else
            error_set_state(&problem, "F0000", "%s: %s", path, reason);
        r->is_bad = true;
        if (r->report != NULL)
            r->report(r->report_arg, &problem);
        buf_free(&text);
        return;
    }
    r->file = path;
    r->line = 0;
    struct slice rest = buf_slice(&text);
    if (rest.len >= 3 && memcmp(rest.data, "\xEF\xBB\xBF", 3) == 0)
        rest = slice_from(rest, 3);
    while (rest.len > 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        size_t len = end != NULL ? (size_t)(end - rest.data) : rest.len;
        r->line++;
        read_line(r, (struct slice){rest.data, len});
        rest = slice_from(rest, end != NULL ? len + 1 : len);
    }
    buf_wipe(&text);
}

struct ini *ini_parse(const char *path, ini_read_fn *read, void *read_arg, ini_report_fn *report,
                      void *report_arg)
{
    struct ini *ini = calloc(1, sizeof(*ini));
    if (ini == NULL)
        return NULL;
    atomic_init(&ini->refs, 1);
    struct ini_reader reader = {
        .ini = ini,
        .read = read,
        .read_arg = read_arg,
        .report = report,
        .report_arg = report_arg,
        .section = "",
    };
    const char *name = keep(&reader, slice_str(path));
    if (name != NULL)
        read_file(&reader, name);
    if (reader.is_bad) {
        ini_unref(ini);
        return NULL;
    }
    return ini;
}

struct ini *ini_ref(struct ini *ini)
{
    atomic_fetch_add_explicit(&ini->refs, 1, memory_order_relaxed);
    return ini;
}

void ini_unref(struct ini *ini)
{
    if (ini == NULL || atomic_fetch_sub_explicit(&ini->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_wipe(&ini->texts); /* passwords of databases */
    free(ini->entries);
    free(ini);
}

size_t ini_count(const struct ini *ini)
{
    return ini->count;
}

const struct ini_entry *ini_entry(const struct ini *ini, size_t index)
{
    return &ini->entries[index];
}
