/*
 * conn: the byte stream.
 *
 *   readable ──► recv into the worker's buffer ──► on_data ──► rest kept in `in`     (edge-triggered)
 *   write    ──► sendmsg ──► rest kept in `out`, armed for writing ──► drained
 *
 * With TLS, `in` is what has been decrypted and `out` what has been encrypted: only the two arrows next to
 * the socket differ.
 *
 * Invariants: the socket is watched for exactly `armed`; `in` and `out` hold memory only while they hold
 * bytes; on_closed is called at most once; an object with depth > 0 is on the stack of a callback and is
 * freed when that returns.
 */
#include "weir/net/conn.h"

#include <errno.h>
#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tls_state.h"
#include "weir/util/buf.h"
#include "weir/util/clock.h"
#include "weir/util/cold.h"

enum { LINGER_US = 5 * 1000 * 1000 };

struct conn {
    struct io io;
    struct worker *worker;
    const struct conn_handler *handler;
    void *owner;
    struct tls *tls; /* NULL without */
    struct buf in;
    struct buf out;
    size_t out_sent; /* bytes at the front of `out` that have left */
    size_t input_limit;
    int fd;
    int write_error;
    uint8_t armed; /* IO_READ, IO_WRITE */
    uint8_t depth;
    bool is_reading : 1;
    bool is_connecting : 1;
    bool is_closed : 1; /* on_closed has been called */
    bool is_freed : 1;
    bool was_congested : 1;
    bool is_unwatched : 1; /* the system has refused to watch it: it would hear of nothing */
};

static void ready(struct io *io, unsigned what);

/*
 * Watches for what the state asks for. Edge-triggered: what a callback leaves in the socket has to be asked
 * for again (see receive); asking for something else tells of what is there already.
 */
static void arm(struct conn *conn)
{
    bool is_full = conn->in.len >= conn->input_limit;
    unsigned wanted = 0;
    if (conn->is_closed)
        wanted = 0;
    else if (conn->write_error != 0) /* the end is told even to those who do not read */
        wanted = IO_READ;
    else if (conn->is_connecting)
        wanted = IO_WRITE;
    else
        wanted =
            (conn->is_reading && !is_full ? IO_READ : 0u) | (conn_output_pending(conn) > 0 ? IO_WRITE : 0u);
    if (wanted == conn->armed)
        return;
    conn->armed = (uint8_t)wanted;
    if (conn->is_closed)
        io_stop(&conn->io);
    else if (!io_watch(worker_loop(conn->worker), &conn->io, conn->fd, wanted | IO_EDGE, ready))
        conn->is_unwatched = true;
    if (conn->tls != NULL && wanted & IO_READ && tls_has_pending(conn->tls))
        io_again(&conn->io, IO_READ); /* it has left the socket, which will not tell of it again */
}

static struct conn *make(struct worker *worker, int fd, const struct conn_handler *handler, void *owner)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        close(fd);
        return NULL;
    }
    *conn = (struct conn){.worker = worker, .handler = handler, .owner = owner, .fd = fd};
    conn->input_limit = CONN_INPUT_LIMIT;
    conn->is_reading = true;
    return conn;
}

struct conn *conn_new(struct worker *worker, int fd, const struct conn_handler *handler, void *owner)
{
    struct conn *conn = make(worker, fd, handler, owner);
    if (conn == NULL)
        return NULL;
    arm(conn);
    if (!conn->is_unwatched)
        return conn;
    conn_free(conn);
    return NULL;
}

COLD struct conn *conn_connect(struct worker *worker, const struct address *to,
                               const struct socket_options *options, const struct conn_handler *handler,
                               void *owner, struct error *error)
{
    int fd = socket(to->as.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_set_state(error, "53000", "socket: %s", strerror(errno));
        return NULL;
    }
    if (options != NULL)
        address_tune(fd, to, options);
    /* A Unix socket whose backlog is full says EAGAIN, and would never become writable: that is a refusal. */
    if (connect(fd, &to->as.any, to->len) != 0 && errno != EINPROGRESS) {
        error_set_state(error, "08006", "connect failed: %s", strerror(errno));
        close(fd);
        return NULL;
    }
    struct conn *conn = make(worker, fd, handler, owner);
    if (conn == NULL) {
        error_set_state(error, "53200", "out of memory");
        return NULL;
    }
    conn->is_connecting = true;
    arm(conn);
    if (!conn->is_unwatched)
        return conn;
    error_set_state(error, "53000", "the socket cannot be watched: %s", strerror(errno));
    conn_free(conn);
    return NULL;
}

