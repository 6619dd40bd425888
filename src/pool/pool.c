/*
 * pool: leases, waiters, and when to open connections.
 *
 * All of it is about one worker's part; what goes on between parts is in handover.c.
 */
#include "weir/pool/pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evict.h"
#include "forget.h"
#include "handover.h"
#include "hosts.h"
#include "pool_shared.h"
#include "weir/pool/registry.h"
#include "weir/pool/server.h"
#include "weir/util/clock.h"
#include "weir/util/cold.h"
#include "weir/util/log.h"
#include "weir/wire/encode.h"

enum {
    NEWS_DELAY_US =
        10 * 1000, /* idle for longer than this, a server may have ended without the loop having told yet */
    LIMIT_RETRY_US =
        20 * 1000,     /* how soon to look again whether somebody else has given back what a limit allows */
    OPENING_MOST = 16, /* logins under way of one part: PostgreSQL forks, and hashes passwords, for each */
    IDLE_SCAN = 8,     /* how many idle servers are looked at for a matching profile */
};

struct pool *pool_new(struct registry *registry, struct registry_database *database,
                      struct registry_user *user, int worker_count)
{
    struct pool *pool = calloc(1, sizeof(*pool));
    struct pool_part **parts = calloc((size_t)worker_count, sizeof(struct pool_part *));
    struct pool_shared *shared = calloc(1, sizeof(*shared));
    if (pool == NULL || parts == NULL || shared == NULL) {
        free(pool);
        free(parts);
        free(shared);
        return NULL;
    }
    pthread_mutex_init(&shared->mutex, NULL);
    *pool = (struct pool){.registry = registry,
                          .database = database,
                          .user = user,
                          .parts = parts,
                          .part_count = worker_count,
                          .shared = shared};
    return pool;
}

static const struct server_events *events_of(const struct pool_part *part)
{
    return registry_events(part->pool->registry);
}

static void free_part(struct pool_part *part)
{
    if (part == NULL)
        return;
    events_of(part)->part_free(part);
    ledger_free(&part->ledger);
    config_unref(part->config);
    free(part);
}

void pool_free(struct pool *pool)
{
    for (int i = 0; i < pool->part_count; i++)
        free_part(pool->parts[i]);
    free(pool->parts);
    credential_unref(pool->shared->credential);
    welcome_unref(pool->shared->welcome);
    free(pool->shared->hosts);
    pthread_mutex_destroy(&pool->shared->mutex);
    free(pool->shared);
    free(pool);
}

COLD static void resolve_settings(struct pool_part *part)
{
    const struct config *config = part->config;
    const struct config_settings *s = config_settings(config);
    const struct config_database *database = part->database;
    const struct config_user *user = config_user_find(config, part->pool->user->name);
    part->settings = (struct pool_settings){
        .size = config_pool_size(config, database, user),
        .min_size = config_min_pool_size(config, database),
        .reserve_size = config_reserve_pool_size(config, database, user),
        .max_db_connections = config_max_db_connections(config, database),
        .max_user_connections = config_max_user_connections(config, user),
        .reserve_timeout_us = s->reserve_pool_timeout_us,
        .query_wait_timeout_us = config_query_wait_timeout_us(config, database, user),
        .query_timeout_us = config_query_timeout_us(config, user),
        .server_lifetime_us = config_server_lifetime_us(config, database),
        .server_idle_timeout_us = s->server_idle_timeout_us,
        .pool_idle_timeout_us = s->pool_idle_timeout_us,
        .autodb_idle_timeout_us = s->autodb_idle_timeout_us,
        .server_connect_timeout_us = s->server_connect_timeout_us,
        .server_login_retry_us = s->server_login_retry_us,
        .server_check_delay_us = s->server_check_delay_us,
        .reset_query = s->server_reset_query,
        .check_query = strcmp(s->server_check_query, "<empty>") == 0 ? ""
                       : s->server_check_query[0] != '\0'            ? s->server_check_query
                                                                     : NULL,
        .reset_always = s->server_reset_query_always != 0,
        .is_round_robin = s->server_round_robin != 0,
        .fast_close = s->server_fast_close != 0,
        .mode = config_pool_mode(config, database, user),
        .socket_options = address_options(s),
    };
}

