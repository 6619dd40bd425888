/*
 * evict: room under max_db_connections and max_user_connections, which several pools share.
 *
 * Who waits may have an idle server of another pool closed: one of its own worker at once, else one of
 * another worker by mail. Nobody else may: two pools that would both like to grow, with nobody waiting, would
 * close each other's servers for ever. Private to pool.
 */
#ifndef WEIR_POOL_EVICT_H
#define WEIR_POOL_EVICT_H

#include "weir/pool/pool.h"

enum evict_limit { EVICT_OF_DATABASE, EVICT_OF_USER };

/*
 * For a part with waiters, on its thread. True when a server under that limit has been closed. False when
 * this worker has none that rests: if another one has, it was asked, and pool_serve is called when it has
 * closed one.
 */
bool evict_for(struct pool_part *part, enum evict_limit limit);

#endif
