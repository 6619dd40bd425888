/* budget: never more than the limit, whoever takes; nothing lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <cmocka.h>

#include "weir/pool/budget.h"

enum { THREADS = 4, ROUNDS = 50000, LIMIT = 3 };

static struct budget shared;
static _Atomic int holding, most, refused;

static void takes_up_to_the_limit(void **state)
{
    (void)state;
    struct budget b = {0};
    assert_true(budget_take(&b, 2));
    assert_true(budget_take(&b, 2));
    assert_false(budget_take(&b, 2));
    assert_int_equal(budget_used(&b), 2);
    assert_true(budget_take(&b, 3));  /* the limit was raised */
    assert_false(budget_take(&b, 1)); /* and lowered below what is out */
    budget_give(&b);
    assert_false(budget_take(&b, 2));
    budget_give(&b);
    assert_true(budget_take(&b, 2));
}

static void a_limit_of_zero_is_none(void **state)
{
    (void)state;
    struct budget b = {0};
    for (int i = 0; i < 1000; i++)
        assert_true(budget_take(&b, i % 2 == 0 ? 0 : -1));
    assert_int_equal(budget_used(&b), 1000);
}

static void *take_and_give(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        if (!budget_take(&shared, LIMIT)) {
            atomic_fetch_add(&refused, 1);
            continue;
        }
        int now = atomic_fetch_add(&holding, 1) + 1, seen = atomic_load(&most);
        while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
            ;
        atomic_fetch_sub(&holding, 1);
        budget_give(&shared);
    }
    return NULL;
}

static void threads_together_never_pass_the_limit(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, take_and_give, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(most, 1, LIMIT);
    assert_int_equal(budget_used(&shared), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_up_to_the_limit),
        cmocka_unit_test(a_limit_of_zero_is_none),
        cmocka_unit_test(threads_together_never_pass_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
