/*
 * admin: console and HTTP wired to the workers: a gather is a round in which every worker fills a snapshot of
 * its own.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "weir/cache/cache.h"
#include "weir/cache/reason.h"
#include "weir/pool/cancel.h"
#include "weir/session/peer.h"
#include "weir/session/cached.h"
#include "weir/pool/server.h"
#include "weir/session/client.h"
#include "weir/util/clock.h"
#include "weir/util/log.h"

/* ---- gathering, on the workers
 * --------------------------------------------------------------------------------------- */

struct gather {
    unsigned parts;
    admin_gathered_fn *done;
    void *done_arg;
    uint64_t now_us, wall_us;
    _Atomic bool is_redis_down; /* some worker's connection does not answer */
    char *redis_nodes;          /* as the first worker sees them; NULL: not told */
    struct admin_snapshot *snapshots[];
};

static void add_counts(struct show_pool *row, const struct pool_part *part, uint64_t now)
{
    list_for_each(&part->clients, node)
    {
        const struct client *client = list_entry(node, struct client, pool_node);
        if (client->state == CLIENT_WAITING)
            row->cl_waiting++;
        else if (client->state >= CLIENT_IDLE)
            row->cl_active++;
    }
    list_for_each(&part->servers[SERVER_IDLE], node)
    {
        const struct server *server = list_entry(node, struct server, node);
        if (now - server->idle_since_us > part->settings.server_check_delay_us)
            row->sv_used++;
        else
            row->sv_idle++;
    }
    list_for_each(&part->servers[SERVER_LEASED], node)
    {
        const struct server *server = list_entry(node, struct server, node);
        if (cancel_is_pending(server))
            row->sv_being_canceled++;
        row->sv_active_cancel += (int)server->cancels.count;
        row->sv_active++;
    }
    row->cl_active_cancel_req = row->sv_active_cancel;
    row->sv_tested = (int)part->servers[SERVER_TESTING].count;
    row->sv_login = (int)(part->servers[SERVER_LOGIN].count + part->servers[SERVER_CONNECTING].count);
    struct list_node *first = list_first(&part->waiters);
    row->maxwait_us = first == NULL ? 0 : now - list_entry(first, struct pool_waiter, node)->since_us;
}

static void add_pool(struct admin_snapshot *snapshot, const struct gather *gather,
                     const struct pool_part *part)
{
    struct show_pool *row = snapshot_add_pool(snapshot);
    if (row == NULL)
        return;
    const struct config_user *user = config_user_find(part->config, part->pool->user->name);
    char text[200];
    row->database = snapshot_text(snapshot, part->pool->database->name);
    row->user = snapshot_text(snapshot, part->pool->user->name);
    add_counts(row, part, gather->now_us);
    row->pool_size = part->settings.size;
    row->pool_mode = pool_mode_name(part->settings.mode);
    row->load_balance_hosts = load_balance_name(part->database->load_balance_hosts);
    row->cache_mode = cache_mode_name(config_cache_mode(part->config, part->database, user));
    row->cache_state = snapshot_text(snapshot, cached_state(part, text, sizeof(text)));
    counters_collect(&row->counters, &part->counters);
    if (gather->parts & SNAPSHOT_LEDGERS) {
        struct ledger *ledger = snapshot_add_ledger(snapshot, row);
        if (ledger != NULL)
            ledger_merge(ledger, &part->ledger);
    }
}

static const char *client_host(const struct client *client, char text[INET6_ADDRSTRLEN])
{
    if (client->peer_family == AF_UNIX ||
        inet_ntop(client->peer_family, client->peer_ip, text, INET6_ADDRSTRLEN) == NULL)
        return "unix";
    return text;
}

static const char *socket_state(const struct client *client)
{
    return client->state == CLIENT_WAITING ? "waiting"
           : client->state == CLIENT_IDLE  ? "idle"
           : client->state < CLIENT_IDLE   ? "login"
                                           : "active";
}

static const char *tls_text(struct admin_snapshot *snapshot, const struct conn *conn)
{
    char text[TLS_TEXT_BYTES];
    if (conn == NULL || conn_tls(conn) == NULL)
        return "";
    tls_describe(conn_tls(conn), text);
    return snapshot_text(snapshot, text);
}

