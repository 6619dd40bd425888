/*
 * Private to auth (and its tests, which set names and nonces as the RFC has them): what both machines share.
 */
#ifndef WEIR_AUTH_SCRAM_MACHINE_H
#define WEIR_AUTH_SCRAM_MACHINE_H

#include "weir/auth/scram.h"

#define SCRAM_MAX_MESSAGE 4096 /* of either side; real ones are below 200 bytes */
#define SCRAM_MAX_BINDING 64   /* a hash of the certificate */

enum scram_step { SCRAM_STEP_FIRST, SCRAM_STEP_SECOND, SCRAM_STEP_THIRD, SCRAM_STEP_DONE, SCRAM_STEP_FAILED };

struct scram_server {
    enum scram_step step;
    bool is_mock;
    bool is_plus;
    struct scram_secret secret;
    char nonce[64]; /* our part, then both parts are in nonces */
    uint8_t binding[SCRAM_MAX_BINDING];
    size_t binding_len;
    char gs2_flag;             /* 'n', 'y' or 'p' */
    struct buf nonces;         /* client's and ours */
    struct buf first_messages; /* client-first-bare "," server-first */
    uint8_t client_key[SCRAM_KEY_LEN];
};

struct scram_client {
    enum scram_step step;
    const char *name; /* in client-first; PostgreSQL goes by the startup message and libpq sends none */
    char nonce[64];
    bool has_password;
    struct buf password; /* prepared */
    bool has_keys;
    struct scram_keys keys;
    uint8_t binding[SCRAM_MAX_BINDING];
    size_t binding_len;
    bool has_no_offer;
    struct buf first_bare;
    uint8_t server_signature[SCRAM_KEY_LEN];
};

/* HMAC-SHA-256 of two pieces. */
bool scram_hmac(const uint8_t *key, size_t key_len, struct slice a, struct slice b,
                uint8_t out[SCRAM_KEY_LEN]);
bool scram_sha256(struct slice data, uint8_t out[SCRAM_KEY_LEN]);
bool scram_is_equal(const uint8_t *a, const uint8_t *b, size_t len);

/* Takes "x=value" up to the next ',' or the end off the front. False when it is not there. */
bool scram_take(struct slice *message, char name, struct slice *value);

/* Appends the content of c=: the gs2 header, then binding data, as base64. */
void scram_append_binding(char gs2_flag, struct slice binding, struct buf *out);
/* "n,,", "y,,", "p=tls-server-end-point,,". */
const char *scram_gs2_header(char gs2_flag);

/* auth-message = first_messages "," without_proof; signatures over it. */
bool scram_sign(const uint8_t key[SCRAM_KEY_LEN], struct slice first_messages, struct slice without_proof,
                uint8_t out[SCRAM_KEY_LEN]);

void scram_print_nonce(const uint8_t raw[SCRAM_NONCE_LEN], char out[64]);

#endif
