/*
 * server: state, timers and bytes of one connection to PostgreSQL while nobody leases it.
 */
#include "weir/pool/server.h"

#include "hosts.h"
#include "lookup.h"
#include "role.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/pool/cancel.h"
#include "weir/pool/login.h"
#include "weir/pool/registry.h"
#include "weir/net/tls.h"
#include "weir/track/statements.h"
#include "weir/util/clock.h"
#include "weir/util/cold.h"
#include "weir/util/log.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

enum { TEST_TIMEOUT_US = 10 * 1000 * 1000, FRAME_LIMIT = 1024 * 1024 };

static const char *const state_names[SERVER_STATES] = {"connect", "login", "idle", "tested", "active"};

/* Rows: from; bits: to. */
static const uint8_t legal[SERVER_STATES] = {
    [SERVER_CONNECTING] = 1 << SERVER_LOGIN,
    [SERVER_LOGIN] = 1 << SERVER_IDLE,
    [SERVER_IDLE] = 1 << SERVER_LEASED | 1 << SERVER_TESTING,
    [SERVER_TESTING] = 1 << SERVER_IDLE,
    [SERVER_LEASED] = 1 << SERVER_IDLE | 1 << SERVER_TESTING,
};

const char *server_state_name(enum server_state state)
{
    return state_names[state];
}

uint32_t server_process_id(const struct server *server)
{
    return server->key_len >= 4 ? decode_u32(server->key) : 0;
}

const char *server_prefix(const struct server *server)
{
    static _Thread_local char text[256];
    char host[ADDRESS_TEXT_BYTES] = "?";
    if (server->address.len > 0)
        address_host_text(&server->address, host);
    /* After a reload there may be fewer hosts than there were. */
    const struct config_database *database = server->part->database;
    int port = (size_t)server->host < database->host_count ? database->hosts[server->host].port
                                                           : address_port(&server->address);
    snprintf(text, sizeof(text), "S-%p: %s/%s@%s:%d", (const void *)server,
             server->part->pool->database->name, server->part->pool->user->name, host, port);
    return text;
}

