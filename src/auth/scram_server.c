/*
 * The server's side. FIRST: client-first in, server-first out. SECOND: client-final in, server-final out.
 */
#include "weir/auth/scram.h"

#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "scram_machine.h"

struct scram_server *scram_server_new(const struct scram_secret *secret, bool is_mock,
                                      const uint8_t nonce[SCRAM_NONCE_LEN], struct slice binding,
                                      bool is_plus)
{
    struct scram_server *server = calloc(1, sizeof(*server));
    if (server == NULL || binding.len > SCRAM_MAX_BINDING) {
        free(server);
        return NULL;
    }
    server->secret = *secret;
    server->is_mock = is_mock;
    server->is_plus = is_plus;
    server->binding_len = binding.len;
    if (binding.len > 0)
        memcpy(server->binding, binding.data, binding.len);
    scram_print_nonce(nonce, server->nonce);
    return server;
}

bool scram_server_choose_plus(struct scram_server *server)
{
    server->is_plus = server->binding_len > 0;
    return server->is_plus;
}

void scram_server_free(struct scram_server *server)
{
    if (server == NULL)
        return;
    buf_wipe(&server->nonces);
    buf_wipe(&server->first_messages);
    scram_wipe(server, sizeof(*server));
    free(server);
}

static enum scram_result broken(struct error *error, const char *what)
{
    error_set_state(error, "08P01", "malformed SCRAM message: %s", what);
    return SCRAM_BROKEN;
}

/* Reads the gs2 header off the front: what the client says about channel binding. */
static enum scram_result read_gs2(struct scram_server *server, struct slice *message, struct error *error)
{
    struct slice binding_name;
    server->gs2_flag = message->len > 0 ? (char)message->data[0] : '\0';
    if (server->gs2_flag == 'p') {
        if (!server->is_plus)
            return broken(error,
                          "the client selected SCRAM-SHA-256 without channel binding, but asks for it");
        if (!scram_take(message, 'p', &binding_name) ||
            !slice_equal_str(binding_name, "tls-server-end-point"))
            return broken(error, "unsupported channel-binding type");
    } else if (server->gs2_flag == 'n' || server->gs2_flag == 'y') {
        if (server->is_plus)
            return broken(error, "the client selected SCRAM-SHA-256-PLUS without channel binding");
        if (server->gs2_flag == 'y' && server->binding_len > 0)
            return broken(error,
                          "the client thinks that channel binding was not offered; somebody in between?");
        if (message->len < 2 || message->data[1] != ',')
            return broken(error, "comma expected after the channel-binding flag");
        *message = slice_from(*message, 2);
    } else {
        return broken(error, "unexpected channel-binding flag");
    }
    if (message->len > 0 && message->data[0] == 'a')
        return broken(error, "authorization identities are not supported");
    if (message->len == 0 || message->data[0] != ',')
        return broken(error, "comma expected after the authorization identity");
    *message = slice_from(*message, 1);
    return SCRAM_CONTINUE;
}

static bool is_printable(struct slice nonce)
{
    for (size_t i = 0; i < nonce.len; i++)
        if (nonce.data[i] < 0x21 || nonce.data[i] > 0x7E || nonce.data[i] == ',')
            return false;
    return nonce.len > 0;
}

static enum scram_result client_first(struct scram_server *server, struct slice in, struct buf *out,
                                      struct error *error)
{
    enum scram_result result = read_gs2(server, &in, error);
    if (result != SCRAM_CONTINUE)
        return result;
    struct slice bare = in, name, nonce;
    if (in.len > 0 && in.data[0] == 'm')
        return broken(error, "the client demands an extension that is not supported");
    if (!scram_take(&in, 'n', &name) || !scram_take(&in, 'r', &nonce))
        return broken(error, "name or nonce missing in the first message");
    if (!is_printable(nonce))
        return broken(error, "the nonce has characters that are not printable");
    buf_append_slice(&server->nonces, nonce);
    buf_append_str(&server->nonces, server->nonce);

    struct buf first = BUF_INIT;
    buf_append_str(&first, "r=");
    buf_append_slice(&first, buf_slice(&server->nonces));
    buf_append_str(&first, ",s=");
    base64_encode(slice_make(server->secret.salt, server->secret.salt_len), &first);
    buf_printf(&first, ",i=%u", server->secret.iterations);
    buf_append_slice(&server->first_messages, bare);
    buf_append_u8(&server->first_messages, ',');
    buf_append_slice(&server->first_messages, buf_slice(&first));
    buf_append_slice(out, buf_slice(&first));
    bool is_ok = !buf_failed(&first) && !buf_failed(&server->nonces) && !buf_failed(&server->first_messages);
    buf_free(&first);
    if (is_ok)
        return SCRAM_CONTINUE;
    error_set(error, "out of memory");
    return SCRAM_BROKEN;
}

