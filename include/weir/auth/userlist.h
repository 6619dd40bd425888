/*
 * userlist: the users of auth_file. One per line: "user" "secret", "" for a quote; the rest of the line is
 * ignored;
 * ';' begins a comment line.
 *
 * Immutable once parsed, found by name in constant time, reference-counted. A bad line costs that line only.
 * Any thread.
 */
#ifndef WEIR_AUTH_USERLIST_H
#define WEIR_AUTH_USERLIST_H

#include <stddef.h>

#include "weir/auth/credential.h"
#include "weir/util/error.h"
#include "weir/util/slice.h"

#define USERLIST_MAX_NAME   128   /* bytes */
#define USERLIST_MAX_SECRET 65530 /* bytes */

struct userlist;

typedef void userlist_report_fn(void *arg, const struct error *problem);

/*
 * `file` only names the text in messages ("file:line: ..."), which never hold a secret. Users whose secret is
 * the same as in `previous` (may be NULL) keep its credential, with the keys it has learned. NULL when memory
 * is out.
 */
struct userlist *userlist_parse(const char *file, struct slice text, const struct userlist *previous,
                                userlist_report_fn *report, void *report_arg);
struct userlist *userlist_ref(struct userlist *list);
void userlist_unref(struct userlist *list); /* NULL is allowed */

/* Borrowed from the list; NULL when unknown. */
struct credential *userlist_find(const struct userlist *list, struct slice user);
size_t userlist_count(const struct userlist *list);
/* In the order of the file (a repeated user: the last one). */
struct credential *userlist_at(const struct userlist *list, size_t index);

#endif
