/*
 * cancel_key: the long cancel keys of protocol 3.2, made of the short ones of 3.0.
 *
 * A long key is a short one and a proof of it that only this process can give: nothing more has to be kept
 * for a client than its short key. Pure; any thread. Source: protocol chapter, "Canceling Requests in
 * Progress" (PostgreSQL 18).
 */
#ifndef WEIR_AUTH_CANCEL_KEY_H
#define WEIR_AUTH_CANCEL_KEY_H

#include "weir/util/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CANCEL_KEY_SHORT = 8,   /* process id and 4 bytes of secret */
    CANCEL_KEY_LONG = 36,   /* process id and 32 bytes of secret, as PostgreSQL's own */
    CANCEL_KEY_SECRET = 32, /* what a process proves its keys with: random, drawn once */
};

/* The long key of a short one. False when the library fails. */
bool cancel_key_lengthen(const uint8_t secret[CANCEL_KEY_SECRET], const uint8_t key[CANCEL_KEY_SHORT],
                         uint8_t out[CANCEL_KEY_LONG]);

/* Is it the long key of this short one? Takes as long whatever differs. */
bool cancel_key_is_long_of(const uint8_t secret[CANCEL_KEY_SECRET], const uint8_t key[CANCEL_KEY_SHORT],
                           struct slice whole);

#endif