static void add_client(struct admin_snapshot *snapshot, const struct gather *gather,
                       const struct client *client)
{
    struct show_socket *row = snapshot_add_socket(snapshot, 'C');
    if (row == NULL)
        return;
    char text[INET6_ADDRSTRLEN];
    struct slice name = SLICE_EMPTY;
    struct address local;
    char local_text[ADDRESS_TEXT_BYTES];
    conn_local_address(client->conn, &local);
    address_host_text(&local, local_text);
    row->user = snapshot_text(snapshot, client->user != NULL ? client->user->name : "");
    row->database =
        snapshot_text(snapshot, client->part != NULL ? client->part->pool->database->name : "pgbouncer");
    row->replication = client->state == CLIENT_REPLICATION ? client->lease->server->replication : "none";
    row->state = socket_state(client);
    row->addr = snapshot_text(snapshot, client_host(client, text));
    row->port = client->peer_family == AF_UNIX ? client->local_port : client->peer_port;
    row->local_addr = snapshot_text(snapshot, local_text);
    row->local_port = client->local_port;
    row->connect_wall_us = gather->wall_us - (gather->now_us - client->connect_time_us);
    row->request_wall_us = gather->wall_us - (gather->now_us - client->request_time_us);
    row->wait_us = client->state == CLIENT_WAITING ? gather->now_us - client->waiter.since_us : 0;
    row->ptr = (uint64_t)(uintptr_t)client;
    row->link = client->lease != NULL ? (uint64_t)(uintptr_t)client->lease->server : 0;
    if (profile_get(transaction_current(&client->tx), SLICE_LITERAL("application_name"), &name))
        row->application_name = snapshot_text(snapshot, (const char *)name.data);
    row->prepared_statements = (int)client->prepared.count;
    row->tls = tls_text(snapshot, client->conn);
    row->id = client->id;
}

static void add_pins(struct admin_snapshot *snapshot, const struct gather *gather,
                     const struct client *client)
{
    for (int reason = 0; reason < PIN_COUNT; reason++) {
        if (!pin_has(&client->pins, (enum pin_reason)reason) || client->part == NULL)
            continue;
        struct show_pin *row = snapshot_add_pin(snapshot);
        if (row == NULL)
            return;
        char text[INET6_ADDRSTRLEN];
        row->database = snapshot_text(snapshot, client->part->pool->database->name);
        row->user = snapshot_text(snapshot, client->user->name);
        row->addr = snapshot_text(snapshot, client_host(client, text));
        row->client_id = client->id;
        row->reason = pin_name((enum pin_reason)reason);
        uint64_t since = client->lease != NULL ? client->lease->server->request_time_us : gather->now_us;
        row->age_us = gather->now_us - since;
        row->since_wall_us = gather->wall_us - row->age_us;
    }
}

static void add_server(struct admin_snapshot *snapshot, const struct gather *gather,
                       const struct server *server)
{
    struct show_socket *row = snapshot_add_socket(snapshot, 'S');
    if (row == NULL)
        return;
    const struct pool_part *part = server->part;
    const struct lease *lease = server->state == SERVER_LEASED ? server->owner : NULL;
    char text[ADDRESS_TEXT_BYTES] = "", local_text[ADDRESS_TEXT_BYTES] = "";
    struct address local = {0};
    if (server->address.len > 0)
        address_host_text(&server->address, text);
    if (server->conn != NULL) {
        conn_local_address(server->conn, &local);
        address_host_text(&local, local_text);
    }
    row->user = snapshot_text(snapshot, part->pool->user->name);
    row->database = snapshot_text(snapshot, part->pool->database->name);
    row->replication = server->replication != NULL ? server->replication : "none";
    bool is_used = server->state == SERVER_IDLE &&
                   gather->now_us - server->idle_since_us > part->settings.server_check_delay_us;
    row->state = is_used                              ? "used"
                 : server->state == SERVER_CONNECTING ? "login"
                                                      : server_state_name(server->state);
    row->addr = snapshot_text(snapshot, text);
    if ((size_t)server->host < part->database->host_count) /* fewer hosts, perhaps, since a reload */
        row->port = part->database->hosts[server->host].port;
    row->local_addr = snapshot_text(snapshot, local_text);
    row->local_port = address_port(&local);
    row->connect_wall_us = gather->wall_us - (gather->now_us - server->connect_time_us);
    uint64_t request = server->request_time_us != 0 ? server->request_time_us : server->connect_time_us;
    row->request_wall_us = gather->wall_us - (gather->now_us - request);
    row->close_needed = server->close_needed;
    row->ptr = (uint64_t)(uintptr_t)server;
    row->link = lease != NULL ? (uint64_t)(uintptr_t)lease->client : 0;
    row->remote_pid = (int)server_process_id(server);
    row->tls = tls_text(snapshot, server->conn);
    struct slice name = SLICE_EMPTY;
    if (server->profile != NULL && profile_get(server->profile, SLICE_LITERAL("application_name"), &name))
        row->application_name = snapshot_text(snapshot, (const char *)name.data);
    row->prepared_statements = server->statements != NULL ? (int)statement_set_count(server->statements) : 0;
    row->id = server->id;
}