COLD static void reserve_due(struct timer *timer)
{
    pool_serve(list_entry(timer, struct pool_part, reserve_timer));
}

COLD static void retry_due(struct timer *timer)
{
    pool_serve(list_entry(timer, struct pool_part, retry_timer));
}

struct pool_part *pool_part(struct pool *pool, struct worker *worker, struct config *config)
{
    int index = worker_index(worker);
    struct pool_part *part = pool->parts[index]; /* only this thread writes it */
    if (part != NULL) {
        part->is_forgotten = false;
        return part;
    }
    const struct config_database *database = config_database_find(config, pool->database->name);
    if (database == NULL || (part = calloc(1, sizeof(*part))) == NULL)
        return NULL;
    part->pool = pool;
    part->worker = worker;
    part->config = config_ref(config);
    part->database = database;
    for (size_t i = 0; i < SERVER_STATES; i++)
        list_init(&part->servers[i]);
    list_init(&part->waiters);
    list_init(&part->newcomers);
    list_init(&part->clients);
    ledger_init(&part->ledger);
    resolve_settings(part);
    __atomic_store_n(&pool->parts[index], part, __ATOMIC_RELEASE);
    return part;
}

void pool_part_configure(struct pool_part *part, struct config *config)
{
    const struct config_database *database = config_database_find(config, part->pool->database->name);
    struct config *old = part->config;
    bool is_same = database != NULL && config_database_is_same_server(part->database, database) &&
                   config_has_same_server_tls(old, config);
    part->is_removed = database == NULL;
    if (database == NULL) {
        /* What is there ends; the old snapshot stays for those who still refer to it. */
        pool_close_servers(part, "database removed");
        return;
    }
    part->config = config_ref(config);
    part->database = database;
    resolve_settings(part);
    if (!is_same) {
        hosts_reset(part);
        pool_close_servers(part, "database configuration changed");
    }
    config_unref(old);
    pool_serve(part);
    forget_later(part);
}

void pool_client_gone(struct pool_part *part)
{
    forget_later(part);
}

/* ---- waiting
 * -------------------------------------------------------------------------------------------------- */

static void publish_oldest(struct pool_part *part)
{
    struct list_node *first = list_first(&part->waiters);
    uint64_t since = first == NULL ? 0 : list_entry(first, struct pool_waiter, node)->since_us;
    /* Sequentially consistent, as idle_count is: of a waiter and a free server, one sees the other. */
    atomic_store(&part->oldest_wait_us, since);
}

bool pool_is_waiting(const struct pool_waiter *waiter)
{
    return list_node_is_linked(&waiter->node);
}

void pool_stop_waiting(struct pool_waiter *waiter)
{
    timer_stop(&waiter->timer);
    if (waiter->dedicated != NULL && waiter->dedicated->server != NULL) {
        server_close(waiter->dedicated->server, "nobody waits for it any more");
        pool_serve(waiter->part);
    }
    if (!pool_is_waiting(waiter))
        return;
    struct pool_part *part = waiter->part;
    /* A waiter for the welcome has since_us == 0. */
    list_remove(waiter->since_us == 0 ? &part->newcomers : &part->waiters, &waiter->node);
    publish_oldest(part);
}

COLD static void fail_waiter(struct pool_part *part, struct pool_waiter *waiter, const char *sqlstate,
                             const char *reason)
{
    struct buf response = BUF_INIT;
    encode_error(&response, "FATAL", sqlstate, reason, NULL);
    pool_stop_waiting(waiter);
    events_of(part)->failed(waiter, buf_slice(&response), reason);
    buf_free(&response);
}

