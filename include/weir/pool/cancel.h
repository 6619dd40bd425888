/*
 * cancel: cancel requests on their way to a server.
 *
 * While one travels the server is not released, so that it cannot hit the next client's query: for at most
 * cancel_wait_timeout, after which the server is closed rather than released if the request has left.
 * Confined to the server's worker. Source: protocol chapter, "Canceling Requests in Progress".
 */
#ifndef WEIR_POOL_CANCEL_H
#define WEIR_POOL_CANCEL_H

#include <stdbool.h>

struct server;

/* Opens a connection of its own and sends the server's key. At most a few at a time for one server: a storm
 * is one request. */
void cancel_send(struct server *server);

bool cancel_is_pending(const struct server *server);

/* The server is about to be freed. */
void cancel_forget(struct server *server);

#endif