static void add_lists(struct admin_snapshot *snapshot, const struct session_worker *session)
{
    struct show_lists *lists = snapshot_lists(snapshot);
    if (lists == NULL)
        return;
    lists->console_commands += atomic_load_explicit(&session->counters.query_count, memory_order_relaxed);
    list_for_each(&session->clients, node)
    {
        const struct client *client = list_entry(node, struct client, node);
        if (client->state < CLIENT_IDLE)
            lists->login_clients++;
        else
            lists->used_clients++;
        if (client->state == CLIENT_CONSOLE)
            lists->console_clients++;
    }
}

static void add_clients(struct admin_snapshot *snapshot, const struct gather *gather,
                        const struct session_worker *session)
{
    list_for_each(&session->clients, node)
    {
        const struct client *client = list_entry(node, struct client, node);
        if (gather->parts & SNAPSHOT_CLIENTS)
            add_client(snapshot, gather, client);
        if (gather->parts & SNAPSHOT_PINS)
            add_pins(snapshot, gather, client);
    }
}

static void add_part(struct admin_snapshot *snapshot, const struct gather *gather,
                     const struct pool_part *part)
{
    struct show_lists *lists = snapshot_lists(snapshot);
    if (gather->parts & SNAPSHOT_POOLS)
        add_pool(snapshot, gather, part);
    for (size_t state = 0; state < SERVER_STATES; state++) {
        if (lists != NULL && state == SERVER_IDLE)
            lists->free_servers += (int)part->servers[state].count;
        else if (lists != NULL)
            lists->used_servers += (int)part->servers[state].count;
        if (!(gather->parts & SNAPSHOT_SERVERS))
            continue;
        list_for_each(&part->servers[state], node)
        {
            add_server(snapshot, gather, list_entry(node, struct server, node));
        }
    }
}

/* ---- templates ---- */

enum { TEMPLATES_MAX = 500 }; /* of one worker */

struct template_context {
    struct admin_snapshot *snapshot;
    const struct gather *gather;
};

static void add_template(void *context, const struct cache_template *t)
{
    const struct template_context *c = context;
    struct show_template *row = snapshot_add_template(c->snapshot);
    if (row == NULL)
        return;
    char text[1024];
    snprintf(text, sizeof(text), "%s/%s", t->database, t->user);
    row->identity = snapshot_text(c->snapshot, text);
    row->database = snapshot_text(c->snapshot, t->database);
    row->user = snapshot_text(c->snapshot, t->user);
    row->text = snapshot_text(c->snapshot, t->text);
    row->relations = snapshot_text(c->snapshot, t->relations);
    row->found = t->found;
    row->calls = t->calls;
    row->hits = t->hits;
    row->misses = t->misses;
    row->saved_us = t->saved_us;
    row->since_wall_us = c->gather->wall_us - (c->gather->now_us - t->since_us);
    row->cacheable = t->reason == CACHE_REASON_PENDING ? "asking"
                     : t->reason != CACHE_REASON_NONE  ? "no"
                                                       : "yes";
    cache_template_reason(t, text, sizeof(text));
    row->reason = snapshot_text(c->snapshot, text);
}

static void add_templates(struct admin_snapshot *snapshot, const struct gather *gather,
                          const struct session_worker *session)
{
    struct template_context context = {snapshot, gather};
    if (session->cache != NULL)
        cache_templates(session->cache, TEMPLATES_MAX, add_template, &context);
}

/* To be freed; NULL when memory is out. */
static char *describe_redis(const struct cache_worker *cache)
{
    struct buf text = BUF_INIT;
    cache_worker_describe_redis(cache, &text);
    char *copy = buf_failed(&text) ? NULL : slice_dup(buf_slice(&text));
    buf_free(&text);
    return copy;
}

