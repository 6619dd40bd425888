/* userlist: quoting, bad lines, repetition, reload. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/auth/userlist.h"
#include "weir/util/buf.h"

static void note(void *arg, const struct error *problem)
{
    buf_printf(arg, "%s\n", problem->message);
}

static struct slice secret_of(const struct userlist *list, const char *user)
{
    const struct credential *c = userlist_find(list, slice_str(user));
    assert_non_null(c);
    return credential_secret(c);
}

static void reads_what_is_good_and_names_what_is_not(void **state)
{
    (void)state;
    const char *text = "; comment\r\n"
                       "\r\n"
                       "\"anna\" \"se\"\"same\" and more\r\n"
                       "ben sesame\n"
                       "  \"carl\"\t\"\"\n"
                       "\"dora\"\n"
                       "\"\" \"x\"\n"
                       "\"open\" \"x\n"
                       "\"anna b\" \"1\"\n"
                       "\"carl\" \"2\"";
    struct buf problems = BUF_INIT;
    struct userlist *list = userlist_parse("u.txt", slice_str(text), NULL, note, &problems);
    assert_int_equal(userlist_count(list), 3);
    assert_true(slice_equal_str(secret_of(list, "anna"), "se\"same"));
    assert_true(slice_equal_str(secret_of(list, "anna b"), "1"));
    assert_true(slice_equal_str(secret_of(list, "carl"), "2"));
    assert_string_equal(credential_user(userlist_at(list, 2)), "carl");
    assert_null(userlist_find(list, SLICE_LITERAL("ben")));
    assert_null(userlist_find(list, SLICE_EMPTY));
    assert_string_equal(
        buf_text(&problems),
        "u.txt:4: expected \"user\" \"secret\", found no user in quotes; the line is ignored\n"
        "u.txt:6: expected \"user\" \"secret\", found no secret in quotes; the line is ignored\n"
        "u.txt:7: the user name is empty or too long; the line is ignored\n"
        "u.txt:8: expected \"user\" \"secret\", found no secret in quotes; the line is ignored\n");
    buf_free(&problems);
    userlist_unref(userlist_ref(list));
    userlist_unref(list);
}

static void takes_secrets_up_to_the_limit(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct buf text = BUF_INIT;
        buf_append_str(&text, "\"big\" \"");
        for (size_t i = 0; i < USERLIST_MAX_SECRET + extra; i++)
            buf_append_u8(&text, 'x');
        buf_append_str(&text, "\"\n");
        struct userlist *list = userlist_parse("u.txt", buf_slice(&text), NULL, NULL, NULL);
        assert_int_equal(userlist_count(list), 1 - extra);
        userlist_unref(list);
        buf_free(&text);
    }
}

static void a_reload_keeps_credentials_that_did_not_change(void **state)
{
    (void)state;
    struct userlist *old = userlist_parse("u", SLICE_LITERAL("\"a\" \"1\"\n\"b\" \"2\"\n"), NULL, NULL, NULL);
    struct userlist *now = userlist_parse("u", SLICE_LITERAL("\"a\" \"1\"\n\"b\" \"3\"\n"), old, NULL, NULL);
    struct credential *a = userlist_find(now, SLICE_LITERAL("a"));
    assert_ptr_equal(a, userlist_find(old, SLICE_LITERAL("a")));
    assert_ptr_not_equal(userlist_find(now, SLICE_LITERAL("b")), userlist_find(old, SLICE_LITERAL("b")));
    userlist_unref(old);
    assert_true(credential_is_password(a, SLICE_LITERAL("1")));
    userlist_unref(now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_is_good_and_names_what_is_not),
        cmocka_unit_test(takes_secrets_up_to_the_limit),
        cmocka_unit_test(a_reload_keeps_credentials_that_did_not_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
