/* share_reads: what lookup.c and fill.c need of it. */
#ifndef WEIR_CACHE_SHARE_READS_H
#define WEIR_CACHE_SHARE_READS_H

#include "weir/cache/cache.h"

struct entry_key;
struct verdict;

/*
 * As cache_lookup, once the statement was judged and memory looked at: takes over `entry`, which it has
 * found, or NULL. The answer is WAIT; anything but CACHE_REASON_NONE is why not.
 */
enum cache_reason share_lookup(struct cache_worker *w, const struct cache_request *r,
                               const struct verdict *verdict, const struct entry_key *key,
                               struct entry *entry, cache_answered told, void *context,
                               struct cache_answer *answer);
/* Sends it to Redis, if things are well; nobody waits for it. */
bool share_store(struct cache_worker *w, const struct cache_scope *scope, const struct entry *entry,
                 uint64_t now_us);

#endif
