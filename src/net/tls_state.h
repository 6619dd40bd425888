/*
 * Private to net: TLS of one connection as a machine between a socket and conn. It reads from the socket by
 * itself, since only it knows how much it needs, and hands what it has encrypted to a function that takes
 * all.
 */
#ifndef WEIR_NET_TLS_STATE_H
#define WEIR_NET_TLS_STATE_H

#include <sys/types.h>
#include <sys/uio.h>

#include "weir/net/tls.h"
#include "weir/util/slice.h"

typedef void (*tls_write_fn)(void *context, const void *data, size_t len);

/* `host`: connecting, the name or address that the certificate has to bear (copied). `ahead`: what has been
 * read from the socket already (copied). NULL when memory is out. */
struct tls *tls_new(struct tls_context *context, const char *host, struct slice ahead, int fd,
                    tls_write_fn write, void *write_context);
void tls_free(struct tls *tls); /* NULL is allowed */

/* As far as it goes now: 0 when done, else an errno: EAGAIN, EPROTO (see tls_problem), EPIPE for an end, or
 * that of the socket. `has_ended`: the socket will bring no more events. */
int tls_handshake(struct tls *tls, bool has_ended);
bool tls_is_established(const struct tls *tls);

/* As recv() with a non-blocking socket, EPROTO added. `has_ended` as above; true afterwards, too, when the
 * end has been found behind what was read. */
ssize_t tls_recv(struct tls *tls, uint8_t *out, size_t room, bool *has_ended);
/* Something has been read from the socket that tls_recv has not given yet. */
bool tls_has_pending(const struct tls *tls);

/* All of it, in order; dropped before the end of the handshake. False when that cannot be. */
bool tls_send(struct tls *tls, const struct iovec *parts, int count);
/* Tells the peer that no more will come. */
void tls_say_end(struct tls *tls);

/* What EPROTO was; "" for nothing. */
const char *tls_problem(const struct tls *tls);

#endif
