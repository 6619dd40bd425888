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

#include "weir/util/list.h"

struct server;

/* Told once how it ended; belongs to whoever wants to know, until then. */
struct cancel_watcher {
    struct list_node node;
    /* `is_late`: cancel_wait_timeout has passed without an answer. */
    void (*done)(struct cancel_watcher *watcher, bool is_late);
};

/* Opens a connection of its own and sends the server's key. At most a few at a time for one server: a storm
 * is one request. */
void cancel_send(struct server *server);

bool cancel_is_pending(const struct server *server);
/* While one is pending: tells when PostgreSQL has taken it, when it has failed, or when its server has ended.
 */
void cancel_watch(struct server *server, struct cancel_watcher *watcher);

/* The server is about to be freed. */
void cancel_forget(struct server *server);

#endif
