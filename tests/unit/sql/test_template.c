/* template: what is lifted, what is not, and which texts must never be one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "weir/sql/lex.h"
#include "weir/sql/template.h"

static void check(const char *text, const char *shown, uint32_t flags)
{
    struct buf scratch = BUF_INIT, out = BUF_INIT;
    struct template t;
    assert_true(template_make(slice_str(text), &scratch, &t));
    template_display(&t, &out);
    if (strcmp(buf_text(&out), shown) != 0 || t.flags != flags)
        fail_msg("%s\n gives %s (%u)", text, buf_text(&out), t.flags);
    buf_free(&scratch);
    buf_free(&out);
}

static bool same(const char *a, const char *b)
{
    struct buf one = BUF_INIT, two = BUF_INIT;
    struct template x, y;
    assert_true(template_make(slice_str(a), &one, &x));
    assert_true(template_make(slice_str(b), &two, &y));
    bool equal = slice_equal(x.text, y.text) && (x.flags & TEMPLATE_SPECIAL) == (y.flags & TEMPLATE_SPECIAL);
    /* The hash agrees with the text, one way at least. */
    assert_int_equal(equal, x.hash[0] == y.hash[0] && x.hash[1] == y.hash[1]);
    buf_free(&one);
    buf_free(&two);
    return equal;
}

static void lifts_literals(void **state)
{
    (void)state;
    check("SELECT 1", "SELECT 0", TEMPLATE_LIFTED);
    check("SELECT 'a''b', \"c'd\", x FROM t1", "SELECT '?', \"c'd\", x FROM t1", TEMPLATE_LIFTED);
    check("SELECT .5+1.e5-1e-3, a.b, $1", "SELECT 0.0+0.0-0.0, a.b, $1", TEMPLATE_LIFTED);
    check("a1 $1$ 1..2", "a1 $1$ 1..2",
          TEMPLATE_SPECIAL | TEMPLATE_DATETIME_WORD | TEMPLATE_SEMICOLON | TEMPLATE_BACKSLASH |
              TEMPLATE_WIDE_WORD);
    check("a[1..2]", "a[0..0]", TEMPLATE_LIFTED);
    check("SELECT x -- 'it''s 5\n, 6 /* 7 /* '8 */ 9 */", "SELECT x -- 'it''s 5\n, 0 /* 7 /* '8 */ 9 */",
          TEMPLATE_LIFTED);
    check("1+-1", "0+-0", TEMPLATE_LIFTED);
    check("select 1;", "select 0;", TEMPLATE_LIFTED);
    check("select 1; -- x\n ;", "select 0; -- x\n ;", TEMPLATE_LIFTED);
    check("select 1;select 2", "select 0;select 0", TEMPLATE_LIFTED | TEMPLATE_SEMICOLON);
    check("select ';'", "select '?'", TEMPLATE_LIFTED);
    check("x'a", "x'a",
          TEMPLATE_SPECIAL | TEMPLATE_DATETIME_WORD | TEMPLATE_SEMICOLON | TEMPLATE_BACKSLASH |
              TEMPLATE_WIDE_WORD);
    check("date'2001-01-01'", "date'?'", TEMPLATE_LIFTED);
    check("'a\\'", "'?'", TEMPLATE_LIFTED | TEMPLATE_BACKSLASH);
    check("\xc3\xa4", "\xc3\xa4", TEMPLATE_WIDE_WORD);
    check("", "", 0);
}

static void texts_with_other_literals_are_one(void **state)
{
    (void)state;
    assert_true(same("SELECT 1", "SELECT 2147483647"));
    assert_true(same("SELECT 'a'", "SELECT 'b '' ; -- '"));
    assert_true(same("SELECT 0001", "SELECT 00000000000000000000002"));
    assert_true(same("SELECT 2147483648", "SELECT 9223372036854775807"));
}

static void texts_that_differ_otherwise_are_not(void **state)
{
    (void)state;
    assert_false(same("SELECT 1", "SELECT '1'"));
    assert_false(same("SELECT 1", "SELECT 2147483648"));
    assert_false(same("SELECT 1", "SELECT 1.0"));
    assert_false(same("SELECT 9223372036854775807", "SELECT 9223372036854775808"));
    assert_false(same("SELECT 1", "select 1"));
    assert_false(same("SELECT 1", "SELECT  1"));
    assert_false(same("SELECT 1", "SELECT -1"));
    assert_false(same("SELECT a1", "SELECT a2"));
    assert_false(same("SELECT $1", "SELECT $2"));
    assert_false(same("/*1*/ SELECT x", "/*2*/ SELECT x"));
    assert_false(same("SELECT 1 --x", "SELECT 1 --y"));
    assert_false(same("SELECT \"1\"", "SELECT \"2\""));
    /* A byte that looks like a marker is not one. */
    assert_false(same("SELECT 1", "SELECT \x01"));
    assert_false(same("SELECT x/*\x01*/", "SELECT x/*1*/"));
    assert_false(same("SELECT \"\x05\"", "SELECT \"'a'\""));
}