COLD static void wait_timeout(struct timer *timer)
{
    struct pool_waiter *waiter = list_entry(timer, struct pool_waiter, timer);
    const struct pool_settings *s = &waiter->part->settings;
    counter_bump(&waiter->part->counters.wait_timeouts);
    bool is_query = s->query_timeout_us > 0 &&
                    (s->query_wait_timeout_us == 0 || s->query_timeout_us < s->query_wait_timeout_us);
    fail_waiter(waiter->part, waiter, "08P01", is_query ? "query_timeout" : "query_wait_timeout");
}

/* Nobody waits for longer than a query may wait, or take. */
static void limit_wait(struct pool_waiter *waiter)
{
    struct pool_part *part = waiter->part;
    uint64_t limit = part->settings.query_wait_timeout_us, whole = part->settings.query_timeout_us;
    if (whole > 0 && (limit == 0 || whole < limit))
        limit = whole;
    if (limit > 0)
        timer_start(worker_loop(part->worker), &waiter->timer, limit, wait_timeout);
}

/* ---- opening connections
 * ---------------------------------------------------------------------------------------- */

/*
 * May another pool's server be closed for those who wait here? A login costs more than a moment's patience,
 * in which a server of our own may come back: this worker's, or another's that has just been released there.
 */
COLD static bool is_pressing(const struct pool_part *part, uint64_t now)
{
    if (budget_used(&part->pool->budget) <= 1) /* the one that is being taken */
        return true;
    struct list_node *first = list_first(&part->waiters);
    return first != NULL && now - list_entry(first, struct pool_waiter, node)->since_us >= LIMIT_RETRY_US;
}

/* One under a limit that other pools share. An idle server of our own on another worker is taken before one
 * of another pool is closed. */
COLD static bool take_shared(struct pool_part *part, struct budget *budget, int limit, enum evict_limit which,
                             bool may_evict)
{
    if (budget_take(budget, limit))
        return true;
    return may_evict && !handover_ask(part) && evict_for(part, which) && budget_take(budget, limit);
}

static bool take_budgets(struct pool_part *part, int size, bool has_waiter, uint64_t now)
{
    struct pool *pool = part->pool;
    const struct pool_settings *s = &part->settings;
    if (!budget_take(&pool->budget, size))
        return false;
    bool may_evict = has_waiter && is_pressing(part, now);
    if (take_shared(part, &pool->database->servers, s->max_db_connections, EVICT_OF_DATABASE, may_evict)) {
        if (take_shared(part, &pool->user->servers, s->max_user_connections, EVICT_OF_USER, may_evict))
            return true;
        budget_give(&pool->database->servers);
    }
    budget_give(&pool->budget);
    return false;
}

void pool_give_budgets(struct pool_part *part)
{
    budget_give(&part->pool->budget);
    budget_give(&part->pool->database->servers);
    budget_give(&part->pool->user->servers);
}

void pool_server_gone(struct server *server)
{
    struct pool_part *part = server->part;
    pool_give_budgets(part);
    atomic_fetch_sub_explicit(&part->server_count, 1, memory_order_relaxed);
    forget_later(part);
}

static size_t opening(const struct pool_part *part)
{
    return part->servers[SERVER_CONNECTING].count + part->servers[SERVER_LOGIN].count +
           part->servers[SERVER_TESTING].count;
}

/* The size that the pool may have now: the reserve opens when the oldest waiter has waited long enough. */
static int size_now(struct pool_part *part, uint64_t now)
{
    const struct pool_settings *s = &part->settings;
    int size = s->size > 0 ? s->size : 1;
    struct list_node *first = list_first(&part->waiters);
    if (s->reserve_size <= 0 || s->reserve_timeout_us == 0 || first == NULL)
        return size;
    uint64_t waited = now - list_entry(first, struct pool_waiter, node)->since_us;
    if (waited >= s->reserve_timeout_us)
        return size + s->reserve_size;
    if (!timer_is_running(&part->reserve_timer))
        timer_start(worker_loop(part->worker), &part->reserve_timer, s->reserve_timeout_us, reserve_due);
    return size;
}

