/*
 * loop: one event base, confined to one thread, and timers that cost nothing while they do not fire.
 *
 * Timers of the same duration and function share a queue: the order of starting is the order of firing, so
 * starting and stopping are list operations and one libevent event serves the whole queue.
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

typedef void (*timer_fn)(struct timer *timer);

/* Embedded in the object it belongs to (list_entry finds that); zero-initialised means stopped. */
struct timer {
    struct list_node node;
    uint64_t deadline_us;
    struct timer_queue *queue;
};

/* NULL when the system refuses an event base. Created by any thread, then used by one. */
struct loop *loop_new(void);
void loop_free(struct loop *loop);

/* Runs until loop_stop. */
void loop_run(struct loop *loop);
/* From the loop's own thread; others post a mail that calls it. */
void loop_stop(struct loop *loop);

/* How many queues of timers there are: one for each duration and function that was ever used. */
size_t loop_queue_count(const struct loop *loop);

/* For libevent-based users (evhttp, hiredis, libpq sockets) on the same thread. */
struct event_base *loop_base(struct loop *loop);

/* Fires `fn` once, `duration_us` from now (at least one microsecond). A running timer is restarted. */
void timer_start(struct loop *loop, struct timer *timer, uint64_t duration_us, timer_fn fn);
/*
 * For a wait of any length, such as a back-off, where each length would make a queue for good: 10 ms, or the
 * longest of its doubles that does not go beyond the wait. Who is woken looks how much is left, and waits
 * again.
 */
uint64_t timer_step_us(uint64_t wait_us);
/* Harmless on a stopped timer. */
void timer_stop(struct timer *timer);

static inline bool timer_is_running(const struct timer *timer)
{
    return timer->queue != NULL;
}

#endif