static void visit(struct session_worker *session, void *arg)
{
    struct gather *gather = arg;
    struct admin_snapshot *snapshot = snapshot_new();
    if (snapshot == NULL)
        return;
    int index = worker_index(session->worker);
    for (struct pool *pool = registry_pools(session->shared->registry); pool != NULL; pool = pool->next)
        if (pool->parts[index] != NULL && !pool->parts[index]->is_forgotten)
            add_part(snapshot, gather, pool->parts[index]);
    add_lists(snapshot, session);
    if (gather->parts & (SNAPSHOT_CLIENTS | SNAPSHOT_PINS))
        add_clients(snapshot, gather, session);
    if (gather->parts & SNAPSHOT_TEMPLATES)
        add_templates(snapshot, gather, session);
    struct show_worker *row = snapshot_add_worker(snapshot);
    if (row != NULL) {
        row->index = index;
        row->clients = (int)session->clients.count;
        row->cpu_us = clock_thread_cpu_us();
    }
    if (session->cache != NULL && !cache_worker_redis_is_up(session->cache))
        atomic_store(&gather->is_redis_down, true);
    if (session->cache != NULL && index == 0)
        gather->redis_nodes = describe_redis(session->cache);
    gather->snapshots[index] = snapshot;
}

/* ---- gathering, on the control thread
 * ------------------------------------------------------------------------------------ */

static void add_shared(struct app *app, struct admin_snapshot *snapshot, unsigned parts)
{
    struct registry *registry = app->shared.registry;
    for (struct registry_database *d = registry_databases(registry); parts & SNAPSHOT_DATABASES && d != NULL;
         d = d->next) {
        const struct config_database *configured = config_database_find(app->config, d->name);
        bool is_known = d == registry_console(registry) || (configured != NULL && !configured->is_fallback);
        if (!is_known && !atomic_load(&d->is_auto))
            continue; /* forgotten, or only spoken of */
        struct show_database *row = snapshot_add_database(snapshot);
        if (row == NULL)
            return;
        row->name = snapshot_text(snapshot, d->name);
        row->current_connections = budget_used(&d->servers);
        row->current_client_connections = budget_used(&d->clients);
        row->is_paused = registry_is_paused(registry, d);
        row->is_disabled = atomic_load(&d->is_disabled);
    }
    for (struct registry_user *u = registry_users(registry); parts & SNAPSHOT_USERS && u != NULL;
         u = u->next) {
        struct show_user *row = snapshot_add_user(snapshot);
        if (row == NULL)
            return;
        row->name = snapshot_text(snapshot, u->name);
        row->current_connections = budget_used(&u->servers);
        row->current_client_connections = budget_used(&u->clients);
    }
}

static void add_name(void *context, const char *host, uint64_t left_us, const struct resolve_answer *known)
{
    struct admin_snapshot *snapshot = context;
    struct show_name *row = snapshot_add_name(snapshot);
    if (row == NULL)
        return;
    char text[RESOLVE_MAX_ADDRESSES * ADDRESS_TEXT_BYTES] = "";
    size_t len = 0;
    for (int i = 0; i < known->count && len < sizeof(text); i++) {
        char one[ADDRESS_TEXT_BYTES];
        address_host_text(&known->addresses[i], one);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i > 0 ? "," : "", one);
    }
    row->host = snapshot_text(snapshot, host);
    row->ttl_s = left_us / US_PER_SECOND;
    row->addresses = snapshot_text(snapshot, text);
    snapshot_lists(snapshot)->dns_names++;
}

static void add_names(struct app *app, struct admin_snapshot *snapshot)
{
    int waiting = (int)resolver_list(registry_resolver(app->shared.registry), add_name, snapshot);
    struct show_lists *lists = snapshot_lists(snapshot);
    lists->dns_queries = waiting > 0 ? 1 : 0; /* one is asked at a time */
    lists->dns_pending = waiting > 0 ? waiting - 1 : 0;
}

static void add_peers(struct app *app, struct admin_snapshot *snapshot)
{
    for (size_t i = 0; i < config_peer_count(app->config); i++) {
        const struct config_peer *peer = config_peer_at(app->config, i);
        struct show_peer *row = snapshot_add_peer(snapshot);
        struct peer_counts counts;
        if (row == NULL)
            return;
        peer_table_count(app->shared.peers, peer->id, &counts);
        row->id = peer->id;
        row->host = snapshot_text(snapshot, peer->host);
        row->port = peer->port;
        row->pool_size = config_peer_pool_size(app->config, peer);
        row->active_cancels = counts.active;
        row->waiting_cancels = counts.waiting;
        row->login = counts.login;
    }
}

