/*
 * client: one client connection, from its first byte to its end.
 *
 *   startup ──► auth ──► greeting ──► idle ⇄ waiting ──► leased ──► idle
 *      │                     │          │
 *      └──► cancel           └──────────┴──► console
 *
 * `idle` holds no server. A client between transactions is idle; in session mode, and while a pin holds, it
 * stays leased. One setter changes the state. Confined to its worker; the struct is small because there may
 * be tens of thousands: whatever a client needs only while it works lives in its lease.
 */
#ifndef WEIR_SESSION_CLIENT_H
#define WEIR_SESSION_CLIENT_H

#include <uthash.h>

#include "weir/session/lease.h"
#include "weir/session/session.h"
#include "weir/track/pin.h"
#include "weir/track/transaction.h"
#include "weir/util/log.h"
#include "weir/util/cold.h"

enum client_state {
    CLIENT_STARTUP,
    CLIENT_AUTH,
    CLIENT_GREETING, /* authenticated; waits for the pool's welcome, or for its settings to be checked */
    CLIENT_IDLE,
    CLIENT_WAITING,
    CLIENT_LEASED,
    CLIENT_CONSOLE,
    CLIENT_REPLICATION, /* has a server of its own, to the end */
    CLIENT_STATES,
};

enum { CLIENT_KEY_BYTES = CANCEL_KEY_SHORT };

struct client_login;

struct client {
    struct list_node node;      /* session->clients */
    struct list_node pool_node; /* part->clients */
    struct session_worker *session;
    struct conn *conn;
    struct pool_part *part;     /* NULL before login and for the console */
    struct registry_user *user; /* who the client is; the pool's user may be a forced one */
    const struct config_user
        *limits; /* of `user`, in the snapshot that client_configure saw; NULL: none of its own */
    struct lease *lease;
    struct pool_waiter waiter;
    struct timer timer; /* login, idle and idle-in-transaction timeouts, by state */
    struct transaction tx;
    struct pins pins;
    struct statement_map prepared;
    struct statement *unnamed;     /* counted; NULL: none */
    struct client_login *login;    /* while logging in */
    struct cached_ask *ask;        /* what it has asked the cache, and not yet done with; NULL: nothing */
    struct cache_scope *scope;     /* who it is to the cache; counted; NULL: not known, or stale */
    struct profile *scope_profile; /* of the scope; compared only */
    struct sql_class
        *sequence_class;      /* of its last statement that may have taken a sequence's value; counted */
    uint64_t sequence_server; /* the server it has used last, by id */
    uint64_t id;
    uint64_t connect_time_us, request_time_us;
    uint64_t stream_left; /* bytes of a message that is being passed on in pieces */
    uint8_t key[CLIENT_KEY_BYTES];
    UT_hash_handle hh; /* session->by_key */
    uint8_t peer_ip[16];
    uint16_t peer_port;
    uint16_t local_port;
    uint8_t state;       /* enum client_state */
    uint8_t cache_mode;  /* enum cache_mode */
    uint8_t peer_family; /* AF_INET, AF_INET6, AF_UNIX */
    bool is_admin : 1;
    bool has_long_key : 1;    /* protocol 3.2: its key is longer than what is kept of it */
    bool is_skipping : 1;     /* console and Weir's own errors: everything up to Sync is ignored */
    bool is_ending : 1;       /* being closed; further events are not for it */
    bool is_counted : 1;      /* in shared->clients */
    bool is_user_counted : 1; /* in the budgets of user and database */
    bool is_console_busy : 1; /* a console command is being carried out */
    bool is_late : 1;         /* came by the Unix socket when the process was ending: for the console alone */
    bool is_cancelled : 1;    /* the query it waits with is to be answered with an error */
    bool is_batch_relayed : 1;    /* the batch at hand is not for the cache */
    bool has_hit_portal : 1;      /* its unnamed portal was one of a hit: the server's is not its own */
    bool may_defer : 1;           /* its BEGIN is held back until a server is needed */
    bool is_readable : 1;         /* standard_conforming_strings is on, and ... */
    bool has_unsafe_encoding : 1; /* ... the encoding is one whose bytes a parser may misread: its texts are
                                     not parsed */
};

