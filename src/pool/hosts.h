/*
 * hosts: which host of a database's list the next connection goes to, and what all workers know of the hosts:
 * when one that failed may be tried again, and what role the one behind it had when it was asked last.
 * Private to pool; the worker of the part; takes the pool's mutex.
 */
#ifndef WEIR_POOL_HOSTS_H
#define WEIR_POOL_HOSTS_H

#include "weir/pool/pool.h"
#include "weir/util/cold.h"

struct server;
struct server_role;

/*
 * The next host that may be tried. -1: none may be; then *retry_at is the clock at which to look again, or
 * UINT64_MAX. `now`: the clock, in microseconds.
 */
int hosts_pick(struct pool_part *part, uint64_t now, uint64_t *retry_at);

/* A connection to that host begins. True when it is an attempt that others wait for: its end is told by
 * hosts_attempt_over. */
bool hosts_attempt(struct pool_part *part, int host);
void hosts_attempt_over(struct pool_part *part, int host);

/* It has logged in. */
void hosts_work(struct pool_part *part, int host);
/* It could not be reached, or refused: left alone for a time that doubles up to server_login_retry. */
COLD void hosts_failed(struct pool_part *part, int host);

/*
 * Its role has been asked: may the connection be used? Where a standby is preferred a primary may be, while
 * no other host is left to be tried.
 */
bool hosts_accept(struct pool_part *part, int host, const struct server_role *role);
/* Somebody's role may have changed: all are asked again before they are passed over. */
COLD void hosts_forget_roles(struct pool_part *part);
/* All have been asked, and none fits. */
COLD bool hosts_none_fits(struct pool_part *part);
/* The list is another one now. */
COLD void hosts_reset(struct pool_part *part);

#endif
