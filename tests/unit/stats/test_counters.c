/* counters and ledger: one list for all readers; sums, differences, what a hit counts as. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "weir/stats/counters.h"
#include "weir/stats/ledger.h"

static void names_follow_the_conventions(void **state)
{
    (void)state;
    size_t count;
    const struct counter_info *table = counters_table(&count);
    assert_int_equal(count * sizeof(uint64_t),
                     sizeof(struct counters_sum) - COUNTERS_PIN_REASONS * sizeof(uint64_t));
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(table[i].metric);
        assert_memory_equal(table[i].metric, "weir_", 5);
        assert_string_equal(table[i].metric + len - 6, "_total");
        if (table[i].unit == COUNTER_TIME)
            assert_non_null(strstr(table[i].metric, "_seconds_total"));
        if (table[i].unit == COUNTER_BYTES)
            assert_non_null(strstr(table[i].metric, "_bytes_total"));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(table[i].metric, table[j].metric);
    }
}

static void collects_adds_and_subtracts(void **state)
{
    (void)state;
    struct counters a = {0}, b = {0};
    struct counters_sum sum = {0}, before = {0}, difference;
    counter_bump(&a.query_count);
    counter_add(&a.bytes_sent, 1000);
    counter_add(&b.query_count, 5);
    counter_bump(&b.pins[3]);
    counters_collect(&sum, &a);
    before = sum;
    counters_collect(&sum, &b);
    assert_int_equal(sum.query_count, 6);
    assert_int_equal(sum.pins[3], 1);
    counters_sum_difference(&difference, &sum, &before);
    assert_int_equal(difference.query_count, 5);
    assert_int_equal(difference.bytes_sent, 0);
    counters_sum_difference(&difference, &before, &sum);
    assert_int_equal(difference.query_count, 0);
    counters_sum_add(&sum, &sum);
    assert_int_equal(sum.query_count, 12);
    size_t count;
    const struct counter_info *table = counters_table(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, "bytes_sent") == 0)
            assert_int_equal(counters_value(&sum, &table[i]), 2000);
}

static void ledger_books_requests(void **state)
{
    (void)state;
    struct ledger a, b;
    ledger_init(&a);
    ledger_init(&b);
    ledger_record(&a,
                  &(struct request_times){.wait_us = 100, .server_us = 1000, .client_us = 7, .weir_us = 5});
    ledger_record(&b, &(struct request_times){.weir_us = 3, .saved_us = 900, .is_hit = true});
    ledger_merge(&a, &b);
    assert_int_equal(histogram_count(&a.server), 1);
    assert_int_equal(histogram_count(&a.wait), 2);
    assert_int_equal(histogram_sum_us(&a.total), 1105 + 3);
    assert_int_equal(a.saved_us, 900);
    assert_int_equal(a.hits, 1);
    size_t count;
    const struct ledger_part *parts = ledger_parts(&count);
    assert_int_equal(count, 5);
    assert_string_equal(parts[1].metric, "weir_request_server_seconds");
    assert_ptr_equal(ledger_histogram(&a, &parts[1]), &a.server);
    ledger_free(&a);
    ledger_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_follow_the_conventions),
        cmocka_unit_test(collects_adds_and_subtracts),
        cmocka_unit_test(ledger_books_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
