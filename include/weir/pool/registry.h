/*
 * registry: every pool, database and user that has been used, found by name in constant time.
 *
 * Shared by all threads: look-ups that may create take a mutex, and happen when a client logs in, not for a
 * query. Objects live until the process ends; their number is bounded by what is configured and by who has
 * logged in. What counts or is switched for a whole database or user (connections, PAUSE, DISABLE) stands
 * here, in atomics.
 */
#ifndef WEIR_POOL_REGISTRY_H
#define WEIR_POOL_REGISTRY_H

#include "weir/net/resolve.h"
#include "weir/net/tls.h"
#include "weir/pool/pool.h"
#include "weir/util/cold.h"

struct registry_database {
    const char *name;
    struct budget servers;
    struct budget clients;
    struct budget leased;  /* servers that clients hold */
    struct budget closing; /* leased servers that are to be closed when they come back */
    _Atomic bool is_paused;
    _Atomic bool is_disabled;
    _Atomic uint64_t last_used_us; /* when some worker had the last client or server of it */
    _Atomic bool is_auto;          /* made from the fallback, and not forgotten since */
    struct registry_database *next;
};

struct registry_user {
    const char *name;
    struct budget servers;
    struct budget clients;
    struct registry_user *next;
};

/* `events` outlives the registry. NULL when memory is out. */
struct registry *registry_new(int worker_count, const struct server_events *events);
/* After the workers have ended and closed their servers. */
void registry_free(struct registry *registry);

/* Made when missing; NULL when memory is out. */
struct pool *registry_pool(struct registry *registry, const char *database, const char *user);
struct registry_database *registry_database(struct registry *registry, const char *name);
struct registry_user *registry_user(struct registry *registry, const char *name);

/* The console's own database, "pgbouncer": made with the registry. */
struct registry_database *registry_console(const struct registry *registry);

/* All of them, newest first; the lists only grow, so walking them needs no lock. */
struct pool *registry_pools(struct registry *registry);
struct registry_database *registry_databases(struct registry *registry);
struct registry_user *registry_users(struct registry *registry);

const struct server_events *registry_events(const struct registry *registry);
struct resolver *registry_resolver(const struct registry *registry);
/* For whoever is told so by an answer of the resolver (has_changed): connections to addresses that the host
 * does not have any more are given up, everywhere. Any worker. */
COLD void registry_address_changed(struct registry *registry, const char *host);
/* TLS with servers, for new connections. */
struct tls_slot *registry_server_tls(struct registry *registry);
/* Numbers of connections, of clients and servers alike. */
uint64_t registry_next_id(struct registry *registry);

/*
 * A query that every new server connection runs after its login where the cache is on: one row of three texts
 * (see struct server_baseline). NULL for none; outlives the registry. Before the workers start.
 */
void registry_set_baseline_query(struct registry *registry, const char *sql);
const char *registry_baseline_query(const struct registry *registry);

/* PAUSE without a name, and SUSPEND: nobody is granted a server while this is on. */
void registry_set_paused(struct registry *registry, bool on);
bool registry_is_paused(const struct registry *registry, const struct registry_database *database);

/* Called on a worker's thread whenever a server stops being leased while something is paused; for PAUSE and
 * SHUTDOWN, which wait for that. */
void registry_set_quiet_hook(struct registry *registry, void (*hook)(void *context), void *context);
void registry_tell_quiet(struct registry *registry);

#endif
