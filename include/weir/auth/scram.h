/*
 * scram: both sides of SCRAM-SHA-256 (RFC 5802, RFC 7677; protocol chapter "SASL Authentication") as machines
 * that are fed one message and write the next.
 *
 *   client: feed("") -> client-first   feed(server-first) -> client-final   feed(server-final) -> DONE
 *   server: feed(client-first) -> server-first   feed(client-final) -> server-final, DONE
 *
 * Pure: nonces and salts are arguments. A failed machine stays failed. Secrets are compared in constant time
 * and wiped when a machine is freed. One thread at a time. The derivation of keys from a password costs one
 * PBKDF2 (about a millisecond at 4096 iterations); machines made from keys or secrets cost a few HMACs.
 */
#ifndef WEIR_AUTH_SCRAM_H
#define WEIR_AUTH_SCRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/util/buf.h"
#include "weir/util/error.h"
#include "weir/util/slice.h"

#define SCRAM_KEY_LEN        32
#define SCRAM_NONCE_LEN      18      /* raw bytes; sent as base64 */
#define SCRAM_SALT_LEN       16      /* of secrets that Weir makes */
#define SCRAM_MAX_SALT       64      /* of secrets that others made */
#define SCRAM_MAX_ITERATIONS 1000000 /* more is refused: it would stop the thread for seconds */
#define SCRAM_MECHANISM      "SCRAM-SHA-256"
#define SCRAM_MECHANISM_PLUS "SCRAM-SHA-256-PLUS"

/* What PostgreSQL stores: enough to check a login and to prove oneself to the client, not enough to log in.
 */
struct scram_secret {
    uint32_t iterations;
    uint8_t salt_len;
    uint8_t salt[SCRAM_MAX_SALT];
    uint8_t stored_key[SCRAM_KEY_LEN];
    uint8_t server_key[SCRAM_KEY_LEN];
};

/* What logs in without the password (pass-through): good wherever salt and iterations are the same. */
struct scram_keys {
    uint32_t iterations;
    uint8_t salt_len;
    uint8_t salt[SCRAM_MAX_SALT];
    uint8_t client_key[SCRAM_KEY_LEN];
    uint8_t server_key[SCRAM_KEY_LEN];
};

enum scram_result {
    SCRAM_CONTINUE, /* send what was written, feed the answer */
    SCRAM_DONE,     /* server side: send what was written; the peer is who it claims to be */
    SCRAM_REFUSED,  /* well-formed, but the proof is wrong, or the user is a mock */
    SCRAM_BROKEN,   /* the message breaks the protocol; `error` says how */
};

/* Parses "SCRAM-SHA-256$iterations:salt$stored:server". */
bool scram_secret_parse(struct slice text, struct scram_secret *out);
void scram_secret_format(const struct scram_secret *secret, struct buf *out);
/* False when hashing fails. `salt_len` at most SCRAM_MAX_SALT. */
bool scram_secret_make(struct slice password, const uint8_t *salt, size_t salt_len, uint32_t iterations,
                       struct scram_secret *out);
/* The same secret for the same user each time, so that unknown users cannot be told from known ones. */
bool scram_secret_mock(const uint8_t process_key[SCRAM_KEY_LEN], struct slice user, uint32_t iterations,
                       struct scram_secret *out);
/* The salt that scram_secret_mock uses; give it to secrets made from plain passwords, for the same reason. */
bool scram_salt_for_user(const uint8_t process_key[SCRAM_KEY_LEN], struct slice user,
                         uint8_t salt[SCRAM_SALT_LEN]);
/* Does this password belong to the secret? (plain-text logins) */
bool scram_secret_is_password(const struct scram_secret *secret, struct slice password);
/* Keys for logging in with a plain password where salt and iterations are known. */
bool scram_keys_make(struct slice password, const uint8_t *salt, size_t salt_len, uint32_t iterations,
                     struct scram_keys *out);
void scram_wipe(void *secret, size_t len);

/* SASLprep (RFC 4013), or the bytes unchanged where that refuses them, as PostgreSQL does. Wipe `out` after
 * use. */
void scram_prepare_password(struct slice password, struct buf *out);

struct scram_server;

/*
 * `secret` is copied. `is_mock` lets the exchange run to its end and refuses then. `nonce` is random.
 * `binding` is the tls-server-end-point data of this connection, empty without TLS; not empty means that
 * SCRAM-SHA-256-PLUS was offered, and `is_plus` says that the client chose it (or scram_server_choose_plus,
 * as long as nothing was fed). The caller frees.
 */
struct scram_server *scram_server_new(const struct scram_secret *secret, bool is_mock,
                                      const uint8_t nonce[SCRAM_NONCE_LEN], struct slice binding,
                                      bool is_plus);
/* False when it was not offered. */
bool scram_server_choose_plus(struct scram_server *server);
void scram_server_free(struct scram_server *server);
enum scram_result scram_server_feed(struct scram_server *server, struct slice in, struct buf *out,
                                    struct error *error);
/* After SCRAM_DONE: the keys that the login proved, for pass-through. False before. */
bool scram_server_keys(const struct scram_server *server, struct scram_keys *out);

struct scram_client;

/* `password` is copied (wiped later). `binding` as above: not empty asks for SCRAM-SHA-256-PLUS. */
struct scram_client *scram_client_new(struct slice password, const uint8_t nonce[SCRAM_NONCE_LEN],
                                      struct slice binding);
/* The connection could bind, but the server did not offer it: says so, for the server to find out whether
 * somebody in between has taken the offer away. Before anything is fed. */
void scram_client_note_no_offer(struct scram_client *client);
/* From keys instead; refused with a clear message when the server's salt or iterations differ. */
struct scram_client *scram_client_new_keys(const struct scram_keys *keys,
                                           const uint8_t nonce[SCRAM_NONCE_LEN], struct slice binding);
void scram_client_free(struct scram_client *client);
enum scram_result scram_client_feed(struct scram_client *client, struct slice in, struct buf *out,
                                    struct error *error);
/* After SCRAM_DONE: the keys derived for this server, worth keeping (credential_keep_keys). False before. */
bool scram_client_keys(const struct scram_client *client, struct scram_keys *out);
/* Hands keys of earlier logins to a password client: saves the PBKDF2 when salt and iterations fit. */
void scram_client_suggest_keys(struct scram_client *client, const struct scram_keys *keys);

#endif