static void destroy(struct conn *conn)
{
    io_stop(&conn->io);
    close(conn->fd);
    tls_free(conn->tls);
    buf_free(&conn->in);
    buf_free(&conn->out);
    free(conn);
}

void conn_free(struct conn *conn)
{
    if (conn == NULL || conn->is_freed)
        return;
    conn->is_freed = true;
    if (conn->depth == 0)
        destroy(conn);
}

static void enter(struct conn *conn)
{
    conn->depth++;
}

/* False when the connection is gone. */
static bool leave(struct conn *conn)
{
    conn->depth--;
    if (!conn->is_freed)
        return true;
    if (conn->depth == 0)
        destroy(conn);
    return false;
}

COLD static void end(struct conn *conn, int error)
{
    if (conn->is_closed)
        return;
    conn->is_closed = true;
    arm(conn);
    enter(conn);
    conn->handler->on_closed(conn->owner, error);
    leave(conn);
}

/* Hands bytes to the owner; `from_in` tells whether they are the kept ones. */
static void deliver(struct conn *conn, struct slice data, bool from_in)
{
    enter(conn);
    size_t limit = conn->input_limit;
    conn->input_limit = CONN_INPUT_LIMIT;
    size_t used = conn->handler->on_data(conn->owner, data);
    if (!leave(conn))
        return;
    if (used == 0 && conn->input_limit < limit) /* still the same message */
        conn->input_limit = limit;
    if (from_in) {
        buf_consume(&conn->in, used);
        if (conn->in.len == 0)
            buf_free(&conn->in);
    } else if (used < data.len) {
        buf_append_slice(&conn->in, slice_from(data, used));
    }
    if (buf_failed(&conn->in))
        end(conn, ENOMEM);
    else
        arm(conn);
}

/* The handshake has gone as far as it can. False: there is nothing to read yet, or no more. */
COLD static bool shake_hands(struct conn *conn, bool has_ended)
{
    int error = tls_handshake(conn->tls, has_ended);
    if (error == EAGAIN && conn->write_error == 0)
        return false;
    if (error == EAGAIN)
        error = conn->write_error;
    if (error != 0) {
        end(conn, error == EPIPE ? 0 : error);
        return false;
    }
    if (conn->handler->on_secured != NULL)
        conn->handler->on_secured(conn->owner);
    return !conn->is_freed && !conn->is_closed;
}

/* `has_ended`: the peer will send no more, which is not told a second time. */
static void receive(struct conn *conn, bool has_ended)
{
    if (conn->write_error != 0 && (!conn->is_reading || conn->in.len >= conn->input_limit)) {
        end(conn, conn->write_error);
        return;
    }
    uint8_t *scratch = worker_read_buffer(conn->worker);
    size_t room = WORKER_READ_BYTES;
    if (conn->in.len > 0 && conn->input_limit - conn->in.len < room)
        room = conn->input_limit - conn->in.len;
    ssize_t got;
    if (conn->tls == NULL)
        got = recv(conn->fd, scratch, room, 0);
    else if (tls_is_established(conn->tls) || shake_hands(conn, has_ended))
        got = tls_recv(conn->tls, scratch, room, &has_ended);
    else
        return;
    /* A short read has emptied the socket; after any other there may be more. */
    if (got == (ssize_t)room || (got > 0 && has_ended) || (got < 0 && errno == EINTR))
        io_again(&conn->io, has_ended ? IO_READ | IO_END : IO_READ);
    if (got > 0 && conn->in.len == 0) {
        deliver(conn, slice_make(scratch, (size_t)got), false);
    } else if (got > 0) {
        buf_append(&conn->in, scratch, (size_t)got);
        deliver(conn, buf_slice(&conn->in), true);
    } else if (got == 0) {
        end(conn, 0);
    } else if (errno != EAGAIN && errno != EINTR) {
        end(conn, errno);
    } else if (conn->write_error != 0) {
        end(conn, conn->write_error);
    }
}

COLD static void fail_write(struct conn *conn, int error)
{
    /* What the peer said before it went is still to be read; the end is told from the loop, not from inside a
     * write. */
    conn->write_error = error;
    buf_free(&conn->out);
    conn->out_sent = 0;
    arm(conn);
    io_again(&conn->io, IO_READ);
}

