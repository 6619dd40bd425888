/*
 * login: what the steps of a client's login share. Private to session; confined to the worker.
 *
 *   login.c         the startup packet, the database, the limits
 *   authenticate.c  who the client is
 *   auth_query.c    the secret of a user that auth_file does not know
 *   greeting.c      what PostgreSQL says to a client with these settings, and ReadyForQuery
 */
#ifndef WEIR_SESSION_LOGIN_H
#define WEIR_SESSION_LOGIN_H

#include "weir/auth/credential.h"
#include "weir/session/client.h"
#include "weir/util/cold.h"

enum login_method { METHOD_TRUST, METHOD_PLAIN, METHOD_MD5, METHOD_SCRAM, METHOD_PEER, METHOD_CERT };

struct auth_lookup;

struct client_login {
    char *user, *database;
    struct credential *credential; /* counted; NULL: no such user */
    struct profile *settings;      /* of the startup packet; counted */
    struct scram_server *scram;
    struct auth_lookup *lookup; /* auth_query is being asked; NULL: it is not */
    enum login_method method;
    uint8_t salt[4];
    bool is_console;
    bool has_encryption_answer;      /* SSLRequest or GSSENCRequest has been answered */
    bool is_direct_tls;              /* TLS from the first byte on, without an SSLRequest */
    bool is_unknown_database;        /* which is told to those alone who have proven who they are */
    bool is_from_query;              /* the credential, or that there is none, is the answer of auth_query */
    struct peer_forward *forward;    /* its cancel request is on the way to another process */
    struct cancel_request *cancel;   /* its cancel request is on the way to the server it is for */
    struct pool_dedicated dedicated; /* for replication */
    struct buf startup;              /* what it is opened with */
};

/*
 * The pool's servers that are opened from now on log in with this secret. Where it is the one the pool has,
 * that one stays, for the keys it has learned: a login that was not by SCRAM brings none.
 */
void login_give_secret(struct pool *pool, struct credential *credential);

/* Is it the console that goes by this name? */
bool login_is_console_name(const struct config *config, const char *name);

/* Writes what was built, and wipes it. */
void login_reply(struct client *client, struct buf *out);

/* The startup packet has been read: asks for proof, or goes on to login_authenticated. */
COLD void login_authenticate(struct client *client);
/* The credential is known, or that there is none: asks for proof, or goes on. */
COLD void login_found(struct client *client);
/* Is there an auth_query to ask about users that auth_file does not know? */
COLD bool auth_query_applies(const struct client *client);
/* Asks; login_found follows, or the client's end. */
COLD void auth_query_begin(struct client *client);
void auth_lookup_free(struct auth_lookup *lookup);
/* Messages in answer to that. Returns how many bytes were used. */
COLD size_t login_auth_data(struct client *client, struct slice data);
/* The client is who it says. */
COLD void login_authenticated(struct client *client);

/* A cancel key that no other client has, and the message that tells it. */
COLD void login_give_key(struct client *client, struct buf *out);
/* replication.c: asks for a server of the client's own. */
COLD void replication_ask(struct client *client);
/* The console's greeting: no server is asked. */
COLD void login_console_ready(struct client *client);

#endif
