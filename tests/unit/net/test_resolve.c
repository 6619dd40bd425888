/* resolve: names of the hosts file, literals, names that are none, and answers while stopping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "pump.h"
#include "weir/net/resolve.h"
#include "weir/util/clock.h"

static struct worker *worker;
static struct resolver *resolver;
static struct resolve_answer last;
static int answers;

static int set_up(void **state)
{
    (void)state;
    answers = 0;
    worker = worker_new(0);
    resolver = resolver_new(NULL);
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

/* A system of our own: what the next look-ups find, and how many there were. */
static const char *found[2];
static int lookups;

static void pretend(const char *host, int port, struct resolve_answer *answer)
{
    (void)host;
    lookups++;
    for (int i = 0; i < 2 && found[i] != NULL; i++)
        address_from_literal(&answer->addresses[answer->count++], found[i], port);
    if (answer->count == 0)
        strcpy(answer->error, "no such name");
}

static int set_up_pretence(void **state)
{
    (void)state;
    answers = lookups = 0;
    worker = worker_new(0);
    resolver = resolver_new(pretend);
    return worker == NULL || resolver == NULL;
}

static void ask(const char *host, int port)
{
    int before = answers;
    assert_true(resolver_ask(resolver, host, port, worker, answered, &answers));
    assert_int_equal(answers, before);
    pump_until(worker_loop(worker), answers == before + 1);
}

static void set_found(const char *first, const char *second)
{
    found[0] = first;
    found[1] = second;
}

static void remembers_for_as_long_as_told(void **state)
{
    (void)state;
    set_found("10.0.0.1", NULL);
    ask("db", 5432);
    ask("db", 5432);
    assert_int_equal(lookups, 2); /* nothing is kept unless told */
    resolver_keep(resolver, 60 * US_PER_SECOND, 60 * US_PER_SECOND);
    ask("db", 5432);
    ask("db", 6543);
    assert_int_equal(lookups, 3);
    assert_int_equal(address_port(&last.addresses[0]), 6543);
    unsigned turn = last.turn;
    ask("db", 6543);
    assert_int_equal(last.turn, turn + 1);
    ask("other", 5432);
    assert_int_equal(lookups, 4);
    set_found(NULL, NULL);
    ask("none", 1);
    ask("none", 1);
    assert_int_equal(lookups, 5);
    assert_int_equal(last.count, 0);
    assert_string_equal(last.error, "no such name");
}

static void notices_other_addresses(void **state)
{
    (void)state;
    struct address first, second, third;
    address_from_literal(&first, "10.0.0.1", 1);
    address_from_literal(&second, "10.0.0.2", 2);
    address_from_literal(&third, "10.0.0.3", 3);
    resolver_keep(resolver, 1, 1); /* each look-up is compared with the one before */
    assert_true(resolver_has(resolver, "db", &third));
    set_found("10.0.0.1", "10.0.0.2");
    ask("db", 5432);
    assert_false(last.has_changed);
    set_found("10.0.0.2", "10.0.0.1");
    ask("db", 5432);
    assert_false(last.has_changed); /* another order is no change */
    set_found(NULL, NULL);
    ask("db", 5432);
    assert_false(last.has_changed); /* nor is a failure */
    assert_true(resolver_has(resolver, "db", &first));
    set_found("10.0.0.3", "10.0.0.1");
    ask("db", 5432);
    assert_true(last.has_changed);
    assert_true(resolver_has(resolver, "db", &first) && resolver_has(resolver, "db", &third));
    assert_false(resolver_has(resolver, "db", &second));
    ask("db", 5432);
    assert_false(last.has_changed);
}

static void listed(void *context, const char *host, uint64_t left_us, const struct resolve_answer *known)
{
    int *count = context;
    assert_string_equal(host, "db");
    assert_true(left_us > 50 * US_PER_SECOND && left_us <= 60 * US_PER_SECOND);
    assert_int_equal(known->count, 2);
    ++*count;
}

static void lists_what_it_remembers(void **state)
{
    (void)state;
    int count = 0;
    resolver_keep(resolver, 60 * US_PER_SECOND, 0);
    set_found("10.0.0.1", "10.0.0.2");
    ask("db", 5432);
    set_found(NULL, NULL);
    ask("none", 1); /* not remembered */
    assert_int_equal(resolver_list(resolver, listed, &count), 0);
    assert_int_equal(count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_localhost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_literals_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_why_it_found_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_question_is_answered_even_while_stopping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(remembers_for_as_long_as_told, set_up_pretence, tear_down),
        cmocka_unit_test_setup_teardown(notices_other_addresses, set_up_pretence, tear_down),
        cmocka_unit_test_setup_teardown(lists_what_it_remembers, set_up_pretence, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
