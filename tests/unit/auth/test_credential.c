/* credential: kinds, checks in the clear, what is made and remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/auth/credential.h"
#include "weir/auth/md5.h"

static const uint8_t salt[SCRAM_SALT_LEN] = "sixteen bytes...";

static void tells_kinds_apart(void **state)
{
    (void)state;
    const char *texts[] = {"", "sesame", "md50123456789abcdef0123456789abcdef", "md5", "SCRAM-SHA-256$what"};
    const enum credential_kind kinds[] = {CREDENTIAL_NONE, CREDENTIAL_PLAIN, CREDENTIAL_MD5, CREDENTIAL_PLAIN,
                                          CREDENTIAL_PLAIN};
    for (size_t i = 0; i < 5; i++) {
        struct credential *c = credential_new(SLICE_LITERAL("anna"), slice_str(texts[i]));
        assert_int_equal(credential_kind(c), kinds[i]);
        assert_string_equal(credential_user(c), "anna");
        credential_unref(c);
    }
}

static void checks_passwords_of_every_kind(void **state)
{
    (void)state;
    struct scram_secret secret;
    struct buf stored = BUF_INIT;
    char md5[MD5_TEXT_SIZE];
    assert_true(scram_secret_make(SLICE_LITERAL("sesame"), salt, sizeof(salt), 8, &secret));
    scram_secret_format(&secret, &stored);
    assert_true(md5_hash(SLICE_LITERAL("sesame"), SLICE_LITERAL("anna"), md5));
    struct slice secrets[] = {SLICE_LITERAL("sesame"), slice_str(md5), buf_slice(&stored), SLICE_EMPTY};
    for (size_t i = 0; i < 4; i++) {
        struct credential *c = credential_new(SLICE_LITERAL("anna"), secrets[i]);
        assert_int_equal(credential_is_password(c, SLICE_LITERAL("sesame")), i < 3);
        assert_false(credential_is_password(c, SLICE_LITERAL("sesamf")));
        assert_false(credential_is_password(c, SLICE_EMPTY));
        char out[MD5_TEXT_SIZE];
        assert_int_equal(credential_md5(c, out), i < 2);
        if (i < 2)
            assert_string_equal(out, md5);
        struct scram_secret got;
        assert_int_equal(credential_scram_secret(c, salt, 8, &got), i == 0 || i == 2);
        if (i == 0 || i == 2)
            assert_memory_equal(&got, &secret, sizeof(got));
        credential_unref(c);
    }
    buf_free(&stored);
}

static void keeps_keys(void **state)
{
    (void)state;
    struct credential *c = credential_new(SLICE_LITERAL("anna"), SLICE_LITERAL("sesame"));
    struct scram_keys keys, got;
    assert_false(credential_keys(c, &got));
    assert_true(scram_keys_make(SLICE_LITERAL("sesame"), salt, sizeof(salt), 8, &keys));
    credential_keep_keys(c, &keys);
    assert_true(credential_keys(c, &got));
    assert_memory_equal(&keys, &got, sizeof(keys));
    credential_unref(credential_ref(c));
    credential_unref(c);
    credential_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_kinds_apart),
        cmocka_unit_test(checks_passwords_of_every_kind),
        cmocka_unit_test(keeps_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
