/* clock: the three clocks of the system behind one replaceable door. */
#include "weir/util/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t (*replaced)(void);

static uint64_t read_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * US_PER_SECOND + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t clock_now_us(void)
{
    return replaced != NULL ? replaced() : read_us(CLOCK_MONOTONIC);
}

static _Thread_local uint64_t event_us;

uint64_t clock_tick(void)
{
    event_us = clock_now_us();
    return event_us;
}

uint64_t clock_event_us(void)
{
    return event_us;
}

uint64_t clock_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

uint64_t clock_thread_cpu_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

void clock_replace(uint64_t (*source)(void))
{
    replaced = source;
}