static void log_server(const struct server *server, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

COLD static void log_server(const struct server *server, enum log_level level, const char *format, ...)
{
    if (!log_is_enabled(level))
        return;
    va_list args;
    va_start(args, format);
    log_vwrite(level, server_prefix(server), format, args);
    va_end(args);
}

static struct loop *loop_of(const struct server *server)
{
    return worker_loop(server->part->worker);
}

/* Runs on through leases, which come and go by the thousand: when it fires, the server may have been used
 * since. */
COLD static void idle_timeout(struct timer *timer)
{
    struct server *server = list_entry(timer, struct server, timer);
    struct pool_part *part = server->part;
    uint64_t limit = part->settings.server_idle_timeout_us;
    uint64_t rested = clock_event_us() - server->idle_since_us;
    if (server->state != SERVER_IDLE || limit == 0)
        return; /* begun again when it is idle again */
    if (rested < limit) {
        timer_start(loop_of(server), &server->timer, timer_step_us(limit - rested), idle_timeout);
        return;
    }
    size_t kept = part->servers[SERVER_IDLE].count + part->servers[SERVER_LEASED].count;
    if (part->settings.min_size > 0 && kept <= (size_t)part->settings.min_size) {
        timer_start(loop_of(server), &server->timer, part->settings.server_idle_timeout_us, idle_timeout);
        return;
    }
    server_close(server, "server idle timeout");
}

void server_set_state(struct server *server, enum server_state state)
{
    struct pool_part *part = server->part;
    assert(legal[server->state] & 1 << state);
    if (log_is_enabled(LOG_LEVEL_NOISE))
        log_server(server, LOG_LEVEL_NOISE, "%s -> %s", state_names[server->state], state_names[state]);
    if (server->state == SERVER_LEASED) {
        budget_give(&part->pool->database->leased);
        registry_tell_quiet(part->pool->registry);
    }
    /* server_connect_timeout covers the login too; the idle timeout goes on (see idle_timeout). */
    bool is_kept = state == SERVER_LOGIN || state == SERVER_LEASED ||
                   (state == SERVER_IDLE && server->state == SERVER_LEASED);
    if (!is_kept)
        timer_stop(&server->timer);
    list_remove(&part->servers[server->state], &server->node);
    server->state = state;
    /* Idle ones in the order of their last use, the latest first. */
    if (state == SERVER_IDLE && !part->settings.is_round_robin)
        list_push_front(&part->servers[state], &server->node);
    else
        list_push_back(&part->servers[state], &server->node);
    if (state == SERVER_LEASED)
        budget_take(&part->pool->database->leased, 0);
    if (state == SERVER_IDLE) {
        server->owner = NULL;
        server->idle_since_us = clock_event_us();
        if (part->settings.server_idle_timeout_us > 0 && !timer_is_running(&server->timer))
            timer_start(loop_of(server), &server->timer, part->settings.server_idle_timeout_us, idle_timeout);
    }
    atomic_store(&part->idle_count, (int)part->servers[SERVER_IDLE].count);
}

COLD static void attempt_over(struct server *server)
{
    if (server->is_attempt)
        hosts_attempt_over(server->part, server->host);
    server->is_attempt = false;
}

/* Everything but the accounting of why. */
COLD static void destroy(struct server *server)
{
    struct pool_part *part = server->part;
    if (server->state == SERVER_LEASED)
        budget_give(&part->pool->database->leased);
    if (server->is_closing)
        budget_give(&part->pool->database->closing);
    timer_stop(&server->timer);
    timer_stop(&server->life_timer);
    if (server->dedicated_to != NULL)
        server->dedicated_to->dedicated->server = NULL;
    attempt_over(server);
    list_remove(&part->servers[server->state], &server->node);
    atomic_store(&part->idle_count, (int)part->servers[SERVER_IDLE].count);
    registry_events(part->pool->registry)->on_free(server);
    cancel_forget(server);
    login_free(server->login);
    tls_context_unref(server->tls);
    free(server->baseline);
    conn_free(server->conn);
    pool_server_gone(server);
    registry_tell_quiet(part->pool->registry);
    free(server);
}

COLD static void log_end(const struct server *server, const char *reason)
{
    uint64_t age = (clock_now_us() - server->connect_time_us) / US_PER_SECOND;
    if (config_settings(server->part->config)->log_disconnections)
        log_server(server, LOG_LEVEL_LOG, "closing because: %s (age=%llus)", reason, (unsigned long long)age);
}

void server_close(struct server *server, const char *reason)
{
    log_end(server, reason);
    if (server->conn != NULL && server->state != SERVER_CONNECTING && server->state != SERVER_LOGIN) {
        static const uint8_t terminate[] = {MSG_TERMINATE, 0, 0, 0, 4};
        conn_write(server->conn, terminate, sizeof(terminate));
    }
    destroy(server);
}

/* A connection that never became idle. The copy of the response outlives the server. */
COLD static void fail(struct server *server, const char *reason, const char *sqlstate, struct slice response)
{
    struct pool_part *part = server->part;
    struct pool_waiter *waiter = server->dedicated_to;
    int host = server->host;
    struct buf copy = BUF_INIT;
    buf_append_slice(&copy, response);
    char text[300], severity[16] = "";
    struct error_view view;
    snprintf(text, sizeof(text), "%s", reason);
    if (response.len > FRAME_HEADER_BYTES && decode_error(slice_from(response, FRAME_HEADER_BYTES), &view))
        snprintf(severity, sizeof(severity), "%.*s ", (int)view.severity.len,
                 (const char *)view.severity.data);
    counter_bump(&part->counters.server_login_failures);
    log_server(server, LOG_LEVEL_WARNING, "server login failed: %s%s", severity, text);
    bool is_told_apart = severity[0] == '\0' || strcmp(sqlstate, "28P01") == 0; /* as in PgBouncer */
    log_end(server, is_told_apart ? text : "login failed");
    destroy(server);
    pool_server_failed(part, host, waiter, text, sqlstate, buf_slice(&copy));
    buf_free(&copy);
}

COLD static void fail_with_errno(struct server *server, const char *what, int error)
{
    char text[200];
    snprintf(text, sizeof(text), "%s: %s", what,
             error == 0 ? "server closed the connection" : conn_error_text(server->conn, error));
    fail(server, text, "08006", SLICE_EMPTY);
}

COLD static void life_over(struct timer *timer)
{
    struct server *server = list_entry(timer, struct server, life_timer);
    server->close_needed = true;
    server->close_reason = "server lifetime over";
    if (server->state == SERVER_IDLE) {
        struct pool_part *part = server->part;
        server_close(server, server->close_reason);
        pool_serve(part);
    }
}

COLD static void login_done(struct server *server)
{
    struct pool_part *part = server->part;
    struct slice parameters = login_parameters(server->login);
    struct pool_waiter *waiter = server->dedicated_to;
    if (waiter != NULL)
        buf_append_slice(&waiter->dedicated->welcome, parameters);
    else
        pool_set_welcome(part->pool, parameters.data, parameters.len);
    login_free(server->login);
    server->login = NULL;
    attempt_over(server);
    counter_bump(&part->counters.server_logins);
    uint64_t life = part->settings.server_lifetime_us;
    if (life > 0)
        timer_start(loop_of(server), &server->life_timer, life, life_over);
    server_set_state(server, SERVER_IDLE);
    registry_events(part->pool->registry)->on_reset(server);
    pool_server_ready(server);
}

static enum target_session target_of(const struct server *server)
{
    return (enum target_session)server->part->database->target_session_attrs;
}

/* It is somebody else's, and no failure: its host is passed over for a while. */
COLD static void pass_over(struct server *server)
{
    struct pool_part *part = server->part;
    struct pool_waiter *waiter = server->dedicated_to;
    const char *misfit = role_misfit(&server->role, target_of(server));
    char reason[100];
    snprintf(reason, sizeof(reason), "%s (target_session_attrs=%s)", misfit,
             target_session_name((int)target_of(server)));
    log_end(server, reason);
    destroy(server);
    pool_server_misfit(part, waiter, misfit);
}

/* It is no longer what is wanted: neither it nor another connection to the same host is handed out again. */
COLD static void became_misfit(struct server *server)
{
    struct pool_part *part = server->part;
    const char *misfit = role_misfit(&server->role, target_of(server));
    hosts_forget_roles(part);
    server->close_needed = true;
    server->close_reason = misfit;
    list_for_each(&part->servers[SERVER_LEASED], node)
    {
        struct server *other = list_entry(node, struct server, node);
        other->is_role_in_doubt = other->is_role_in_doubt || other->host == server->host;
    }
    list_for_each(&part->servers[SERVER_IDLE], node)
    {
        struct server *other = list_entry(node, struct server, node);
        if (other != server && other->host == server->host)
            server_close(other, misfit);
    }
}

void server_note_parameter(struct server *server, struct slice name, struct slice value)
{
    bool was_standby = server->role.is_standby;
    enum target_session target = target_of(server);
    if (!slice_equal_str(name, "in_hot_standby")) /* the other half a client may set */
        return;
    role_take_parameter(&server->role, name, value);
    if (server->role.is_standby == was_standby || target == TARGET_SESSION_ANY || server->close_needed)
        return;
    if (!role_fits(&server->role, target))
        became_misfit(server);
    else
        hosts_forget_roles(server->part);
}

void server_doubt_role(struct server *server)
{
    enum target_session target = target_of(server);
    bool may_write = target == TARGET_SESSION_PRIMARY || target == TARGET_SESSION_READ_WRITE;
    server->is_role_in_doubt = may_write && server->replication == NULL;
}

void server_ask_role(struct server *server)
{
    server->is_role_in_doubt = false;
    server->is_asked_role = true;
    server_run(server, role_query(), false);
}

/* The answer has come: is it still what is wanted? */
COLD static void role_asked(struct server *server)
{
    enum target_session target = target_of(server);
    server->is_asked_role = false;
    if (target == TARGET_SESSION_ANY)
        return;
    if (!role_fits(&server->role, target) && target != TARGET_SESSION_PREFER_STANDBY)
        became_misfit(server);
    hosts_accept(server->part, server->host, &server->role);
}

static void feed_login(struct server *server, const struct frame *frame, struct slice whole)
{
    struct error error = ERROR_INIT;
    switch (login_feed(server, frame, &error)) {
    case LOGIN_MORE:
        return;
    case LOGIN_READY:
        login_done(server);
        return;
    case LOGIN_MISFIT:
        pass_over(server);
        return;
    case LOGIN_FAILED:
        break;
    }
    bool is_own = frame->type == MSG_ERROR;
    fail(server, error.message, error.sqlstate, is_own ? whole : SLICE_EMPTY);
}

/* A reset or check query, or an idle server that says something. */
COLD static void feed_quiet(struct server *server, const struct frame *frame)
{
    struct pool_part *part = server->part;
    struct error_view view;
    struct parameter_view parameter;
    if (frame->type == MSG_ERROR && decode_error(frame->body, &view)) {
        char reason[200];
        snprintf(reason, sizeof(reason), "%.*s", (int)view.message.len, (const char *)view.message.data);
        hosts_forget_roles(part);
        server_close(server, reason);
        pool_serve(part);
    } else if (frame->type == MSG_READY && server->state == SERVER_TESTING) {
        if (server->is_asked_role)
            role_asked(server);
        server_set_state(server, SERVER_IDLE);
        pool_server_ready(server);
    } else if (frame->type == MSG_DATA_ROW && server->is_asked_role) {
        role_take_row(&server->role, frame->body);
    } else if (frame->type == MSG_PARAMETER_STATUS && decode_parameter_status(frame->body, &parameter)) {
        server_note_parameter(server, parameter.name, parameter.value);
        if (server->state == SERVER_IDLE && server->close_needed) {
            server_close(server, server->close_reason);
            pool_serve(part);
        }
    } else if (server->state == SERVER_IDLE && frame->type != MSG_PARAMETER_STATUS &&
               frame->type != MSG_NOTICE && frame->type != MSG_NOTIFICATION) {
        server_close(server, "unexpected message from an idle server");
        pool_serve(part);
    }
}

/* ---- TLS, before the login ---- */

COLD static void begin_login(struct server *server)
{
    server->login = login_begin(server);
    if (server->login == NULL)
        fail(server, "out of memory", "53200", SLICE_EMPTY);
}

static const char *host_of(const struct server *server)
{
    const struct config_database *database = server->part->database;
    return (size_t)server->host < database->host_count ? database->hosts[server->host].name : "";
}

/* One byte in answer to the SSLRequest. Whatever else comes with it nobody has encrypted: it is not believed.
 */
COLD static void take_tls_answer(struct server *server, struct slice data)
{
    struct tls_context *tls = server->tls;
    server->tls = NULL;
    if (data.data[0] == 'S' && data.len == 1)
        conn_start_tls(server->conn, tls, host_of(server), SLICE_EMPTY);
    else if (data.data[0] == 'S')
        fail(server, "server sent bytes ahead of the TLS handshake", "08P01", SLICE_EMPTY);
    else if (data.data[0] != 'N')
        fail(server, "server does not understand the question for TLS", "08P01", SLICE_EMPTY);
    else if (tls_context_mode(tls) >= SSL_MODE_REQUIRE)
        fail(server, "server does not support TLS, which server_tls_sslmode requires", "08006", SLICE_EMPTY);
    else
        begin_login(server);
    tls_context_unref(tls);
}

COLD static void on_secured(void *owner)
{
    struct server *server = owner;
    char text[TLS_TEXT_BYTES];
    if (server->is_direct_tls && !tls_is_postgresql(conn_tls(server->conn))) {
        fail(server,
             "server has not agreed to the protocol postgresql (ALPN), which sslnegotiation=direct requires",
             "08P01", SLICE_EMPTY);
        return;
    }
    tls_describe(conn_tls(server->conn), text);
    if (config_settings(server->part->config)->log_connections)
        log_server(server, LOG_LEVEL_LOG, "SSL established: %s", text);
    begin_login(server);
}

static size_t on_data(void *owner, struct slice data)
{
    struct server *server = owner;
    struct conn *conn = server->conn;
    size_t used = 0;
    while (used < data.len) {
        if (server->state == SERVER_LEASED) {
            const void *owner_then = server->owner;
            const struct server_events *events = registry_events(server->part->pool->registry);
            used += events->on_data(server->owner, server, slice_from(data, used));
            if (!conn_is_open(conn) || server->owner == owner_then)
                return used;
            continue; /* released in the middle: the rest is for whoever has it now */
        }
        if (server->state == SERVER_LOGIN && server->login == NULL) {
            take_tls_answer(server, data);
            return data.len;
        }
        struct frame frame;
        enum frame_result result = frame_next(slice_from(data, used), &frame);
        if (result == FRAME_BAD || (result == FRAME_PARTIAL && frame.total > FRAME_LIMIT)) {
            struct pool_part *part = server->part;
            if (server->state == SERVER_LOGIN) {
                fail(server, "malformed message from server", "08P01", SLICE_EMPTY);
            } else {
                server_close(server, "malformed message from server");
                pool_serve(part);
            }
            return data.len;
        }
        if (result != FRAME_COMPLETE) {
            conn_set_input_limit(conn, FRAME_LIMIT + 16);
            return used;
        }
        struct slice whole = slice_make(data.data + used, frame.total);
        used += frame.total;
        if (server->state == SERVER_LOGIN)
            feed_login(server, &frame, whole);
        else
            feed_quiet(server, &frame);
        if (!conn_is_open(conn)) /* the server went while its message was handled */
            return data.len;
    }
    return used;
}

COLD static void on_closed(void *owner, int error)
{
    struct server *server = owner;
    struct pool_part *part = server->part;
    switch (server->state) {
    case SERVER_CONNECTING:
        fail_with_errno(server, "connect failed", error);
        return;
    case SERVER_LOGIN:
        fail_with_errno(server, "login failed", error);
        return;
    case SERVER_LEASED:
        counter_bump(&part->counters.server_lost);
        registry_events(part->pool->registry)->on_lost(server->owner, server, "server conn crashed?");
        registry_events(part->pool->registry)->on_crashed(server);
        hosts_forget_roles(part);
        server_close(server, "server conn crashed?");
        break;
    default:
        counter_bump(&part->counters.server_lost);
        hosts_forget_roles(part);
        registry_events(part->pool->registry)->on_crashed(server);
        server_close(server, "server conn crashed?");
    }
    pool_serve(part);
}

static void on_drained(void *owner)
{
    struct server *server = owner;
    if (server->state == SERVER_LEASED)
        registry_events(server->part->pool->registry)->on_drained(server->owner, server);
}

COLD static void on_connected(void *owner)
{
    struct server *server = owner;
    struct config *config = server->part->config;
    server_set_state(server, SERVER_LOGIN);
    if (config_settings(config)->log_connections) {
        struct address local;
        char text[ADDRESS_TEXT_BYTES];
        conn_local_address(server->conn, &local);
        address_host_text(&local, text);
        log_server(server, LOG_LEVEL_LOG, "new connection to server (from %s:%d)", text,
                   address_port(&local));
    }
    if (!address_is_unix(&server->address))
        server->tls = tls_slot_get(registry_server_tls(server->part->pool->registry));
    if (server->tls == NULL) {
        begin_login(server);
        return;
    }
    server->is_direct_tls = server->part->database->sslnegotiation == SSL_NEGOTIATION_DIRECT;
    if (server->is_direct_tls) {
        struct tls_context *tls = server->tls;
        server->tls = NULL;
        conn_start_tls(server->conn, tls, host_of(server), SLICE_EMPTY);
        tls_context_unref(tls);
        return;
    }
    struct buf out = BUF_INIT;
    encode_ssl_request(&out);
    conn_write_buf(server->conn, &out);
    buf_free(&out);
}

static const struct conn_handler handler = {.on_data = on_data,
                                            .on_connected = on_connected,
                                            .on_drained = on_drained,
                                            .on_closed = on_closed,
                                            .on_secured = on_secured};

COLD static void connect_timeout(struct timer *timer)
{
    struct server *server = list_entry(timer, struct server, timer);
    if (server->state == SERVER_CONNECTING) /* as where the kernel has given up: nobody is there */
        fail_with_errno(server, "connect failed", ETIMEDOUT);
    else
        fail(server, "connect timeout", "08006", SLICE_EMPTY);
}

COLD static void connect_to(struct server *server)
{
    struct error error = ERROR_INIT;
    server->conn = conn_connect(server->part->worker, &server->address,
                                &server->part->settings.socket_options, &handler, server, &error);
    if (server->conn == NULL)
        fail(server, error.message, error.sqlstate, SLICE_EMPTY);
}

COLD static void resolve_and_connect(struct server *server, const struct config_host *host)
{
    struct error error = ERROR_INIT;
    if (address_from_host(&server->address, host->name, host->port, &error))
        connect_to(server);
    else if (error.message[0] != '\0')
        fail(server, error.message, "08006", SLICE_EMPTY);
    else if (!lookup_begin(server, host))
        fail(server, "out of memory", "53200", SLICE_EMPTY);
}

void server_resolved(struct server *server, const struct resolve_answer *answer)
{
    char text[200];
    if (answer->count > 0) {
        server->address = answer->addresses[answer->turn % (unsigned)answer->count];
        connect_to(server);
        return;
    }
    snprintf(text, sizeof(text), "server DNS lookup failed: %s", answer->error);
    fail(server, text, "08006", SLICE_EMPTY);
}

void server_connect(struct pool_part *part, int host, struct pool_waiter *dedicated_to)
{
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        pool_give_budgets(part);
        pool_server_failed(part, host, dedicated_to, "out of memory", "53200", SLICE_EMPTY);
        return;
    }
    server->part = part;
    server->dedicated_to = dedicated_to;
    if (dedicated_to != NULL) {
        server->replication = dedicated_to->dedicated->replication;
        dedicated_to->dedicated->server = server;
    }
    list_init(&server->cancels);
    server->host = host;
    server->is_attempt = hosts_attempt(part, host);
    server->state = SERVER_CONNECTING;
    server->id = registry_next_id(part->pool->registry);
    server->connect_time_us = clock_now_us();
    list_push_back(&part->servers[SERVER_CONNECTING], &server->node);
    atomic_fetch_add_explicit(&part->server_count, 1, memory_order_relaxed);
    if (part->settings.server_connect_timeout_us > 0)
        timer_start(loop_of(server), &server->timer, part->settings.server_connect_timeout_us,
                    connect_timeout);
    resolve_and_connect(server, &part->database->hosts[host]);
}

