/* ident: plain names, regular expressions with a group, bad lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/auth/ident.h"
#include "weir/util/buf.h"

static void note(void *arg, const struct error *problem)
{
    buf_printf(arg, "%s\n", problem->message);
}

static bool may(const struct ident *ident, const char *map, const char *who, const char *user)
{
    const struct ident_map *found = ident_find(ident, slice_str(map));
    assert_non_null(found);
    assert_string_equal(ident_map_name(found), map);
    return ident_allows(found, who, user);
}

static void a_name_may_be_the_users_that_its_lines_name(void **state)
{
    (void)state;
    struct ident *ident = ident_parse("i",
                                      slice_str("# people\n"
                                                "staff  anna  reader\n"
                                                "staff  anna  writer # as well\n"
                                                "other  \"ben b\"  all\n"
                                                "staff  carl  \"all\"\n"),
                                      NULL, NULL);
    assert_true(may(ident, "staff", "anna", "reader"));
    assert_true(may(ident, "staff", "anna", "writer"));
    assert_false(may(ident, "staff", "anna", "anna"));
    assert_false(may(ident, "staff", "ben b", "reader"));
    assert_true(may(ident, "other", "ben b", "whoever"));
    assert_false(may(ident, "other", "ben", "whoever"));
    assert_true(may(ident, "staff", "carl", "all"));
    assert_false(may(ident, "staff", "carl", "reader"));
    assert_null(ident_find(ident, slice_str("nothing")));
    assert_null(ident_find(NULL, slice_str("staff")));
    ident_unref(ident_ref(ident));
    ident_unref(ident);
}

static void a_regular_expression_hands_its_group_on(void **state)
{
    (void)state;
    struct ident *ident = ident_parse("i",
                                      slice_str("m /^(.*)@example\\.org$ \\1\n"
                                                "m /^(.*)@guests\\.org$ guest_\\1_x\n"
                                                "n /^ad all\n"),
                                      NULL, NULL);
    assert_true(may(ident, "m", "anna@example.org", "anna"));
    assert_false(may(ident, "m", "anna@example.org", "ben"));
    assert_false(may(ident, "m", "anna@example.org", "annax"));
    assert_false(may(ident, "m", "anna@exampleXorg", "anna"));
    assert_true(may(ident, "m", "ben@guests.org", "guest_ben_x"));
    assert_false(may(ident, "m", "ben@guests.org", "guest_ben_"));
    assert_false(may(ident, "m", "@example.org", "x"));
    assert_true(may(ident, "n", "admin", "root"));
    assert_false(may(ident, "n", "bad", "root"));
    ident_unref(ident);
}

static void a_bad_line_costs_that_line_and_is_named(void **state)
{
    (void)state;
    struct buf problems = BUF_INIT;
    struct ident *ident = ident_parse("dir/i",
                                      slice_str("m anna\n"
                                                "m anna reader extra\n"
                                                "m /( reader\n"
                                                "m /anna \\1\n"
                                                "m \"open reader\n"
                                                "\n"
                                                "m anna reader"),
                                      note, &problems);
    assert_string_equal(
        buf_text(&problems),
        "dir/i:1: expected MAPNAME SYSTEM-USERNAME USER; the line is ignored\n"
        "dir/i:2: a map line has three words, and here is a fourth; the line is ignored\n"
        "dir/i:3: the system user name begins with / and is no regular expression; the line is ignored\n"
        "dir/i:4: \\1 stands in the user, and the regular expression has no group in parentheses; the line "
        "is "
        "ignored\n"
        "dir/i:5: expected MAPNAME SYSTEM-USERNAME USER; the line is ignored\n");
    assert_true(may(ident, "m", "anna", "reader"));
    buf_free(&problems);
    ident_unref(ident);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_may_be_the_users_that_its_lines_name),
        cmocka_unit_test(a_regular_expression_hands_its_group_on),
        cmocka_unit_test(a_bad_line_costs_that_line_and_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
