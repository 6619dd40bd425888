/*
 * loop: what one thread waits for: sockets, and timers that cost nothing while they do not fire.
 *
 * Sockets are watched by epoll itself, edge-triggered where the watcher asks for it: the kernel then need not
 * look at a socket again to find that it was read, and the end of a stream is told along with the last bytes,
 * which libevent 2.1 cannot do for a reset. Timers of the same duration and function share a queue: the order
 * of starting is the order of firing, so starting and stopping are list operations.
 *
 * Users of libevent (HTTP, libpq, signals) get an event base from loop_base. The first who asks turns the
 * roles around: from then on libevent runs, and the loop is one of its events. Workers never ask.
 */
#ifndef WEIR_NET_LOOP_H
#define WEIR_NET_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/util/list.h"

struct event_base;
struct loop;
struct timer;
struct timer_queue;
struct io;

/* NULL when the system refuses. Created by any thread, then used by one. */
struct loop *loop_new(void);
void loop_free(struct loop *loop);

/* Runs until loop_stop. */
void loop_run(struct loop *loop);
/* From the loop's own thread; others post a mail that calls it. */
void loop_stop(struct loop *loop);
/* One turn, which does not wait. For tests, and for a thread that has something else to look at. */
void loop_turn(struct loop *loop);

/* For evhttp, libpq's sockets and signals on the same thread; NULL when memory is out. */
struct event_base *loop_base(struct loop *loop);

/* ---- sockets ---- */

enum {
    IO_READ = 1,
    IO_WRITE = 2,
    IO_END = 4,  /* told, not asked for: no more will come, or the socket has failed; reading says which */
    IO_EDGE = 8, /* each arrival is told once; without it as long as there is something to read */
};

typedef void (*io_fn)(struct io *io, unsigned what);

/* Embedded in the object it belongs to (list_entry finds that); zero-initialised means that it watches
 * nothing. */
struct io {
    struct list_node node; /* among those to be told again */
    struct loop *loop;     /* NULL: watches nothing */
    io_fn fn;
    int fd;
    uint8_t what;
    uint8_t again;
};

/*
 * Begins to watch, or watches for something else from now on: what is there already is told too. False when
 * the system refuses. `fn` may stop and free any, its own included.
 */
bool io_watch(struct loop *loop, struct io *io, int fd, unsigned what, io_fn fn);
/* Before the descriptor is closed. Harmless on one that watches nothing. */
void io_stop(struct io *io);
/* `fn` is called once more in the next turn, whatever the socket says: for who has not taken all. */
void io_again(struct io *io, unsigned what);

/* ---- timers ---- */

typedef void (*timer_fn)(struct timer *timer);

/* Embedded likewise; zero-initialised means stopped. */
struct timer {
    struct list_node node;
    uint64_t deadline_us;
    struct timer_queue *queue;
};

/* Fires `fn` once, `duration_us` from now (at least one microsecond). A running timer is restarted. */
void timer_start(struct loop *loop, struct timer *timer, uint64_t duration_us, timer_fn fn);
/* Harmless on a stopped timer. */
void timer_stop(struct timer *timer);

static inline bool timer_is_running(const struct timer *timer)
{
    return timer->queue != NULL;
}

/*
 * For a wait of any length, such as a back-off, where each length would make a queue for good: 10 ms, or the
 * longest of its doubles that does not go beyond the wait. Who is woken looks how much is left, and waits
 * again.
 */
uint64_t timer_step_us(uint64_t wait_us);

/* How many queues of timers there are: one for each duration and function that was ever used. */
size_t loop_queue_count(const struct loop *loop);

#endif
