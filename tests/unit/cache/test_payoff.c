/* payoff: off within a round, back by itself, later and later where that was wrong, and never off where it
 * pays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "weir/cache/payoff.h"

/* Misses, each with a write before it. */
static int written_before_each(struct payoff *p, uint64_t *versions)
{
    int reads = 0;
    for (; !p->is_off && reads < 1000; reads++)
        payoff_miss(p, ++*versions, 5);
    return reads;
}

static int questions_until_on(struct payoff *p, uint64_t versions)
{
    int questions = 1;
    while (!payoff_question(p, versions) && questions < 100000)
        questions++;
    return questions;
}

static void test_c37_written_before_every_read_goes_off(void **state)
{
    (void)state;
    struct payoff p = {.is_off = false};
    uint64_t versions = 1;
    char text[PAYOFF_TEXT_MAX];
    payoff_describe(&p, text);
    assert_string_equal(text, "");
    assert_int_equal(written_before_each(&p, &versions), PAYOFF_EVENTS + 1); /* the first knows of no write */
    payoff_describe(&p, text);
    assert_string_equal(text,
                        "of 32 answers writes made 32 old before they were asked for again; hits saved 0 "
                        "us, keeping the others cost 800 us");
    for (int i = 0; i < 10000; i++)
        assert_false(payoff_question(&p, ++versions));
}

static void test_c37_it_comes_back_when_the_writes_stop(void **state)
{
    (void)state;
    struct payoff p = {.is_off = false};
    uint64_t versions = 1;
    payoff_learn(&p, 300);
    written_before_each(&p, &versions);
    int questions = questions_until_on(&p, versions);
    assert_true(questions <= PAYOFF_QUESTIONS);
    assert_false(p.is_off);
    for (int i = 0; i < 1000; i++) {
        payoff_hit(&p, 300, 6);
        assert_false(p.is_off);
    }
    written_before_each(&p, &versions);
    assert_true(questions_until_on(&p, versions) <= PAYOFF_QUESTIONS); /* it had paid: no doubling */
}

static void test_c37_each_return_that_was_wrong_takes_longer(void **state)
{
    (void)state;
    struct payoff p = {.is_off = false};
    uint64_t versions = 1;
    payoff_learn(&p, 300);
    written_before_each(&p, &versions);
    int before = 0, expected = PAYOFF_QUESTIONS;
    for (int i = 0; i < 12; i++) {
        versions++;
        payoff_question(&p, versions);
        int questions = 1 + questions_until_on(&p, versions);
        assert_in_range(questions, expected, 2 * expected);
        assert_true(questions >= before);
        before = questions;
        expected = expected * 2 > PAYOFF_QUESTIONS_MAX ? PAYOFF_QUESTIONS_MAX : expected * 2;
        written_before_each(&p, &versions);
    }
    assert_true(p.is_off);
}

/* One hit in four of a slow query pays; nine in ten of a quick one pay; questions never asked before say
 * nothing. */
static void test_c37_what_pays_never_goes_off(void **state)
{
    (void)state;
    struct payoff slow = {.is_off = false}, quick = {.is_off = false}, many = {.is_off = false};
    uint64_t versions = 1;
    for (int i = 0; i < 10000; i++) {
        if (i % 4 == 0)
            payoff_hit(&slow, 20000, 1);
        else
            payoff_miss(&slow, ++versions, 1);
        if (i % 10 == 0)
            payoff_miss(&quick, ++versions, 1);
        else
            payoff_hit(&quick, 50, 1);
        payoff_miss(&many, 7, 1);
        assert_false(slow.is_off || quick.is_off || many.is_off);
    }
}

static void who_waits_for_anothers_fetch_counts_as_a_hit(void **state)
{
    (void)state;
    struct payoff p = {.is_off = false};
    payoff_learn(&p, 5000);
    for (uint64_t versions = 1; versions < 1000; versions++) {
        payoff_miss(&p, versions, 1);
        for (int i = 0; i < 3; i++)
            payoff_join(&p, 1);
        assert_false(p.is_off);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c37_written_before_every_read_goes_off),
        cmocka_unit_test(test_c37_it_comes_back_when_the_writes_stop),
        cmocka_unit_test(test_c37_each_return_that_was_wrong_takes_longer),
        cmocka_unit_test(test_c37_what_pays_never_goes_off),
        cmocka_unit_test(who_waits_for_anothers_fetch_counts_as_a_hit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
