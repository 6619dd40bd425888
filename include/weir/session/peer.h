/*
 * peer: cancel requests that belong to another process.
 *
 * The first two bytes of a client's key are the peer_id of the process that gave it and, in the lowest two
 * bits, how often the request has been passed on: after three times it is dropped, so that tables of peers
 * that contradict each other send nothing round in circles. Each worker passes on what its own clients bring;
 * the counters are the process's.
 */
#ifndef WEIR_SESSION_PEER_H
#define WEIR_SESSION_PEER_H

#include "weir/session/session.h"
#include "weir/util/cold.h"

struct client;
struct peer_forward;
struct peer_table;

/* NULL when memory is out. */
struct peer_table *peer_table_new(void);
void peer_table_free(struct peer_table *table);

struct peer_counts {
    int waiting; /* requests that wait for their turn */
    int active;  /* requests that are on their way */
    int login;   /* of these, connections that are being made */
};

/* Any thread. */
void peer_table_count(struct peer_table *table, int id, struct peer_counts *counts);

/* Puts the peer_id of this process into a key. */
void peer_sign(const struct config *config, uint8_t key[8]);

/* The process that is to get this request: NULL when that is this one, or nobody. */
COLD const struct config_peer *peer_of(const struct config *config, const uint8_t key[8]);

/* Passes it on as it is, of any length that startup_parse takes; the client is closed when the other process
 * has taken it. False when that cannot be. */
COLD bool peer_forward(struct client *client, const struct config_peer *peer, struct slice key);
/* The client is gone; its request goes on. NULL is allowed. */
COLD void peer_forget_client(struct peer_forward *forward);

/* The worker ends. */
COLD void peer_end(struct session_worker *session);

#endif