static void add_store(struct app *app, struct admin_snapshot *snapshot, const struct gather *gather)
{
    struct show_store *row = snapshot_store(snapshot);
    if (row == NULL)
        return;
    const struct config_settings *settings = config_settings(app->config);
    row->redis = "off";
    row->disabled = app_disabled_caches(app, snapshot);
    row->memory_limit_bytes = settings->cache_memory_bytes;
    if (app->shared.cache == NULL)
        return;
    struct cache_stats stats;
    cache_stats(app->shared.cache, &stats);
    if (settings->cache_redis[0] != '\0')
        row->redis = atomic_load(&gather->is_redis_down) ? "bypassed" : "up";
    row->redis_nodes = snapshot_text(snapshot, gather->redis_nodes != NULL ? gather->redis_nodes : "");
    row->memory_used_bytes = stats.bytes;
    row->entries = stats.entries;
    row->evictions = stats.evictions;
    row->redis_requests = stats.redis_hits + stats.redis_misses + stats.redis_timeouts + stats.redis_errors;
    row->redis_errors = stats.redis_errors;
    row->redis_timeouts = stats.redis_timeouts;
    row->checks_right = stats.checks_right;
    row->checks_wrong = stats.checks_wrong;
    row->checks_undecided = stats.checks_undecided;
    row->analyses = stats.analyses;
    row->analyses_failed = stats.analyses_failed;
    row->flushes = stats.flushes;
}

static void gathered(struct app *app, void *arg, bool is_complete)
{
    struct gather *gather = arg;
    struct admin_snapshot *all = is_complete ? snapshot_new() : NULL;
    for (int i = 0; i < app->worker_count; i++) {
        if (all != NULL && gather->snapshots[i] != NULL)
            snapshot_merge(all, gather->snapshots[i]);
        else
            snapshot_free(gather->snapshots[i]);
    }
    if (all != NULL)
        add_shared(app, all, gather->parts);
    if (all != NULL && gather->parts & SNAPSHOT_PEERS)
        add_peers(app, all);
    if (all != NULL && gather->parts & SNAPSHOT_NAMES)
        add_names(app, all);
    if (all != NULL && gather->parts & SNAPSHOT_POOLS) {
        add_store(app, all, gather);
        app_add_feeds(app, all);
    }
    if (all != NULL && gather->parts & SNAPSHOT_FEED_NEEDS)
        app_check_feeds(app, all, gather->done, gather->done_arg);
    else
        gather->done(gather->done_arg, all);
    free(gather->redis_nodes);
    free(gather);
}

static void gather_start(void *arg, unsigned parts, admin_gathered_fn *done, void *done_arg)
{
    struct app *app = arg;
    struct gather *gather =
        calloc(1, sizeof(*gather) + (size_t)app->worker_count * sizeof(struct admin_snapshot *));
    if (gather == NULL) {
        done(done_arg, NULL);
        return;
    }
    gather->parts = parts;
    gather->done = done;
    gather->done_arg = done_arg;
    gather->now_us = clock_now_us();
    gather->wall_us = clock_wall_us();
    app_round(app, visit, gathered, gather);
}

/* ---- the rest of what admin asks
 * ------------------------------------------------------------------------------------------- */

static struct config *current_config(void *arg)
{
    struct app *app = arg;
    return config_ref(app->config);
}

static struct admin_flags flags(void *arg)
{
    const struct app *app = arg;
    return (struct admin_flags){app->is_paused, app->is_suspended, app->stop != APP_RUNNING};
}

static bool is_ready(void *arg, struct error *why)
{
    const struct app *app = arg;
    if (app->stop != APP_RUNNING)
        return error_set(why, "shutting down");
    if (app->is_suspended)
        return error_set(why, "suspended");
    return true;
}

static uint64_t now_us(void *arg)
{
    (void)arg;
    return clock_now_us();
}

static uint64_t wall_us(void *arg)
{
    (void)arg;
    return clock_wall_us();
}

/* ---- console clients
 * ---------------------------------------------------------------------------------------------------------
 */

