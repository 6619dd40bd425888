/* search_path: identifiers between commas; quoted ones as they are, others in lower case. */
#include "weir/cache/search_path.h"

#include <stdlib.h>
#include <string.h>

#include "weir/util/buf.h"

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static size_t skip_blanks(struct slice text, size_t at)
{
    while (at < text.len && is_blank(text.data[at]))
        at++;
    return at;
}

/* Reads one name from `*at` into `name`; false when there is none, or it is not closed. */
static bool read_name(struct slice text, size_t *at, struct buf *name, bool *is_odd)
{
    size_t i = *at;
    if (i < text.len && text.data[i] == '"') {
        for (i++; i < text.len; i++) {
            if (text.data[i] == '"') {
                if (i + 1 >= text.len || text.data[i + 1] != '"')
                    break;
                i++;
            }
            buf_append_u8(name, text.data[i]);
        }
        if (i >= text.len)
            return false;
        *at = i + 1;
        return true;
    }
    for (; i < text.len && text.data[i] != ',' && !is_blank(text.data[i]); i++) {
        uint8_t c = text.data[i];
        *is_odd |= c > 127 || c == '"';
        buf_append_u8(name, c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c);
    }
    bool has_name = i > *at;
    *at = i;
    return has_name;
}

static bool keep(struct search_path *path, struct buf *name, const char *role)
{
    const char *text = buf_text(name);
    if (text == NULL)
        return false;
    if (strcmp(text, "$user") == 0)
        text = role;
    if (strncmp(text, "pg_", 3) == 0 || strcmp(text, "information_schema") == 0 || strlen(text) > 63)
        path->is_odd = true;
    if (path->count == SEARCH_PATH_MAX) {
        path->is_odd = true;
        return true;
    }
    for (size_t i = 0; i < path->count; i++)
        if (strcmp(path->schemas[i], text) == 0)
            return true;
    path->schemas[path->count] = strdup(text);
    return path->schemas[path->count] != NULL && ++path->count > 0;
}

bool search_path_parse(struct search_path *path, struct slice text, const char *role)
{
    *path = (struct search_path){.is_odd = false};
    struct buf name = BUF_INIT;
    bool is_good = true;
    size_t at = skip_blanks(text, 0);
    bool has_more = at < text.len;
    while (is_good && has_more) {
        buf_clear(&name);
        if (!read_name(text, &at, &name, &path->is_odd)) {
            path->is_odd = true;
            break;
        }
        is_good = keep(path, &name, role);
        at = skip_blanks(text, at);
        has_more = at < text.len;
        if (has_more && text.data[at] != ',') {
            path->is_odd = true;
            break;
        }
        at = skip_blanks(text, at + 1);
    }
    buf_free(&name);
    if (!is_good)
        search_path_free(path);
    return is_good;
}

void search_path_free(struct search_path *path)
{
    for (size_t i = 0; i < path->count; i++)
        free(path->schemas[i]);
    path->count = 0;
}
