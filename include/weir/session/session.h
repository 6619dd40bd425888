/*
 * session: everything that clients share, and what app does with clients as a whole.
 *
 * struct session_shared is one for the process; struct session_worker one for each worker, touched by its
 * thread alone. app makes them, hands accepted sockets in, and sends configuration changes and commands
 * through mails to each worker.
 */
#ifndef WEIR_SESSION_SESSION_H
#define WEIR_SESSION_SESSION_H

#include <stdatomic.h>

#include "weir/auth/cancel_key.h"
#include "weir/auth/hba.h"
#include "weir/auth/scram.h"
#include "weir/auth/userlist.h"
#include "weir/config/config.h"
#include "weir/net/conn.h"
#include "weir/net/tls.h"
#include "weir/pool/registry.h"
#include "weir/sql/memo.h"
#include "weir/track/profile.h"
#include "weir/track/statements.h"

struct client;

/* A console client's query leaves the worker here; session_console_reply brings the answer, on the same
 * worker. */
struct session_console_query {
    struct session_worker *session;
    const uint8_t *key; /* of the client, 8 bytes */
    const char *user;
    struct slice text;
    bool is_admin;
};

struct session_console {
    void (*execute)(void *context, const struct session_console_query *query);
    void *context;
};

struct session_shared {
    struct registry *registry;
    struct profile_table *profiles;
    struct statement_table *statements;
    struct session_console console;
    struct tls_slot client_tls; /* TLS with clients, for new connections */
    struct cache *cache;        /* NULL: no database is cached */
    struct session_user_seen {  /* told of the first login of each worker, where there is a cache */
        void (*fn)(void *context, const char *user);
        void *context;
    } user_seen;
    struct session_worker **workers;
    int worker_count;
    uint8_t mock_key[SCRAM_KEY_LEN];          /* random: unknown users cannot be told from known ones */
    uint8_t cancel_secret[CANCEL_KEY_SECRET]; /* random: see cancel_key */
    struct peer_table *peers;                 /* where cancel requests are passed on to */
    struct budget clients;                    /* logged in or logging in, the console's not counted */
    _Atomic bool is_draining; /* SHUTDOWN WAIT_FOR_SERVERS: no new client, and no client another server */
    _Atomic bool is_closing;  /* a shutdown waits: who comes now, by the Unix socket, finds the console */
    _Atomic uint32_t schema_epoch; /* grows with every DDL that passes; servers forget their plans */
};

enum { GREETINGS = 64 };

/* What PostgreSQL reports to a client with certain startup settings: learned once, then remembered. */
struct greeting {
    struct pool *pool;
    struct profile *profile; /* counted */
    struct welcome *welcome; /* counted */
};

/*
 * The statements that Parse messages asked for lately: most clients send the same few texts over and over,
 * and these are found without reading them as SQL and without a lock. Direct-mapped by the hash of text and
 * types.
 */
enum { RECENT_STATEMENTS = 256 };

struct recent_statement {
    struct statement *statement; /* counted; NULL: free */
    uint64_t hash;
    bool is_readable; /* it was understood as SQL */
};

struct session_worker {
    struct session_shared *shared;
    struct worker *worker;
    struct config *config;  /* counted */
    struct userlist *users; /* counted */
    struct hba *rules;      /* counted; NULL: auth_type is not hba */
    struct memo *memo;
    struct cache_worker *cache; /* NULL without a cache */
    struct list clients;        /* all */
    struct client *by_key;      /* uthash: cancel keys */
    struct outbox *outbox;      /* the write being gathered */
    struct list dead_clients;   /* ended, not yet freed: somebody up the stack may still look at them */
    struct list dead_leases;
    struct list forwards;     /* cancel requests on their way to peers, and those that wait for their turn */
    struct list spare_leases; /* for the next ones: a lease begins and ends with every transaction */
    struct cached_ask *spare_ask; /* for the next question to the cache */
    int depth;                    /* callbacks on the stack */
    struct recent_statement recents[RECENT_STATEMENTS];
    struct greeting greetings[GREETINGS];
    size_t greeting_next;
    struct timer drain_timer;
    bool has_seen_user;
    bool is_md5_usual; /* the last secret that auth_query gave was md5: those it does not know are asked for
                          that */
    _Atomic int load;  /* how many clients; for whoever hands out new ones */
    struct counters counters; /* of clients that belong to no pool (yet) */
};

/* What servers' events are answered with; give it to registry_new. */
extern const struct server_events session_server_events;

/* What the configuration's files say about who may log in. Each may be NULL. */
struct session_access {
    struct userlist *users; /* auth_file */
    struct hba *rules;      /* auth_hba_file */
};

/* NULL when memory is out. `shared` outlives it; references to the rest are taken. Before the worker's thread
 * starts. */
struct session_worker *session_worker_new(struct session_shared *shared, struct worker *worker,
                                          struct config *config, const struct session_access *access);
/* After the thread has ended: closes every client and server of this worker. Then the worker, then the rest
 * may be freed. */
void session_worker_end(struct session_worker *session);
void session_worker_free(struct session_worker *session);

/* ---- on the worker's thread ---- */

/* A new connection. Takes over `fd`. */
void session_accept(struct session_worker *session, int fd, const struct address *peer,
                    const struct address *local);

/* Every callback of this layer runs between these two; what has ended is freed when the last one leaves. */
void session_enter(struct session_worker *session);
void session_leave(struct session_worker *session);

/* Another configuration: pools are resolved anew, clients of databases that are gone are told so. */
void session_configure(struct session_worker *session, struct config *config,
                       const struct session_access *access);

/* Opens what min_pool_size asks for where a forced user says for whom; at the start, and after a reload. */
void session_keep_minimums(struct session_worker *session);

/* What auth_file knows of the pool's user, for its servers. */
void session_share_credential(struct session_worker *session, struct pool *pool);

/* Ends all clients but the console's own (NULL), or those of a database; or the one of this number or pointer
 * (0: not given). Returns how many. */
size_t session_kill(struct session_worker *session, const struct registry_database *database,
                    const char *reason);
size_t session_kill_client(struct session_worker *session, uint64_t id, uint64_t pointer, const char *reason);

/* SHUTDOWN WAIT_FOR_SERVERS: ends those who wait for a server, unless they get one soon. Others end when they
 * ask for one (is_draining). */
void session_drain(struct session_worker *session);

/* PAUSE: idle servers are closed. RESUME: waiters are served. RECONNECT. NULL: all databases. */
void session_pause(struct session_worker *session, const struct registry_database *database);
void session_resume(struct session_worker *session, const struct registry_database *database);
void session_reconnect(struct session_worker *session, const struct registry_database *database);

/* Console output for the client of this key, complete messages; ReadyForQuery is added. */
void session_console_reply(struct session_worker *session, const uint8_t key[8], struct slice messages);

#endif
