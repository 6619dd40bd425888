/*
 * login: what the steps of a client's login share. Private to session; confined to the worker.
 *
 *   login.c         the startup packet, the database, the limits
 *   authenticate.c  who the client is
 *   greeting.c      what PostgreSQL says to a client with these settings, and ReadyForQuery
 */
#ifndef WEIR_SESSION_LOGIN_H
#define WEIR_SESSION_LOGIN_H

#include "weir/auth/credential.h"
#include "weir/session/client.h"
#include "weir/util/cold.h"

enum login_method { METHOD_NONE, METHOD_PLAIN, METHOD_MD5, METHOD_SCRAM, METHOD_CERT };

struct client_login {
    char *user, *database;
    struct credential *credential; /* counted; NULL: no such user */
    struct profile *settings;      /* of the startup packet; counted */
    struct scram_server *scram;
    enum login_method method;
    uint8_t salt[4];
    bool is_console;
    bool has_encryption_answer; /* SSLRequest or GSSENCRequest has been answered */
    bool is_replication;
    bool is_direct_tls; /* TLS from the first byte on, without an SSLRequest */
};

/* Writes what was built, and wipes it. */
void login_reply(struct client *client, struct buf *out);

/* The startup packet has been read: asks for proof, or goes on to login_authenticated. */
COLD void login_authenticate(struct client *client);
/* Messages in answer to that. Returns how many bytes were used. */
COLD size_t login_auth_data(struct client *client, struct slice data);
/* The client is who it says. */
COLD void login_authenticated(struct client *client);

/* A cancel key that no other client has. */
COLD void login_make_key(struct client *client);
/* The console's greeting: no server is asked. */
COLD void login_console_ready(struct client *client);

#endif
