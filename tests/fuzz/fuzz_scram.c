/* Any bytes as SCRAM messages, fed to both machines in pieces cut at newlines, and as a stored secret. */
#include <stddef.h>
#include <stdint.h>

#include "weir/auth/scram.h"

static const uint8_t nonce[SCRAM_NONCE_LEN] = "a nonce of 18 byte";

static void feed_server(struct slice rest)
{
    struct scram_secret secret = {.iterations = 1, .salt_len = 4};
    struct scram_keys keys;
    struct buf out = BUF_INIT;
    struct scram_server *server = scram_server_new(&secret, false, nonce, SLICE_EMPTY, false);
    for (int turns = 0; server != NULL && turns < 4; turns++) {
        const uint8_t *end = rest.len > 0 ? memchr(rest.data, '\n', rest.len) : NULL;
        size_t len = end != NULL ? (size_t)(end - rest.data) : rest.len;
        struct error error = ERROR_INIT;
        /* The stored key is all zero: nobody can know a client key for it. */
        if (scram_server_feed(server, slice_make(rest.data, len), &out, &error) == SCRAM_DONE ||
            scram_server_keys(server, &keys))
            __builtin_trap();
        rest = slice_from(rest, len + 1);
    }
    scram_server_free(server);
    buf_free(&out);
}

static void feed_client(struct slice rest)
{
    struct scram_keys keys = {.iterations = 1, .salt_len = 3};
    struct buf out = BUF_INIT;
    struct scram_client *client = scram_client_new_keys(&keys, nonce, SLICE_EMPTY);
    if (client != NULL)
        scram_client_feed(client, SLICE_EMPTY, &out, NULL);
    for (int turns = 0; client != NULL && turns < 3; turns++) {
        const uint8_t *end = rest.len > 0 ? memchr(rest.data, '\n', rest.len) : NULL;
        size_t len = end != NULL ? (size_t)(end - rest.data) : rest.len;
        scram_client_feed(client, slice_make(rest.data, len), &out, NULL);
        rest = slice_from(rest, len + 1);
    }
    scram_client_free(client);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice rest = slice_make(data + 1, size - 1);
    struct scram_secret secret, again;
    struct buf out = BUF_INIT;
    switch (data[0] % 3) {
    case 0:
        feed_server(rest);
        break;
    case 1:
        feed_client(rest);
        break;
    default:
        if (scram_secret_parse(rest, &secret)) {
            scram_secret_format(&secret, &out);
            if (!scram_secret_parse(buf_slice(&out), &again) || memcmp(&secret, &again, sizeof(again)) != 0)
                __builtin_trap();
        }
    }
    buf_free(&out);
    return 0;
}
