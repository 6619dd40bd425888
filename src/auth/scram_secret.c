/*
 * Keys and secrets of SCRAM (RFC 5802 section 3), and the small pieces both machines are made of.
 */
#include "weir/auth/scram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <stringprep.h>

#include "base64.h"
#include "scram_machine.h"

void scram_wipe(void *secret, size_t len)
{
    OPENSSL_cleanse(secret, len);
}

bool scram_is_equal(const uint8_t *a, const uint8_t *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

bool scram_sha256(struct slice data, uint8_t out[SCRAM_KEY_LEN])
{
    return EVP_Digest(data.data, data.len, out, NULL, EVP_sha256(), NULL) == 1;
}

bool scram_hmac(const uint8_t *key, size_t key_len, struct slice a, struct slice b,
                uint8_t out[SCRAM_KEY_LEN])
{
    struct buf text = BUF_INIT;
    buf_append_slice(&text, a);
    buf_append_slice(&text, b);
    unsigned len = 0;
    bool is_ok =
        !buf_failed(&text) && HMAC(EVP_sha256(), key, (int)key_len, text.data, text.len, out, &len) != NULL;
    buf_wipe(&text);
    return is_ok && len == SCRAM_KEY_LEN;
}

bool scram_sign(const uint8_t key[SCRAM_KEY_LEN], struct slice first_messages, struct slice without_proof,
                uint8_t out[SCRAM_KEY_LEN])
{
    struct buf text = BUF_INIT;
    buf_append_slice(&text, first_messages);
    buf_append_u8(&text, ',');
    buf_append_slice(&text, without_proof);
    bool is_ok = !buf_failed(&text) && scram_hmac(key, SCRAM_KEY_LEN, buf_slice(&text), SLICE_EMPTY, out);
    buf_wipe(&text);
    return is_ok;
}

void scram_prepare_password(struct slice password, struct buf *out)
{
    char *raw = slice_dup(password), *prepared = NULL;
    if (raw != NULL && strlen(raw) == password.len &&
        stringprep_profile(raw, &prepared, "SASLprep", STRINGPREP_NO_UNASSIGNED) == STRINGPREP_OK &&
        prepared[0] != '\0')
        buf_append_str(out, prepared);
    else
        buf_append_slice(out, password);
    if (prepared != NULL)
        OPENSSL_cleanse(prepared, strlen(prepared));
    if (raw != NULL)
        OPENSSL_cleanse(raw, password.len);
    free(prepared);
    free(raw);
}

bool scram_keys_make(struct slice password, const uint8_t *salt, size_t salt_len, uint32_t iterations,
                     struct scram_keys *out)
{
    if (salt_len > SCRAM_MAX_SALT || iterations == 0 || iterations > SCRAM_MAX_ITERATIONS)
        return false;
    struct buf prepared = BUF_INIT;
    uint8_t salted[SCRAM_KEY_LEN];
    scram_prepare_password(password, &prepared);
    const char *text = buf_text(&prepared);
    memset(out, 0, sizeof(*out));
    bool is_ok =
        text != NULL &&
        PKCS5_PBKDF2_HMAC(text, (int)prepared.len, salt, (int)salt_len, (int)iterations, EVP_sha256(),
                          SCRAM_KEY_LEN, salted) == 1 &&
        scram_hmac(salted, SCRAM_KEY_LEN, SLICE_LITERAL("Client Key"), SLICE_EMPTY, out->client_key) &&
        scram_hmac(salted, SCRAM_KEY_LEN, SLICE_LITERAL("Server Key"), SLICE_EMPTY, out->server_key);
    out->iterations = iterations;
    out->salt_len = (uint8_t)salt_len;
    memcpy(out->salt, salt, salt_len);
    OPENSSL_cleanse(salted, sizeof(salted));
    buf_wipe(&prepared);
    return is_ok;
}

bool scram_secret_make(struct slice password, const uint8_t *salt, size_t salt_len, uint32_t iterations,
                       struct scram_secret *out)
{
    struct scram_keys keys;
    memset(out, 0, sizeof(*out));
    bool is_ok = scram_keys_make(password, salt, salt_len, iterations, &keys) &&
                 scram_sha256(slice_make(keys.client_key, SCRAM_KEY_LEN), out->stored_key);
    if (is_ok) {
        out->iterations = iterations;
        out->salt_len = (uint8_t)salt_len;
        memcpy(out->salt, salt, salt_len);
        memcpy(out->server_key, keys.server_key, SCRAM_KEY_LEN);
    }
    OPENSSL_cleanse(&keys, sizeof(keys));
    return is_ok;
}

/* Cuts at `mark`: what stands before it, and the rest behind it. */
static bool cut(struct slice *rest, uint8_t mark, struct slice *piece)
{
    const uint8_t *at = rest->len > 0 ? memchr(rest->data, mark, rest->len) : NULL;
    if (at == NULL)
        return false;
    *piece = slice_make(rest->data, (size_t)(at - rest->data));
    *rest = slice_from(*rest, piece->len + 1);
    return true;
}

static bool parse_iterations(struct slice text, uint32_t *out)
{
    uint32_t value = 0;
    if (text.len == 0 || text.len > 7 || text.data[0] == '0')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (uint32_t)(text.data[i] - '0');
    }
    *out = value;
    return value <= SCRAM_MAX_ITERATIONS;
}

