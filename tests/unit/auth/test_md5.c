/* md5: PostgreSQL's stored form and its challenge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/auth/md5.h"

static void hashes_like_postgresql(void **state)
{
    (void)state;
    char out[MD5_TEXT_SIZE];
    /* SELECT 'md5' || md5('secret' || 'anna') */
    assert_true(md5_hash(SLICE_LITERAL("secret"), SLICE_LITERAL("anna"), out));
    assert_string_equal(out, "md53671d1c06464e8ec9d68bf36dd1d5f7e");
    assert_true(md5_is_hash(slice_str(out)));
    const uint8_t salt[4] = {1, 2, 3, 4};
    char answer[MD5_TEXT_SIZE];
    /* SELECT 'md5' || md5(decode(encode(substr(stored, 4)::bytea, 'hex') || '01020304', 'hex')) */
    assert_true(md5_answer(out, salt, answer));
    assert_string_equal(answer, "md57a40e687695f2126a3421c7f4bc9861e");
    assert_true(md5_answer_is_right(out, salt, slice_str(answer)));
    answer[10] ^= 1;
    assert_false(md5_answer_is_right(out, salt, slice_str(answer)));
    assert_false(md5_answer_is_right(out, salt, SLICE_EMPTY));
    assert_false(md5_answer_is_right(out, salt, slice_make(answer, 34)));
}

static void knows_a_hash_when_it_sees_one(void **state)
{
    (void)state;
    assert_false(md5_is_hash(SLICE_LITERAL("md5")));
    assert_false(md5_is_hash(SLICE_LITERAL("md50123456789ABCDEF0123456789abcdef")));
    assert_false(md5_is_hash(SLICE_LITERAL("md50123456789abcdef0123456789abcdef0")));
    assert_true(md5_is_hash(SLICE_LITERAL("md50123456789abcdef0123456789abcdef")));
    char out[MD5_TEXT_SIZE];
    const uint8_t salt[4] = {0};
    assert_false(md5_answer("plain", salt, out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_like_postgresql),
        cmocka_unit_test(knows_a_hash_when_it_sees_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
