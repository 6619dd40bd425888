/*
 * profile: the settings of a session as one immutable, interned, counted value.
 *
 * Same content, same pointer: whether a server has the settings of a client is one comparison. Names compare
 * as in PostgreSQL (ASCII letters without case) and are kept in lower case. A name that is absent has the
 * server's own default. Safe on every thread: the table is sharded behind mutexes, which are only taken when
 * settings change.
 */
#ifndef WEIR_TRACK_PROFILE_H
#define WEIR_TRACK_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/util/slice.h"

#define PROFILE_MAX_SETTINGS    1000u
#define PROFILE_MAX_VALUE_BYTES (64u * 1024u)
#define PROFILE_MAX_BYTES       (1024u * 1024u) /* of all names and values together */

struct profile;
struct profile_table;

struct profile_setting {
    struct slice name;  /* lower case; NUL-terminated behind its length */
    struct slice value; /* NUL-terminated behind its length */
};

struct profile_table *profile_table_new(void);
/* Every profile must have been given back. */
void profile_table_free(struct profile_table *table);
/* How many different profiles live. */
size_t profile_table_count(struct profile_table *table);

/* The profile without settings. Never NULL; the caller unrefs it like any other. */
struct profile *profile_empty(struct profile_table *table);

/*
 * A new reference to `base` with `name` set to `value` (or without `name`); `base` keeps its own reference.
 * NULL when memory is out, the name is empty, holds a NUL or '=', or a bound above is passed. Setting
 * session_authorization drops role, as PostgreSQL does; so does unsetting it.
 */
struct profile *profile_set(struct profile *base, struct slice name, struct slice value);
struct profile *profile_unset(struct profile *base, struct slice name);

/* Both are atomic; NULL is allowed. */
struct profile *profile_ref(struct profile *profile);
void profile_unref(struct profile *profile);

/* Whether `name` is set; `value` (may be NULL) points into the profile. */
bool profile_get(const struct profile *profile, struct slice name, struct slice *value);
/* default_transaction_isolation without a search; empty when it is not set. */
struct slice profile_isolation(const struct profile *profile);
uint64_t profile_hash(const struct profile *profile);
size_t profile_count(const struct profile *profile);
/* Settings in order of their names, 0 <= index < profile_count. */
struct profile_setting profile_at(const struct profile *profile, size_t index);

/*
 * Calls `emit` once for every setting to change (value.data == NULL: back to the default) so that a session
 * with the settings `from` has those of `to`, in an order that works: role and session_authorization of
 * `from` are given up first (what follows may need the login role's rights), client_encoding next, those of
 * `to` taken last, session_authorization before role. Nothing is emitted for equal profiles.
 */
void profile_diff(const struct profile *from, const struct profile *to,
                  void (*emit)(void *context, struct slice name, struct slice value), void *context);

#endif
