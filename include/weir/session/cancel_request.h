/*
 * cancel_request: a client's request to cancel what another client is doing.
 *
 * Every worker is told, since any may have the client it means. Whoever asked is kept until PostgreSQL has
 * taken the request, or cancel_wait_timeout has passed: the end of the connection says that nothing is on its
 * way any more, as PostgreSQL's own does. Confined to the worker of the client that asked, but for what the
 * mails carry.
 */
#ifndef WEIR_SESSION_CANCEL_REQUEST_H
#define WEIR_SESSION_CANCEL_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/util/cold.h"

struct cancel_request;
struct client;

/* Cancels for the client of this key, and closes the one that asks when that is done. `is_long`: it came with
 * the rest of a long key, which has been found right. */
COLD void cancel_request_spread(struct client *client, const uint8_t key[8], bool is_long);
/* The client that asked is gone; its request goes on. NULL is allowed. */
COLD void cancel_request_forget_client(struct cancel_request *request);

#endif
