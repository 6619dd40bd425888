/*
 * scope: who asks, interned: database, user, baseline and profile behind one number. See cache_scope_options.
 *
 * Same contents, same scope; numbers are never used again, so a key that holds one cannot mean anyone else.
 * Scopes that nobody holds stay for the next session of their kind, up to a bound, oldest out first. Any
 * thread.
 */
#ifndef WEIR_CACHE_SCOPE_H
#define WEIR_CACHE_SCOPE_H

#include <stdatomic.h>
#include <stdint.h>

#include "weir/cache/cache.h"
#include "weir/cache/search_path.h"

struct profile;
struct scopes;

enum { SCOPE_DIGEST_BYTES = 32 };

struct cache_scope {
    struct cache_scope *next; /* in its bucket */
    _Atomic uint32_t references;
    uint64_t id;
    uint64_t hash;
    struct cache_database *database;
    struct profile *profile;
    struct slice user;
    struct slice baseline;
    _Atomic uint64_t
        matched_version; /* of the catalog whose server the baseline is known to be of; 0: none */
    struct slice baseline_path;
    char *role; /* the effective one */
    struct search_path path;
    uint8_t digest[SCOPE_DIGEST_BYTES]; /* SHA-256 of all but the database: the same in every Weir */
    uint8_t bytes[];                    /* of the slices */
};

enum { SCOPES_IDLE_MAX = 4096 };

struct scopes *scopes_new(uint64_t seed);
/* Every scope must have been given back. */
void scopes_free(struct scopes *scopes);
struct cache_scope *scopes_get(struct scopes *scopes, const struct cache_scope_options *options);

#endif