/*
 * What this part's own servers use is given back under its eyes. What other workers and other pools use is
 * not: while somebody waits for that, it is looked at again.
 */
static void watch_limits(struct pool_part *part, int size)
{
    int own = atomic_load_explicit(&part->server_count, memory_order_relaxed);
    bool has_waiters = !list_is_empty(&part->waiters) || !list_is_empty(&part->newcomers);
    if (own < size && has_waiters && !timer_is_running(&part->retry_timer))
        timer_start(worker_loop(part->worker), &part->retry_timer, LIMIT_RETRY_US, retry_due);
}

/* No host may be tried before. */
COLD static void await_host(struct pool_part *part, uint64_t now, uint64_t retry_at)
{
    if (retry_at != UINT64_MAX)
        timer_start(worker_loop(part->worker), &part->retry_timer, timer_step_us(retry_at - now), retry_due);
}

static void open_servers(struct pool_part *part)
{
    if (part->is_removed)
        return;
    uint64_t now = clock_event_us(), retry_at;
    size_t waiting = part->waiters.count + (part->newcomers.count > 0 ? 1 : 0);
    size_t missing = 0;
    /* With a forced user it is known who they are for, even while there is no client. */
    bool is_kept =
        !list_is_empty(&part->clients) || strcmp(part->database->user, part->pool->user->name) == 0;
    if (part->settings.min_size > 0 && is_kept) {
        int used = budget_used(&part->pool->budget);
        missing = used < part->settings.min_size ? (size_t)(part->settings.min_size - used) : 0;
    }
    size_t needed = waiting > opening(part) ? waiting - opening(part) : 0;
    size_t wanted = needed > missing ? needed : missing;
    size_t under_way = part->servers[SERVER_CONNECTING].count + part->servers[SERVER_LOGIN].count;
    size_t room = under_way < OPENING_MOST ? OPENING_MOST - under_way : 0; /* the others when one has ended */
    for (size_t i = 0; i < wanted && i < room; i++) {
        int host = hosts_pick(part, now, &retry_at);
        if (host < 0) {
            await_host(part, now, retry_at);
            return;
        }
        int size = size_now(part, now);
        if (!take_budgets(part, size, i < needed, now)) {
            handover_ask(part);
            watch_limits(part, size);
            return;
        }
        if (budget_used(&part->pool->budget) > part->settings.size && part->settings.size > 0)
            log_warning("%s/%s: taking connection from reserve_pool", part->pool->database->name,
                        part->pool->user->name);
        server_connect(part, host, NULL);
    }
}

COLD static bool is_hopeless(const char *sqlstate)
{
    return strncmp(sqlstate, "28", 2) == 0 || strncmp(sqlstate, "3D", 2) == 0 ||
           strncmp(sqlstate, "42", 2) == 0 || strncmp(sqlstate, "0A", 2) == 0;
}

/* Starting up, or full: worth another attempt. */
static bool is_temporary(const char *sqlstate)
{
    return strcmp(sqlstate, "57P03") == 0 || strcmp(sqlstate, "53300") == 0;
}

COLD static void fail_all(struct pool_part *part, struct list *waiters, struct slice response,
                          const char *reason)
{
    for (size_t left = waiters->count; left > 0 && !list_is_empty(waiters); left--) {
        struct pool_waiter *waiter = list_entry(list_first(waiters), struct pool_waiter, node);
        pool_stop_waiting(waiter);
        events_of(part)->failed(waiter, response, reason);
    }
}

/* Not for want of a server: PostgreSQL does not want this one. */
COLD static void dedicated_refused(struct pool_part *part, struct pool_waiter *waiter, const char *reason,
                                   const char *sqlstate)
{
    char text[320];
    struct buf out = BUF_INIT;
    snprintf(text, sizeof(text), "server login failed: FATAL %s", reason);
    encode_error(&out, "FATAL", sqlstate, text, NULL);
    timer_stop(&waiter->timer);
    events_of(part)->failed(waiter, buf_slice(&out), "login failed");
    buf_free(&out);
    pool_serve(part);
}

