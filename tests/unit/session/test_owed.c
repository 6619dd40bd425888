/* owed: order through growing and wrapping round, removal from the middle, and what entries refer to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "weir/session/owed.h"
#include "weir/sql/classify.h"
#include "weir/track/statements.h"

static struct statement_table *table;

static int set_up(void **state)
{
    (void)state;
    table = statement_table_new();
    return table == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(statement_table_count(table), 0); /* every reference has been given back */
    statement_table_free(table);
    return 0;
}

static struct statement *statement(const char *text)
{
    return statement_intern(table, slice_str(text), NULL, 0, sql_class_unparsable(), 0);
}

static void push(struct owed_queue *queue, uint16_t number)
{
    assert_true(owed_push(queue, &(struct owed){.kind = OWED_SYNC, .completed = number}));
}

static void first_in_first_out_through_growth_and_wrapping(void **state)
{
    (void)state;
    struct owed_queue queue = {0};
    uint16_t in = 0, out = 0;
    assert_null(owed_front(&queue));
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < round % 37; i++)
            push(&queue, in++);
        for (uint32_t i = 0; i < queue.count; i++)
            assert_int_equal(owed_at(&queue, i)->completed, out + i);
        for (int i = 0; i < round % 31 && !owed_is_empty(&queue); i++) {
            assert_int_equal(owed_front(&queue)->completed, out++);
            owed_pop(&queue);
        }
        assert_int_equal(queue.count, in - out);
        assert_true(queue.capacity == 0 || (queue.capacity & (queue.capacity - 1)) == 0);
    }
    owed_free(&queue);
    assert_true(owed_is_empty(&queue));
    assert_null(queue.entries);
    push(&queue, 9); /* usable again */
    assert_int_equal(owed_front(&queue)->completed, 9);
    owed_free(&queue);
}

static void an_entry_may_leave_from_anywhere(void **state)
{
    (void)state;
    struct owed_queue queue = {0};
    for (uint16_t i = 0; i < 6; i++) /* so that the ring is not at its beginning */
        push(&queue, i);
    for (int i = 0; i < 6; i++)
        owed_pop(&queue);
    for (uint16_t i = 0; i < 7; i++)
        push(&queue, i);
    owed_remove(&queue, 3);
    owed_remove(&queue, 0);
    owed_remove(&queue, 4);
    const uint16_t left[] = {1, 2, 4, 5};
    assert_int_equal(queue.count, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(owed_at(&queue, i)->completed, left[i]);
    owed_free(&queue);
}

static void what_entries_refer_to_is_given_back(void **state)
{
    (void)state;
    struct owed_queue queue = {0};
    struct sql_class *class = sql_classify(slice_str("select 1"));
    const char *const texts[] = {"select 1", "select 2", "select 3", "select 4"};
    for (int i = 0; i < 4; i++) {
        struct owed entry = {.kind = OWED_PARSE,
                             .statement = statement(texts[i]),
                             .class = sql_class_ref(class),
                             .name = strdup("name")};
        assert_true(owed_push(&queue, &entry));
    }
    assert_int_equal(statement_table_count(table), 4);
    owed_pop(&queue);
    assert_int_equal(statement_table_count(table), 3);
    owed_remove(&queue, 1);
    assert_int_equal(statement_table_count(table), 2);
    owed_free(&queue);
    assert_int_equal(statement_table_count(table), 0);
    sql_class_unref(class);
}

static void three_kinds_end_with_ready(void **state)
{
    (void)state;
    for (uint8_t kind = OWED_PARSE; kind <= OWED_COPY_END; kind++) {
        bool expected = kind == OWED_SYNC || kind == OWED_QUERY || kind == OWED_FUNCTION;
        assert_int_equal(owed_ends_with_ready(&(struct owed){.kind = kind}), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(first_in_first_out_through_growth_and_wrapping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_may_leave_from_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_entries_refer_to_is_given_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(three_kinds_end_with_ready, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
