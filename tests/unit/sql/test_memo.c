/* memo: one class for one template, exact texts where literals matter, and a bound that holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "weir/sql/memo.h"

static struct memo_answer ask(struct memo *memo, const char *text)
{
    return memo_classify(memo, slice_str(text), true);
}

static void literals_share_a_class(void **state)
{
    (void)state;
    struct memo *memo = memo_new(1 << 20);
    struct memo_answer a = ask(memo, "SELECT * FROM t WHERE a = 1");
    struct memo_answer b = ask(memo, "SELECT * FROM t WHERE a = 2");
    assert_false(a.was_known);
    assert_true(b.was_known);
    assert_ptr_equal(a.class, b.class);
    assert_int_equal(a.hash[0], b.hash[0]);
    assert_ptr_not_equal(a.class, ask(memo, "SELECT * FROM t WHERE a = '2'").class);
    assert_int_equal(memo_counts(memo).hits, 1);
    assert_int_equal(memo_counts(memo).misses, 2);
    memo_free(memo);
}

static void exact_texts_where_literals_matter(void **state)
{
    (void)state;
    struct memo *memo = memo_new(1 << 20);
    for (int i = 0; i < 2; i++) {
        struct memo_answer a = ask(memo, "SET work_mem = '1MB'");
        assert_string_equal(a.class->statements->settings->value, "1MB");
        assert_int_equal(a.was_known, i == 1);
        a = ask(memo, "SET work_mem = '2MB'");
        assert_string_equal(a.class->statements->settings->value, "2MB");
        assert_int_equal(a.was_known, i == 1);
        a = ask(memo, "SELECT set_config('a.b', 'x', true)");
        assert_string_equal(a.class->statements->settings->value, "x");
        a = ask(memo, "SELECT set_config('a.b', 'y', true)");
        assert_string_equal(a.class->statements->settings->value, "y");
    }
    assert_true(ask(memo, "BEGIN").class == ask(memo, "BEGIN").class);
    memo_free(memo);
}

static void flags_are_of_this_text(void **state)
{
    (void)state;
    struct memo *memo = memo_new(1 << 20);
    assert_true(ask(memo, "SELECT * FROM t WHERE d > 'today'").text_flags & TEMPLATE_DATETIME_WORD);
    struct memo_answer a = ask(memo, "SELECT * FROM t WHERE d > '2020-01-01'");
    assert_true(a.was_known);
    assert_false(a.text_flags & TEMPLATE_DATETIME_WORD);
    assert_true(ask(memo, "SELECT * FROM t WHERE d > E'\\x6eow'").text_flags & TEMPLATE_DATETIME_WORD);
    assert_false(ask(memo, "SELECT * FROM t WHERE d > E'x'").text_flags & TEMPLATE_DATETIME_WORD);
    memo_free(memo);
}

static void unreadable_text_is_unparsable(void **state)
{
    (void)state;
    struct memo *memo = memo_new(1 << 20);
    assert_ptr_equal(memo_classify(memo, SLICE_LITERAL("SELECT 1"), false).class, sql_class_unparsable());
    assert_ptr_equal(ask(memo, "SELEKT").class, sql_class_unparsable());
    char *big = malloc(SQL_TEXT_LIMIT + 2);
    memset(big, ' ', SQL_TEXT_LIMIT + 1);
    assert_ptr_equal(memo_classify(memo, slice_make(big, SQL_TEXT_LIMIT + 1), true).class,
                     sql_class_unparsable());
    free(big);
    memo_free(memo);
}

static void bound_holds_and_answers_stay_right(void **state)
{
    (void)state;
    const size_t limit = 200 * 1024;
    struct memo *memo = memo_new(limit);
    char text[64];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 500; i++) {
            snprintf(text, sizeof(text), "SELECT * FROM table_%d WHERE a = %d", i, round);
            struct memo_answer a = ask(memo, text);
            snprintf(text, sizeof(text), "table_%d", i);
            assert_string_equal(a.class->statements->reads->name, text);
            assert_true(memo_counts(memo).used_bytes <= limit);
            /* Asked for again and again, it survives the flood. */
            struct memo_answer favourite = ask(memo, "SELECT * FROM favourite");
            assert_true(favourite.was_known || (round == 0 && i == 0));
        }
    }
    assert_true(memo_counts(memo).evictions > 0);
    assert_true(memo_counts(memo).entries > 10);
    memo_free(memo);
}

static void too_small_a_memo_still_answers(void **state)
{
    (void)state;
    struct memo *memo = memo_new(0);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(ask(memo, "SELECT * FROM a").class->statements->reads->name, "a");
        assert_string_equal(ask(memo, "SET b.c = 1").class->statements->settings->name, "b.c");
    }
    assert_int_equal(memo_counts(memo).entries, 0);
    memo_free(memo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_share_a_class),
        cmocka_unit_test(exact_texts_where_literals_matter),
        cmocka_unit_test(flags_are_of_this_text),
        cmocka_unit_test(unreadable_text_is_unparsable),
        cmocka_unit_test(bound_holds_and_answers_stay_right),
        cmocka_unit_test(too_small_a_memo_still_answers),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sql_classify_thread_end();
    return failed;
}
