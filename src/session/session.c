/*
 * session: the worker's side of things that concern many clients, and the answers to what pool reports.
 */
#include "weir/session/peer.h"
#include "weir/session/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/cache/cache.h"
#include "weir/session/cached.h"
#include "weir/session/client.h"
#include "weir/session/outbox.h"
#include "weir/session/sequence.h"
#include "weir/util/clock.h"
#include "weir/util/cold.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"

enum {
    MEMO_BYTES = 4 * 1024 * 1024,
    DRAIN_GRACE_US = 333 * 1000, /* for those who wait already: a server may come back in time */
};

static void take_access(struct session_worker *session, const struct session_access *access)
{
    session->users = access->users != NULL ? userlist_ref(access->users) : NULL;
    session->rules = access->rules != NULL ? hba_ref(access->rules) : NULL;
}

struct session_worker *session_worker_new(struct session_shared *shared, struct worker *worker,
                                          struct config *config, const struct session_access *access)
{
    struct session_worker *session = calloc(1, sizeof(*session));
    if (session == NULL)
        return NULL;
    session->shared = shared;
    session->worker = worker;
    session->config = config_ref(config);
    take_access(session, access);
    session->memo = memo_new(MEMO_BYTES);
    session->outbox = calloc(1, sizeof(*session->outbox));
    list_init(&session->clients);
    list_init(&session->dead_clients);
    list_init(&session->dead_leases);
    list_init(&session->spare_leases);
    list_init(&session->forwards);
    if (shared->cache != NULL)
        session->cache = cache_worker_new(shared->cache, worker);
    if (session->memo == NULL || session->outbox == NULL ||
        (shared->cache != NULL && session->cache == NULL)) {
        session_worker_free(session);
        return NULL;
    }
    worker_set_context(worker, session);
    return session;
}

static void close_servers(struct session_worker *session)
{
    for (struct pool *pool = registry_pools(session->shared->registry); pool != NULL; pool = pool->next) {
        struct pool_part *part = pool->parts[worker_index(session->worker)];
        for (size_t state = 0; part != NULL && state < SERVER_STATES; state++)
            while (!list_is_empty(&part->servers[state]))
                server_close(list_entry(list_first(&part->servers[state]), struct server, node),
                             "server shutting down");
        if (part != NULL) {
            timer_stop(&part->retry_timer);
            timer_stop(&part->reserve_timer);
            timer_stop(&part->idle_timer);
        }
    }
}

/* Ends everyone that `is_meant` says. Ending one may end others, so who is meant is settled first; nobody is
 * freed before the end. */
static size_t end_clients(struct session_worker *session,
                          bool (*is_meant)(const struct client *, const void *), const void *context,
                          const char *sqlstate, const char *reason)
{
    size_t count = 0, ended = 0;
    struct client **chosen = malloc((session->clients.count + 1) * sizeof(struct client *));
    if (chosen == NULL)
        return 0;
    session_enter(session);
    list_for_each(&session->clients, node)
    {
        struct client *client = list_entry(node, struct client, node);
        if (is_meant(client, context))
            chosen[count++] = client;
    }
    for (size_t i = 0; i < count; i++) {
        ended += chosen[i]->is_ending ? 0 : 1;
        client_fail(chosen[i], sqlstate, reason);
    }
    session_leave(session);
    free(chosen);
    return ended;
}

static bool is_anyone(const struct client *client, const void *context)
{
    (void)client, (void)context;
    return true;
}

void session_worker_end(struct session_worker *session)
{
    session_enter(session);
    peer_end(session);
    timer_stop(&session->drain_timer);
    end_clients(session, is_anyone, NULL, "57P01", "server shutting down");
    for (struct pool *pool = registry_pools(session->shared->registry); pool != NULL; pool = pool->next) {
        struct pool_part *part = pool->parts[worker_index(session->worker)];
        while (part != NULL && !list_is_empty(&part->servers[SERVER_LEASED])) {
            struct server *server =
                list_entry(list_first(&part->servers[SERVER_LEASED]), struct server, node);
            lease_break(server->owner, "server shutting down");
        }
    }
    close_servers(session);
    session_leave(session);
    conn_end_lingering(session->worker);
}

void session_worker_free(struct session_worker *session)
{
    if (session == NULL)
        return;
    for (size_t i = 0; i < GREETINGS; i++) {
        profile_unref(session->greetings[i].profile);
        welcome_unref(session->greetings[i].welcome);
    }
    for (size_t i = 0; i < RECENT_STATEMENTS; i++)
        statement_unref(session->recents[i].statement);
    lease_free_spares(session);
    free(session->spare_ask);
    cache_worker_free(session->cache);
    memo_free(session->memo);
    if (session->outbox != NULL)
        buf_free(&session->outbox->made);
    free(session->outbox);
    userlist_unref(session->users);
    hba_unref(session->rules);
    config_unref(session->config);
    free(session);
}

