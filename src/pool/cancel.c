/*
 * cancel: connect, sixteen bytes, wait for the end. PostgreSQL closes when it has signalled the backend. The
 * key travels as its server's bytes do: where those are encrypted it is never sent otherwise.
 *
 * All of it has cancel_wait_timeout. A request that has left and was not answered by then may still arrive,
 * so its server is not handed out again: the query that it met would be somebody else's.
 */
#include "weir/pool/cancel.h"

#include <errno.h>
#include <stdlib.h>

#include "weir/net/tls.h"
#include "weir/pool/registry.h"
#include "weir/pool/server.h"
#include "weir/util/log.h"
#include "weir/wire/encode.h"

enum { UNLIMITED_US = 10 * 1000 * 1000 }; /* where no limit is set: its server cannot be kept for ever */

struct cancel {
    struct list_node node; /* server->cancels */
    struct server *server;
    struct conn *conn;
    struct timer timer;
    bool has_left, is_late;
    struct list watchers;
};

static void end(struct cancel *cancel)
{
    timer_stop(&cancel->timer);
    conn_free(cancel->conn);
    list_remove(&cancel->server->cancels, &cancel->node);
    struct list_node *node;
    while ((node = list_pop_front(&cancel->watchers)) != NULL) {
        struct cancel_watcher *watcher = list_entry(node, struct cancel_watcher, node);
        watcher->done(watcher, cancel->is_late);
    }
    free(cancel);
}

static void finish(struct cancel *cancel)
{
    struct server *server = cancel->server;
    end(cancel);
    if (list_is_empty(&server->cancels) && server->state == SERVER_LEASED)
        registry_events(server->part->pool->registry)->on_cancelled(server->owner, server);
}

static void send_key(void *owner)
{
    struct cancel *cancel = owner;
    struct buf out = BUF_INIT;
    encode_cancel_request(&out, slice_make(cancel->server->key, cancel->server->key_len));
    conn_write_buf(cancel->conn, &out);
    cancel->has_left = true;
    buf_free(&out);
}

static void on_connected(void *owner)
{
    struct cancel *cancel = owner;
    struct buf out = BUF_INIT;
    const struct tls *like = conn_tls(cancel->server->conn);
    if (like == NULL) {
        send_key(cancel);
        return;
    }
    if (cancel->server->is_direct_tls) {
        conn_start_tls(cancel->conn, tls_context_of(like), tls_host(like), SLICE_EMPTY);
        return;
    }
    encode_ssl_request(&out);
    conn_write_buf(cancel->conn, &out);
    buf_free(&out);
}

/* The answer to the SSLRequest; after the key nothing is expected. */
static size_t on_data(void *owner, struct slice data)
{
    struct cancel *cancel = owner;
    const struct tls *like = conn_tls(cancel->server->conn);
    if (cancel->has_left || like == NULL || conn_tls(cancel->conn) != NULL)
        return data.len;
    if (data.data[0] == 'S' && data.len == 1)
        conn_start_tls(cancel->conn, tls_context_of(like), tls_host(like), SLICE_EMPTY);
    else
        finish(cancel);
    return data.len;
}

static void on_closed(void *owner, int error)
{
    /* A cancel is best effort, here as in PostgreSQL; but who configures TLS wants to know what is wrong. */
    struct cancel *cancel = owner;
    if (error == EPROTO)
        log_write(LOG_LEVEL_WARNING, server_prefix(cancel->server), "cancel request: %s",
                  conn_error_text(cancel->conn, error));
    finish(cancel);
}

static void timed_out(struct timer *timer)
{
    struct cancel *cancel = list_entry(timer, struct cancel, timer);
    struct server *server = cancel->server;
    cancel->is_late = true;
    if (cancel->has_left) {
        server->close_needed = true;
        server->close_reason = "cancel_wait_timeout";
    }
    finish(cancel);
}

static const struct conn_handler handler = {
    .on_data = on_data, .on_connected = on_connected, .on_closed = on_closed, .on_secured = send_key};

void cancel_send(struct server *server)
{
    if (!list_is_empty(&server->cancels) || server->key_len == 0)
        return;
    struct cancel *cancel = calloc(1, sizeof(*cancel));
    struct error error;
    if (cancel == NULL)
        return;
    cancel->server = server;
    list_init(&cancel->watchers);
    cancel->conn = conn_connect(server->part->worker, &server->address,
                                &server->part->settings.socket_options, &handler, cancel, &error);
    if (cancel->conn == NULL) {
        log_write(LOG_LEVEL_WARNING, server_prefix(server), "cancel request: %s", error.message);
        free(cancel);
        return;
    }
    counter_bump(&server->part->counters.cancel_requests);
    list_push_back(&server->cancels, &cancel->node);
    uint64_t limit = config_settings(server->part->config)->cancel_wait_timeout_us;
    timer_start(worker_loop(server->part->worker), &cancel->timer, limit > 0 ? limit : UNLIMITED_US,
                timed_out);
}

bool cancel_is_pending(const struct server *server)
{
    return !list_is_empty(&server->cancels);
}

void cancel_watch(struct server *server, struct cancel_watcher *watcher)
{
    struct cancel *cancel = list_entry(list_first(&server->cancels), struct cancel, node);
    list_push_back(&cancel->watchers, &watcher->node);
}

void cancel_forget(struct server *server)
{
    while (!list_is_empty(&server->cancels))
        end(list_entry(list_first(&server->cancels), struct cancel, node));
}