/* The next attempt is its as well. NULL: it was for nobody in particular. */
COLD static void keep_its_turn(struct pool_part *part, struct pool_waiter *dedicated_to)
{
    if (dedicated_to == NULL)
        return;
    list_push_front(&part->waiters, &dedicated_to->node);
    publish_oldest(part);
}

void pool_server_failed(struct pool_part *part, int host, struct pool_waiter *dedicated_to,
                        const char *reason, const char *sqlstate, struct slice response)
{
    if (dedicated_to != NULL && response.len > 0 && !is_temporary(sqlstate)) {
        dedicated_refused(part, dedicated_to, reason, sqlstate);
        return;
    }
    keep_its_turn(part, dedicated_to);
    struct buf copy = BUF_INIT;
    bool is_own = response.len > 0;
    if (is_own) {
        buf_append_slice(&copy, response);
    } else {
        char text[300];
        snprintf(text, sizeof(text), "server login has been failing, cached error: %s (server_login_retry)",
                 reason);
        encode_error(&copy, "FATAL", sqlstate, text, NULL);
    }
    hosts_failed(part, host);
    if (is_hopeless(sqlstate))
        fail_all(part, &part->waiters, buf_slice(&copy), reason);
    if (is_hopeless(sqlstate) || (is_own && !is_temporary(sqlstate)))
        fail_all(part, &part->newcomers, buf_slice(&copy), reason);
    buf_free(&copy);
    pool_serve(part);
}

/* Those who have waited for as long as a failed login is remembered. `since_us` says when they came. */
COLD static void fail_patient(struct pool_part *part, uint64_t now, struct slice response, const char *reason)
{
    struct list_node *node;
    while ((node = list_first(&part->waiters)) != NULL) {
        struct pool_waiter *waiter = list_entry(node, struct pool_waiter, node);
        if (now < waiter->since_us + part->settings.server_login_retry_us)
            return;
        pool_stop_waiting(waiter);
        events_of(part)->failed(waiter, response, reason);
    }
}

void pool_server_misfit(struct pool_part *part, struct pool_waiter *dedicated_to, const char *misfit)
{
    keep_its_turn(part, dedicated_to);
    if (hosts_none_fits(part)) {
        char text[300];
        struct buf response = BUF_INIT;
        snprintf(text, sizeof(text),
                 "server login failed: no host of database \"%s\" fits target_session_attrs=%s: %s",
                 part->pool->database->name, target_session_name(part->database->target_session_attrs),
                 misfit);
        encode_error(&response, "FATAL", "08001", text, NULL);
        fail_all(part, &part->newcomers, buf_slice(&response), text);
        /* A promotion may be under way, for which sessions that exist can wait. */
        fail_patient(part, clock_event_us(), buf_slice(&response), text);
        buf_free(&response);
    }
    pool_serve(part);
}

/* ---- handing out
 * -------------------------------------------------------------------------------------------------- */

static void grant(struct server *server, void *owner)
{
    server_set_state(server, SERVER_LEASED);
    server->owner = owner;
    server->request_time_us = clock_event_us();
}

