/* cancel_key: a long key proves its short one, to the process that gave it and with every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/auth/cancel_key.h"

static const uint8_t secret[CANCEL_KEY_SECRET] = {7, 1}, other_secret[CANCEL_KEY_SECRET] = {7, 2};
static const uint8_t key[CANCEL_KEY_SHORT] = {0, 4, 3, 4, 5, 6, 7, 8};

static void begins_with_the_short_key(void **state)
{
    (void)state;
    uint8_t whole[CANCEL_KEY_LONG];
    assert_true(cancel_key_lengthen(secret, key, whole));
    assert_memory_equal(whole, key, CANCEL_KEY_SHORT);
    assert_true(cancel_key_is_long_of(secret, key, slice_make(whole, sizeof(whole))));
}

static void every_byte_of_the_proof_counts(void **state)
{
    (void)state;
    uint8_t whole[CANCEL_KEY_LONG + 1] = {0};
    assert_true(cancel_key_lengthen(secret, key, whole));
    for (size_t i = CANCEL_KEY_SHORT; i < CANCEL_KEY_LONG; i++) {
        whole[i] ^= 0x80;
        assert_false(cancel_key_is_long_of(secret, key, slice_make(whole, CANCEL_KEY_LONG)));
        whole[i] ^= 0x80;
    }
    assert_false(cancel_key_is_long_of(secret, key, slice_make(whole, CANCEL_KEY_LONG - 1)));
    assert_false(cancel_key_is_long_of(secret, key, slice_make(whole, CANCEL_KEY_LONG + 1)));
    assert_false(cancel_key_is_long_of(secret, key, slice_make(whole, CANCEL_KEY_SHORT)));
}

static void another_process_and_another_key_prove_nothing(void **state)
{
    (void)state;
    uint8_t whole[CANCEL_KEY_LONG], next[CANCEL_KEY_SHORT] = {0, 4, 3, 4, 5, 6, 7, 9};
    assert_true(cancel_key_lengthen(secret, key, whole));
    assert_false(cancel_key_is_long_of(other_secret, key, slice_make(whole, sizeof(whole))));
    assert_false(cancel_key_is_long_of(secret, next, slice_make(whole, sizeof(whole))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_with_the_short_key),
        cmocka_unit_test(every_byte_of_the_proof_counts),
        cmocka_unit_test(another_process_and_another_key_prove_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
