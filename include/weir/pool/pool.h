/*
 * pool: the server connections of one (database, user), shared by all workers, and who waits for them.
 *
 * A pool has one size for the process (budget) and one part for each worker: the part's lists, waiters,
 * counters and settings are touched by that worker's thread alone. Parts look at each other only through the
 * atomics below and hand whole connections over by mail. Waiters are served in the order of arrival, across
 * workers too.
 */
#ifndef WEIR_POOL_POOL_H
#define WEIR_POOL_POOL_H

#include "weir/auth/credential.h"
#include "weir/config/config.h"
#include "weir/net/address.h"
#include "weir/net/worker.h"
#include "weir/pool/budget.h"
#include "weir/stats/counters.h"
#include "weir/stats/ledger.h"
#include "weir/util/buf.h"

struct server;
struct server_events;
struct registry;
struct registry_database;
struct registry_user;
struct pool;

enum { POOL_SERVER_STATES = 5 };

/* The resolved configuration of a pool, as one worker sees it. Text belongs to `config`. */
struct pool_settings {
    int size, min_size, reserve_size;
    int max_db_connections, max_user_connections;
    uint64_t reserve_timeout_us, query_wait_timeout_us, query_timeout_us;
    uint64_t server_lifetime_us, server_idle_timeout_us;
    uint64_t pool_idle_timeout_us, autodb_idle_timeout_us;
    uint64_t server_connect_timeout_us, server_login_retry_us, server_check_delay_us;
    const char *reset_query; /* "" for none */
    const char *check_query; /* NULL for none, "" for a query without text */
    bool reset_always, is_round_robin, fast_close;
    enum pool_mode mode;
    struct socket_options socket_options;
};

/*
 * A server that is opened for one waiter alone, with parameters of its own, and closed after it: what
 * replication needs. Belongs to the waiter; `startup` must stay while it waits.
 */
struct pool_dedicated {
    struct slice startup;    /* further startup parameters: name and value, each with its NUL */
    const char *replication; /* "physical" or "logical", for people */
    struct server *server;   /* on its way; NULL: not yet, or no longer */
    struct buf welcome;      /* its ParameterStatus messages, once granted; the waiter's to free */
};

/* Embedded in whoever waits for a server, or for the pool's welcome. */
struct pool_waiter {
    struct list_node node;
    struct timer timer;
    struct pool_part *part;
    struct pool_dedicated *dedicated; /* NULL: any server of the pool will do */
    uint64_t since_us;
};

/* One worker's share. Created with the first client of the pool on that worker; lives as long as the pool. */
struct pool_part {
    struct pool *pool;
    struct worker *worker;
    struct config *config; /* counted */
    const struct config_database *database;
    struct pool_settings settings;
    struct list servers[POOL_SERVER_STATES]; /* by enum server_state */
    struct list waiters;                     /* oldest first */
    struct list newcomers;                   /* logging in; wait for the first welcome */
    struct list clients;                     /* session's: all clients of this part */
    struct timer retry_timer, reserve_timer, idle_timer;
    uint64_t empty_since_us; /* without client and server */
    bool is_removed;         /* its database is configured no more: nothing is opened */
    bool is_forgotten;       /* empty for so long that it is not shown any more */
    int next_host;
    int asked_worker; /* who was asked last to make room (evict) */
    size_t promised;  /* idle servers that are about to go to another worker */
    void *context; /* session's, freed by server_events.part_free; while there is one, new servers are asked
                      for their baseline */
    struct counters counters;
    struct ledger ledger;
    /* For the other parts: */
    _Atomic uint64_t oldest_wait_us; /* clock of the oldest waiter's arrival; 0: nobody waits */
    _Atomic int idle_count;
    _Atomic int server_count;
    _Atomic bool has_asked;      /* a request for somebody's idle server is on its way */
    _Atomic bool has_asked_room; /* one to close an idle server of another pool is */
};

/* What a client is told after its login: the servers' ParameterStatus messages. Immutable, counted. */
struct welcome {
    _Atomic int references;
    size_t len;
    uint8_t bytes[];
};

struct pool {
    struct registry *registry;
    struct registry_database *database; /* by the name clients use */
    struct registry_user *user;         /* who the servers log in as */
    struct budget budget;
    struct pool_part **parts; /* by worker index; atomically published, NULL where there is none yet */
    int part_count;
    struct pool *next;          /* registry's list of all */
    struct pool_shared *shared; /* credential, welcome, host states: under its own mutex */
};

/* This worker's part, made when missing. NULL when memory is out. */
struct pool_part *pool_part(struct pool *pool, struct worker *worker, struct config *config);
/* Takes over another snapshot: resolved settings, sizes; servers that no longer fit are marked for closing.
 */
void pool_part_configure(struct pool_part *part, struct config *config);

/*
 * A server for the asker: at once (returned, leased to `owner`), or later through granted/failed of
 * server_events. `since_us` is now. A profile, if given, is preferred among the idle ones.
 */
struct server *pool_lease(struct pool_part *part, struct pool_waiter *waiter, void *owner,
                          const void *preferred_profile);
/* A server for the asker alone, always later, through granted or failed. It counts as one of the pool's,
 * whose idle ones make room for it. */
void pool_dedicate(struct pool_part *part, struct pool_waiter *waiter, struct pool_dedicated *dedicated);
/* Waits for the welcome only; returns true when there is one already. */
bool pool_wait_for_welcome(struct pool_part *part, struct pool_waiter *waiter);
/* Harmless when it does not wait. */
void pool_stop_waiting(struct pool_waiter *waiter);
bool pool_is_waiting(const struct pool_waiter *waiter);

/*
 * Gives a server back that is clean: nothing owed, no transaction. It goes to a reset, the next waiter, or
 * idle. `reset` is a query that must run first; NULL leaves that to the configuration.
 */
void pool_release(struct server *server, const char *reset);

/* Serves waiters, opens connections; after anything that could have changed what is possible. */
void pool_serve(struct pool_part *part);

/* From server: login has succeeded / the attempt has failed before idle. `response`: the server's own
 * ErrorResponse or empty. `dedicated_to`: for whom alone it was; NULL: for the pool. */
void pool_server_ready(struct server *server);
void pool_server_failed(struct pool_part *part, int host, struct pool_waiter *dedicated_to,
                        const char *reason, const char *sqlstate, struct slice response);
/* From server: its role is not what target_session_attrs asks for, and it has been closed. `misfit`: why. */
void pool_server_misfit(struct pool_part *part, struct pool_waiter *dedicated_to, const char *misfit);
/* From server: the budgets taken for a connection that is not to be. */
void pool_give_budgets(struct pool_part *part);
/* From server: about to be freed; budgets are given back. */
void pool_server_gone(struct server *server);
/* From session: a client has been taken off `clients`. */
void pool_client_gone(struct pool_part *part);

/* Closes idle servers now, leased ones when they come back (RECONNECT, PAUSE, a change of host). */
void pool_close_servers(struct pool_part *part, const char *reason);

/* Shared facts; counted references for the caller, NULL when not known. */
struct welcome *pool_welcome(struct pool *pool);
void welcome_unref(struct welcome *welcome);
void pool_set_welcome(struct pool *pool, const void *bytes, size_t len);
struct credential *pool_credential(struct pool *pool);
void pool_set_credential(struct pool *pool, struct credential *credential);

void pool_free(struct pool *pool);
struct pool *pool_new(struct registry *registry, struct registry_database *database,
                      struct registry_user *user, int worker_count);

#endif
