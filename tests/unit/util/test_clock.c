/* clock: monotonic, replaceable; the wall clock and CPU time are what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "weir/util/clock.h"

static uint64_t pretended;

static uint64_t pretend(void)
{
    return pretended;
}

static void never_goes_back(void **state)
{
    (void)state;
    uint64_t last = clock_now_us();
    for (int i = 0; i < 100000; i++) {
        uint64_t now = clock_now_us();
        assert_true(now >= last);
        last = now;
    }
}

static void counts_microseconds(void **state)
{
    (void)state;
    uint64_t before = clock_now_us();
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    uint64_t passed = clock_now_us() - before;
    assert_in_range(passed, 20 * US_PER_MS, 10 * US_PER_SECOND);
}

static void can_be_replaced(void **state)
{
    (void)state;
    clock_replace(pretend);
    pretended = 42;
    assert_int_equal(clock_now_us(), 42);
    pretended = 43;
    assert_int_equal(clock_now_us(), 43);
    clock_replace(NULL);
    assert_true(clock_now_us() != 43);
}

static void wall_time_is_since_1970(void **state)
{
    (void)state;
    uint64_t seconds = (uint64_t)time(NULL);
    assert_in_range(clock_wall_us() / US_PER_SECOND, seconds, seconds + 5);
}

static void cpu_time_stands_still_while_sleeping(void **state)
{
    (void)state;
    uint64_t before = clock_thread_cpu_us();
    nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
    assert_true(clock_thread_cpu_us() - before < 80 * US_PER_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_goes_back),
        cmocka_unit_test(counts_microseconds),
        cmocka_unit_test(can_be_replaced),
        cmocka_unit_test(wall_time_is_since_1970),
        cmocka_unit_test(cpu_time_stands_still_while_sleeping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
