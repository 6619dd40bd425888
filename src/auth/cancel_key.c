/* cancel_key: HMAC-SHA-256 over the short key, as much of it as there is room for. */
#include "weir/auth/cancel_key.h"

#include <string.h>

#include "scram_machine.h"
#include "weir/auth/scram.h"

bool cancel_key_lengthen(const uint8_t secret[CANCEL_KEY_SECRET], const uint8_t key[CANCEL_KEY_SHORT],
                         uint8_t out[CANCEL_KEY_LONG])
{
    uint8_t proof[SCRAM_KEY_LEN];
    if (!scram_hmac(secret, CANCEL_KEY_SECRET, slice_make(key, CANCEL_KEY_SHORT), SLICE_EMPTY, proof))
        return false;
    memcpy(out, key, CANCEL_KEY_SHORT);
    memcpy(out + CANCEL_KEY_SHORT, proof, CANCEL_KEY_LONG - CANCEL_KEY_SHORT);
    scram_wipe(proof, sizeof(proof));
    return true;
}

bool cancel_key_is_long_of(const uint8_t secret[CANCEL_KEY_SECRET], const uint8_t key[CANCEL_KEY_SHORT],
                           struct slice whole)
{
    uint8_t expected[CANCEL_KEY_LONG];
    if (whole.len != CANCEL_KEY_LONG || !cancel_key_lengthen(secret, key, expected))
        return false;
    /* The head may differ in what counts hops, and is compared by whoever looks the client up. */
    bool is_equal = scram_is_equal(expected + CANCEL_KEY_SHORT, whole.data + CANCEL_KEY_SHORT,
                                   CANCEL_KEY_LONG - CANCEL_KEY_SHORT);
    scram_wipe(expected, sizeof(expected));
    return is_equal;
}