COLD static void flush(struct conn *conn)
{
    ssize_t sent = send(conn->fd, conn->out.data + conn->out_sent, conn_output_pending(conn), MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno == EINTR)
            io_again(&conn->io, IO_WRITE);
        else if (errno != EAGAIN)
            fail_write(conn, errno);
        return;
    }
    conn->out_sent += (size_t)sent;
    if (conn_output_pending(conn) == 0) {
        buf_free(&conn->out);
        conn->out_sent = 0;
    }
    if (conn->was_congested && conn_output_pending(conn) <= CONN_OUTPUT_LOW) {
        conn->was_congested = false;
        if (conn->handler->on_drained != NULL)
            conn->handler->on_drained(conn->owner);
    }
}

COLD static void finish_connect(struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    conn->is_connecting = false;
    if (error != 0)
        end(conn, error);
    else if (conn->handler->on_connected != NULL)
        conn->handler->on_connected(conn->owner);
}

static void ready(struct io *io, unsigned what)
{
    struct conn *conn = list_entry(io, struct conn, io);
    enter(conn);
    if (what & IO_WRITE) {
        if (conn->is_connecting)
            finish_connect(conn);
        else if (conn_output_pending(conn) > 0)
            flush(conn);
    }
    if (!conn->is_freed && !conn->is_closed && conn->armed & IO_READ && what & (IO_READ | IO_END))
        receive(conn, what & IO_END);
    if (!leave(conn))
        return;
    arm(conn);
    if (conn->write_error != 0 && !conn->is_closed) /* reads on to the end, which the socket may never show */
        io_again(&conn->io, IO_READ);
}

COLD static void keep(struct conn *conn, const struct iovec *parts, int count, size_t skip)
{
    if (conn->out_sent > 0 && conn->out_sent >= conn->out.len / 2) {
        buf_consume(&conn->out, conn->out_sent);
        conn->out_sent = 0;
    }
    for (int i = 0; i < count; i++) {
        size_t drop = skip < parts[i].iov_len ? skip : parts[i].iov_len;
        skip -= drop;
        buf_append(&conn->out, (const uint8_t *)parts[i].iov_base + drop, parts[i].iov_len - drop);
    }
    if (buf_failed(&conn->out)) {
        fail_write(conn, ENOMEM);
        return;
    }
    if (conn_is_congested(conn))
        conn->was_congested = true;
}

/* To the socket, as it is. */
static inline void send_parts(struct conn *conn, const struct iovec *parts, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;
    if (total == 0)
        return;
    ssize_t sent = 0;
    if (conn_output_pending(conn) == 0 && !conn->is_connecting) {
        struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
        sent = count == 1 ? send(conn->fd, parts[0].iov_base, total, MSG_NOSIGNAL)
                          : sendmsg(conn->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            fail_write(conn, errno);
            return;
        }
        if (sent < 0)
            sent = 0;
    }
    if ((size_t)sent == total)
        return;
    keep(conn, parts, count, (size_t)sent);
    if (conn->write_error == 0)
        arm(conn);
}

void conn_writev(struct conn *conn, const struct iovec *parts, int count)
{
    if (conn->is_closed || conn->is_freed || conn->write_error != 0)
        return;
    if (conn->tls == NULL)
        send_parts(conn, parts, count);
    else if (!tls_send(conn->tls, parts, count))
        conn_fail(conn, EPROTO);
}

void conn_write(struct conn *conn, const void *data, size_t len)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    conn_writev(conn, &part, 1);
}

COLD void conn_fail(struct conn *conn, int error)
{
    if (!conn->is_closed && !conn->is_freed && conn->write_error == 0)
        fail_write(conn, error);
}

void conn_write_buf(struct conn *conn, const struct buf *built)
{
    if (buf_failed(built))
        conn_fail(conn, ENOMEM);
    else
        conn_write(conn, built->data, built->len);
}

/* ---- TLS ---- */

static void send_encrypted(void *context, const void *data, size_t len)
{
    struct conn *conn = context;
    const struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    if (conn->write_error == 0)
        send_parts(conn, &part, 1);
}

COLD void conn_start_tls(struct conn *conn, struct tls_context *context, const char *host, struct slice ahead)
{
    assert(conn->tls == NULL && !conn->is_connecting);
    conn->tls = tls_new(context, host, ahead, conn->fd, send_encrypted, conn);
    if (conn->tls == NULL)
        conn_fail(conn, ENOMEM);
    else
        io_again(&conn->io, IO_READ);
}

const struct tls *conn_tls(const struct conn *conn)
{
    return conn->tls;
}

COLD const char *conn_error_text(const struct conn *conn, int error)
{
    static _Thread_local char text[160];
    if (error != EPROTO || conn->tls == NULL)
        return error == 0 ? "the peer closed the connection" : strerror(error);
    snprintf(text, sizeof(text), "TLS: %s", tls_problem(conn->tls));
    return text;
}