void client_set_state(struct client *client, enum client_state state);
COLD const char *client_state_name(const struct client *client);

/* A new connection; NULL (fd closed) when memory is out. */
struct client *client_new(struct session_worker *session, int fd, const struct address *peer,
                          const struct address *local);

/* "host:port", or "unix:port"; valid until the next call on this thread. */
COLD const char *client_address(const struct client *client);

/* The user, database and address for log lines: "C-0x…: db/user@addr:port"; valid until the next call on this
 * thread. */
const char *client_prefix(const struct client *client);
COLD void client_log(const struct client *client, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Ends the client without a word to it. `reason` goes to the log. What its lease was doing is finished or
 * undone. */
COLD void client_close(struct client *client, const char *reason);
/* The same after an ErrorResponse FATAL. */
COLD void client_fail(struct client *client, const char *sqlstate, const char *message);
/* The same with an ErrorResponse that somebody else has made. */
COLD void client_dismiss(struct client *client, struct slice response, const char *reason);
/* An ErrorResponse that does not end the session; ReadyForQuery is the caller's. */
COLD void client_error(struct client *client, const char *sqlstate, const char *message);
COLD void client_notice(struct client *client, const char *message);
void client_write(struct client *client, struct slice bytes);
/* The same for what was built; memory that ran out over it ends the client. */
void client_write_buf(struct client *client, const struct buf *built);

/* login.c: the bytes of startup and authentication. */
COLD size_t login_data(struct client *client, struct slice data);
/* The welcome is there, or waiting for it has failed. */
COLD void login_welcome(struct client *client);
/* A server for the check of its startup settings; NULL: the welcome has come. */
COLD void login_granted(struct client *client, struct server *server);
/* The check of its startup settings has ended; `error` is an ErrorResponse, or empty. */
COLD void login_greeted(struct client *client, struct slice parameters, struct slice error);
COLD void client_login_free(struct client_login *login);

/* auth_query.c: the server that is to be asked for the secret of a client that logs in. */
COLD void auth_query_granted(struct client *client, struct server *server);
/* What it says, one message at a time; `whole` is as much of it as is there. */
struct frame;
COLD void auth_query_saw(struct lease *lease, const struct frame *frame, struct slice whole);
/* The last ReadyForQuery of it: the lease ends here. */
COLD void auth_query_done(struct lease *lease);
/* The server is gone before that; the lease has ended. */
COLD void auth_query_lost(struct client *client, const char *reason);

/* route.c: messages of a client that is logged in. Returns the bytes that are done with. */
size_t route_data(struct client *client, struct slice data);
/* The server is made to hold the statement under its own name; false when the client has ended (memory). */
bool route_ensure_statement(struct lease *lease, struct statement *statement);
/* The statement of a Parse, counted; NULL when memory is out. */
struct parse_view;
struct statement *route_intern(struct client *client, const struct parse_view *view);
void route_set_unnamed(struct client *client, struct statement *statement);

/* The database it is connected to; the console's where it has no pool. */
struct registry_database *client_database(const struct client *client);

/* Takes what matters out of the configuration; at login and after a reload. */
COLD void client_configure(struct client *client);

/* Timeouts that depend on what the client is doing now: started and stopped here, at changes of state. */
void client_arm_idle(struct client *client);

/* A ParameterStatus is on its way to the client: remembers what matters for reading its texts. */
void client_note_parameter(struct client *client, struct slice name, struct slice value);

/* May its texts be parsed? */
static inline bool client_is_readable(const struct client *client)
{
    return client->is_readable && !client->has_unsafe_encoding;
}

/* replication.c: a client that asked for replication, and its server. */
COLD void replication_begin(struct client *client, struct server *server);
COLD size_t replication_data(struct client *client, struct slice data);
COLD size_t replication_server_data(struct lease *lease, struct slice data);

/* console.c: a client of the administration console. */
COLD size_t console_data(struct client *client, struct slice data);

static inline bool client_is_tls(const struct client *client)
{
    return conn_tls(client->conn) != NULL;
}

/* ReadyForQuery status of a client without a server. */
char client_status(const struct client *client);

#endif
