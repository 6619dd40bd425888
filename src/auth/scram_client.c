/*
 * The client's side. FIRST: client-first out. SECOND: server-first in, client-final out. THIRD: server-final
 * in.
 */
#include "weir/auth/scram.h"

#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "scram_machine.h"

static struct scram_client *client_new(const uint8_t nonce[SCRAM_NONCE_LEN], struct slice binding)
{
    struct scram_client *client = calloc(1, sizeof(*client));
    if (client == NULL || binding.len > SCRAM_MAX_BINDING) {
        free(client);
        return NULL;
    }
    client->name = "";
    client->binding_len = binding.len;
    if (binding.len > 0)
        memcpy(client->binding, binding.data, binding.len);
    scram_print_nonce(nonce, client->nonce);
    return client;
}

struct scram_client *scram_client_new(struct slice password, const uint8_t nonce[SCRAM_NONCE_LEN],
                                      struct slice binding)
{
    struct scram_client *client = client_new(nonce, binding);
    if (client == NULL)
        return NULL;
    client->has_password = true;
    buf_append_slice(&client->password, password);
    if (buf_failed(&client->password)) {
        scram_client_free(client);
        return NULL;
    }
    return client;
}

struct scram_client *scram_client_new_keys(const struct scram_keys *keys,
                                           const uint8_t nonce[SCRAM_NONCE_LEN], struct slice binding)
{
    struct scram_client *client = client_new(nonce, binding);
    if (client != NULL)
        scram_client_suggest_keys(client, keys);
    return client;
}

void scram_client_note_no_offer(struct scram_client *client)
{
    client->has_no_offer = true;
}

void scram_client_suggest_keys(struct scram_client *client, const struct scram_keys *keys)
{
    client->has_keys = true;
    client->keys = *keys;
}

void scram_client_free(struct scram_client *client)
{
    if (client == NULL)
        return;
    buf_wipe(&client->password);
    buf_free(&client->first_bare);
    scram_wipe(client, sizeof(*client));
    free(client);
}

static enum scram_result broken(struct error *error, const char *what)
{
    error_set_state(error, "08P01", "malformed SCRAM message from the server: %s", what);
    return SCRAM_BROKEN;
}

static char gs2_flag(const struct scram_client *client)
{
    return client->binding_len > 0 ? 'p' : client->has_no_offer ? 'y' : 'n';
}

static enum scram_result begin(struct scram_client *client, struct buf *out, struct error *error)
{
    buf_printf(&client->first_bare, "n=%s,r=%s", client->name, client->nonce);
    if (buf_failed(&client->first_bare)) {
        error_set(error, "out of memory");
        return SCRAM_BROKEN;
    }
    buf_append_str(out, scram_gs2_header(gs2_flag(client)));
    buf_append_slice(out, buf_slice(&client->first_bare));
    return SCRAM_CONTINUE;
}

struct server_first {
    struct slice nonces;
    uint8_t salt[SCRAM_MAX_SALT];
    size_t salt_len;
    uint32_t iterations;
};

static bool parse_server_first(const struct scram_client *client, struct slice in, struct server_first *first)
{
    struct slice salt, iterations;
    size_t own = strlen(client->nonce);
    if (!scram_take(&in, 'r', &first->nonces) || !scram_take(&in, 's', &salt) ||
        !scram_take(&in, 'i', &iterations))
        return false;
    if (first->nonces.len <= own || memcmp(first->nonces.data, client->nonce, own) != 0)
        return false;
    if (!base64_decode(salt, first->salt, sizeof(first->salt), &first->salt_len) || first->salt_len == 0)
        return false;
    first->iterations = 0;
    for (size_t i = 0; i < iterations.len; i++) {
        if (iterations.data[i] < '0' || iterations.data[i] > '9' || first->iterations > SCRAM_MAX_ITERATIONS)
            return false;
        first->iterations = first->iterations * 10 + (uint32_t)(iterations.data[i] - '0');
    }
    return first->iterations > 0 && first->iterations <= SCRAM_MAX_ITERATIONS;
}

static enum scram_result find_keys(struct scram_client *client, const struct server_first *first,
                                   struct error *error)
{
    const struct scram_keys *keys = &client->keys;
    if (client->has_keys && keys->iterations == first->iterations && keys->salt_len == first->salt_len &&
        memcmp(keys->salt, first->salt, first->salt_len) == 0)
        return SCRAM_CONTINUE;
    if (!client->has_password) {
        error_set_state(error, "28000",
                        "the SCRAM secret known here has another salt or iteration count than the server's: "
                        "give both the same secret, or Weir the password");
        return SCRAM_REFUSED;
    }
    client->has_keys = scram_keys_make(buf_slice(&client->password), first->salt, first->salt_len,
                                       first->iterations, &client->keys);
    if (client->has_keys)
        return SCRAM_CONTINUE;
    error_set(error, "SCRAM keys cannot be computed");
    return SCRAM_BROKEN;
}

