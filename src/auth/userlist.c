/*
 * One pass over the text. A bad line is reported by its number alone: whatever stands there may be a
 * password.
 */
#include "weir/auth/userlist.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "weir/util/buf.h"

struct user_entry {
    struct credential *credential;
    UT_hash_handle hh;
};

struct userlist {
    atomic_int refs;
    struct user_entry *by_name; /* in the order of the file */
    struct user_entry **entries;
    size_t count;
};

struct line_reader {
    const char *file;
    int line;
    userlist_report_fn *report;
    void *report_arg;
};

static void complain(const struct line_reader *r, const char *what)
{
    struct error problem = ERROR_INIT;
    error_set_state(&problem, "F0000", "%s:%d: %s; the line is ignored", r->file, r->line, what);
    if (r->report != NULL)
        r->report(r->report_arg, &problem);
}

static struct slice skip_blanks(struct slice s)
{
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t' || s.data[0] == '\r'))
        s = slice_from(s, 1);
    return s;
}

/* Takes `"a ""quoted"" word"` off the front; false when there is none or it does not end. */
static bool take_quoted(struct slice *line, struct buf *out)
{
    struct slice s = skip_blanks(*line);
    if (s.len == 0 || s.data[0] != '"')
        return false;
    for (size_t i = 1; i < s.len; i++) {
        if (s.data[i] == '"') {
            if (i + 1 >= s.len || s.data[i + 1] != '"') {
                *line = slice_from(s, i + 1);
                return !buf_failed(out);
            }
            i++;
        }
        buf_append_u8(out, s.data[i]);
    }
    return false;
}

static void put(struct userlist *list, struct slice user, struct slice secret,
                const struct userlist *previous, const struct line_reader *r)
{
    struct credential *fresh = credential_new(user, secret);
    struct user_entry *entry = calloc(1, sizeof(*entry));
    struct user_entry *old = NULL;
    if (fresh == NULL || entry == NULL)
        goto out_of_memory;
    struct credential *known = previous != NULL ? userlist_find(previous, user) : NULL;
    if (known != NULL && credential_is_same(known, fresh)) {
        credential_unref(fresh);
        fresh = credential_ref(known);
    }
    HASH_FIND(hh, list->by_name, user.data, user.len, old);
    if (old != NULL) {
        HASH_DEL(list->by_name, old);
        credential_unref(old->credential);
        free(old);
    }
    entry->credential = fresh;
    HASH_ADD_KEYPTR(hh, list->by_name, credential_user(fresh), user.len, entry);
    if (entry->hh.tbl != NULL)
        return;
out_of_memory:
    complain(r, "out of memory");
    credential_unref(fresh);
    free(entry);
}

static void read_line(struct userlist *list, struct slice line, const struct userlist *previous,
                      const struct line_reader *r)
{
    line = skip_blanks(line);
    if (line.len == 0 || line.data[0] == ';')
        return;
    struct buf user = BUF_INIT, secret = BUF_INIT;
    if (!take_quoted(&line, &user))
        complain(r, "expected \"user\" \"secret\", found no user in quotes");
    else if (!take_quoted(&line, &secret))
        complain(r, "expected \"user\" \"secret\", found no secret in quotes");
    else if (user.len == 0 || user.len > USERLIST_MAX_NAME)
        complain(r, "the user name is empty or too long");
    else if (secret.len > USERLIST_MAX_SECRET)
        complain(r, "the secret is too long");
    else if (memchr(user.data, '\0', user.len) != NULL ||
             (secret.len > 0 && memchr(secret.data, '\0', secret.len) != NULL))
        complain(r, "a NUL byte in the text");
    else
        put(list, buf_slice(&user), buf_slice(&secret), previous, r);
    buf_free(&user);
    buf_wipe(&secret);
}

struct userlist *userlist_parse(const char *file, struct slice text, const struct userlist *previous,
                                userlist_report_fn *report, void *report_arg)
{
    struct userlist *list = calloc(1, sizeof(*list));
    if (list == NULL)
        return NULL;
    atomic_init(&list->refs, 1);
    struct line_reader reader = {file, 0, report, report_arg};
    while (text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        reader.line++;
        read_line(list, slice_make(text.data, len), previous, &reader);
        text = slice_from(text, end != NULL ? len + 1 : len);
    }
    list->entries = calloc(HASH_COUNT(list->by_name) + 1, sizeof(struct user_entry *));
    if (list->entries == NULL) {
        userlist_unref(list);
        return NULL;
    }
    struct user_entry *entry, *next;
    HASH_ITER(hh, list->by_name, entry, next)
    {
        list->entries[list->count++] = entry;
    }
    return list;
}

struct userlist *userlist_ref(struct userlist *list)
{
    atomic_fetch_add_explicit(&list->refs, 1, memory_order_relaxed);
    return list;
}

void userlist_unref(struct userlist *list)
{
    if (list == NULL || atomic_fetch_sub_explicit(&list->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct user_entry *entry, *next;
    HASH_ITER(hh, list->by_name, entry, next)
    {
        HASH_DEL(list->by_name, entry);
        credential_unref(entry->credential);
        free(entry);
    }
    free(list->entries);
    free(list);
}

struct credential *userlist_find(const struct userlist *list, struct slice user)
{
    const struct user_entry *entry = NULL;
    if (user.len > 0)
        HASH_FIND(hh, list->by_name, user.data, user.len, entry);
    return entry != NULL ? entry->credential : NULL;
}

size_t userlist_count(const struct userlist *list)
{
    return list->count;
}

struct credential *userlist_at(const struct userlist *list, size_t index)
{
    return list->entries[index]->credential;
}