/* An idle server that may be handed out now; closes or tests those that may not. */
static struct server *take_idle(struct pool_part *part, const void *preferred_profile)
{
    struct list *idle = &part->servers[SERVER_IDLE];
    const uint64_t now = clock_event_us();
    for (;;) {
        struct list_node *node = list_first(idle);
        if (node == NULL || idle->count <= part->promised)
            return NULL;
        struct server *server = list_entry(node, struct server, node), *best = server;
        for (int i = 0; i < IDLE_SCAN && node != &idle->head && preferred_profile != NULL;
             i++, node = node->next) {
            struct server *other = list_entry(node, struct server, node);
            if (other->profile == preferred_profile) {
                best = other;
                break;
            }
        }
        if (best->close_needed) {
            server_close(best, best->close_reason);
            continue;
        }
        uint64_t rested = now > best->idle_since_us ? now - best->idle_since_us : 0;
        if (rested > NEWS_DELAY_US && conn_has_news(best->conn)) {
            server_close(best, "server conn crashed?");
            continue;
        }
        uint64_t delay = part->settings.server_check_delay_us;
        if (part->settings.check_query != NULL && rested > delay) {
            best->idle_since_us = now;
            server_run(best, part->settings.check_query, false);
            continue;
        }
        return best;
    }
}

/* For the first waiter, who wants one of its own: false when it has to wait on. */
COLD static bool open_dedicated(struct pool_part *part, struct pool_waiter *waiter)
{
    uint64_t now = clock_event_us(), retry_at;
    int host = hosts_pick(part, now, &retry_at);
    if (host < 0) {
        await_host(part, now, retry_at);
        return false;
    }
    int size = size_now(part, now);
    while (!take_budgets(part, size, true, now)) {
        struct server *idle = take_idle(part, NULL);
        if (idle == NULL) {
            handover_ask(part);
            watch_limits(part, size);
            return false;
        }
        server_close(idle, "evicted");
    }
    list_remove(&part->waiters, &waiter->node); /* its timer goes on */
    publish_oldest(part);
    server_connect(part, host, waiter);
    return true;
}

COLD static void serve_newcomers(struct pool_part *part)
{
    struct welcome *welcome = pool_welcome(part->pool);
    if (welcome == NULL)
        return;
    welcome_unref(welcome);
    for (size_t left = part->newcomers.count; left > 0 && !list_is_empty(&part->newcomers); left--) {
        struct pool_waiter *waiter = list_entry(list_first(&part->newcomers), struct pool_waiter, node);
        pool_stop_waiting(waiter);
        events_of(part)->granted(waiter, NULL);
    }
}

void pool_serve(struct pool_part *part)
{
    if (!list_is_empty(&part->newcomers))
        serve_newcomers(part);
    if (registry_is_paused(part->pool->registry, part->pool->database))
        return;
    while (!list_is_empty(&part->waiters)) {
        struct pool_waiter *waiter = list_entry(list_first(&part->waiters), struct pool_waiter, node);
        if (waiter->dedicated != NULL) {
            if (!open_dedicated(part, waiter))
                return;
            continue;
        }
        struct server *server = take_idle(part, NULL);
        if (server == NULL)
            break;
        pool_stop_waiting(waiter);
        grant(server, waiter);
        events_of(part)->granted(waiter, server);
    }
    open_servers(part);
}

static void join_queue(struct pool_part *part, struct pool_waiter *waiter)
{
    waiter->part = part;
    waiter->since_us = clock_event_us();
    list_push_back(&part->waiters, &waiter->node);
    publish_oldest(part);
    limit_wait(waiter);
}

struct server *pool_lease(struct pool_part *part, struct pool_waiter *waiter, void *owner,
                          const void *preferred_profile)
{
    bool is_paused = registry_is_paused(part->pool->registry, part->pool->database);
    if (!is_paused && list_is_empty(&part->waiters)) {
        struct server *server = take_idle(part, preferred_profile);
        if (server != NULL) {
            grant(server, owner);
            return server;
        }
    }
    join_queue(part, waiter);
    if (!is_paused)
        open_servers(part);
    return NULL;
}

void pool_dedicate(struct pool_part *part, struct pool_waiter *waiter, struct pool_dedicated *dedicated)
{
    waiter->dedicated = dedicated;
    join_queue(part, waiter);
    pool_serve(part);
}

