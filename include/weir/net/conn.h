/*
 * conn: one socket as a stream of bytes with back-pressure, confined to a worker.
 *
 * Reading goes into the worker's shared buffer, so a quiet connection owns no memory but this object. What
 * the handler does not take is copied, kept, and given again together with what follows. Writing goes to the
 * socket at once; only what it does not accept is copied, and sent when the socket allows. Knows nothing of
 * PostgreSQL. With TLS, the bytes are those inside; everything else is the same.
 *
 * Every handler function may free any connection, its own included: freeing inside a callback is deferred to
 * its end.
 */
#ifndef WEIR_NET_CONN_H
#define WEIR_NET_CONN_H

#include <sys/uio.h>

#include "weir/net/address.h"
#include "weir/net/worker.h"
#include "weir/util/slice.h"

enum {
    CONN_INPUT_LIMIT = 64 * 1024, /* kept input before reading stops, unless set otherwise */
    CONN_OUTPUT_HIGH = 64 * 1024, /* kept output above which the one who writes should pause */
    CONN_OUTPUT_LOW = 16 * 1024,  /* and at which on_drained tells that it may go on */
};

struct conn;

struct conn_handler {
    /* Bytes have come: returns how many of them are done with. */
    size_t (*on_data)(void *owner, struct slice data);
    /* conn_connect has succeeded. */
    void (*on_connected)(void *owner);
    /* Kept output has fallen to CONN_OUTPUT_LOW after being above CONN_OUTPUT_HIGH. */
    void (*on_drained)(void *owner);
    /* The stream has ended: 0 for an orderly end, or an errno. Called once; the owner frees the connection.
     */
    void (*on_closed)(void *owner, int error);
    /* The handshake of conn_start_tls is done; NULL for who need not know. What is written before this is
     * lost.
     */
    void (*on_secured)(void *owner);
};

/* Takes over `fd`, which must be non-blocking. NULL (fd closed) when memory is out. Reading is on. */
struct conn *conn_new(struct worker *worker, int fd, const struct conn_handler *handler, void *owner);

/* Begins to connect; on_connected or on_closed follows, never before this returns. NULL and an error when it
 * cannot even begin. `options` are set before (NULL: none): a receive buffer made smaller later would lose
 * what the peer may already send. */
struct conn *conn_connect(struct worker *worker, const struct address *to,
                          const struct socket_options *options, const struct conn_handler *handler,
                          void *owner, struct error *error);

/* Closes the socket; kept output that was not sent is lost (see conn_close_after_output). Harmless on NULL.
 */
void conn_free(struct conn *conn);

/* Gives up ownership: what is kept is sent, within a few seconds, and then the connection frees itself. */
void conn_close_after_output(struct conn *conn);

/* Ends those that are still at it. For the end of a worker, whose loop does not run any more. */
void conn_end_lingering(struct worker *worker);

/* Order is kept across calls. Errors show up later, in on_closed. */
void conn_write(struct conn *conn, const void *data, size_t len);
void conn_writev(struct conn *conn, const struct iovec *parts, int count);

/* What was built; where memory ran out over it, nothing is written and the connection ends: half a message is
 * worse. */
struct buf;
void conn_write_buf(struct conn *conn, const struct buf *built);
/* The stream cannot go on: nothing more is written, and on_closed follows from the loop. */
void conn_fail(struct conn *conn, int error);

/*
 * From here on the bytes are encrypted, after a handshake: as the server of it or as its client, as the
 * context says, of which the connection takes a reference. `ahead`: bytes of the handshake that on_data was
 * given, to be counted there as done with. `host`: what the server's certificate has to bear; ignored by the
 * server. What goes wrong comes as on_closed, EPROTO for what TLS itself complains of.
 */
struct tls_context;
struct tls;
void conn_start_tls(struct conn *conn, struct tls_context *context, const char *host, struct slice ahead);
/* For questions (net/tls.h); NULL without TLS. */
const struct tls *conn_tls(const struct conn *conn);
/* What on_closed's error means, for people; valid until the next call on this thread. */
const char *conn_error_text(const struct conn *conn, int error);

size_t conn_output_pending(const struct conn *conn);
size_t conn_input_pending(const struct conn *conn);
static inline bool conn_is_congested(const struct conn *conn)
{
    return conn_output_pending(conn) > CONN_OUTPUT_HIGH;
}

/* Off: bytes stay in the kernel, and so does the news of an end. */
void conn_set_reading(struct conn *conn, bool on);
bool conn_is_reading(const struct conn *conn);
/* Until some of it has been taken: a wider limit is for one message. */
void conn_set_input_limit(struct conn *conn, size_t limit);

/* Offers the kept input to the handler again. Not from within on_data of the same connection (it does nothing
 * there). */
void conn_kick(struct conn *conn);

/* Moves a connection between workers: detach on the old thread, attach on the new one. Nothing may happen in
 * between. */
void conn_detach(struct conn *conn);
void conn_attach(struct conn *conn, struct worker *worker);

/* Changes who is told. */
void conn_set_handler(struct conn *conn, const struct conn_handler *handler, void *owner);

/* True when an idle connection has something to read (data or its end) that the loop has not delivered yet.
 */
bool conn_has_news(const struct conn *conn);

/* False after conn_free; for a handler that looks at its own connection before it returns. */
bool conn_is_open(const struct conn *conn);

int conn_fd(const struct conn *conn);
void conn_local_address(const struct conn *conn, struct address *out);
struct worker *conn_worker(const struct conn *conn);

#endif
