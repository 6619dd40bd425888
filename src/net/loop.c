/*
 * loop: one epoll instance, the timer queues, and the event base of those who need one.
 *
 *   alone           epoll_wait ──► sockets ──► those to be told again ──► timers that are due ──┐
 *                        ▲─────────────────────────────────────────────────────────────────────┘
 *   with a base     libevent waits; our epoll descriptor and one libevent timer bring it here
 *
 * Alone, a timerfd at next_us is among the sockets, and epoll_wait has no timeout of its own: the kernel
 * would set up a timer for each wait, and a worker waits some ten thousand times a second.
 *
 * next_us is never later than the earliest deadline. Stopping a timer leaves it as it is: the loop then wakes
 * once for nothing, which is cheaper than looking for the next deadline at every query. Queues are few (one
 * for each configured timeout, and for timer_step_us), so finding one is a short walk; those of durations no
 * longer configured stay, empty, until the loop ends.
 */
#include "weir/net/loop.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "weir/util/clock.h"

enum {
    STEP_US = 10 * 1000,
    BATCH = 256, /* events of one turn */
};

struct timer_queue {
    struct timer_queue *next;
    struct loop *loop;
    uint64_t duration_us;
    timer_fn fn;
    struct list timers;
};

struct loop {
    int epoll;
    bool is_stopping;
    bool is_due;     /* the timerfd has said so */
    bool is_firing;  /* timers that are started meanwhile are looked at in the end */
    struct io clock; /* the timerfd */
    struct timer_queue *queues;
    uint64_t next_us; /* UINT64_MAX: no timer is running */
    struct list again;
    int at, count; /* of `events`, while they are handled */
    struct epoll_event events[BATCH];
    struct event_base *base; /* NULL: the loop is alone */
    struct event *readable;  /* of our epoll descriptor */
    struct event *due;       /* at next_us */
};

static void clock_rings(struct io *io, unsigned what)
{
    (void)what;
    io->loop->is_due = true;
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL)
        return NULL;
    loop->next_us = UINT64_MAX;
    list_init(&loop->again);
    int clock = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll >= 0 && clock >= 0 && io_watch(loop, &loop->clock, clock, IO_READ | IO_EDGE, clock_rings))
        return loop;
    if (clock >= 0)
        close(clock);
    if (loop->epoll >= 0)
        close(loop->epoll);
    free(loop);
    return NULL;
}

static void free_base(struct loop *loop)
{
    if (loop->readable != NULL)
        event_free(loop->readable);
    if (loop->due != NULL)
        event_free(loop->due);
    if (loop->base != NULL)
        event_base_free(loop->base);
    loop->base = NULL;
    loop->readable = loop->due = NULL;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    while (loop->queues != NULL) {
        struct timer_queue *queue = loop->queues;
        loop->queues = queue->next;
        free(queue);
    }
    free_base(loop);
    close(loop->clock.fd);
    close(loop->epoll);
    free(loop);
}

/* ---- sockets ---- */

static uint32_t asked(unsigned what)
{
    return (what & IO_READ ? (uint32_t)EPOLLIN | EPOLLRDHUP : 0) | (what & IO_WRITE ? EPOLLOUT : 0) |
           (what & IO_EDGE ? EPOLLET : 0);
}

bool io_watch(struct loop *loop, struct io *io, int fd, unsigned what, io_fn fn)
{
    struct epoll_event event = {.events = asked(what), .data.ptr = io};
    bool is_known = io->loop != NULL;
    if (epoll_ctl(loop->epoll, is_known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
        return false;
    io->loop = loop;
    io->fn = fn;
    io->fd = fd;
    io->what = (uint8_t)what;
    return true;
}

void io_stop(struct io *io)
{
    struct loop *loop = io->loop;
    if (loop == NULL)
        return;
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, io->fd, NULL);
    if (io->again != 0)
        list_remove(&loop->again, &io->node);
    for (int i = loop->at + 1; i < loop->count; i++)
        if (loop->events[i].data.ptr == io)
            loop->events[i].data.ptr = NULL;
    io->loop = NULL;
    io->again = 0;
}

void io_again(struct io *io, unsigned what)
{
    if (io->loop == NULL)
        return;
    if (io->again == 0)
        list_push_back(&io->loop->again, &io->node);
    io->again |= (uint8_t)what;
    if (io->loop->base != NULL)
        event_active(io->loop->readable, EV_READ, 0);
}

static unsigned told(const struct io *io, uint32_t events)
{
    unsigned what = (events & EPOLLIN ? IO_READ : 0) | (events & EPOLLOUT ? IO_WRITE : 0);
    if (events & (EPOLLERR | EPOLLHUP)) /* whoever reads or writes is to find out */
        what |= IO_READ | IO_WRITE;
    what &= io->what;
    return events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP) ? what | IO_END : what;
}

/* What was asked for while these are told waits for the next turn. */
static void tell_again(struct loop *loop)
{
    for (size_t left = loop->again.count; left > 0 && !list_is_empty(&loop->again); left--) {
        clock_tick();
        struct io *io = list_entry(list_pop_front(&loop->again), struct io, node);
        unsigned what = io->again;
        io->again = 0;
        io->fn(io, what);
    }
}

