#include "weir/auth/credential.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "weir/auth/md5.h"

struct credential {
    atomic_int refs;
    enum credential_kind kind;
    char *user;
    uint8_t *secret;
    size_t secret_len;
    struct scram_secret parsed; /* CREDENTIAL_SCRAM */

    pthread_mutex_t lock; /* for what follows */
    bool has_made;
    struct scram_secret made; /* from a plain password */
    bool has_keys;
    struct scram_keys keys;
};

static enum credential_kind kind_of(struct slice secret, struct scram_secret *parsed)
{
    if (secret.len == 0)
        return CREDENTIAL_NONE;
    if (md5_is_hash(secret))
        return CREDENTIAL_MD5;
    return scram_secret_parse(secret, parsed) ? CREDENTIAL_SCRAM : CREDENTIAL_PLAIN;
}

struct credential *credential_new(struct slice user, struct slice secret)
{
    struct credential *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    atomic_init(&c->refs, 1);
    c->user = slice_dup(user);
    c->secret = (uint8_t *)slice_dup(secret);
    c->secret_len = secret.len;
    if (c->user == NULL || c->secret == NULL || pthread_mutex_init(&c->lock, NULL) != 0) {
        free(c->user);
        free(c->secret);
        free(c);
        return NULL;
    }
    c->kind = kind_of(secret, &c->parsed);
    return c;
}

struct credential *credential_ref(struct credential *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void credential_unref(struct credential *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&c->lock);
    OPENSSL_cleanse(c->secret, c->secret_len);
    free(c->secret);
    free(c->user);
    OPENSSL_cleanse(c, sizeof(*c));
    free(c);
}

enum credential_kind credential_kind(const struct credential *c)
{
    return c->kind;
}

const char *credential_user(const struct credential *c)
{
    return c->user;
}

struct slice credential_secret(const struct credential *c)
{
    return slice_make(c->secret, c->secret_len);
}

bool credential_is_same(const struct credential *a, const struct credential *b)
{
    return strcmp(a->user, b->user) == 0 && a->secret_len == b->secret_len &&
           CRYPTO_memcmp(a->secret, b->secret, a->secret_len) == 0;
}

/* Equal, in a time that depends on the length of `given` alone. */
static bool is_equal_text(struct slice known, struct slice given)
{
    if (known.len == given.len)
        return CRYPTO_memcmp(known.data, given.data, given.len) == 0;
    (void)CRYPTO_memcmp(given.data, given.data, given.len);
    return false;
}

bool credential_is_password(const struct credential *c, struct slice password)
{
    char hash[MD5_TEXT_SIZE];
    switch (c->kind) {
    case CREDENTIAL_NONE:
        return false;
    case CREDENTIAL_PLAIN:
        return is_equal_text(credential_secret(c), password);
    case CREDENTIAL_MD5:
        return md5_hash(password, slice_str(c->user), hash) &&
               is_equal_text(credential_secret(c), slice_str(hash));
    case CREDENTIAL_SCRAM:
        return scram_secret_is_password(&c->parsed, password);
    }
    return false;
}

bool credential_md5(const struct credential *c, char out[MD5_TEXT_SIZE])
{
    out[0] = '\0';
    if (c->kind == CREDENTIAL_PLAIN)
        return md5_hash(credential_secret(c), slice_str(c->user), out);
    if (c->kind != CREDENTIAL_MD5)
        return false;
    memcpy(out, c->secret, c->secret_len);
    out[c->secret_len] = '\0';
    return true;
}

bool credential_scram_secret(struct credential *c, const uint8_t salt[SCRAM_SALT_LEN], uint32_t iterations,
                             struct scram_secret *out)
{
    if (c->kind == CREDENTIAL_SCRAM) {
        *out = c->parsed;
        return true;
    }
    if (c->kind != CREDENTIAL_PLAIN)
        return false;
    pthread_mutex_lock(&c->lock);
    bool is_fresh =
        c->has_made && c->made.iterations == iterations && memcmp(c->made.salt, salt, SCRAM_SALT_LEN) == 0;
    if (!is_fresh)
        c->has_made = is_fresh =
            scram_secret_make(credential_secret(c), salt, SCRAM_SALT_LEN, iterations, &c->made);
    if (is_fresh)
        *out = c->made;
    pthread_mutex_unlock(&c->lock);
    return is_fresh;
}

void credential_keep_keys(struct credential *c, const struct scram_keys *keys)
{
    pthread_mutex_lock(&c->lock);
    c->keys = *keys;
    c->has_keys = true;
    pthread_mutex_unlock(&c->lock);
}

bool credential_keys(struct credential *c, struct scram_keys *out)
{
    pthread_mutex_lock(&c->lock);
    bool has_keys = c->has_keys;
    if (has_keys)
        *out = c->keys;
    pthread_mutex_unlock(&c->lock);
    return has_keys;
}