void session_accept(struct session_worker *session, int fd, const struct address *peer,
                    const struct address *local)
{
    if (client_new(session, fd, peer, local) == NULL)
        log_error("a client could not be accepted: out of memory");
}

/* ---- what pool reports
 * ---------------------------------------------------------------------------------------------- */

static size_t server_data(void *owner, struct server *server, struct slice data)
{
    (void)server;
    struct lease *lease = owner;
    struct session_worker *session = lease->session;
    session_enter(session);
    size_t used =
        lease->purpose == LEASE_REPLICATION ? replication_server_data(lease, data) : relay_data(lease, data);
    session_leave(session);
    return used;
}

static void server_drained(void *owner, struct server *server)
{
    (void)server;
    struct lease *lease = owner;
    struct session_worker *session = lease->session;
    session_enter(session);
    if (lease->client != NULL) {
        conn_set_reading(lease->client->conn, true);
        if (conn_input_pending(lease->client->conn) > 0)
            conn_kick(lease->client->conn);
    }
    session_leave(session);
}

/* The server is gone in the middle of things. */
COLD static void server_lost(void *owner, struct server *server, const char *reason)
{
    struct lease *lease = owner;
    struct session_worker *session = lease->session;
    struct client *client = lease->client;
    session_enter(session);
    server->owner = NULL;
    lease_end(lease);
    if (client != NULL && lease->purpose == LEASE_LOOKUP) {
        auth_query_lost(client, reason);
    } else if (client != NULL) {
        transaction_lost(&client->tx);
        if (lease->is_end_told)
            client_close(client, reason);
        else
            client_fail(client, "08P01", reason);
    }
    session_leave(session);
}

static void server_free_state(struct server *server)
{
    profile_unref(server->profile);
    server->profile = NULL;
    if (server->statements != NULL)
        statement_set_free(server->statements);
    server->statements = NULL;
    server_forget_unnamed(server);
}

static void server_reset(struct server *server)
{
    if (server->profile == NULL) /* new: its state is empty */
        server->sequence_client = SEQUENCE_EMPTY;
    struct session_worker *session = worker_context(server->part->worker);
    server_free_state(server);
    server->profile = profile_empty(session->shared->profiles);
    server->schema_epoch = atomic_load(&session->shared->schema_epoch);
    cached_part_baseline(server->part, server->baseline);
}

static void server_crashed(struct server *server)
{
    cached_part_crashed(server->part);
}

static void granted(struct pool_waiter *waiter, struct server *server)
{
    struct client *client = list_entry(waiter, struct client, waiter);
    struct session_worker *session = client->session;
    session_enter(session);
    if (client->state == CLIENT_GREETING) {
        login_granted(client, server);
    } else if (client->state == CLIENT_AUTH) {
        auth_query_granted(client, server);
    } else {
        struct lease *lease = lease_begin(client, server, LEASE_WORK, clock_event_us() - waiter->since_us);
        client->lease = lease;
        if (lease == NULL) {
            client_fail(client, "53200", "out of memory");
        } else {
            client_set_state(client, CLIENT_LEASED);
            lease_resume_client(lease);
        }
    }
    session_leave(session);
}

COLD static void failed(struct pool_waiter *waiter, struct slice response, const char *reason)
{
    struct client *client = list_entry(waiter, struct client, waiter);
    struct session_worker *session = client->session;
    session_enter(session);
    if (config_settings(session->config)->log_pooler_errors)
        client_log(client, LOG_LEVEL_WARNING, "pooler error: %s", reason);
    client_dismiss(client, response, reason);
    session_leave(session);
}

COLD static void cancelled(void *owner, struct server *server)
{
    (void)server;
    struct lease *lease = owner;
    struct session_worker *session = lease->session;
    struct client *client = lease->client;
    session_enter(session);
    if (owed_is_empty(&lease->owed) && lease_try_release(lease))
        lease_ended_for(client);
    else if (!lease->is_ending)
        lease_resume_client(lease);
    session_leave(session);
}

COLD static void close_wanted(void *owner, struct server *server)
{
    (void)server;
    struct lease *lease = owner;
    struct session_worker *session = lease->session;
    session_enter(session);
    if (owed_is_empty(&lease->owed))
        lease_try_release(lease);
    session_leave(session);
}

const struct server_events session_server_events = {
    .on_data = server_data,
    .on_drained = server_drained,
    .on_lost = server_lost,
    .on_free = server_free_state,
    .on_cancelled = cancelled,
    .on_close_wanted = close_wanted,
    .on_reset = server_reset,
    .on_crashed = server_crashed,
    .part_free = cached_part_free,
    .granted = granted,
    .failed = failed,
};

/* ---- commands
 * ----------------------------------------------------------------------------------------------------------------
 */

static bool is_of_database(const struct client *client, const void *database)
{
    return client->part != NULL && client->part->pool->database == database;
}

struct client_name {
    uint64_t id, pointer;
};

static bool is_called(const struct client *client, const void *context)
{
    const struct client_name *name = context;
    return (name->id != 0 && client->id == name->id) ||
           (name->pointer != 0 && (uintptr_t)client == name->pointer);
}

