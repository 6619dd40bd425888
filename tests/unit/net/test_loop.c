/* loop: timers fire once, in order, never early; restarting, stopping, and doing so from inside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pump.h"

enum { MANY = 1000 };

struct alarm {
    struct timer timer;
    uint64_t due_us;
    int number;
};

static struct loop *loop;
static int fired, order[MANY];
static uint64_t earliest_us; /* the most that any alarm has been early */

static struct alarm *alarm_of(struct timer *timer)
{
    return list_entry(timer, struct alarm, timer);
}

static void ring(struct timer *timer)
{
    struct alarm *alarm = alarm_of(timer);
    uint64_t now = clock_now_us();
    assert_false(timer_is_running(timer));
    if (now < alarm->due_us && alarm->due_us - now > earliest_us)
        earliest_us = alarm->due_us - now;
    order[fired++] = alarm->number;
}

static void start(struct alarm *alarm, uint64_t duration_us, timer_fn fn)
{
    alarm->due_us = clock_now_us() + duration_us;
    timer_start(loop, &alarm->timer, duration_us, fn);
}

static int set_up(void **state)
{
    (void)state;
    fired = 0;
    earliest_us = 0;
    loop = loop_new();
    return loop == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static void fire_in_order_and_never_early(void **state)
{
    (void)state;
    struct alarm alarms[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    start(&alarms[3], 60 * US_PER_MS, ring);
    start(&alarms[0], 5 * US_PER_MS, ring);
    start(&alarms[2], 30 * US_PER_MS, ring);
    start(&alarms[1], 12345, ring);
    pump_until(loop, fired == 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(order[i], i);
    assert_int_equal(earliest_us, 0);
}

static void many_of_one_duration_keep_their_order(void **state)
{
    (void)state;
    struct alarm *alarms = calloc(MANY, sizeof(*alarms));
    for (int i = 0; i < MANY; i++) {
        alarms[i].number = i;
        start(&alarms[i], 3 * US_PER_MS, ring);
    }
    pump_until(loop, fired == MANY);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(order[i], i);
    assert_int_equal(earliest_us, 0);
    free(alarms);
}

static void a_stopped_timer_does_not_fire(void **state)
{
    (void)state;
    struct alarm alarms[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    for (int i = 0; i < 3; i++)
        start(&alarms[i], 5 * US_PER_MS, ring);
    timer_stop(&alarms[0].timer); /* the one that the queue is armed for */
    timer_stop(&alarms[0].timer); /* harmless */
    assert_false(timer_is_running(&alarms[0].timer));
    pump_until(loop, fired == 2);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 2);
    struct alarm never = {0};
    timer_stop(&never.timer);
}

static void p21_restarting_pushes_the_deadline_and_fires_once(void **state)
{
    (void)state;
    struct alarm early = {.number = 0}, late = {.number = 1};
    start(&early, 20 * US_PER_MS, ring);
    start(&late, 20 * US_PER_MS, ring);
    usleep(10000);
    start(&early, 20 * US_PER_MS, ring);
    pump_until(loop, fired == 2);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 0);
    assert_int_equal(earliest_us, 0);
    usleep(25000);
    pump_rounds(loop);
    assert_int_equal(fired, 2);
}

static void a_timer_may_change_its_duration_and_function(void **state)
{
    (void)state;
    struct alarm alarm = {.number = 7};
    start(&alarm, 10 * US_PER_SECOND, ring);
    start(&alarm, US_PER_MS, ring);
    pump_until(loop, fired == 1);
    start(&alarm, 0, ring); /* at once, but from the loop */
    assert_int_equal(fired, 1);
    pump_until(loop, fired == 2);
}

static struct alarm peers[3];

static void ring_and_stop_the_next(struct timer *timer)
{
    ring(timer);
    timer_stop(&peers[1].timer);
}

static void one_may_stop_another_that_is_due(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        peers[i] = (struct alarm){.number = i};
        start(&peers[i], 2 * US_PER_MS, ring_and_stop_the_next);
    }
    usleep(5000);
    pump_until(loop, fired == 2);
    pump_rounds(loop);
    assert_int_equal(fired, 2);
    assert_int_equal(order[1], 2);
}

static void ring_again(struct timer *timer)
{
    ring(timer);
    if (fired < 5)
        start(alarm_of(timer), 2 * US_PER_MS, ring_again);
}

static void one_may_start_itself_again(void **state)
{
    (void)state;
    struct alarm alarm = {.number = 1};
    uint64_t begun = clock_now_us();
    start(&alarm, 2 * US_PER_MS, ring_again);
    pump_until(loop, fired == 5);
    assert_true(clock_now_us() - begun >= 10 * US_PER_MS);
    assert_int_equal(earliest_us, 0);
}

static void ring_and_free(struct timer *timer)
{
    fired++;
    free(alarm_of(timer));
}

static void one_may_free_what_it_is_in(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        start(calloc(1, sizeof(struct alarm)), US_PER_MS, ring_and_free);
    pump_until(loop, fired == 10);
}

static void a_thousand_different_waits_have_few_queues(void **state)
{
    (void)state;
    struct alarm *alarms = calloc(MANY, sizeof(*alarms));
    for (uint64_t i = 0; i < MANY; i++) {
        uint64_t wait = i * i * 15; /* up to 15 seconds */
        start(&alarms[i], timer_step_us(wait), ring);
    }
    assert_in_range(loop_queue_count(loop), 2, 12);
    for (int i = 0; i < MANY; i++)
        timer_stop(&alarms[i].timer);
    free(alarms);
}

static void waiting_in_steps_comes_to_the_whole_wait(void **state)
{
    (void)state;
    for (uint64_t wait = 1; wait < 3600 * US_PER_SECOND; wait = wait * 3 / 2 + 7) {
        uint64_t waited = 0;
        int wakes = 0;
        while (waited < wait) {
            waited += timer_step_us(wait - waited);
            wakes++;
        }
        assert_true(waited - wait < 10 * US_PER_MS);
        assert_in_range(wakes, 1, 20);
    }
    assert_true(timer_step_us(UINT64_MAX) > UINT64_MAX / 4);
}

static void stop_the_loop(struct timer *timer)
{
    (void)timer;
    fired++;
    loop_stop(loop);
}

static void runs_until_it_is_stopped(void **state)
{
    (void)state;
    struct alarm alarm = {0};
    start(&alarm, 5 * US_PER_MS, stop_the_loop);
    loop_run(loop);
    assert_int_equal(fired, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fire_in_order_and_never_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_of_one_duration_keep_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stopped_timer_does_not_fire, set_up, tear_down),
        cmocka_unit_test_setup_teardown(p21_restarting_pushes_the_deadline_and_fires_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_timer_may_change_its_duration_and_function, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_may_stop_another_that_is_due, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_may_start_itself_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_may_free_what_it_is_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_thousand_different_waits_have_few_queues, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waiting_in_steps_comes_to_the_whole_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(runs_until_it_is_stopped, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
