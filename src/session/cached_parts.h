/* cached_parts: what cached.c and cached_writes.c share. Private to the two. */
#ifndef WEIR_SESSION_CACHED_PARTS_H
#define WEIR_SESSION_CACHED_PARTS_H

#include "weir/session/cached.h"
#include "weir/util/buf.h"

struct part_context {
    struct cache_database *database;
    bool has_baseline, is_read_committed;
    struct buf baseline; /* fingerprint, then search_path */
    size_t fingerprint_len;
};

/* Who the client is to the cache, now; NULL where that is not known. */
struct cache_scope *cached_scope(struct client *client);

#endif