static bool is_waiting(const struct client *client, const void *context)
{
    (void)context;
    return client->lease == NULL && (client->state == CLIENT_WAITING || client->state < CLIENT_IDLE);
}

static bool is_without_database(const struct client *client, const void *config)
{
    return client->part != NULL && config_database_find(config, client->part->pool->database->name) == NULL;
}

/* Its pool is that of another user than the configuration now says. */
static bool is_of_other_user(const struct client *client, const void *config)
{
    if (client->part == NULL || client->user == NULL)
        return false;
    const struct pool *pool = client->part->pool;
    const struct config_database *database = config_database_find(config, pool->database->name);
    const char *wanted = database == NULL || database->user[0] == '\0' ? client->user->name : database->user;
    return strcmp(pool->user->name, wanted) != 0;
}

size_t session_kill_client(struct session_worker *session, uint64_t id, uint64_t pointer, const char *reason)
{
    const struct client_name name = {id, pointer};
    return end_clients(session, is_called, &name, "57P01", reason);
}

static bool is_served(const struct client *client, const void *database)
{
    return client->state != CLIENT_CONSOLE && (database == NULL || is_of_database(client, database));
}

size_t session_kill(struct session_worker *session, const struct registry_database *database,
                    const char *reason)
{
    return end_clients(session, is_served, database, "57P01", reason);
}

COLD static void drain_due(struct timer *timer)
{
    end_clients(list_entry(timer, struct session_worker, drain_timer), is_waiting, NULL, "57P01",
                "server shutting down");
}

void session_drain(struct session_worker *session)
{
    timer_start(worker_loop(session->worker), &session->drain_timer, DRAIN_GRACE_US, drain_due);
}

typedef void (*part_fn)(struct pool_part *part);

static void for_parts(struct session_worker *session, const struct registry_database *database, part_fn fn)
{
    session_enter(session);
    for (struct pool *pool = registry_pools(session->shared->registry); pool != NULL; pool = pool->next) {
        struct pool_part *part = pool->parts[worker_index(session->worker)];
        if (part != NULL && (database == NULL || pool->database == database))
            fn(part);
    }
    session_leave(session);
}

static void pause_part(struct pool_part *part)
{
    pool_close_servers(part, "database paused");
}

static void reconnect_part(struct pool_part *part)
{
    pool_close_servers(part, "database configuration changed");
    pool_serve(part);
}

void session_pause(struct session_worker *session, const struct registry_database *database)
{
    for_parts(session, database, pause_part);
}

void session_resume(struct session_worker *session, const struct registry_database *database)
{
    for_parts(session, database, pool_serve);
}

void session_reconnect(struct session_worker *session, const struct registry_database *database)
{
    for_parts(session, database, reconnect_part);
}

/* Each database belongs to one worker here; its clients may come to any. */
void session_keep_minimums(struct session_worker *session)
{
    const struct config *config = session->config;
    session_enter(session);
    for (size_t i = 0; i < config_database_count(config); i++) {
        const struct config_database *database = config_database_at(config, i);
        if (database->is_fallback || database->user[0] == '\0' ||
            config_min_pool_size(config, database) <= 0 ||
            i % (size_t)session->shared->worker_count != (size_t)worker_index(session->worker))
            continue;
        struct pool *pool = registry_pool(session->shared->registry, database->name, database->user);
        struct pool_part *part = pool != NULL ? pool_part(pool, session->worker, session->config) : NULL;
        if (part == NULL)
            continue;
        session_share_credential(session, pool);
        if (part->context == NULL)
            cached_part_configure(part);
        pool_serve(part);
    }
    session_leave(session);
}

void session_share_credential(struct session_worker *session, struct pool *pool)
{
    struct credential *known =
        session->users != NULL ? userlist_find(session->users, slice_str(pool->user->name)) : NULL;
    if (known != NULL)
        pool_set_credential(pool, known);
}

void session_configure(struct session_worker *session, struct config *config,
                       const struct session_access *access)
{
    session_enter(session);
    struct config *old = session->config;
    struct session_access old_access = {session->users, session->rules};
    session->config = config_ref(config);
    take_access(session, access);
    end_clients(session, is_of_other_user, session->config, "57P01", "database configuration changed");
    for (struct pool *pool = registry_pools(session->shared->registry); pool != NULL; pool = pool->next) {
        struct pool_part *part = pool->parts[worker_index(session->worker)];
        if (part == NULL)
            continue;
        pool_part_configure(part, config);
        cached_part_configure(part);
    }
    end_clients(session, is_without_database, session->config, "3D000", "database removed");
    list_for_each(&session->clients, node)
    {
        struct client *client = list_entry(node, struct client, node);
        if (client->part != NULL && client->state >= CLIENT_IDLE && client->state < CLIENT_CONSOLE)
            client_configure(client);
    }
    session_keep_minimums(session);
    config_unref(old);
    userlist_unref(old_access.users);
    hba_unref(old_access.rules);
    session_leave(session);
}