static void wait_and_tell(struct loop *loop, int timeout_ms)
{
    int count = epoll_wait(loop->epoll, loop->events, BATCH, timeout_ms);
    clock_tick();
    loop->count = count > 0 ? count : 0;
    for (loop->at = 0; loop->at < loop->count; loop->at++) {
        struct io *io = loop->events[loop->at].data.ptr;
        if (io == NULL)
            continue;
        if (loop->at > 0) /* the time of this event, not of the wait's end */
            clock_tick();
        io->fn(io, told(io, loop->events[loop->at].events));
    }
    loop->at = loop->count = 0;
    tell_again(loop);
}

/* ---- timers ---- */

static void arm(struct loop *loop)
{
    if (loop->next_us == UINT64_MAX)
        return;
    uint64_t now = clock_now_us();
    uint64_t wait = loop->next_us > now ? loop->next_us - now : 0;
    time_t seconds = (time_t)(wait / US_PER_SECOND);
    if (loop->base != NULL) {
        struct timeval tv = {seconds, (suseconds_t)(wait % US_PER_SECOND)};
        event_add(loop->due, &tv);
    } else {
        /* Nothing at all would stop it. */
        struct itimerspec at = {.it_value = {seconds, (long)(wait % US_PER_SECOND) * 1000 + 1}};
        timerfd_settime(loop->clock.fd, 0, &at, NULL);
    }
}

static void expect(struct loop *loop, uint64_t deadline_us)
{
    if (deadline_us >= loop->next_us)
        return;
    loop->next_us = deadline_us;
    if (!loop->is_firing)
        arm(loop);
}

static void fire_queue(struct timer_queue *queue, uint64_t now)
{
    struct list_node *first;
    while ((first = list_first(&queue->timers)) != NULL) {
        struct timer *timer = list_entry(first, struct timer, node);
        if (timer->deadline_us > now) {
            expect(queue->loop, timer->deadline_us);
            return;
        }
        timer_stop(timer);
        queue->fn(timer);
    }
}

static void fire_due(struct loop *loop, uint64_t now)
{
    loop->next_us = UINT64_MAX;
    loop->is_due = false;
    loop->is_firing = true;
    for (struct timer_queue *queue = loop->queues; queue != NULL; queue = queue->next)
        fire_queue(queue, now);
    loop->is_firing = false;
    arm(loop);
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
    loop->queues = queue;
    return queue;
}

void timer_start(struct loop *loop, struct timer *timer, uint64_t duration_us, timer_fn fn)
{
    timer_stop(timer);
    struct timer_queue *queue = queue_for(loop, duration_us > 0 ? duration_us : 1, fn);
    if (queue == NULL)
        return; /* out of memory: the timeout is lost, the client is not */
    timer->deadline_us = clock_now_us() + queue->duration_us;
    timer->queue = queue;
    list_push_back(&queue->timers, &timer->node);
    expect(loop, timer->deadline_us);
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

size_t loop_queue_count(const struct loop *loop)
{
    size_t count = 0;
    for (const struct timer_queue *queue = loop->queues; queue != NULL; queue = queue->next)
        count++;
    return count;
}

/* ---- turning ---- */

static void turn(struct loop *loop, int timeout_ms)
{
    wait_and_tell(loop, timeout_ms);
    if (loop->is_due || loop->next_us <= clock_event_us())
        fire_due(loop, clock_tick());
}

void loop_turn(struct loop *loop)
{
    if (loop->base != NULL)
        event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    else
        turn(loop, 0);
}

void loop_run(struct loop *loop)
{
    clock_tick();
    while (!loop->is_stopping) {
        if (loop->base != NULL)
            event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
        else
            turn(loop, list_is_empty(&loop->again) ? -1 : 0);
    }
    loop->is_stopping = false;
}

void loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
    if (loop->base != NULL)
        event_base_loopbreak(loop->base);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct loop *loop = arg;
    wait_and_tell(loop, 0);
    if (!list_is_empty(&loop->again))
        event_active(loop->readable, EV_READ, 0);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct loop *loop = arg;
    uint64_t now = clock_tick();
    if (loop->next_us <= now)
        fire_due(loop, now);
    else
        arm(loop);
}

struct event_base *loop_base(struct loop *loop)
{
    if (loop->base != NULL)
        return loop->base;
    struct event_config *config = event_config_new();
    if (config == NULL)
        return NULL;
    /* Not PRECISE_TIMER: it costs a timerfd_settime for every turn. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    if (loop->base == NULL)
        return NULL;
    loop->readable = event_new(loop->base, loop->epoll, EV_READ | EV_PERSIST, on_readable, loop);
    loop->due = evtimer_new(loop->base, on_due, loop);
    if (loop->readable == NULL || loop->due == NULL || event_add(loop->readable, NULL) != 0) {
        free_base(loop);
        return NULL;
    }
    if (!list_is_empty(&loop->again))
        event_active(loop->readable, EV_READ, 0);
    arm(loop);
    return loop->base;
}