static enum scram_result answer(struct scram_client *client, struct slice in, struct buf *out,
                                struct error *error)
{
    struct server_first first;
    if (!parse_server_first(client, in, &first))
        return broken(error, "nonce, salt or iteration count");
    enum scram_result result = find_keys(client, &first, error);
    if (result != SCRAM_CONTINUE)
        return result;
    struct buf messages = BUF_INIT, final = BUF_INIT;
    uint8_t stored[SCRAM_KEY_LEN], proof[SCRAM_KEY_LEN];
    buf_append_slice(&messages, buf_slice(&client->first_bare));
    buf_append_u8(&messages, ',');
    buf_append_slice(&messages, in);
    buf_append_str(&final, "c=");
    scram_append_binding(gs2_flag(client), slice_make(client->binding, client->binding_len), &final);
    buf_append_str(&final, ",r=");
    buf_append_slice(&final, first.nonces);
    bool is_ok = !buf_failed(&messages) && !buf_failed(&final) &&
                 scram_sha256(slice_make(client->keys.client_key, SCRAM_KEY_LEN), stored) &&
                 scram_sign(stored, buf_slice(&messages), buf_slice(&final), proof) &&
                 scram_sign(client->keys.server_key, buf_slice(&messages), buf_slice(&final),
                            client->server_signature);
    if (is_ok) {
        for (size_t i = 0; i < SCRAM_KEY_LEN; i++)
            proof[i] ^= client->keys.client_key[i];
        buf_append_slice(out, buf_slice(&final));
        buf_append_str(out, ",p=");
        base64_encode(slice_make(proof, SCRAM_KEY_LEN), out);
    } else {
        error_set(error, "the SCRAM proof cannot be computed");
    }
    scram_wipe(stored, sizeof(stored));
    scram_wipe(proof, sizeof(proof));
    buf_free(&messages);
    buf_free(&final);
    return is_ok ? SCRAM_CONTINUE : SCRAM_BROKEN;
}

static enum scram_result finish(const struct scram_client *client, struct slice in, struct error *error)
{
    struct slice text;
    uint8_t signature[SCRAM_KEY_LEN];
    size_t len;
    if (scram_take(&in, 'e', &text)) {
        error_set_state(error, "28P01", "the server refused the SCRAM login: %.*s",
                        (int)(text.len > 100 ? 100 : text.len), (const char *)text.data);
        return SCRAM_REFUSED;
    }
    if (!scram_take(&in, 'v', &text) || !base64_decode(text, signature, sizeof(signature), &len) ||
        len != SCRAM_KEY_LEN)
        return broken(error, "signature missing or not base64");
    if (!scram_is_equal(signature, client->server_signature, SCRAM_KEY_LEN)) {
        error_set_state(error, "28000", "the server does not know the password that it was to check");
        return SCRAM_REFUSED;
    }
    return SCRAM_DONE;
}

enum scram_result scram_client_feed(struct scram_client *client, struct slice in, struct buf *out,
                                    struct error *error)
{
    enum scram_result result;
    if (in.len > SCRAM_MAX_MESSAGE || (in.len > 0 && memchr(in.data, '\0', in.len) != NULL))
        result = broken(error, "too long, or a NUL inside");
    else if (client->step == SCRAM_STEP_FIRST)
        result = in.len == 0 ? begin(client, out, error) : broken(error, "a message before its turn");
    else if (client->step == SCRAM_STEP_SECOND)
        result = answer(client, in, out, error);
    else if (client->step == SCRAM_STEP_THIRD)
        result = finish(client, in, error);
    else
        result = broken(error, "a message too many");
    if (result == SCRAM_CONTINUE)
        client->step = client->step == SCRAM_STEP_FIRST ? SCRAM_STEP_SECOND : SCRAM_STEP_THIRD;
    else
        client->step = result == SCRAM_DONE ? SCRAM_STEP_DONE : SCRAM_STEP_FAILED;
    return result;
}

bool scram_client_keys(const struct scram_client *client, struct scram_keys *out)
{
    if (client->step != SCRAM_STEP_DONE)
        return false;
    *out = client->keys;
    return true;
}
