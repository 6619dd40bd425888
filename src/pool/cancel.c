/* cancel: connect, sixteen bytes, wait for the end. PostgreSQL closes when it has signalled the backend. */
#include "weir/pool/cancel.h"

#include <stdlib.h>

#include "weir/pool/registry.h"
#include "weir/pool/server.h"
#include "weir/util/log.h"
#include "weir/wire/encode.h"

enum { CANCEL_TIMEOUT_US = 10 * 1000 * 1000 };

struct cancel {
    struct list_node node; /* server->cancels */
    struct server *server;
    struct conn *conn;
    struct timer timer;
};

static void end(struct cancel *cancel)
{
    timer_stop(&cancel->timer);
    conn_free(cancel->conn);
    list_remove(&cancel->server->cancels, &cancel->node);
    free(cancel);
}

static void finish(struct cancel *cancel)
{
    struct server *server = cancel->server;
    end(cancel);
    if (list_is_empty(&server->cancels) && server->state == SERVER_LEASED)
        registry_events(server->part->pool->registry)->on_cancelled(server->owner, server);
}

static size_t on_data(void *owner, struct slice data)
{
    (void)owner;
    return data.len;
}

static void on_connected(void *owner)
{
    struct cancel *cancel = owner;
    struct buf out = BUF_INIT;
    encode_cancel_request(&out, slice_make(cancel->server->key, cancel->server->key_len));
    conn_write_buf(cancel->conn, &out);
    buf_free(&out);
}

static void on_closed(void *owner, int error)
{
    (void)error; /* a cancel is best effort, here as in PostgreSQL */
    finish(owner);
}

static void timed_out(struct timer *timer)
{
    finish(list_entry(timer, struct cancel, timer));
}

static const struct conn_handler handler = {
    .on_data = on_data, .on_connected = on_connected, .on_closed = on_closed};

void cancel_send(struct server *server)
{
    if (!list_is_empty(&server->cancels) || server->key_len == 0)
        return;
    struct cancel *cancel = calloc(1, sizeof(*cancel));
    struct error error;
    if (cancel == NULL)
        return;
    cancel->server = server;
    cancel->conn = conn_connect(server->part->worker, &server->address, &handler, cancel, &error);
    if (cancel->conn == NULL) {
        log_write(LOG_LEVEL_WARNING, server_prefix(server), "cancel request: %s", error.message);
        free(cancel);
        return;
    }
    counter_bump(&server->part->counters.cancel_requests);
    list_push_back(&server->cancels, &cancel->node);
    timer_start(worker_loop(server->part->worker), &cancel->timer, CANCEL_TIMEOUT_US, timed_out);
}

bool cancel_is_pending(const struct server *server)
{
    return !list_is_empty(&server->cancels);
}

void cancel_forget(struct server *server)
{
    while (!list_is_empty(&server->cancels))
        end(list_entry(list_first(&server->cancels), struct cancel, node));
}