static void what_is_not_certain_is_special(void **state)
{
    (void)state;
    const char *const texts[] = {
        "SELECT E'a'",    "SELECT U&'a'",    "SELECT U&\"a\"",
        "SELECT B'1'",    "SELECT x'1'",     "SELECT n'x'",
        "SELECT $$a$$",   "SELECT $x$a$x$",  "SELECT 1abc",
        "SELECT 1_000",   "SELECT 0x1F",     "SELECT 1e",
        "SELECT 1e+",     "SELECT 'a",       "SELECT \"a",
        "SELECT /* a",    "SELECT 'a'\n'b'", "SELECT 'a' -- c\n 'b'",
        "SELECT 'a' 'b'", "SELECT $1a",      "SELECT \\",
        "SELECT {",       "SELECT \v1",      "SELECT 1.5e5x",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct buf scratch = BUF_INIT;
        struct template t;
        assert_true(template_make(slice_str(texts[i]), &scratch, &t));
        if ((t.flags & TEMPLATE_SPECIAL) == 0 || !slice_equal_str(t.text, texts[i]))
            fail_msg("not special: %s", texts[i]);
        buf_free(&scratch);
    }
    assert_false(same("SELECT 'a\n'", "SELECT 'a\n\n'\n'c'"));
}

static void finds_datetime_words(void **state)
{
    (void)state;
    const char *const yes[] = {"now",    " NOW ", "Today", "tomorrow 12:00", "allballs yesterday",
                               "[now,)", "now()"};
    const char *const no[] = {"",       "known",    "nowhere",    "snow",
                              "todays", "yesterda", "2020-01-01", "tomorrow_"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
        assert_true(template_has_datetime_word(slice_str(yes[i])));
    for (size_t i = 0; i < sizeof(no) / sizeof(*no) - 1; i++)
        assert_false(template_has_datetime_word(slice_str(no[i])));
    check("SELECT 'now'::timestamp", "SELECT '?'::timestamp", TEMPLATE_LIFTED | TEMPLATE_DATETIME_WORD);
    check("SELECT now()", "SELECT now()", 0);
}

static void pieces_are_adjacent(void **state)
{
    (void)state;
    const char *text = "SELECT a.b::int4[1..2], 'x' || $1 /* c */ <> 5 -- end";
    struct lexer lexer = lex_start(slice_str(text));
    const uint8_t *at = (const uint8_t *)text;
    struct lexeme piece;
    while ((piece = lex_next(&lexer)).kind != LEX_END) {
        assert_ptr_equal(piece.start, at);
        assert_true(piece.len > 0);
        at += piece.len;
    }
    assert_int_equal(*at, '\0');
}

static void puts_values_in_place_of_parameters(void **state)
{
    static const struct {
        const char *text, *put;
    } cases[] = {
        {"SELECT $1", "SELECT (1)\n"},
        {"SELECT $1, $2::text, '$1' -- $2", "SELECT (1), ('b')::text, '$1' -- $2\n"},
        {"SELECT \"$1\", $1[1]", "SELECT \"$1\", (1)[1]\n"},
        {"SELECT 1;", "SELECT 1 \n"},
        {"SELECT 1 ; -- end", "SELECT 1   -- end\n"},
        {"SELECT 1 /* ; */", "SELECT 1 /* ; */\n"},
        {"SELECT ';'", "SELECT ';'\n"},
        {"SELECT $3", NULL},
        {"SELECT $0", NULL},
        {"SELECT $99999999999999999999", NULL},
        {"SELECT E'a', $1", NULL},
    };
    static const char *const values[] = {"1", "'b'"};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = BUF_INIT;
        bool is_good = template_put_values(slice_str(cases[i].text), values, 2, &out);
        assert_int_equal(is_good, cases[i].put != NULL);
        if (is_good)
            assert_string_equal(buf_text(&out), cases[i].put);
        buf_free(&out);
    }
}

static void takes_special_text_whole_where_there_are_no_parameters(void **state)
{
    static const struct {
        const char *text, *put;
    } cases[] = {
        {"SELECT E'a;', 1", "SELECT E'a;', 1\n"},
        {"SELECT E'a' ;\n", "SELECT E'a'  \n\n"},
        {"SELECT $$a;$$;", "SELECT $$a;$$ \n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = BUF_INIT;
        assert_true(template_put_values(slice_str(cases[i].text), NULL, 0, &out));
        assert_string_equal(buf_text(&out), cases[i].put);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lifts_literals),
        cmocka_unit_test(texts_with_other_literals_are_one),
        cmocka_unit_test(texts_that_differ_otherwise_are_not),
        cmocka_unit_test(what_is_not_certain_is_special),
        cmocka_unit_test(finds_datetime_words),
        cmocka_unit_test(pieces_are_adjacent),
        cmocka_unit_test(puts_values_in_place_of_parameters),
        cmocka_unit_test(takes_special_text_whole_where_there_are_no_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
