/*
 * forget: what nobody has used for a while is dropped from sight.
 *
 * A part without client and server is forgotten after pool_idle_timeout: its figures begin anew. A database
 * made from the fallback is forgotten after autodb_idle_timeout, once no worker has anything of it. Names
 * stay, for the case that somebody comes back. Private to pool; the part's worker.
 */
#ifndef WEIR_POOL_FORGET_H
#define WEIR_POOL_FORGET_H

#include "weir/pool/pool.h"

/* A client or a server of the part has gone, or the limits have changed. */
void forget_later(struct pool_part *part);

#endif
