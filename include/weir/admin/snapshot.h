/*
 * snapshot: the state of the process at one moment, as plain rows, for console, JSON and Prometheus.
 *
 * Every worker fills a snapshot of its own on its own thread; the collector merges them on the control
 * thread. Rows hold no pointer into live objects: texts are copied into the snapshot by snapshot_text,
 * ledgers are its own. One owner at a time; adding fails softly (a NULL row, sticky `failed`).
 */
#ifndef WEIR_ADMIN_SNAPSHOT_H
#define WEIR_ADMIN_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/stats/counters.h"
#include "weir/stats/ledger.h"

/* What a gather is asked for; bits. Anything else may be left out. */
enum snapshot_part {
    SNAPSHOT_POOLS = 1,         /* pools with counters, lists, store, workers, feeds */
    SNAPSHOT_LEDGERS = 2,       /* with SNAPSHOT_POOLS: their ledgers as well */
    SNAPSHOT_DATABASES = 4,     /* runtime state of databases */
    SNAPSHOT_USERS = 8,         /* runtime state of users */
    SNAPSHOT_CLIENTS = 16,      /* every client connection */
    SNAPSHOT_SERVERS = 32,      /* every server connection */
    SNAPSHOT_MEMORY = 64,       /* memory by kind */
    SNAPSHOT_PINS = 128,        /* sessions that hold their server */
    SNAPSHOT_TEMPLATES = 256,   /* statements that the cache was asked about most */
    SNAPSHOT_PEERS = 1024,      /* other processes, and cancel requests on their way to them */
    SNAPSHOT_FEED_NEEDS = 2048, /* what servers must have for a feed; asks them */
    SNAPSHOT_NAMES = 512,       /* what the resolver remembers; lists: its figures */
};

/* One (database, user) pool. Merging adds the counts and counters of the same pool up and keeps the longest
 * wait. */
struct show_pool {
    const char *database;
    const char *user;
    int cl_active;
    int cl_waiting;
    int cl_active_cancel_req;
    int cl_waiting_cancel_req;
    int sv_active;
    int sv_active_cancel;
    int sv_being_canceled;
    int sv_idle;
    int sv_used;
    int sv_tested;
    int sv_login;
    uint64_t maxwait_us; /* age of the oldest waiter, 0 if none */
    int pool_size;       /* the limit; the same in every worker */
    const char *pool_mode;
    const char *load_balance_hosts;
    const char *cache_mode;  /* "off", "ttl", "exact" */
    const char *cache_state; /* "" when it works, else why it does not, for people */
    struct counters_sum counters;
    struct ledger *ledger; /* NULL unless asked for; owned by the snapshot */
};

/* Runtime state of one database, configured or automatic. Merging by name: counts add up, flags are or-ed. */
struct show_database {
    const char *name;
    const char *host; /* in use now; "" for the one configured */
    int current_connections;
    int current_client_connections;
    bool is_paused;
    bool is_disabled;
};

struct show_user {
    const char *name;
    int current_connections;
    int current_client_connections;
};

/* One client or server connection. Texts are never NULL. */
struct show_socket {
    char type; /* 'C' or 'S' */
    const char *user;
    const char *database;
    const char *replication; /* "none", "physical", "logical" */
    const char *state;       /* active, waiting, idle, used, tested, new, active_cancel, ... */
    const char *addr;        /* "unix" for Unix sockets */
    int port;
    const char *local_addr;
    int local_port;
    uint64_t connect_wall_us; /* since 1970 */
    uint64_t request_wall_us; /* of the last request */
    uint64_t wait_us;
    bool close_needed;
    uint64_t ptr;
    uint64_t link; /* ptr of the peer, 0 if none */
    int remote_pid;
    const char *tls; /* "" without */
    const char *application_name;
    int prepared_statements;
    uint64_t id;
};

struct show_pin {
    const char *database;
    const char *user;
    const char *addr;
    uint64_t client_id;
    const char *reason;
    uint64_t since_wall_us;
    uint64_t age_us;
};

struct show_template {
    const char *identity; /* database and user: rows of one text and identity are added up */
    const char *database; /* at PostgreSQL */
    const char *user;
    const char *text; /* literals lifted out */
    uint64_t calls;
    uint64_t hits;
    uint64_t misses;
    uint64_t saved_us;
    const char *cacheable; /* "yes", "no", "asking" */
    const char *reason;    /* why not; "" if it is */
    const char *found;     /* how that is known: "names", "postgresql" */
    const char *relations; /* that the answer depends on */
    uint64_t since_wall_us;
};

struct show_memory {
    const char *name;
    size_t size; /* of one object */
    size_t used; /* objects */
    size_t free;
    size_t memtotal;
};

struct show_worker {
    int index;
    uint64_t cpu_us;
    int clients;
    int servers;
};

/* What tells the cache of one PostgreSQL database of writes around Weir. Texts are never NULL. */
struct show_feed {
    const char *database; /* as PostgreSQL calls it */
    const char *host;
    int port;
    const char *slot;
    const char *mode;  /* "on", "synchronous" */
    const char *state; /* "" when it is current, else why it is not, for people */
    bool is_current;
    uint64_t lag_us; /* age of what is known; UINT64_MAX where nothing is */
    uint64_t lag_bytes;
    uint64_t transactions;
    uint64_t gaps;
};