size_t conn_output_pending(const struct conn *conn)
{
    return conn->out.len - conn->out_sent;
}

size_t conn_input_pending(const struct conn *conn)
{
    return conn->in.len;
}

void conn_set_reading(struct conn *conn, bool on)
{
    if (conn->is_reading == on)
        return;
    conn->is_reading = on;
    arm(conn);
}

bool conn_is_reading(const struct conn *conn)
{
    return conn->is_reading;
}

void conn_set_input_limit(struct conn *conn, size_t limit)
{
    conn->input_limit = limit;
    arm(conn);
}

void conn_kick(struct conn *conn)
{
    if (conn->depth > 0 || conn->is_closed || conn->in.len == 0)
        return;
    deliver(conn, buf_slice(&conn->in), true);
}

COLD void conn_detach(struct conn *conn)
{
    io_stop(&conn->io);
    conn->armed = 0;
    conn->worker = NULL;
}

COLD void conn_attach(struct conn *conn, struct worker *worker)
{
    conn->worker = worker;
    arm(conn);
    if (conn->write_error != 0 && !conn->is_closed)
        io_again(&conn->io, IO_READ);
}

void conn_set_handler(struct conn *conn, const struct conn_handler *handler, void *owner)
{
    conn->handler = handler;
    conn->owner = owner;
}

COLD bool conn_has_news(const struct conn *conn)
{
    if (conn->in.len > 0 || conn->is_closed || conn->write_error != 0 || conn->is_unwatched)
        return true;
    if (conn->tls != NULL && tls_has_pending(conn->tls))
        return true;
    struct pollfd p = {.fd = conn->fd, .events = POLLIN | POLLRDHUP};
    return poll(&p, 1, 0) != 0;
}

bool conn_is_open(const struct conn *conn)
{
    return !conn->is_freed && !conn->is_closed;
}

int conn_fd(const struct conn *conn)
{
    return conn->fd;
}

COLD void conn_local_address(const struct conn *conn, struct address *out)
{
    memset(out, 0, sizeof(*out));
    out->len = sizeof(out->as);
    if (getsockname(conn->fd, &out->as.any, &out->len) != 0)
        out->as.any.sa_family = AF_UNIX;
}

struct worker *conn_worker(const struct conn *conn)
{
    return conn->worker;
}

/* What is left of a connection that only has output to send. */
struct lingering {
    struct list_node node; /* in the worker's list */
    struct conn *conn;
    struct timer timer;
};

COLD static size_t linger_data(void *owner, struct slice data)
{
    (void)owner;
    return data.len;
}

COLD static void linger_end(void *owner, int error)
{
    (void)error;
    struct lingering *lingering = owner;
    timer_stop(&lingering->timer);
    list_remove(worker_lingering(lingering->conn->worker), &lingering->node);
    conn_free(lingering->conn);
    free(lingering);
}

COLD static void linger_timeout(struct timer *timer)
{
    linger_end(list_entry(timer, struct lingering, timer), 0);
}

COLD static void linger_drained(void *owner)
{
    struct lingering *lingering = owner;
    if (conn_output_pending(lingering->conn) == 0)
        linger_end(owner, 0);
    else
        lingering->conn->was_congested = true;
}

static const struct conn_handler linger_handler = {
    .on_data = linger_data, .on_drained = linger_drained, .on_closed = linger_end};

void conn_close_after_output(struct conn *conn)
{
    struct lingering *lingering = NULL;
    if (conn->tls != NULL && !conn->is_closed && conn->write_error == 0)
        tls_say_end(conn->tls);
    if (!conn->is_closed && conn_output_pending(conn) > 0)
        lingering = calloc(1, sizeof(*lingering));
    if (lingering == NULL) {
        if (!conn->is_closed)
            shutdown(conn->fd, SHUT_WR);
        conn_free(conn);
        return;
    }
    lingering->conn = conn;
    list_push_back(worker_lingering(conn->worker), &lingering->node);
    conn->handler = &linger_handler;
    conn->owner = lingering;
    conn->was_congested = true; /* so that the end of the output is told */
    if (conn->depth == 0)       /* else a handler further up the stack may still be reading from it */
        buf_free(&conn->in);
    timer_start(worker_loop(conn->worker), &lingering->timer, LINGER_US, linger_timeout);
}

COLD void conn_end_lingering(struct worker *worker)
{
    struct list_node *node;
    while ((node = list_first(worker_lingering(worker))) != NULL)
        linger_end(list_entry(node, struct lingering, node), 0);
}