/* Checks the proof: H(proof xor signature) must be the stored key. Keeps the client key that this yields. */
static bool is_proven(struct scram_server *server, struct slice without_proof,
                      const uint8_t proof[SCRAM_KEY_LEN])
{
    uint8_t signature[SCRAM_KEY_LEN], stored[SCRAM_KEY_LEN];
    if (!scram_sign(server->secret.stored_key, buf_slice(&server->first_messages), without_proof, signature))
        return false;
    for (size_t i = 0; i < SCRAM_KEY_LEN; i++)
        server->client_key[i] = proof[i] ^ signature[i];
    bool is_right = scram_sha256(slice_make(server->client_key, SCRAM_KEY_LEN), stored) &&
                    scram_is_equal(stored, server->secret.stored_key, SCRAM_KEY_LEN);
    scram_wipe(signature, sizeof(signature));
    return is_right && !server->is_mock;
}

static enum scram_result client_final(struct scram_server *server, struct slice in, struct buf *out,
                                      struct error *error)
{
    struct slice rest = in, binding, nonce, proof_text = SLICE_EMPTY, ignored;
    uint8_t proof[SCRAM_KEY_LEN], signature[SCRAM_KEY_LEN];
    size_t proof_len;
    if (!scram_take(&rest, 'c', &binding) || !scram_take(&rest, 'r', &nonce))
        return broken(error, "channel binding or nonce missing in the final message");
    size_t without_len = 0;
    while (rest.len > 0) {
        without_len = (size_t)(rest.data - in.data) - 1;
        if (rest.data[0] == 'p') {
            if (!scram_take(&rest, 'p', &proof_text) || rest.len > 0)
                return broken(error, "the proof is not the last attribute");
        } else if (!scram_take(&rest, (char)rest.data[0], &ignored)) {
            return broken(error, "an attribute without value");
        }
    }
    if (!base64_decode(proof_text, proof, sizeof(proof), &proof_len) || proof_len != SCRAM_KEY_LEN)
        return broken(error, "the proof is missing or not base64");
    if (!slice_equal(nonce, buf_slice(&server->nonces)))
        return broken(error, "the nonce does not match");
    struct buf expected = BUF_INIT;
    scram_append_binding(server->gs2_flag, slice_make(server->binding, server->binding_len), &expected);
    bool is_bound = !buf_failed(&expected) && slice_equal(binding, buf_slice(&expected));
    buf_free(&expected);
    if (!is_bound)
        return broken(error, "the channel binding does not match");
    struct slice without_proof = slice_make(in.data, without_len);
    if (!is_proven(server, without_proof, proof) ||
        !scram_sign(server->secret.server_key, buf_slice(&server->first_messages), without_proof,
                    signature)) {
        error_set_state(error, "28P01", "SASL authentication failed");
        return SCRAM_REFUSED;
    }
    buf_append_str(out, "v=");
    base64_encode(slice_make(signature, SCRAM_KEY_LEN), out);
    return SCRAM_DONE;
}

enum scram_result scram_server_feed(struct scram_server *server, struct slice in, struct buf *out,
                                    struct error *error)
{
    enum scram_result result;
    if (in.len > SCRAM_MAX_MESSAGE || (in.len > 0 && memchr(in.data, '\0', in.len) != NULL))
        result = broken(error, "too long, or a NUL inside");
    else if (server->step == SCRAM_STEP_FIRST)
        result = client_first(server, in, out, error);
    else if (server->step == SCRAM_STEP_SECOND)
        result = client_final(server, in, out, error);
    else
        result = broken(error, "a message too many");
    if (result == SCRAM_CONTINUE)
        server->step = SCRAM_STEP_SECOND;
    else
        server->step = result == SCRAM_DONE ? SCRAM_STEP_DONE : SCRAM_STEP_FAILED;
    return result;
}

bool scram_server_keys(const struct scram_server *server, struct scram_keys *out)
{
    if (server->step != SCRAM_STEP_DONE)
        return false;
    memset(out, 0, sizeof(*out));
    out->iterations = server->secret.iterations;
    out->salt_len = server->secret.salt_len;
    memcpy(out->salt, server->secret.salt, sizeof(out->salt));
    memcpy(out->client_key, server->client_key, SCRAM_KEY_LEN);
    memcpy(out->server_key, server->secret.server_key, SCRAM_KEY_LEN);
    return true;
}
