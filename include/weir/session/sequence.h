/*
 * sequence: whose sequence values a server's session holds (currval, lastval).
 *
 * A server knows the one client that it has served since its sequence state was empty, a client the last
 * server that it has used: only where these meet are the values there what PostgreSQL would show. Anywhere
 * else DISCARD SEQUENCES goes in front of a statement that asks for them, so that PostgreSQL itself says that
 * there is none (55000), rather than show another session's.
 *
 * So that an INSERT and the question for its number work in autocommit too, the first few statements of a
 * kind that may take a number get an empty state to begin with; the kinds after which somebody has asked keep
 * the client on its server.
 */
#ifndef WEIR_SESSION_SEQUENCE_H
#define WEIR_SESSION_SEQUENCE_H

#include "weir/session/client.h"

enum { SEQUENCE_MIXED = 0 }; /* no client has this id; a new server is `SEQUENCE_EMPTY` */
#define SEQUENCE_EMPTY UINT64_MAX

/* The client is about to use the server. */
static inline void sequence_leased(struct client *client, struct server *server)
{
    bool is_own = server->sequence_client == client->id && client->sequence_server == server->id;
    if (server->sequence_client == SEQUENCE_EMPTY)
        server->sequence_client = client->id;
    else if (!is_own)
        server->sequence_client = SEQUENCE_MIXED;
    client->sequence_server = server->id;
}

/* Before anything is sent for a statement of this class. False: the message has to wait (or the client has
 * ended). */
bool sequence_prepare(struct lease *lease, struct sql_class *class);
/* In front of an Execute, inside a batch. False when the client has ended. */
bool sequence_prepare_execute(struct lease *lease, struct sql_class *class);
/* It is being sent: learns from it, and pins where that is known to be needed. */
void sequence_sending(struct lease *lease, struct sql_class *class);

#endif
