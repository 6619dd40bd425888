/*
 * Private to net: what a context holds.
 */
#ifndef WEIR_NET_TLS_CONTEXT_H
#define WEIR_NET_TLS_CONTEXT_H

#include <stdatomic.h>

#include <openssl/ssl.h>

#include "weir/net/tls.h"

struct tls_context {
    _Atomic int references;
    SSL_CTX *ssl;
    enum ssl_mode mode;
    bool is_accepting;
    bool asks_for_certificate; /* accepting: there are authorities by which a client's could be judged */
    uint8_t binding[TLS_BINDING_BYTES];
    size_t binding_len; /* accepting: of our own certificate */
};

/* The hash of a certificate that RFC 5929 asks for; its length, or 0. */
size_t tls_hash_certificate(const X509 *certificate, uint8_t out[TLS_BINDING_BYTES]);

/* What OpenSSL has complained of, as words: the system's error, or the first of its own. Empties its queue.
 */
const char *tls_take_reason(void);

#endif
