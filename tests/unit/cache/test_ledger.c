/* Tests of what comes back from the ledger, and of what is written into it. */
#include "weir/cache/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <hiredis/hiredis.h>

enum { INCARNATION = 0xabc };

static struct redisReply text(const char *value)
{
    struct redisReply reply = {
        .type = REDIS_REPLY_STRING, .str = (char *)(uintptr_t)value, .len = strlen(value)};
    return reply;
}

static void test_c21_a_field_is_read_or_refused(void **state)
{
    static const struct {
        const char *field;
        bool is_read, is_clean;
        uint64_t token;
    } cases[] = {
        {"1f/0", true, true, 0x1f},
        {"1f/1", true, false, 0x1f},
        {"0/0", true, true, INCARNATION},
        {"0/12", true, false, INCARNATION},
        {"ffffffffffffffff/0", true, true, UINT64_MAX},
        {"1f/00", true, false, 0x1f},
        {"1f/0x", true, false, 0x1f},
        {"1f", false, false, 0},
        {"/0", false, false, 0},
        {"", false, false, 0},
        {"x/0", false, false, 0},
        {"1f/", false, false, 0},
        {"11111111111111111/0", false, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct redisReply reply = text(cases[i].field);
        uint64_t token;
        bool is_clean;
        assert_int_equal(ledger_read_field(&reply, INCARNATION, &token, &is_clean), cases[i].is_read);
        if (!cases[i].is_read)
            continue;
        assert_int_equal(is_clean, cases[i].is_clean);
        assert_true(token == cases[i].token);
    }
}

static void test_c21_a_field_that_was_never_written_has_the_incarnation_as_its_token(void **state)
{
    struct redisReply nothing = {.type = REDIS_REPLY_NIL}, number = {.type = REDIS_REPLY_INTEGER};
    uint64_t token;
    bool is_clean;
    (void)state;
    assert_true(ledger_read_field(&nothing, INCARNATION, &token, &is_clean));
    assert_true(is_clean && token == INCARNATION);
    assert_false(ledger_read_field(&number, INCARNATION, &token, &is_clean));
}

static void test_c21_numbers_come_back_as_they_were_written(void **state)
{
    static const uint64_t numbers[] = {1, 0xabc, UINT64_MAX};
    char written[LEDGER_NUMBER_SIZE];
    uint64_t number, token;
    bool is_clean;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        ledger_number(numbers[i], written);
        struct redisReply reply = text(written);
        assert_true(ledger_read_number(&reply, &number) && number == numbers[i]);
        ledger_clean(numbers[i], INCARNATION, written);
        reply = text(written);
        assert_true(ledger_read_field(&reply, INCARNATION, &token, &is_clean));
        assert_true(is_clean && token == numbers[i]);
    }
    struct redisReply odd = text("12g");
    assert_false(ledger_read_number(&odd, &number));
    assert_string_equal((const char *)ledger_clean(INCARNATION, INCARNATION, written).data, "0/0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c21_a_field_is_read_or_refused),
        cmocka_unit_test(test_c21_a_field_that_was_never_written_has_the_incarnation_as_its_token),
        cmocka_unit_test(test_c21_numbers_come_back_as_they_were_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
