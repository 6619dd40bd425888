/*
 * client: state, ends, timeouts and events of one client connection. Bytes are login's and route's affair.
 */
#include "weir/session/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "weir/cache/cache.h"
#include "weir/session/cached.h"
#include "weir/session/outbox.h"
#include "weir/util/clock.h"
#include "weir/util/cold.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"

static const char *const state_names[CLIENT_STATES] = {"login",   "login",  "login",  "idle",
                                                       "waiting", "active", "active", "active"};

/* Rows: from; bits: to. */
static const uint8_t legal[CLIENT_STATES] = {
    [CLIENT_STARTUP] = 1 << CLIENT_AUTH | 1 << CLIENT_GREETING | 1 << CLIENT_CONSOLE,
    [CLIENT_AUTH] = 1 << CLIENT_GREETING | 1 << CLIENT_CONSOLE,
    [CLIENT_GREETING] = 1 << CLIENT_IDLE | 1 << CLIENT_REPLICATION,
    [CLIENT_IDLE] = 1 << CLIENT_WAITING | 1 << CLIENT_LEASED,
    [CLIENT_WAITING] = 1 << CLIENT_IDLE | 1 << CLIENT_LEASED,
    [CLIENT_LEASED] = 1 << CLIENT_IDLE,
    [CLIENT_CONSOLE] = 0,
    [CLIENT_REPLICATION] = 0,
};

void client_notice(struct client *client, const char *message)
{
    struct buf out = BUF_INIT;
    encode_notice(&out, "NOTICE", "00000", message);
    client_write_buf(client, &out);
    buf_free(&out);
}

COLD static void wait_notice_due(struct timer *timer)
{
    client_notice(list_entry(timer, struct client, timer),
                  "No server connection available in postgres backend, client being queued");
}

static void expect_wait_notice(struct client *client)
{
    uint64_t notify_s = (uint64_t)config_settings(client->session->config)->query_wait_notify;
    if (notify_s > 0)
        timer_start(worker_loop(client->session->worker), &client->timer, notify_s * US_PER_SECOND,
                    wait_notice_due);
}

void client_set_state(struct client *client, enum client_state state)
{
    if (client->state == state)
        return;
    assert(legal[client->state] & 1 << state);
    if (log_is_enabled(LOG_LEVEL_NOISE))
        client_log(client, LOG_LEVEL_NOISE, "%s -> %s", state_names[client->state], state_names[state]);
    client->state = (uint8_t)state;
    if (state == CLIENT_IDLE)
        client_arm_idle(client);
    else if (state != CLIENT_GREETING && state != CLIENT_AUTH)
        timer_stop(&client->timer);
    if (state == CLIENT_WAITING)
        expect_wait_notice(client);
}

const char *client_state_name(const struct client *client)
{
    return state_names[client->state];
}

const char *client_address(const struct client *client)
{
    static _Thread_local char text[INET6_ADDRSTRLEN + 16];
    char host[INET6_ADDRSTRLEN] = "unix";
    if (client->peer_family != AF_UNIX)
        inet_ntop(client->peer_family, client->peer_ip, host, sizeof(host));
    int port = client->peer_family == AF_UNIX ? client->local_port : client->peer_port;
    snprintf(text, sizeof(text), "%s:%d", host, port);
    return text;
}

COLD const char *client_prefix(const struct client *client)
{
    static _Thread_local char text[320];
    const char *database = client->part != NULL              ? client->part->pool->database->name
                           : client->state == CLIENT_CONSOLE ? "pgbouncer"
                                                             : "(nodb)";
    snprintf(text, sizeof(text), "C-%p: %s/%s@%s", (const void *)client, database,
             client->user != NULL ? client->user->name : "(nouser)", client_address(client));
    return text;
}

void client_log(const struct client *client, enum log_level level, const char *format, ...)
{
    if (client == NULL || !log_is_enabled(level))
        return;
    va_list args;
    va_start(args, format);
    log_vwrite(level, client_prefix(client), format, args);
    va_end(args);
}

/* ---- talking to it
 * -------------------------------------------------------------------------------------------------- */

void client_write(struct client *client, struct slice bytes)
{
    struct outbox *outbox = client->session->outbox;
    if (outbox->to == client->conn)
        outbox_flush(outbox);
    conn_write(client->conn, bytes.data, bytes.len);
}

void client_write_buf(struct client *client, const struct buf *built)
{
    if (buf_failed(built))
        conn_fail(client->conn, ENOMEM);
    else
        client_write(client, buf_slice(built));
}

static void count_error(struct client *client)
{
    counter_bump(client->part != NULL ? &client->part->counters.client_errors
                                      : &client->session->counters.client_errors);
}

void client_error(struct client *client, const char *sqlstate, const char *message)
{
    struct buf out = BUF_INIT;
    encode_error(&out, "ERROR", sqlstate, message, NULL);
    client_write_buf(client, &out);
    buf_free(&out);
    count_error(client);
}

