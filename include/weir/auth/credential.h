/*
 * credential: what is known of one user's secret, shared by all who need it and wiped when the last one
 * leaves.
 *
 * The secret itself never changes; keys that were learned from logins are added under a lock. Any thread.
 */
#ifndef WEIR_AUTH_CREDENTIAL_H
#define WEIR_AUTH_CREDENTIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/auth/scram.h"
#include "weir/util/slice.h"

enum credential_kind {
    CREDENTIAL_NONE,  /* a user without a password: only trust lets it in */
    CREDENTIAL_PLAIN, /* the password itself */
    CREDENTIAL_MD5,   /* "md5..." */
    CREDENTIAL_SCRAM, /* "SCRAM-SHA-256$..." */
};

struct credential;

/* `secret` is told apart as PostgreSQL does; empty gives CREDENTIAL_NONE. NULL when memory is out. */
struct credential *credential_new(struct slice user, struct slice secret);
struct credential *credential_ref(struct credential *credential);
void credential_unref(struct credential *credential); /* NULL is allowed */

enum credential_kind credential_kind(const struct credential *credential);
const char *credential_user(const struct credential *credential);
/* The secret as it was given; valid while referenced. Never log it. */
struct slice credential_secret(const struct credential *credential);
bool credential_is_same(const struct credential *a, const struct credential *b);

/* Does a password sent in the clear fit (auth_type plain)? Any kind; constant time; CREDENTIAL_NONE never
 * fits. */
bool credential_is_password(const struct credential *credential, struct slice password);

/* The stored md5 form, computed from a plain password where needed. False for SCRAM and none. */
bool credential_md5(const struct credential *credential, char out[36]);

/*
 * The secret for the server side of SCRAM. From a plain password it is made once, with `salt` and
 * `iterations`, and remembered. False for md5 and none, and when hashing fails.
 */
bool credential_scram_secret(struct credential *credential, const uint8_t salt[SCRAM_SALT_LEN],
                             uint32_t iterations, struct scram_secret *out);

/* Keeps keys proven by a client's login or derived by one of ours. The latest ones win. */
void credential_keep_keys(struct credential *credential, const struct scram_keys *keys);
bool credential_keys(struct credential *credential, struct scram_keys *out);

#endif
