/*
 * listener: listening sockets, and what to do with those who come.
 *
 * Lives on one worker's thread (or the control thread). When descriptors run out it pauses for a moment
 * instead of spinning, and says so in the log.
 */
#ifndef WEIR_NET_LISTENER_H
#define WEIR_NET_LISTENER_H

#include "weir/net/address.h"
#include "weir/net/worker.h"

struct listener;

/* A connection has come; the callee owns the non-blocking `fd`. `local` tells which socket it came to. */
typedef void (*listener_fn)(void *context, int fd, const struct address *peer, const struct address *local);

struct listener_options {
    int backlog;
    int defer_accept_seconds; /* TCP_DEFER_ACCEPT; 0 for none; none where is_shared */
    int unix_mode;            /* permission bits of a Unix socket */
    const char *unix_group;   /* NULL or "" to leave it */
    int buffer_bytes;         /* of the kernel, for each connection; 0: the system's own */
    bool is_shared;           /* other processes may listen on the same port (SO_REUSEPORT) */
};

/* Binds and listens, but accepts nothing until listener_start: any thread may do this, so errors show before
 * threads start. */
struct listener *listener_open(const struct address *at, const struct listener_options *options,
                               struct error *error);

/* From the thread of `loop` (or before it runs). */
void listener_start(struct listener *listener, struct loop *loop, listener_fn fn, void *context);

/* Stops accepting, keeps the socket; listener_start goes on. */
void listener_pause(struct listener *listener);

/* Takes in everyone who has got through to this socket, then closes it: whoever comes later meets another
 * process that shares the port, or nobody. From the thread of its loop. */
void listener_close(struct listener *listener);

/* Closes, and removes the file of a Unix socket. Harmless on NULL. */
void listener_free(struct listener *listener);

const struct address *listener_address(const struct listener *listener);

#endif
