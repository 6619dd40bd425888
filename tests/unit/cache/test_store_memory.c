/* store_memory: exact keys, bounds that hold, worth, expiry, generations; and all of it from several threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/cache/key.h"
#include "weir/cache/store_memory.h"

static struct generations *generations;
static struct generation *slot;

static int set_up(void **state)
{
    (void)state;
    generations = generations_new();
    slot = generations_get(generations, 1, GENERATION_ANY);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    generation_unref(slot);
    generations_free(generations);
    return 0;
}

static struct entry_key key_of(struct buf *scratch, const char *text)
{
    struct entry_key key;
    const struct key_parts parts = {.scope = 1, .text = slice_str(text)};
    assert_true(key_build(scratch, &parts, 0, &key));
    return key;
}

struct making {
    const char *text;
    size_t bytes;
    uint64_t cost_us;
    uint64_t expires_us;
    const char *description;
};

static struct entry *make(struct making m)
{
    struct buf scratch = BUF_INIT;
    char *rows = malloc(m.bytes + 1);
    memset(rows, 'D', m.bytes + 1);
    struct vector_item item = {.slot = slot, .value = generation_read(slot)};
    struct entry_contents contents = {.key = key_of(&scratch, m.text),
                                      .vector = &item,
                                      .vector_count = 1,
                                      .cost_us = m.cost_us,
                                      .expires_us = m.expires_us > 0 ? m.expires_us : UINT64_MAX};
    contents.parts[ENTRY_ROWS] = slice_make(rows, m.bytes);
    contents.parts[ENTRY_ROW_DESCRIPTION] = slice_str(m.description);
    struct entry *entry = entry_new(&contents);
    free(rows);
    buf_free(&scratch);
    return entry;
}

static bool put(struct store_memory *s, struct making m)
{
    struct entry *entry = make(m);
    bool is_taken = store_memory_put(s, entry, 0);
    entry_unref(entry);
    return is_taken;
}

static enum store_found find(struct store_memory *s, const char *text, uint64_t now_us, size_t *rows)
{
    struct buf scratch = BUF_INIT;
    struct entry_key key = key_of(&scratch, text);
    struct entry *entry;
    enum store_found found = store_memory_find(s, &key, now_us, &entry);
    if (entry != NULL && rows != NULL)
        *rows = entry_part(entry, ENTRY_ROWS).len;
    entry_unref(entry);
    buf_free(&scratch);
    return found;
}

static void finds_what_was_put(void **state)
{
    (void)state;
    struct store_memory *s = store_memory_new(1 << 20, 1);
    size_t rows = 0;
    assert_int_equal(find(s, "select 1", 0, NULL), STORE_ABSENT);
    assert_true(put(s, (struct making){.text = "select 1", .bytes = 10}));
    assert_true(put(s, (struct making){.text = "select 1", .bytes = 20})); /* replaces */
    assert_int_equal(find(s, "select 1", 0, &rows), STORE_FOUND);
    assert_int_equal(rows, 20);
    struct store_memory_stats stats;
    store_memory_get_stats(s, &stats);
    assert_int_equal(stats.entries, 1);
    store_memory_clear(s);
    store_memory_get_stats(s, &stats);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.bytes, 0);
    store_memory_free(s);
}

static void test_c20_equal_hashes_are_not_equal_keys(void **state)
{
    (void)state;
    struct store_memory *s = store_memory_new(1 << 20, 1);
    struct buf scratch = BUF_INIT;
    struct vector_item item = {.slot = slot, .value = generation_read(slot)};
    struct entry_contents contents = {
        .key = key_of(&scratch, "a"), .vector = &item, .vector_count = 1, .expires_us = UINT64_MAX};
    contents.parts[ENTRY_ROWS] = SLICE_LITERAL("rows");
    struct entry *entry = entry_new(&contents);
    assert_true(store_memory_put(s, entry, 0));
    struct entry_key forged = contents.key; /* the same hash, other bytes */
    forged.bytes = SLICE_LITERAL("something else");
    struct entry *found;
    assert_int_equal(store_memory_find(s, &forged, 0, &found), STORE_ABSENT);
    assert_null(found);
    assert_int_equal(store_memory_find(s, &contents.key, 0, &found), STORE_FOUND);
    entry_unref(found);
    entry_unref(entry);
    buf_free(&scratch);
    store_memory_free(s);
}

static void expired_and_outdated_are_gone(void **state)
{
    (void)state;
    struct store_memory *s = store_memory_new(1 << 20, 1);
    put(s, (struct making){.text = "a", .bytes = 10, .expires_us = 100});
    put(s, (struct making){.text = "b", .bytes = 10});
    assert_int_equal(find(s, "a", 99, NULL), STORE_FOUND);
    assert_int_equal(find(s, "a", 100, NULL), STORE_EXPIRED);
    assert_int_equal(find(s, "a", 100, NULL), STORE_ABSENT);
    generation_mark(slot);
    assert_int_equal(find(s, "b", 0, NULL), STORE_OUTDATED);
    generation_change(slot);
    assert_int_equal(find(s, "b", 0, NULL), STORE_ABSENT);
    store_memory_free(s);
}

