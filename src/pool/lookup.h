/*
 * lookup: from the name of a host to an address for a new connection, and what becomes of connections to
 * addresses that a name does not have any more: they are closed as soon as nobody uses them. Private to pool;
 * the worker of the server.
 */
#ifndef WEIR_POOL_LOOKUP_H
#define WEIR_POOL_LOOKUP_H

#include "weir/config/config.h"
#include "weir/net/resolve.h"

struct server;

/* Asks; server_resolved is called with the answer if the server is still there. False when memory is out. */
bool lookup_begin(struct server *server, const struct config_host *host);

/* In server.c: connects, or fails. */
void server_resolved(struct server *server, const struct resolve_answer *answer);

#endif