/* One thing that a server must have for a feed. Texts are never NULL. */
struct show_feed_need {
    const char *database; /* as configured */
    const char *what;
    bool is_met;
    const char *found;
    const char *remedy;
    const char *sql; /* "" where no statement helps, or not this one alone */
};

/* Another process, and the cancel requests on their way to it. Texts are never NULL. */
struct show_peer {
    int id;
    const char *host;
    int port;
    int pool_size;
    int active_cancels;  /* clients whose request is on its way */
    int waiting_cancels; /* and those that wait for their turn */
    int login;           /* connections that are being made */
};

/* A name that the resolver remembers. */
struct show_name {
    const char *host;
    uint64_t ttl_s;
    const char *addresses; /* comma separated; "" after a failure */
};

/* Connections by state, over the process. Merging adds. */
struct show_lists {
    int free_clients, used_clients, login_clients, free_servers, used_servers;
    int dns_names, dns_zones, dns_queries, dns_pending;
    int console_clients; /* of used_clients, those on the console */
    uint64_t console_commands;
};

/* The answer stores; filled once, by the control thread. */
struct show_store {
    uint64_t memory_used_bytes;
    uint64_t memory_limit_bytes;
    uint64_t entries;
    uint64_t evictions;
    const char *redis;       /* "off", "up", "bypassed" */
    const char *redis_nodes; /* of a Cluster: the masters, their slots, and whether they are up; else "" */
    uint64_t redis_requests;
    uint64_t redis_errors;
    uint64_t redis_timeouts;
    uint64_t checks_right, checks_wrong, checks_undecided;
    uint64_t analyses; /* PostgreSQL was asked what a statement calls and reads */
    uint64_t analyses_failed;
    uint64_t flushes;     /* by CACHE FLUSH */
    const char *disabled; /* databases that CACHE DISABLE has turned off, with commas; "" for none */
};

struct admin_snapshot;

struct admin_snapshot *snapshot_new(void);
void snapshot_free(struct admin_snapshot *snapshot); /* NULL is allowed */

/* Copies a text into the snapshot; "" when memory is out. */
const char *snapshot_text(struct admin_snapshot *snapshot, const char *text);

/* A new row, zeroed, its texts "". NULL when memory is out. The pointer is valid until the next row is added.
 */
struct show_pool *snapshot_add_pool(struct admin_snapshot *snapshot);
struct show_database *snapshot_add_database(struct admin_snapshot *snapshot);
struct show_user *snapshot_add_user(struct admin_snapshot *snapshot);
struct show_socket *snapshot_add_socket(struct admin_snapshot *snapshot, char type);
struct show_pin *snapshot_add_pin(struct admin_snapshot *snapshot);
struct show_template *snapshot_add_template(struct admin_snapshot *snapshot);
struct show_memory *snapshot_add_memory(struct admin_snapshot *snapshot);
struct show_worker *snapshot_add_worker(struct admin_snapshot *snapshot);
struct show_feed *snapshot_add_feed(struct admin_snapshot *snapshot);
struct show_feed_need *snapshot_add_feed_need(struct admin_snapshot *snapshot);
struct show_name *snapshot_add_name(struct admin_snapshot *snapshot);
struct show_peer *snapshot_add_peer(struct admin_snapshot *snapshot);
struct show_lists *snapshot_lists(struct admin_snapshot *snapshot);
struct show_store *snapshot_store(struct admin_snapshot *snapshot);

/* A ledger for a pool row, empty. NULL when memory is out. */
struct ledger *snapshot_add_ledger(struct admin_snapshot *snapshot, struct show_pool *pool);

/* Moves all rows of `from` into `into` and frees `from`. Pools, databases, users, templates and memory merge
 * by name. */
void snapshot_merge(struct admin_snapshot *into, struct admin_snapshot *from);

size_t snapshot_pools(const struct admin_snapshot *snapshot, const struct show_pool **rows);
size_t snapshot_databases(const struct admin_snapshot *snapshot, const struct show_database **rows);
size_t snapshot_users(const struct admin_snapshot *snapshot, const struct show_user **rows);
/* Clients and servers in one array; look at `type`. */
size_t snapshot_sockets(const struct admin_snapshot *snapshot, const struct show_socket **rows);
size_t snapshot_pins(const struct admin_snapshot *snapshot, const struct show_pin **rows);
size_t snapshot_templates(const struct admin_snapshot *snapshot, const struct show_template **rows);
size_t snapshot_memory(const struct admin_snapshot *snapshot, const struct show_memory **rows);
size_t snapshot_workers(const struct admin_snapshot *snapshot, const struct show_worker **rows);
size_t snapshot_feeds(const struct admin_snapshot *snapshot, const struct show_feed **rows);
size_t snapshot_feed_needs(const struct admin_snapshot *snapshot, const struct show_feed_need **rows);
size_t snapshot_peers(const struct admin_snapshot *snapshot, const struct show_peer **rows);
size_t snapshot_names(const struct admin_snapshot *snapshot, const struct show_name **rows);
const struct show_lists *snapshot_get_lists(const struct admin_snapshot *snapshot);
const struct show_store *snapshot_get_store(const struct admin_snapshot *snapshot);

/* Memory ran out while it was filled: rows are missing. */
bool snapshot_failed(const struct admin_snapshot *snapshot);

/* Sums over all pools. `ledger` (may be NULL) is initialised by the caller. */
void snapshot_total(const struct admin_snapshot *snapshot, struct counters_sum *sum, struct ledger *ledger);

#endif
