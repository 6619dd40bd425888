/*
 * ident: the maps of auth_ident_file, from names that the system or a certificate vouches for to users.
 *
 *   MAPNAME  SYSTEM-USERNAME  USER
 *
 * A system user name that begins with '/' is a POSIX extended regular expression, and \1 in USER is what its
 * first group has matched. USER may be all, unquoted. A bad line costs that line only. Immutable once parsed,
 * reference-counted; any thread. Source: PostgreSQL manual, "User Name Maps".
 */
#ifndef WEIR_AUTH_IDENT_H
#define WEIR_AUTH_IDENT_H

#include <stdbool.h>

#include "weir/util/error.h"
#include "weir/util/slice.h"

struct ident;
struct ident_map;

/* Called once for each line that is wrong: "file:line: what". */
typedef void ident_report_fn(void *arg, const struct error *problem);

/* `file` only names the text in messages. NULL when memory is out. */
struct ident *ident_parse(const char *file, struct slice text, ident_report_fn *report, void *report_arg);
struct ident *ident_ref(struct ident *ident);
void ident_unref(struct ident *ident); /* NULL is allowed */

/* Borrowed; NULL when there is no such map. `ident` may be NULL. */
const struct ident_map *ident_find(const struct ident *ident, struct slice name);
const char *ident_map_name(const struct ident_map *map);
/* May the one whom the system calls `system_name` be `user`? */
bool ident_allows(const struct ident_map *map, const char *system_name, const char *user);

#endif