struct console_mail {
    struct mail mail;
    struct app *app;
    struct session_worker *session;
    uint8_t key[CLIENT_KEY_BYTES];
    char *user;
    struct buf text; /* the query, then the answer */
    bool is_admin;
};

static void console_free_mail(struct console_mail *query)
{
    buf_free(&query->text);
    free(query->user);
    free(query);
}

static void console_deliver(struct mail *mail)
{
    struct console_mail *query = (struct console_mail *)(void *)mail;
    session_console_reply(query->session, query->key, buf_slice(&query->text));
    console_free_mail(query);
}

static void console_answered(void *arg, struct buf *answer)
{
    struct console_mail *query = arg;
    buf_free(&query->text);
    query->text = *answer;
    query->mail.run = console_deliver;
    worker_post(query->session->worker, &query->mail);
}

static void console_run(struct mail *mail)
{
    struct console_mail *query = (struct console_mail *)(void *)mail;
    if (query->app->console == NULL) {
        console_free_mail(query);
        return;
    }
    const struct console_request request = {buf_slice(&query->text), query->user, query->is_admin};
    console_execute(query->app->console, &request, console_answered, query);
}

void app_console_execute(void *context, const struct session_console_query *out)
{
    struct app *app = context;
    struct console_mail *query = calloc(1, sizeof(*query));
    if (query == NULL)
        return;
    query->mail.run = console_run;
    query->app = app;
    query->session = out->session;
    memcpy(query->key, out->key, CLIENT_KEY_BYTES);
    query->user = strdup(out->user);
    buf_append_slice(&query->text, out->text);
    query->is_admin = out->is_admin;
    worker_post(app->control, &query->mail);
}

/* ---- start and stop
 * ------------------------------------------------------------------------------------------------------------
 */

static void log_line(void *arg, const char *line)
{
    (void)arg;
    if (line != NULL)
        log_info("%s", line);
}

static void stats_due(struct timer *timer)
{
    struct app *app = list_entry(timer, struct app, stats_timer);
    const struct config_settings *settings = config_settings(app->config);
    console_period(app->console, settings->log_stats ? log_line : NULL, app);
    uint64_t period = settings->stats_period > 0 ? (uint64_t)settings->stats_period : 60;
    timer_start(worker_loop(app->control), &app->stats_timer, period * US_PER_SECOND, stats_due);
}

static bool start_http(struct app *app, struct error *error)
{
    const struct config_settings *settings = config_settings(app->config);
    struct buf token = BUF_INIT;
    if (settings->http_port == 0)
        return true;
    if (settings->http_token_file[0] != '\0' &&
        !process_read_file(NULL, settings->http_token_file, &token, error)) {
        char reason[200];
        snprintf(reason, sizeof(reason), "%.*s", (int)sizeof(reason) - 1, error->message);
        return error_set(error, "http_token_file \"%s\": %s", settings->http_token_file, reason);
    }
    const char *text = buf_text(&token);
    const struct http_settings http = {settings->http_addr, settings->http_port, text != NULL ? text : ""};
    app->http = http_start(loop_base(worker_loop(app->control)), &http, &app->source, error);
    buf_wipe(&token);
    if (app->http != NULL)
        log_info("dashboard and metrics on http://%s:%d/", settings->http_addr, settings->http_port);
    return app->http != NULL;
}

bool app_start_admin(struct app *app, struct error *error)
{
    app->source = (struct admin_source){.arg = app,
                                        .config = current_config,
                                        .gather = gather_start,
                                        .command = app_command,
                                        .explain = app_explain,
                                        .flags = flags,
                                        .is_ready = is_ready,
                                        .now_us = now_us,
                                        .wall_us = wall_us,
                                        .started_us = clock_now_us()};
    app->console = console_new(&app->source);
    if (app->console == NULL)
        return error_set(error, "out of memory");
    uint64_t period = (uint64_t)config_settings(app->config)->stats_period;
    timer_start(worker_loop(app->control), &app->stats_timer, (period > 0 ? period : 60) * US_PER_SECOND,
                stats_due);
    return start_http(app, error);
}

void app_stop_admin(struct app *app)
{
    timer_stop(&app->stats_timer);
    app_end_explains(app);
    if (app->http != NULL)
        http_stop(app->http);
    app->http = NULL;
    if (app->console != NULL)
        console_free(app->console);
    app->console = NULL;
}