void client_fail(struct client *client, const char *sqlstate, const char *message)
{
    struct buf out = BUF_INIT;
    if (client->is_ending)
        return;
    if (config_settings(client->session->config)->log_pooler_errors)
        client_log(client, LOG_LEVEL_WARNING, "pooler error: %s", message);
    encode_error(&out, "FATAL", sqlstate, message, NULL);
    client_dismiss(client, buf_slice(&out), message);
    buf_free(&out);
}

char client_status(const struct client *client)
{
    static const char status[] = {
        [TRANSACTION_IDLE] = 'I', [TRANSACTION_OPEN] = 'T', [TRANSACTION_FAILED] = 'E'};
    return status[transaction_block(&client->tx)];
}

void client_note_parameter(struct client *client, struct slice name, struct slice value)
{
    /* Encodings whose multi-byte characters may hold ASCII bytes cannot be read by a parser for UTF-8. */
    static const char *const unsafe[] = {"SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"};
    if (slice_equal_str(name, "standard_conforming_strings")) {
        client->is_readable = slice_equal_str(value, "on");
    } else if (slice_equal_str(name, "client_encoding")) {
        bool is_unsafe = false;
        for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++)
            is_unsafe = is_unsafe || slice_equal_nocase(value, slice_str(unsafe[i]));
        client->has_unsafe_encoding = is_unsafe;
    }
}

/* ---- the end
 * ----------------------------------------------------------------------------------------------------------
 */

struct registry_database *client_database(const struct client *client)
{
    return client->part != NULL ? client->part->pool->database
                                : registry_console(client->session->shared->registry);
}

static void give_back_counts(struct client *client)
{
    if (client->is_counted)
        budget_give(&client->session->shared->clients);
    if (client->is_user_counted) {
        budget_give(&client_database(client)->clients);
        budget_give(&client->user->clients);
    }
    client->is_counted = client->is_user_counted = false;
}

/* The log knows before the client does, so that who has been told finds it there. */
COLD static void end(struct client *client, struct slice farewell, const char *reason)
{
    struct session_worker *session = client->session;
    if (client->is_ending)
        return;
    client->is_ending = true;
    uint64_t age = (clock_now_us() - client->connect_time_us) / US_PER_SECOND;
    if (config_settings(session->config)->log_disconnections)
        client_log(client, LOG_LEVEL_LOG, "closing because: %s (age=%llus)", reason, (unsigned long long)age);
    if (farewell.len > 0)
        client_write(client, farewell);
    timer_stop(&client->timer);
    if (client->waiter.part != NULL)
        pool_stop_waiting(&client->waiter);
    cached_forget(client);
    if (client->lease != NULL)
        lease_abandon(client->lease, reason);
    if (client->hh.tbl != NULL)
        HASH_DEL(session->by_key, client);
    give_back_counts(client);
    atomic_fetch_sub_explicit(&session->load, 1, memory_order_relaxed);
    registry_tell_quiet(session->shared->registry);
    list_remove(&session->clients, &client->node);
    if (list_node_is_linked(&client->pool_node)) {
        list_remove(&client->part->clients, &client->pool_node);
        pool_client_gone(client->part);
    }
    if (session->outbox->to == client->conn)
        outbox_flush(session->outbox);
    conn_close_after_output(client->conn);
    list_push_back(&session->dead_clients, &client->node);
}

void client_close(struct client *client, const char *reason)
{
    end(client, SLICE_EMPTY, reason);
}

void client_dismiss(struct client *client, struct slice response, const char *reason)
{
    if (client->is_ending)
        return;
    count_error(client);
    end(client, response, reason);
}

static void destroy(struct client *client)
{
    client_login_free(client->login);
    transaction_free(&client->tx);
    statement_map_clear(&client->prepared);
    if (client->unnamed != NULL)
        statement_unref(client->unnamed);
    sql_class_unref(client->sequence_class);
    if (client->scope != NULL)
        cache_scope_unref(client->scope);
    free(client);
}

void session_enter(struct session_worker *session)
{
    session->depth++;
}

void session_leave(struct session_worker *session)
{
    if (--session->depth > 0)
        return;
    struct list_node *node;
    while ((node = list_pop_front(&session->dead_leases)) != NULL)
        lease_recycle(list_entry(node, struct lease, node));
    while ((node = list_pop_front(&session->dead_clients)) != NULL)
        destroy(list_entry(node, struct client, node));
}

/* ---- timeouts
 * ----------------------------------------------------------------------------------------------------------
 */

COLD static void idle_timeout(struct timer *timer)
{
    struct client *client = list_entry(timer, struct client, timer);
    struct session_worker *session = client->session;
    session_enter(session);
    if (transaction_block(&client->tx) != TRANSACTION_IDLE)
        client_fail(client, "08P01", "idle transaction timeout");
    else
        client_fail(client, "57P05", "client_idle_timeout");
    session_leave(session);
}

