/* flight: one leads, others join while the vector is current, and each of them is told exactly once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/cache/flight.h"

struct world {
    struct generations *generations;
    struct generation *slot;
    struct flight_table *table;
    struct vector_item items[4];
};

static int set_up(void **state)
{
    static struct world world;
    world.generations = generations_new();
    world.slot = generations_get(world.generations, 1, GENERATION_ANY);
    world.table = flight_table_new();
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    generation_unref(world->slot);
    generations_free(world->generations);
    flight_table_free(world->table);
    return 0;
}

static struct flight flight_of(struct world *world, int number)
{
    world->items[number] = (struct vector_item){.slot = world->slot};
    vector_remember(&world->items[number], 1);
    return (struct flight){
        .key = {{1, 2}, SLICE_LITERAL("key")}, .vector = &world->items[number], .vector_count = 1};
}

static void test_c22_many_askers_are_one_flight(void **state)
{
    struct world *world = *state;
    struct flight first = flight_of(world, 0), second = flight_of(world, 1);
    struct flight_waiter waiters[3] = {{.flight = NULL}};
    assert_int_equal(flight_enter(world->table, &first, &waiters[0], false), FLIGHT_LEADS);
    assert_int_equal(flight_enter(world->table, &second, &waiters[1], false), FLIGHT_JOINED);
    assert_true(flight_join(world->table, &first.key, &waiters[2]));
    assert_true(flight_leave(world->table, &waiters[1]));
    assert_false(flight_leave(world->table, &waiters[1]));
    struct list told;
    flight_end(world->table, &first, &told);
    assert_int_equal(told.count, 1);
    assert_ptr_equal(list_first(&told), &waiters[2].node);
    assert_false(flight_leave(world->table, &waiters[2])); /* it is being told */
    assert_false(flight_join(world->table, &first.key, &waiters[0]));
}

static void test_c22_a_dead_fetcher_is_replaced(void **state)
{
    struct world *world = *state;
    struct flight flight = flight_of(world, 0);
    struct flight_waiter waiters[2] = {{.flight = NULL}};
    assert_int_equal(flight_enter(world->table, &flight, NULL, false), FLIGHT_LEADS);
    assert_true(flight_join(world->table, &flight.key, &waiters[0]));
    assert_true(flight_join(world->table, &flight.key, &waiters[1]));
    assert_ptr_equal(flight_promote(world->table, &flight), &waiters[0]);
    assert_true(flight.is_listed); /* the other still waits for it */
    assert_ptr_equal(flight_promote(world->table, &flight), &waiters[1]);
    assert_null(flight_promote(world->table, &flight));
    assert_false(flight.is_listed);
}

static void test_c33_nobody_joins_a_flight_that_a_write_has_overtaken(void **state)
{
    struct world *world = *state;
    struct flight flight = flight_of(world, 0), late = flight_of(world, 1);
    struct flight_waiter waiter = {.flight = NULL};
    assert_int_equal(flight_enter(world->table, &flight, NULL, false), FLIGHT_LEADS);
    generation_mark(world->slot);
    assert_false(flight_join(world->table, &flight.key, &waiter));
    generation_change(world->slot);
    assert_false(flight_join(world->table, &flight.key, &waiter));
    assert_int_equal(flight_enter(world->table, &late, &waiter, false), FLIGHT_APART);
    assert_false(late.is_listed);
    assert_true(flight_remember(world->table, &flight)); /* sent only now: it will see the write */
    assert_true(flight_join(world->table, &flight.key, &waiter));
    struct list told;
    flight_end(world->table, &flight, &told);
    assert_int_equal(told.count, 1);
}

static void a_leader_may_wait_for_itself(void **state)
{
    struct world *world = *state;
    struct flight flight = flight_of(world, 0);
    struct flight_waiter leader = {.flight = NULL};
    assert_int_equal(flight_enter(world->table, &flight, &leader, true), FLIGHT_LEADS);
    assert_ptr_equal(flight_promote(world->table, &flight), &leader);
    assert_null(flight_promote(world->table, &flight));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_c22_many_askers_are_one_flight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_c22_a_dead_fetcher_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_c33_nobody_joins_a_flight_that_a_write_has_overtaken, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_leader_may_wait_for_itself, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
