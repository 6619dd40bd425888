/*
 * tls: what is configured about TLS, and what is known of one connection that uses it.
 *
 * A context is made from one configuration, for one side, and never changes; it is counted, so that running
 * connections keep theirs when a reload puts another one into the slot. The state of a connection belongs to
 * its conn (net/conn.h); others only ask it questions. Knows no PostgreSQL but the name of its protocol.
 *
 * Contexts and slots: any thread. A connection's state: the thread of its conn.
 */
#ifndef WEIR_NET_TLS_H
#define WEIR_NET_TLS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/config/settings.h"
#include "weir/util/error.h"

struct tls;
struct tls_context;

/* Texts as in the configuration; NULL and "" are the same. Borrowed for the call. */
struct tls_options {
    bool is_accepting; /* Weir is the server of the handshake: its clients' connections */
    enum ssl_mode mode;
    const char *ca_file, *cert_file, *key_file;
    const char *ciphers, *tls13_ciphers, *protocols;
    const char *dheparams, *ecdhcurve; /* accepting only */
    bool is_other_protocol;            /* what is spoken inside is not PostgreSQL's, and is not named */
};

/* Which key of the configuration is to blame, "client_tls_cert_file", or NULL when none is. */
struct tls_fault {
    const char *key;
    bool is_half_a_pair; /* certificate and key do not belong together, or one of them is missing: another
                            change may mend it */
};

/*
 * Reads the files. NULL with the reason in `error`, which does not name the key: `fault` does. `mode` is not
 * SSL_MODE_DISABLE. Connecting, without a ca_file, the system's authorities are believed.
 */
struct tls_context *tls_context_new(const struct tls_options *options, struct tls_fault *fault,
                                    struct error *error);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context); /* NULL is allowed */
enum ssl_mode tls_context_mode(const struct tls_context *context);

/* Where the context for new connections is found; NULL inside: no TLS. */
struct tls_slot {
    pthread_mutex_t mutex;
    struct tls_context *context;
};

void tls_slot_init(struct tls_slot *slot);
void tls_slot_destroy(struct tls_slot *slot);
/* Takes over the reference. */
void tls_slot_set(struct tls_slot *slot, struct tls_context *context);
/* A reference for the caller, or NULL. */
struct tls_context *tls_slot_get(struct tls_slot *slot);

/* ---- of a connection whose handshake is done ---- */

enum { TLS_TEXT_BYTES = 80, TLS_BINDING_BYTES = 64, TLS_NAME_BYTES = 256 };

/* "TLSv1.3/TLS_AES_256_GCM_SHA384"; "" before the end of the handshake. `out` has TLS_TEXT_BYTES. */
void tls_describe(const struct tls *tls, char *out);

/* tls-server-end-point (RFC 5929): the hash of the server's certificate. Returns its length; 0 where the
 * certificate's signature names no hash. `out` has TLS_BINDING_BYTES. */
size_t tls_binding(const struct tls *tls, uint8_t *out);

/* Accepting: the common name of the client's certificate, if it has shown one that the configured authorities
 * have signed. False otherwise, and for names that are empty, too long or hold a NUL. `out` has
 * TLS_NAME_BYTES. */
bool tls_peer_name(const struct tls *tls, char *out);

/* Did both sides agree on the protocol "postgresql" (ALPN)? */
bool tls_is_postgresql(const struct tls *tls);

/* For another connection to the same peer: its context (borrowed), and the name that its certificate has to
 * bear. */
struct tls_context *tls_context_of(const struct tls *tls);
const char *tls_host(const struct tls *tls);

#endif