static void test_c23_bytes_stay_below_the_limit(void **state)
{
    (void)state;
    const uint64_t limit = 256 * 1024;
    struct store_memory *s = store_memory_new(limit, 1);
    struct store_memory_stats stats;
    char text[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(text, sizeof(text), "select %d", i);
        put(s, (struct making){.text = text, .bytes = (size_t)(i * 37 % 4000), .cost_us = 1000});
        store_memory_get_stats(s, &stats);
        assert_true(stats.bytes <= limit);
    }
    assert_true(stats.evictions + stats.rejected > 1000);
    assert_true(stats.bytes > limit / 2);
    assert_false(put(s, (struct making){.text = "huge", .bytes = limit}));
    store_memory_set_limit(s, 10000);
    store_memory_get_stats(s, &stats);
    assert_true(stats.bytes <= 10000);
    store_memory_set_limit(s, 0);
    assert_false(put(s, (struct making){.text = "small", .bytes = 1}));
    store_memory_free(s);
}

/* Only what is of no use is freed, however much there is. */
static void sweeping_leaves_what_is_current(void **state)
{
    (void)state;
    struct store_memory *s = store_memory_new(16 << 20, 1);
    struct store_memory_stats stats;
    char text[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(text, sizeof(text), "select %d", i);
        put(s, (struct making){.text = text, .bytes = 10, .expires_us = i % 3 == 0 ? 100 : 200});
    }
    store_memory_sweep(s, 100);
    store_memory_get_stats(s, &stats);
    assert_int_equal(stats.entries, 13333);
    assert_int_equal(find(s, "select 1", 100, NULL), STORE_FOUND);
    assert_int_equal(find(s, "select 3", 100, NULL), STORE_ABSENT);
    generation_bump(slot);
    put(s, (struct making){.text = "new", .bytes = 10});
    store_memory_sweep(s, 100);
    store_memory_get_stats(s, &stats);
    assert_int_equal(stats.entries, 1);
    assert_int_equal(find(s, "new", 0, NULL), STORE_FOUND);
    store_memory_free(s);
}

static void what_saves_more_stays_longer(void **state)
{
    (void)state;
    struct store_memory *s = store_memory_new(128 * 1024, 1);
    char text[32];
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof(text), "dear %d", i);
        put(s, (struct making){.text = text, .bytes = 1000, .cost_us = 50000});
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "cheap %d", i);
        put(s, (struct making){.text = text, .bytes = 1000, .cost_us = 10});
    }
    int dear = 0;
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof(text), "dear %d", i);
        dear += find(s, text, 0, NULL) == STORE_FOUND;
    }
    assert_true(dear >= 18);
    store_memory_free(s);
}

static void the_one_with_a_description_is_kept(void **state)
{
    (void)state;
    struct store_memory *s = store_memory_new(1 << 20, 1);
    assert_true(put(s, (struct making){.text = "a", .bytes = 10, .description = "T"}));
    assert_false(put(s, (struct making){.text = "a", .bytes = 20}));
    size_t rows;
    assert_int_equal(find(s, "a", 0, &rows), STORE_FOUND);
    assert_int_equal(rows, 10);
    generation_bump(slot); /* but not when it has become old */
    assert_true(put(s, (struct making){.text = "a", .bytes = 20}));
    store_memory_free(s);
}

static struct store_memory *shared;

static void *hammer(void *arg)
{
    unsigned number = *(unsigned *)arg;
    char text[32];
    for (unsigned i = 0; i < 20000; i++) {
        unsigned n = (i * 7919 + number * 104729) % 500;
        snprintf(text, sizeof(text), "select %u", n);
        size_t rows = 0;
        if (find(shared, text, 0, &rows) == STORE_FOUND) {
            if (rows != n + 1)
                return (void *)1;
        } else {
            put(shared, (struct making){.text = text, .bytes = n + 1, .cost_us = n});
        }
        if (i % 5000 == 0)
            generation_bump(slot);
    }
    return NULL;
}

static void threads_get_the_right_answers(void **state)
{
    (void)state;
    shared = store_memory_new(64 * 1024, 1);
    pthread_t threads[4];
    unsigned numbers[4];
    for (unsigned i = 0; i < 4; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &numbers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    struct store_memory_stats stats;
    store_memory_get_stats(shared, &stats);
    assert_true(stats.bytes <= 64 * 1024);
    store_memory_clear(shared);
    store_memory_get_stats(shared, &stats);
    assert_int_equal(stats.bytes, 0);
    store_memory_free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_put),
        cmocka_unit_test(test_c20_equal_hashes_are_not_equal_keys),
        cmocka_unit_test(expired_and_outdated_are_gone),
        cmocka_unit_test(test_c23_bytes_stay_below_the_limit),
        cmocka_unit_test(sweeping_leaves_what_is_current),
        cmocka_unit_test(what_saves_more_stays_longer),
        cmocka_unit_test(the_one_with_a_description_is_kept),
        cmocka_unit_test(threads_get_the_right_answers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
