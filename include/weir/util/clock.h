/*
 * clock: time for those who are allowed to ask for it (net and above; pure modules get it as an argument).
 *
 * All durations in Weir are monotonic microseconds, so a wall clock that steps changes nothing but log lines.
 * Tests replace the source with clock_replace. Any thread.
 */
#ifndef WEIR_UTIL_CLOCK_H
#define WEIR_UTIL_CLOCK_H

#include <stdint.h>

#define US_PER_SECOND UINT64_C(1000000)
#define US_PER_MS     UINT64_C(1000)

/* Microseconds since an arbitrary start; never goes back. */
uint64_t clock_now_us(void);

/*
 * The same, as read by the last clock_tick of this thread: when the event at hand began. The loop's callbacks
 * tick; what is done once for every query asks for this rather than for the time itself.
 */
uint64_t clock_event_us(void);
uint64_t clock_tick(void);

/* Microseconds since 1970-01-01 UTC. For people, never for durations. */
uint64_t clock_wall_us(void);

/* CPU time of the calling thread, microseconds. */
uint64_t clock_thread_cpu_us(void);

/* Replaces the monotonic source; NULL restores the real one. Tests only, before threads start. */
void clock_replace(uint64_t (*source)(void));

#endif
