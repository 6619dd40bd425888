/* generations: marks, changes, vectors; and with threads, that no reader believes what a writer has made old.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "weir/cache/generations.h"

static void remembers_only_what_is_clean(void **state)
{
    (void)state;
    struct generations *g = generations_new();
    struct generation *slot = generations_get(g, 17, GENERATION_ANY);
    struct vector_item item = {.slot = slot};
    assert_true(vector_remember(&item, 1));
    assert_true(vector_is_current(&item, 1));
    generation_mark(slot);
    assert_false(vector_is_current(&item, 1));
    struct vector_item dirty = {.slot = slot};
    assert_false(vector_remember(&dirty, 1));
    generation_clear(slot);
    assert_true(vector_is_current(&item, 1)); /* nothing was written after all */
    generation_mark(slot);
    generation_change(slot);
    assert_false(vector_is_current(&item, 1));
    generation_unref(slot);
    generations_free(g);
}

static void test_c12_a_read_begun_before_the_write_is_not_current_after_it(void **state)
{
    (void)state;
    struct generations *g = generations_new();
    struct generation *slot = generations_get(g, 1, GENERATION_ANY);
    struct vector_item fill = {.slot = slot};
    assert_true(vector_remember(&fill, 1)); /* the read begins */
    generation_mark(slot);                  /* a write begins and completes while it runs */
    generation_change(slot);
    assert_false(vector_is_current(&fill, 1)); /* the read may not store */
    generation_unref(slot);
    generations_free(g);
}

static void marks_add_up(void **state)
{
    (void)state;
    struct generations *g = generations_new();
    struct generation *slot = generations_get(g, 1, GENERATION_ANY);
    uint64_t token = generation_token(generation_read(slot));
    for (int i = 0; i < 1000; i++)
        generation_mark(slot);
    for (int i = 0; i < 999; i++)
        generation_change(slot);
    assert_false(generation_is_clean(generation_read(slot)));
    generation_clear(slot);
    assert_true(generation_is_clean(generation_read(slot)));
    assert_int_equal(generation_token(generation_read(slot)), token + 999);
    generation_unref(slot);
    generations_free(g);
}

static bool is_even(void *context, uint32_t relation)
{
    (void)context;
    return relation % 2 == 0;
}

static void pruned_slots_live_while_referenced(void **state)
{
    (void)state;
    struct generations *g = generations_new();
    struct generation *odd = generations_get(g, 7, GENERATION_ANY),
                      *even = generations_get(g, 8, GENERATION_ANY);
    assert_int_equal(generations_count(g), 2);
    generations_prune(g, is_even, NULL);
    assert_int_equal(generations_count(g), 1);
    struct generation *again = generations_get(g, 7, GENERATION_ANY);
    assert_ptr_not_equal(again, odd);
    assert_true(generation_is_clean(generation_read(odd)));
    generation_unref(again);
    generation_unref(odd);
    generation_unref(even);
    generations_free(g);
}

/* --- threads: a "table" whose value writers raise, and readers that cache it --- */

enum { WRITERS = 2, READERS = 2, WRITES = 20000 };

static struct {
    struct generation *slot;
    _Atomic uint64_t row;       /* what PostgreSQL has committed */
    _Atomic uint64_t completed; /* what a client has been told is committed */
    _Atomic bool is_over;
    _Atomic uint64_t hits;
    _Atomic uint64_t stale;
} world;

static void raise_to(_Atomic uint64_t *value, uint64_t at_least)
{
    uint64_t seen = atomic_load(value);
    while (seen < at_least && !atomic_compare_exchange_weak(value, &seen, at_least))
        ;
}

static void *write_rows(void *arg)
{
    (void)arg;
    for (int i = 0; i < WRITES; i++) {
        generation_mark(world.slot);
        uint64_t mine = atomic_fetch_add(&world.row, 1) + 1; /* the commit */
        generation_change(world.slot);
        raise_to(&world.completed, mine); /* the completion is passed on */
        if (i % 16 == 0)
            sched_yield();
    }
    return NULL;
}

static void *read_rows(void *arg)
{
    (void)arg;
    struct vector_item entry = {.slot = world.slot};
    uint64_t answer = 0;
    bool has_entry = false;
    while (!atomic_load(&world.is_over)) {
        uint64_t promised = atomic_load(&world.completed);
        if (has_entry && vector_is_current(&entry, 1)) {
            atomic_fetch_add(&world.hits, 1);
            if (answer < promised)
                atomic_fetch_add(&world.stale, 1);
            continue;
        }
        has_entry = vector_remember(&entry, 1); /* before the query is sent */
        answer = atomic_load(&world.row);
    }
    return NULL;
}

static void test_c12_no_reader_is_behind_a_completed_write(void **state)
{
    (void)state;
    struct generations *g = generations_new();
    world.slot = generations_get(g, 1, GENERATION_ANY);
    pthread_t writers[WRITERS], readers[READERS];
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_rows, NULL), 0);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&writers[i], NULL, write_rows, NULL), 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    atomic_store(&world.is_over, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&world.stale), 0);
    assert_true(generation_is_clean(generation_read(world.slot)));
    assert_int_equal(generation_token(generation_read(world.slot)), 1 + WRITERS * WRITES);
    generation_unref(world.slot);
    generations_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembers_only_what_is_clean),
        cmocka_unit_test(test_c12_a_read_begun_before_the_write_is_not_current_after_it),
        cmocka_unit_test(marks_add_up),
        cmocka_unit_test(pruned_slots_live_while_referenced),
        cmocka_unit_test(test_c12_no_reader_is_behind_a_completed_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
