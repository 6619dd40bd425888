/* pump: runs a loop on the test's own thread until something has happened, for at most ten seconds. */
#ifndef WEIR_TESTS_NET_PUMP_H
#define WEIR_TESTS_NET_PUMP_H

#include <unistd.h>

#include "weir/net/loop.h"
#include "weir/util/clock.h"

#define pump_until(loop, condition)                                                                          \
    do {                                                                                                     \
        uint64_t give_up_us = clock_now_us() + 10 * US_PER_SECOND;                                           \
        while (!(condition) && clock_now_us() < give_up_us) {                                                \
            loop_turn(loop);                                                                                 \
            usleep(100);                                                                                     \
        }                                                                                                    \
        assert_true(condition);                                                                              \
    } while (0)

/* Long enough for whatever is ready; nothing is expected to happen later. */
static inline void pump_rounds(struct loop *loop)
{
    for (int i = 0; i < 20; i++) {
        loop_turn(loop);
        usleep(200);
    }
}

#endif