COLD static void test_timeout(struct timer *timer)
{
    struct server *server = list_entry(timer, struct server, timer);
    struct pool_part *part = server->part;
    server_close(server, "test query timeout");
    pool_serve(part);
}

void server_forget_unnamed(struct server *server)
{
    statement_unref(server->unnamed);
    server->unnamed = NULL;
}

void server_run(struct server *server, const char *sql, bool is_reset)
{
    server_set_state(server, SERVER_TESTING);
    server->owner = NULL;
    server_forget_unnamed(server);
    timer_start(loop_of(server), &server->timer, TEST_TIMEOUT_US, test_timeout);
    struct buf out = BUF_INIT;
    encode_query(&out, slice_str(sql));
    conn_write_buf(server->conn, &out);
    buf_free(&out);
    if (is_reset) /* of a server whose reset fails nothing is kept: it is closed */
        registry_events(server->part->pool->registry)->on_reset(server);
}

void server_orphan(struct server *server)
{
    timer_stop(&server->timer);
    timer_stop(&server->life_timer);
    conn_detach(server->conn);
}

void server_adopt(struct server *server)
{
    const struct pool_settings *settings = &server->part->settings;
    conn_attach(server->conn, server->part->worker);
    if (settings->server_idle_timeout_us > 0)
        timer_start(loop_of(server), &server->timer, settings->server_idle_timeout_us, idle_timeout);
    uint64_t life = settings->server_lifetime_us;
    if (life == 0)
        return;
    timer_start(loop_of(server), &server->life_timer, life, life_over);
    if (clock_now_us() - server->connect_time_us >= life) {
        server->close_needed = true;
        server->close_reason = "server lifetime over";
    }
}

bool server_pipelines_are_blocks(const struct server *server)
{
    return server->major >= 18; /* to older ones, the simple query is the end of the transaction */
}

bool server_is_console(const struct server *server)
{
    const char *slash = strchr(server->version, '/');
    return slash != NULL && (strcmp(slash, "/weir") == 0 || strcmp(slash, "/bouncer") == 0);
}
