/*
 * md5: PostgreSQL's md5 password hash and the answer to its challenge (protocol chapter,
 * AuthenticationMD5Password).
 *
 * Pure; any thread. Hashes are text: "md5" and 32 lower-case hexadecimal digits, NUL-terminated.
 */
#ifndef WEIR_AUTH_MD5_H
#define WEIR_AUTH_MD5_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/util/slice.h"

#define MD5_TEXT_SIZE 36 /* with the NUL */

/* What PostgreSQL stores: "md5" + hex(md5(password user)). False when the library refuses MD5 (FIPS). */
bool md5_hash(struct slice password, struct slice user, char out[MD5_TEXT_SIZE]);

/* What a client answers: "md5" + hex(md5(hex salt)), from the stored form. */
bool md5_answer(const char *stored, const uint8_t salt[4], char out[MD5_TEXT_SIZE]);

/* Is this text a stored md5 hash? */
bool md5_is_hash(struct slice text);

/* Compares a client's answer with the expected one in constant time. */
bool md5_answer_is_right(const char *stored, const uint8_t salt[4], struct slice answer);

#endif