void client_arm_idle(struct client *client)
{
    const struct pool_part *part = client->part;
    if (part == NULL || client->is_ending)
        return;
    timer_stop(&client->timer);
    bool is_block = transaction_block(&client->tx) != TRANSACTION_IDLE;
    uint64_t limit = is_block ? config_idle_transaction_timeout_us(part->config, client->limits)
                              : config_client_idle_timeout_us(part->config, client->limits);
    if (limit > 0)
        timer_start(worker_loop(client->session->worker), &client->timer, limit, idle_timeout);
}

COLD static void login_timeout(struct timer *timer)
{
    struct client *client = list_entry(timer, struct client, timer);
    struct session_worker *session = client->session;
    session_enter(session);
    bool is_server_down = client->state == CLIENT_GREETING ||
                          (client->state == CLIENT_AUTH && pool_is_waiting(&client->waiter));
    client_fail(client, "08P01",
                is_server_down ? "client_login_timeout (server down)" : "client_login_timeout");
    session_leave(session);
}

/* ---- events
 * ----------------------------------------------------------------------------------------------------------------
 */

static size_t on_data(void *owner, struct slice data)
{
    struct client *client = owner;
    struct session_worker *session = client->session;
    size_t used = 0;
    session_enter(session);
    while (!client->is_ending && used < data.len) {
        uint8_t before = client->state;
        struct slice rest = slice_from(data, used);
        size_t here = 0;
        if (before == CLIENT_STARTUP || before == CLIENT_AUTH)
            here = login_data(client, rest);
        else if (before == CLIENT_CONSOLE)
            here = console_data(client, rest);
        else if (before == CLIENT_REPLICATION)
            here = replication_data(client, rest);
        else if (before != CLIENT_GREETING)
            here = route_data(client, rest);
        used += here;
        if (here == 0 || client->state == before)
            break;
    }
    if (client->is_ending)
        used = data.len;
    session_leave(session);
    return used;
}

static void on_drained(void *owner)
{
    struct client *client = owner;
    if (client->lease != NULL)
        conn_set_reading(client->lease->server->conn, true);
}

COLD static void on_closed(void *owner, int error)
{
    struct client *client = owner;
    struct session_worker *session = client->session;
    session_enter(session);
    bool is_busy = client->lease != NULL && !owed_is_empty(&client->lease->owed);
    client_close(client, is_busy      ? "client disconnected with query in progress"
                         : error != 0 ? conn_error_text(client->conn, error)
                                      : "client unexpected eof");
    session_leave(session);
}

static const struct conn_handler handler = {
    .on_data = on_data, .on_drained = on_drained, .on_closed = on_closed};

/* ---- the beginning
 * ------------------------------------------------------------------------------------------------------------
 */

static void keep_addresses(struct client *client, const struct address *peer, const struct address *local)
{
    client->peer_family = (uint8_t)peer->as.any.sa_family;
    client->peer_port = (uint16_t)address_port(peer);
    client->local_port = (uint16_t)address_port(local);
    if (peer->as.any.sa_family == AF_INET)
        memcpy(client->peer_ip, &peer->as.in.sin_addr, 4);
    else if (peer->as.any.sa_family == AF_INET6)
        memcpy(client->peer_ip, &peer->as.in6.sin6_addr, 16);
    else
        client->local_port = (uint16_t)config_settings(client->session->config)->listen_port;
}

struct client *client_new(struct session_worker *session, int fd, const struct address *peer,
                          const struct address *local)
{
    struct client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return NULL;
    const struct config_settings *settings = config_settings(session->config);
    client->session = session;
    client->id = registry_next_id(session->shared->registry);
    client->connect_time_us = client->request_time_us = clock_now_us();
    client->is_readable = true;
    client->is_late = address_is_unix(peer) && atomic_load(&session->shared->is_closing);
    keep_addresses(client, peer, local);
    struct profile *empty = profile_empty(session->shared->profiles);
    transaction_init(&client->tx, empty);
    profile_unref(empty);
    client->conn = conn_new(session->worker, fd, &handler, client);
    if (client->conn == NULL) {
        transaction_free(&client->tx);
        free(client);
        return NULL;
    }
    const struct socket_options options = address_options(settings);
    address_tune(fd, peer, &options);
    list_push_back(&session->clients, &client->node);
    atomic_fetch_add_explicit(&session->load, 1, memory_order_relaxed);
    if (settings->client_login_timeout_us > 0)
        timer_start(worker_loop(session->worker), &client->timer, settings->client_login_timeout_us,
                    login_timeout);
    return client;
}

void client_configure(struct client *client)
{
    const struct pool_part *part = client->part;
    const struct config_user *user = config_user_find(part->config, client->user->name);
    enum defer_begin defer = config_defer_begin(part->config, part->database);
    enum cache_mode mode = config_cache_mode(part->config, part->database, user);
    bool is_cached = mode != CACHE_OFF && client->session->cache != NULL;
    client->limits = user;
    client->cache_mode = (uint8_t)(is_cached ? mode : CACHE_OFF);
    client->may_defer = part->settings.mode == POOL_MODE_TRANSACTION &&
                        (defer == DEFER_BEGIN_ON || (defer == DEFER_BEGIN_AUTO && is_cached));
}