bool scram_secret_parse(struct slice text, struct scram_secret *out)
{
    struct slice scheme, iterations, salt, stored, rest = text;
    size_t salt_len, stored_len, server_len;
    memset(out, 0, sizeof(*out));
    if (!cut(&rest, '$', &scheme) || !slice_equal_str(scheme, SCRAM_MECHANISM) ||
        !cut(&rest, ':', &iterations) || !cut(&rest, '$', &salt) || !cut(&rest, ':', &stored))
        return false;
    if (!parse_iterations(iterations, &out->iterations) ||
        !base64_decode(salt, out->salt, SCRAM_MAX_SALT, &salt_len) || salt_len == 0 ||
        !base64_decode(stored, out->stored_key, SCRAM_KEY_LEN, &stored_len) || stored_len != SCRAM_KEY_LEN ||
        !base64_decode(rest, out->server_key, SCRAM_KEY_LEN, &server_len) || server_len != SCRAM_KEY_LEN)
        return false;
    out->salt_len = (uint8_t)salt_len;
    return true;
}

void scram_secret_format(const struct scram_secret *secret, struct buf *out)
{
    buf_printf(out, SCRAM_MECHANISM "$%u:", secret->iterations);
    base64_encode(slice_make(secret->salt, secret->salt_len), out);
    buf_append_u8(out, '$');
    base64_encode(slice_make(secret->stored_key, SCRAM_KEY_LEN), out);
    buf_append_u8(out, ':');
    base64_encode(slice_make(secret->server_key, SCRAM_KEY_LEN), out);
}

bool scram_salt_for_user(const uint8_t process_key[SCRAM_KEY_LEN], struct slice user,
                         uint8_t salt[SCRAM_SALT_LEN])
{
    uint8_t sum[SCRAM_KEY_LEN];
    bool is_ok = scram_hmac(process_key, SCRAM_KEY_LEN, SLICE_LITERAL("salt "), user, sum);
    memcpy(salt, sum, SCRAM_SALT_LEN);
    return is_ok;
}

bool scram_secret_mock(const uint8_t process_key[SCRAM_KEY_LEN], struct slice user, uint32_t iterations,
                       struct scram_secret *out)
{
    memset(out, 0, sizeof(*out));
    out->iterations = iterations;
    out->salt_len = SCRAM_SALT_LEN;
    return scram_salt_for_user(process_key, user, out->salt) &&
           scram_hmac(process_key, SCRAM_KEY_LEN, SLICE_LITERAL("stored "), user, out->stored_key) &&
           scram_hmac(process_key, SCRAM_KEY_LEN, SLICE_LITERAL("server "), user, out->server_key);
}

bool scram_secret_is_password(const struct scram_secret *secret, struct slice password)
{
    struct scram_secret made;
    bool is_right = scram_secret_make(password, secret->salt, secret->salt_len, secret->iterations, &made) &&
                    scram_is_equal(made.stored_key, secret->stored_key, SCRAM_KEY_LEN);
    OPENSSL_cleanse(&made, sizeof(made));
    return is_right;
}

bool scram_take(struct slice *message, char name, struct slice *value)
{
    if (message->len < 2 || message->data[0] != (uint8_t)name || message->data[1] != '=')
        return false;
    size_t end = 2;
    while (end < message->len && message->data[end] != ',')
        end++;
    *value = slice_make(message->data + 2, end - 2);
    *message = slice_from(*message, end + 1);
    return true;
}

const char *scram_gs2_header(char gs2_flag)
{
    return gs2_flag == 'p' ? "p=tls-server-end-point,," : gs2_flag == 'y' ? "y,," : "n,,";
}

void scram_append_binding(char gs2_flag, struct slice binding, struct buf *out)
{
    struct buf plain = BUF_INIT;
    buf_append_str(&plain, scram_gs2_header(gs2_flag));
    if (gs2_flag == 'p')
        buf_append_slice(&plain, binding);
    if (buf_failed(&plain))
        out->failed = true;
    base64_encode(buf_slice(&plain), out);
    buf_free(&plain);
}

void scram_print_nonce(const uint8_t raw[SCRAM_NONCE_LEN], char out[64])
{
    struct buf text = BUF_INIT;
    base64_encode(slice_make(raw, SCRAM_NONCE_LEN), &text);
    const char *printed = buf_text(&text);
    memset(out, 0, 64);
    if (printed != NULL)
        memcpy(out, printed, text.len < 63 ? text.len : 63);
    buf_free(&text);
}
