/* histogram: error bound over the whole range, quantiles, merging, differences, two threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <cmocka.h>

#include "weir/stats/histogram.h"

static double relative_error(double got, double real)
{
    return fabs(got - real) / real;
}

static void every_value_is_known_to_one_percent(void **state)
{
    (void)state;
    const uint64_t hour = UINT64_C(3600) * 1000 * 1000;
    uint64_t step = 1;
    for (uint64_t us = 1; us <= hour; us += step) {
        struct histogram h;
        histogram_init(&h);
        histogram_record(&h, us);
        histogram_record(&h, us * 2); /* so that the maximum does not help */
        double got = histogram_quantile_us(&h, 0.5);
        if (relative_error(got, (double)us) > 0.01)
            fail_msg("%llu is reported as %f", (unsigned long long)us, got);
        assert_int_equal(histogram_count_up_to(&h, us), 1);
        histogram_free(&h);
        step = us < 10000 ? 1 : us / 977;
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_of_many(void **state)
{
    (void)state;
    enum { N = 20000 };
    static uint64_t values[N];
    struct histogram h;
    histogram_init(&h);
    uint64_t seed = 42, sum = 0;
    for (size_t i = 0; i < N; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        values[i] =
            (uint64_t)exp((double)(seed >> 40) / (double)(1 << 24) * 18); /* 1 us to a minute, log-uniform */
        sum += values[i];
        histogram_record(&h, values[i]);
    }
    qsort(values, N, sizeof(values[0]), by_value);
    const double quantiles[] = {0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1};
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        size_t rank = (size_t)ceil(quantiles[i] * N);
        double real = (double)values[rank == 0 ? 0 : rank - 1];
        assert_true(relative_error(histogram_quantile_us(&h, quantiles[i]), real) <= 0.01);
    }
    assert_int_equal(histogram_count(&h), N);
    assert_int_equal(histogram_sum_us(&h), sum);
    assert_int_equal(histogram_max_us(&h), values[N - 1]);
    assert_int_equal(histogram_count_up_to(&h, UINT64_MAX), N);
    uint64_t before = 0;
    for (uint64_t us = 1; us < UINT64_C(100000000); us = us * 3 / 2 + 1) {
        uint64_t now = histogram_count_up_to(&h, us);
        assert_true(now >= before);
        before = now;
    }
    const uint64_t bounds[] = {0, 1, 127, 128, 1000, 1000000, UINT64_MAX};
    uint64_t counts[7];
    assert_int_equal(histogram_counts_up_to(&h, bounds, 7, counts), N);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(counts[i], histogram_count_up_to(&h, bounds[i]));
    assert_int_equal(counts[6], N);
    histogram_free(&h);
}

static void empty_and_extreme(void **state)
{
    (void)state;
    struct histogram h;
    histogram_init(&h);
    assert_true(histogram_quantile_us(&h, 0.5) == 0);
    assert_int_equal(histogram_count_up_to(&h, 1000), 0);
    histogram_record(&h, 0);
    assert_true(histogram_quantile_us(&h, 1) == 0);
    histogram_record(&h, UINT64_MAX / 4);
    assert_int_equal(histogram_count(&h), 2);
    assert_true(histogram_quantile_us(&h, 1) >= 4.2e9);
    histogram_free(&h);
}

static void merges_and_differences(void **state)
{
    (void)state;
    struct histogram a, b, sum, difference;
    histogram_init(&a);
    histogram_init(&b);
    histogram_init(&sum);
    histogram_init(&difference);
    for (uint64_t i = 0; i < 100; i++) {
        histogram_record(&a, 10 * i);
        histogram_record(&b, 100000 + i);
    }
    histogram_merge(&sum, &a);
    histogram_merge(&sum, &b);
    assert_int_equal(histogram_count(&sum), 200);
    assert_int_equal(histogram_sum_us(&sum), histogram_sum_us(&a) + histogram_sum_us(&b));
    assert_int_equal(histogram_max_us(&sum), 100099);
    assert_true(histogram_difference(&difference, &sum, &b));
    assert_int_equal(histogram_count(&difference), 100);
    assert_int_equal(histogram_sum_us(&difference), histogram_sum_us(&a));
    for (double q = 0.1; q < 1; q += 0.1)
        assert_true(histogram_quantile_us(&difference, q) == histogram_quantile_us(&a, q));
    assert_true(histogram_difference(&difference, &b, &b));
    assert_int_equal(histogram_count(&difference), 0);
    histogram_free(&a);
    histogram_free(&b);
    histogram_free(&sum);
    histogram_free(&difference);
}

static void *write_many(void *arg)
{
    for (uint64_t i = 0; i < 200000; i++)
        histogram_record(arg, i % 100000);
    return NULL;
}

static void is_read_while_written(void **state)
{
    (void)state;
    struct histogram h;
    histogram_init(&h);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_many, &h), 0);
    uint64_t before = 0;
    for (int i = 0; i < 200; i++) {
        struct histogram copy;
        histogram_init(&copy);
        histogram_merge(&copy, &h);
        assert_true(histogram_count(&copy) >= before);
        before = histogram_count(&copy);
        assert_true(histogram_quantile_us(&copy, 0.99) <= 100000);
        histogram_free(&copy);
    }
    pthread_join(writer, NULL);
    assert_int_equal(histogram_count(&h), 200000);
    histogram_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_is_known_to_one_percent),
        cmocka_unit_test(quantiles_of_many),
        cmocka_unit_test(empty_and_extreme),
        cmocka_unit_test(merges_and_differences),
        cmocka_unit_test(is_read_while_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
