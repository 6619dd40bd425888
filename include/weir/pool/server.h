/*
 * server: one connection to PostgreSQL, from connecting to its end.
 *
 *      connecting ──► login ──► idle ⇄ leased
 *                                │ ▲      │
 *                                ▼ │      ▼
 *                              testing ◄──┘  (check query before a lease, reset query after one)
 *      any ──► closed
 *
 * A server belongs to a pool's part on one worker, and is on that part's list for its state: setting the
 * state moves it. While leased, its bytes go to the one who leased it (server_events). It may change workers
 * only while idle.
 */
#ifndef WEIR_POOL_SERVER_H
#define WEIR_POOL_SERVER_H

#include "weir/net/conn.h"
#include "weir/pool/pool.h"
#include "weir/util/buf.h"
#include "weir/util/cold.h"

struct profile;
struct statement_set;
struct statement;
struct server_login;

enum server_state {
    SERVER_CONNECTING, /* resolving and TCP */
    SERVER_LOGIN,      /* startup, authentication, connect_query */
    SERVER_IDLE,
    SERVER_TESTING, /* running a check or reset query */
    SERVER_LEASED,
    SERVER_STATES,
};

enum { SERVER_KEY_MAX = 4 + 256 };

/* What PostgreSQL has said of itself; see target_session_attrs. */
struct server_role {
    bool has_standby, has_read_only; /* known: */
    bool is_standby;                 /* in hot standby mode, that is, in recovery */
    bool is_read_only;               /* transactions are read-only by default */
};

struct server {
    struct list_node node; /* in part->servers[state] */
    struct pool_part *part;
    struct conn *conn;
    enum server_state state;
    struct timer timer;      /* connect, idle or test timeout, by state */
    struct timer life_timer; /* server_lifetime */
    struct address address;
    int host; /* index into the database's hosts */
    uint64_t id;
    uint64_t connect_time_us, request_time_us, idle_since_us;
    struct server_login *login;  /* while logging in; NULL before TLS has been agreed on */
    struct tls_context *tls;     /* counted, while it has been asked for; afterwards its conn's */
    bool is_direct_tls;          /* TLS without a question; so go its cancel requests */
    uint8_t key[SERVER_KEY_MAX]; /* as BackendKeyData gave it: process id, secret */
    uint16_t key_len;
    struct list cancels; /* cancel requests on their way (pool/cancel); not released while there are any */
    bool close_needed;   /* not to be handed out again */
    const char *close_reason;
    bool is_used;                     /* a client has had it */
    bool is_closing;                  /* counted in the database's `closing` */
    struct pool_waiter *dedicated_to; /* for whom alone it is being opened */
    const char *replication;          /* of a dedicated one: "physical" or "logical"; else NULL */
    struct server_role role;
    bool is_attempt;       /* from which others learn whether its host works, or fits (hosts) */
    bool is_role_in_doubt; /* to be asked again before it is handed out */
    bool is_asked_role;    /* the answer is under way */
    char version[24];      /* server_version */
    int major;             /* the number it begins with; 0: none */
    uint32_t schema_epoch; /* of the plans it holds; see session_shared */

    /* Below: written by whoever leases it. */
    void *owner;
    struct profile *profile;          /* settings in force, counted; NULL: not known */
    struct statement_set *statements; /* prepared statements it holds; NULL: none yet */
    struct statement *unnamed;        /* what its unnamed statement is, counted; NULL: not known */
    uint64_t sequence_client;         /* whose sequence values it holds; see session/sequence.h */
    struct server_baseline *baseline; /* what the baseline query said after login; NULL: not known */
};

/* Answer of the registry's baseline query: a fingerprint of everything a session starts with, search_path,
 * isolation. */
struct server_baseline {
    bool is_read_committed;
    size_t fingerprint_len, search_path_len;
    char bytes[]; /* the fingerprint, then the search_path */
};

/* What the one who leases servers wants to be told; set once for the process (registry_new). */
struct server_events {
    size_t (*on_data)(void *owner, struct server *server, struct slice data);
    void (*on_drained)(void *owner, struct server *server);
    /* The connection has ended; the server is freed when this returns. `reason` is for people. */
    void (*on_lost)(void *owner, struct server *server, const char *reason);
    /* A connection that had logged in has ended, and Weir did not end it. Leased ones get on_lost first. */
    void (*on_crashed)(struct server *server);
    /* Releases what the owner's layer keeps in the server (profile, statements). Any state. */
    void (*on_free)(struct server *server);
    /* The last of its cancel requests has arrived, or failed. Leased servers only. */
    void (*on_cancelled)(void *owner, struct server *server);
    /* It is to be closed, and server_fast_close asks for that as soon as no transaction is open. Leased
     * servers only. */
    void (*on_close_wanted)(void *owner, struct server *server);
    /* The reset query has run: profile, statements and the like are as after login. */
    void (*on_reset)(struct server *server);
    /* Releases pool_part.context. */
    void (*part_free)(struct pool_part *part);
    /* A waiter has got a server; or, for one who waits for a welcome, NULL. */
    void (*granted)(struct pool_waiter *waiter, struct server *server);
    /* Waiting is over without one. `response` is a complete ErrorResponse for the client. */
    void (*failed)(struct pool_waiter *waiter, struct slice response, const char *reason);
};

/* Begins a connection against a budget already taken. Ends in pool_server_ready, or in pool_server_failed.
 * `dedicated_to`: who wants it for itself, or NULL. */
COLD void server_connect(struct pool_part *part, int host, struct pool_waiter *dedicated_to);

void server_set_state(struct server *server, enum server_state state);

/* Ends the connection (with Terminate where that is polite) and frees the server. `reason` goes to the log.
 */
COLD void server_close(struct server *server, const char *reason);

/* What its unnamed statement is, is not known any more: a simple query ends it. Before the next use it is
 * parsed again. */
void server_forget_unnamed(struct server *server);

/* Runs `sql` alone, on a server that is idle or just released; then idle, or closed if it fails. */
COLD void server_run(struct server *server, const char *sql, bool is_reset);

/* From whoever leases it: a ParameterStatus that it has sent. A server that is no longer what
 * target_session_attrs asks for is closed when it comes back. */
void server_note_parameter(struct server *server, struct slice name, struct slice value);
/* From whoever leases it: it has refused to write. Its role is asked again before the next client gets it. */
COLD void server_doubt_role(struct server *server);
/* Asks, on a server that is idle or just released. */
COLD void server_ask_role(struct server *server);

/* Hand-over of an idle server: leaves its thread; and, its part set and listed there, joins the new one. */
COLD void server_orphan(struct server *server);
COLD void server_adopt(struct server *server);

/* "S-0x…: db/user@host:port", for log lines; valid until the next call on this thread. */
const char *server_prefix(const struct server *server);
const char *server_state_name(enum server_state state);
uint32_t server_process_id(const struct server *server);
/* Is it no PostgreSQL but a pooler's console, which knows neither settings nor the extended protocol? */
bool server_is_console(const struct server *server);
/* Does an Execute that no Sync follows begin a transaction block, which a simple query then leaves open? */
bool server_pipelines_are_blocks(const struct server *server);

#endif
