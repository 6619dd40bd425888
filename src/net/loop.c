/*
 * loop: the event base and the timer queues.
 *
 * A queue's libevent timer is armed for its first deadline. Stopping the first timer leaves it armed: it then
 * wakes once for nothing, which is cheaper than disarming for every query. Queues are few (one for each
 * configured timeout, and for timer_step_us), so finding one is a short walk; those of durations no longer
 * configured stay, empty, until the loop ends.
 */
#include "weir/net/loop.h"

#include <stdlib.h>

#include <event2/event.h>

#include "weir/util/clock.h"

enum { STEP_US = 10 * 1000 };

struct timer_queue {
    struct timer_queue *next;
    struct loop *loop;
    uint64_t duration_us;
    timer_fn fn;
    struct list timers;
    struct event *event;
    bool is_armed;
};

struct loop {
    struct event_base *base;
    struct timer_queue *queues;
};

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    struct event_config *config = event_config_new();
    if (loop != NULL && config != NULL) {
        /* Not PRECISE_TIMER: it costs a timerfd_settime for every turn. */
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        loop->base = event_base_new_with_config(config);
    }
    if (config != NULL)
        event_config_free(config);
    if (loop == NULL || loop->base == NULL) {
        free(loop);
        return NULL;
    }
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    while (loop->queues != NULL) {
        struct timer_queue *queue = loop->queues;
        loop->queues = queue->next;
        event_free(queue->event);
        free(queue);
    }
    event_base_free(loop->base);
    free(loop);
}

void loop_run(struct loop *loop)
{
    event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void loop_stop(struct loop *loop)
{
    event_base_loopbreak(loop->base);
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

size_t loop_queue_count(const struct loop *loop)
{
    size_t count = 0;
    for (const struct timer_queue *queue = loop->queues; queue != NULL; queue = queue->next)
        count++;
    return count;
}

static void arm(struct timer_queue *queue, uint64_t now)
{
    struct list_node *first = list_first(&queue->timers);
    queue->is_armed = first != NULL;
    if (first == NULL)
        return;
    uint64_t deadline = list_entry(first, struct timer, node)->deadline_us;
    uint64_t wait = deadline > now ? deadline - now : 0;
    struct timeval tv = {(time_t)(wait / US_PER_SECOND), (suseconds_t)(wait % US_PER_SECOND)};
    event_add(queue->event, &tv);
}

static void fire(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct timer_queue *queue = arg;
    uint64_t now = clock_tick();
    for (;;) {
        struct list_node *first = list_first(&queue->timers);
        if (first == NULL)
            break;
        struct timer *timer = list_entry(first, struct timer, node);
        if (timer->deadline_us > now)
            break;
        timer_stop(timer);
        queue->fn(timer);
    }
    arm(queue, clock_now_us());
}

static struct timer_queue *queue_for(struct loop *loop, uint64_t duration_us, timer_fn fn)
{
    for (struct timer_queue *queue = loop->queues; queue != NULL; queue = queue->next)
        if (queue->duration_us == duration_us && queue->fn == fn)
            return queue;
    struct timer_queue *queue = calloc(1, sizeof(*queue));
    if (queue == NULL)
        return NULL;
    *queue = (struct timer_queue){.next = loop->queues, .loop = loop, .duration_us = duration_us, .fn = fn};
    list_init(&queue->timers);
    queue->event = event_new(loop->base, -1, 0, fire, queue);
    if (queue->event == NULL) {
        free(queue);
        return NULL;
    }
    loop->queues = queue;
    return queue;
}

void timer_start(struct loop *loop, struct timer *timer, uint64_t duration_us, timer_fn fn)
{
    timer_stop(timer);
    struct timer_queue *queue = queue_for(loop, duration_us > 0 ? duration_us : 1, fn);
    if (queue == NULL)
        return; /* out of memory: the timeout is lost, the client is not */
    uint64_t now = clock_now_us();
    timer->deadline_us = now + queue->duration_us;
    timer->queue = queue;
    list_push_back(&queue->timers, &timer->node);
    if (!queue->is_armed)
        arm(queue, now);
}

uint64_t timer_step_us(uint64_t wait_us)
{
    uint64_t step = STEP_US;
    while (step <= wait_us / 2)
        step *= 2;
    return step;
}

void timer_stop(struct timer *timer)
{
    if (timer->queue == NULL)
        return;
    list_remove(&timer->queue->timers, &timer->node);
    timer->queue = NULL;
}
