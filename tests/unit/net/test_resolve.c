/* resolve: names of the hosts file, literals, names that are none, and answers while stopping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "pump.h"
#include "weir/net/resolve.h"

static struct worker *worker;
static struct resolver *resolver;
static struct resolve_answer last;
static int answers;

static int set_up(void **state)
{
    (void)state;
    answers = 0;
    worker = worker_new(0);
    resolver = resolver_new();
    return worker == NULL || resolver == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    resolver_free(resolver);
    worker_free(worker);
    return 0;
}

static void answered(void *context, const struct resolve_answer *answer)
{
    assert_ptr_equal(context, &answers);
    last = *answer;
    answers++;
}

static void finds_localhost(void **state)
{
    (void)state;
    assert_true(resolver_ask(resolver, "localhost", 5432, worker, answered, &answers));
    assert_int_equal(answers, 0);
    pump_until(worker_loop(worker), answers == 1);
    assert_true(last.count > 0);
    for (int i = 0; i < last.count; i++) {
        char text[ADDRESS_TEXT_BYTES];
        address_host_text(&last.addresses[i], text);
        assert_true(strcmp(text, "127.0.0.1") == 0 || strcmp(text, "::1") == 0);
        assert_int_equal(address_port(&last.addresses[i]), 5432);
    }
}

static void reads_literals_too(void **state)
{
    (void)state;
    assert_true(resolver_ask(resolver, "127.0.0.2", 1, worker, answered, &answers));
    pump_until(worker_loop(worker), answers == 1);
    assert_int_equal(last.count, 1);
    struct address expected;
    address_from_literal(&expected, "127.0.0.2", 1);
    assert_true(address_equal(&last.addresses[0], &expected));
}

static void says_why_it_found_nothing(void **state)
{
    (void)state;
    assert_true(resolver_ask(resolver, "not a name", 1, worker, answered, &answers));
    pump_until(worker_loop(worker), answers == 1);
    assert_int_equal(last.count, 0);
    assert_true(last.error[0] != '\0');
}

static void every_question_is_answered_even_while_stopping(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++)
        assert_true(resolver_ask(resolver, "127.0.0.1", 1, worker, answered, &answers));
    resolver_stop(resolver);
    assert_false(resolver_ask(resolver, "127.0.0.1", 1, worker, answered, &answers));
    while (worker_drain(worker))
        ;
    assert_int_equal(answers, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_localhost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_literals_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_why_it_found_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_question_is_answered_even_while_stopping, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