bool pool_wait_for_welcome(struct pool_part *part, struct pool_waiter *waiter)
{
    struct welcome *welcome = pool_welcome(part->pool);
    if (welcome != NULL) {
        welcome_unref(welcome);
        return true;
    }
    waiter->part = part;
    waiter->since_us = 0;
    list_push_back(&part->newcomers, &waiter->node);
    limit_wait(waiter);
    open_servers(part);
    return false;
}

/* The server is idle: to whom does it go? */
static void place(struct server *server)
{
    struct pool_part *part = server->part;
    handover_offer(part);
    if (!list_is_empty(&part->waiters) || !list_is_empty(&part->newcomers))
        pool_serve(part);
}

/* ---- coming back
 * --------------------------------------------------------------------------------------------------- */

void pool_release(struct server *server, const char *reset)
{
    struct pool_part *part = server->part;
    bool is_paused = registry_is_paused(part->pool->registry, part->pool->database);
    if (is_paused && !server->close_needed) {
        server->close_needed = true;
        server->close_reason = "database paused";
    }
    if (part->settings.server_lifetime_us == 0 && server->is_used && !server->close_needed) {
        server->close_needed = true; /* each is for one use */
        server->close_reason = "server lifetime over";
    }
    if (server->close_needed) {
        server_close(server, server->close_reason);
        pool_serve(part);
        return;
    }
    if (reset == NULL && (part->settings.mode == POOL_MODE_SESSION || part->settings.reset_always))
        reset = part->settings.reset_query;
    if (reset != NULL && reset[0] != '\0') {
        server_run(server, reset, true);
        return;
    }
    if (server->is_role_in_doubt) {
        server_ask_role(server);
        return;
    }
    server_set_state(server, SERVER_IDLE);
    place(server);
}

COLD static void grant_dedicated(struct server *server)
{
    struct pool_waiter *waiter = server->dedicated_to;
    server->dedicated_to = NULL;
    server->close_needed = true;
    server->close_reason = "replication has ended";
    timer_stop(&waiter->timer);
    waiter->dedicated->server = NULL;
    waiter->dedicated = NULL;
    grant(server, waiter);
    events_of(server->part)->granted(waiter, server);
}

void pool_server_ready(struct server *server)
{
    struct pool_part *part = server->part;
    hosts_work(part, server->host);
    if (server->dedicated_to != NULL) {
        grant_dedicated(server);
        return;
    }
    if (server->close_needed) {
        server_close(server, server->close_reason);
        pool_serve(part);
        return;
    }
    if (server->is_role_in_doubt) {
        server_ask_role(server);
        return;
    }
    place(server);
    if (part->settings.min_size > 0) /* nobody may be waiting who would ask for the next one */
        open_servers(part);
}

/* Told by number, since one that ends may take others along. */
COLD static void close_leased(struct pool_part *part)
{
    struct list *leased = &part->servers[SERVER_LEASED];
    size_t count = 0;
    uint64_t *ids = calloc(leased->count + 1, sizeof(*ids));
    if (ids == NULL)
        return;
    list_for_each(leased, node)
    {
        ids[count++] = list_entry(node, struct server, node)->id;
    }
    for (size_t i = 0; i < count; i++) {
        list_for_each(leased, node)
        {
            struct server *server = list_entry(node, struct server, node);
            if (server->id != ids[i])
                continue;
            events_of(part)->on_close_wanted(server->owner, server);
            break;
        }
    }
    free(ids);
}

void pool_close_servers(struct pool_part *part, const char *reason)
{
    for (size_t state = 0; state < SERVER_STATES; state++) {
        list_for_each(&part->servers[state], node)
        {
            struct server *server = list_entry(node, struct server, node);
            server->close_needed = true;
            server->close_reason = reason;
            if (!server->is_closing)
                budget_take(&part->pool->database->closing, 0);
            server->is_closing = true;
        }
    }
    while (!list_is_empty(&part->servers[SERVER_IDLE]))
        server_close(list_entry(list_first(&part->servers[SERVER_IDLE]), struct server, node), reason);
    if (part->settings.fast_close)
        close_leased(part);
}
