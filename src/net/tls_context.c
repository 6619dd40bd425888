/*
 * tls_context: options to OpenSSL's SSL_CTX, once for each configuration and side.
 *
 * Session tickets and caches are off: they would keep keys of ended connections, and poolers' clients stay.
 * Renegotiation and compression are off, as in PostgreSQL.
 */
#include "tls_context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

static const uint8_t alpn_postgresql[] = {10, 'p', 'o', 's', 't', 'g', 'r', 'e', 's', 'q', 'l'};

const char *tls_take_reason(void)
{
    const char *reason = NULL;
    int number = 0;
    unsigned long code;
    while ((code = ERR_get_error()) != 0) {
        if (ERR_SYSTEM_ERROR(code))
            number = ERR_GET_REASON(code);
        else if (reason == NULL)
            reason = ERR_reason_error_string(code);
    }
    if (number != 0)
        return strerror(number);
    return reason != NULL ? reason : "unknown reason";
}

size_t tls_hash_certificate(const X509 *certificate, uint8_t out[TLS_BINDING_BYTES])
{
    int hash = NID_undef;
    unsigned int len = 0;
    if (!X509_get_signature_info((X509 *)(uintptr_t)certificate, &hash, NULL, NULL, NULL))
        return 0;
    if (hash == NID_md5 || hash == NID_sha1)
        hash = NID_sha256;
    const EVP_MD *digest = hash != NID_undef ? EVP_get_digestbynid(hash) : NULL;
    if (digest == NULL || EVP_MD_get_size(digest) > TLS_BINDING_BYTES ||
        !X509_digest(certificate, digest, out, &len))
        return 0;
    return len;
}

#define KEY(options, name) ((options)->is_accepting ? "client_tls_" name : "server_tls_" name)

static bool is_set(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static bool is_word(const char *text, const char *words)
{
    for (size_t len; *words != '\0'; words += len + (words[len] != '\0')) {
        len = strcspn(words, " ");
        if (strlen(text) == len && strncasecmp(text, words, len) == 0)
            return true;
    }
    return false;
}

/* ---- versions ---- */

static const struct version {
    const char *names; /* first the shortcuts that hold it, then its own */
    int number;
    uint64_t off;
} versions[] = {
    {"all legacy tlsv1 tlsv1.0", TLS1_VERSION, SSL_OP_NO_TLSv1},
    {"all legacy tlsv1 tlsv1.1", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
    {"all legacy secure default tlsv1 tlsv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
    {"all legacy secure default tlsv1 tlsv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
};

enum { VERSIONS = sizeof(versions) / sizeof(versions[0]) };

/* One word of the list: switches versions on, or with '!' off. False when no version is called so. */
static bool apply_word(const char *word, size_t len, unsigned *chosen)
{
    char name[16] = "";
    bool is_off = len > 0 && word[0] == '!';
    if (len - is_off >= sizeof(name))
        return false;
    memcpy(name, word + is_off, len - is_off);
    unsigned meant = 0;
    for (unsigned i = 0; i < VERSIONS; i++)
        if (is_word(name, versions[i].names))
            meant |= 1u << i;
    *chosen = is_off ? *chosen & ~meant : *chosen | meant;
    return meant != 0;
}

static bool set_versions(SSL_CTX *ssl, const char *list, struct error *error)
{
    unsigned chosen = 0;
    const char *word = is_set(list) ? list : "secure";
    if (strspn(word, " \t")[word] == '!')
        chosen = (1u << VERSIONS) - 1;
    for (; *word != '\0'; word += strspn(word, ", :\t")) {
        size_t len = strcspn(word, ", :\t");
        if (len > 0 && !apply_word(word, len, &chosen))
            return error_set(error,
                             "\"%.*s\" is no version; it takes a list of tlsv1.0, tlsv1.1, tlsv1.2 and "
                             "tlsv1.3, or secure, or all",
                             (int)len, word);
        word += len;
    }
    int least = 0, most = 0;
    for (unsigned i = 0; i < VERSIONS; i++) {
        if (!(chosen & 1u << i)) {
            SSL_CTX_set_options(ssl, versions[i].off);
            continue;
        }
        least = least == 0 ? versions[i].number : least;
        most = versions[i].number;
    }
    if (least == 0)
        return error_set(error, "no version is left");
    return (SSL_CTX_set_min_proto_version(ssl, least) && SSL_CTX_set_max_proto_version(ssl, most)) ||
           error_set(error, "this OpenSSL has no such version");
}

/* ---- ciphers and key exchange ---- */

static bool set_ciphers(SSL_CTX *ssl, const char *list, struct error *error)
{
    if (!is_set(list) || is_word(list, "default secure fast normal"))
        return true;
    const char *meant = is_word(list, "all") ? "ALL" : list;
    return SSL_CTX_set_cipher_list(ssl, meant) ||
           error_set(error, "no cipher of OpenSSL is meant by it (openssl ciphers -v lists them)");
}

static bool set_tls13_ciphers(SSL_CTX *ssl, const char *list, struct error *error)
{
    return !is_set(list) || SSL_CTX_set_ciphersuites(ssl, list) ||
           error_set(error, "no such cipher of TLS 1.3; it takes a list such as "
                            "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
}

static bool set_dh(SSL_CTX *ssl, const char *word, struct error *error)
{
    if (!is_set(word) || is_word(word, "auto"))
        return SSL_CTX_set_dh_auto(ssl, 1) != 0;
    if (is_word(word, "none")) {
        SSL_CTX_set_dh_auto(ssl, 0);
        return true;
    }
    if (is_word(word, "legacy")) {
        SSL_CTX_set_dh_auto(ssl, 2);
        return true;
    }
    return error_set(error, "it takes none, auto (2048 bits) or legacy (1024 bits)");
}

static bool set_curve(SSL_CTX *ssl, const char *name, struct error *error)
{
    if (!is_set(name) || is_word(name, "auto"))
        return true;
    /* Without elliptic curves TLS 1.3 still has its finite fields. */
    const char *groups = is_word(name, "none") ? "ffdhe2048:ffdhe3072" : name;
    return SSL_CTX_set1_groups_list(ssl, groups) ||
           error_set(error, "no such curve; it takes none, auto or names such as prime256v1:X25519");
}

/* ---- files ---- */

static int no_passphrase(char *buffer, int size, int is_writing, void *arg)
{
    (void)buffer, (void)size, (void)is_writing;
    *(bool *)arg = true;
    return -1;
}

static bool load_key(SSL_CTX *ssl, const struct tls_options *options, struct tls_fault *fault,
                     struct error *error)
{
    bool has_passphrase = false;
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(ssl, &has_passphrase);
    ERR_clear_error();
    bool is_loaded = SSL_CTX_use_PrivateKey_file(ssl, options->key_file, SSL_FILETYPE_PEM) == 1 &&
                     SSL_CTX_check_private_key(ssl) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(ssl, NULL);
    SSL_CTX_set_default_passwd_cb(ssl, NULL);
    if (is_loaded)
        return true;
    if (has_passphrase)
        return error_set(error, "the key is protected by a passphrase, which nobody could type in; remove "
                                "it (openssl pkey -in FILE -out FILE)");
    fault->is_half_a_pair = ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509;
    if (fault->is_half_a_pair)
        return error_set(error, "the key does not belong to the certificate \"%s\"", options->cert_file);
    return error_set(error, "not a private key in PEM that can be read: %s", tls_take_reason());
}

static bool load_pair(SSL_CTX *ssl, const struct tls_options *options, struct tls_fault *fault,
                      struct error *error)
{
    bool has_certificate = is_set(options->cert_file), has_key = is_set(options->key_file);
    fault->key = has_certificate ? KEY(options, "key_file") : KEY(options, "cert_file");
    if (!has_certificate && !has_key)
        return !options->is_accepting ||
               error_set(error, "TLS with clients needs a certificate and its key: set both");
    fault->is_half_a_pair = true;
    if (!has_certificate || !has_key)
        return error_set(error, "a certificate and its key are needed together: set both");
    fault->is_half_a_pair = false;
    fault->key = KEY(options, "cert_file");
    if (SSL_CTX_use_certificate_chain_file(ssl, options->cert_file) != 1)
        return error_set(error, "not a certificate in PEM that can be read: %s", tls_take_reason());
    fault->key = KEY(options, "key_file");
    return load_key(ssl, options, fault, error);
}

static bool load_authorities(SSL_CTX *ssl, const struct tls_options *options, struct error *error)
{
    if (!is_set(options->ca_file)) {
        if (options->is_accepting)
            return options->mode < SSL_MODE_VERIFY_CA ||
                   error_set(error, "the authorities that sign clients' certificates are needed");
        return SSL_CTX_set_default_verify_paths(ssl) == 1;
    }
    if (SSL_CTX_load_verify_locations(ssl, options->ca_file, NULL) != 1)
        return error_set(error, "no certificates in PEM that can be read: %s", tls_take_reason());
    STACK_OF(X509_NAME) *names = options->is_accepting ? SSL_load_client_CA_file(options->ca_file) : NULL;
    if (names != NULL)
        SSL_CTX_set_client_CA_list(ssl, names);
    ERR_clear_error();
    return true;
}

/* ---- the context ---- */

/* A certificate that nobody demanded is looked at, and may be bad: it proves nothing then. */
static int accept_any(int is_good, X509_STORE_CTX *store)
{
    (void)is_good, (void)store;
    return 1;
}

static void set_verification(struct tls_context *context)
{
    bool is_demanded = context->mode >= SSL_MODE_VERIFY_CA;
    if (!context->is_accepting)
        SSL_CTX_set_verify(context->ssl, is_demanded ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    else if (is_demanded)
        SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    else if (context->asks_for_certificate)
        SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, accept_any);
}

/* Who names protocols has to name this one. */
static int select_protocol(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                           unsigned in_len, void *arg)
{
    (void)ssl, (void)arg;
    uint8_t *chosen;
    if (SSL_select_next_proto(&chosen, out_len, alpn_postgresql, sizeof(alpn_postgresql), in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool set_protocol_name(const struct tls_context *context)
{
    if (!context->is_accepting)
        return SSL_CTX_set_alpn_protos(context->ssl, alpn_postgresql, sizeof(alpn_postgresql)) == 0;
    SSL_CTX_set_alpn_select_cb(context->ssl, select_protocol, NULL);
    return true;
}

static bool configure(struct tls_context *context, const struct tls_options *options, struct tls_fault *fault,
                      struct error *error)
{
    SSL_CTX *ssl = context->ssl;
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, 0);
    if (!options->is_other_protocol && !set_protocol_name(context))
        return error_set(error, "out of memory");
    fault->key = KEY(options, "protocols");
    if (!set_versions(ssl, options->protocols, error))
        return false;
    fault->key = KEY(options, "ciphers");
    if (!set_ciphers(ssl, options->ciphers, error))
        return false;
    fault->key = options->is_accepting ? "client_tls13_ciphers" : "server_tls13_ciphers";
    if (!set_tls13_ciphers(ssl, options->tls13_ciphers, error))
        return false;
    fault->key = KEY(options, "dheparams");
    if (options->is_accepting && !set_dh(ssl, options->dheparams, error))
        return false;
    fault->key = KEY(options, "ecdhcurve");
    if (options->is_accepting && !set_curve(ssl, options->ecdhcurve, error))
        return false;
    fault->key = KEY(options, "ca_file");
    if (!load_authorities(ssl, options, error) || !load_pair(ssl, options, fault, error))
        return false;
    set_verification(context);
    const X509 *own = options->is_accepting ? SSL_CTX_get0_certificate(ssl) : NULL;
    context->binding_len = own != NULL ? tls_hash_certificate(own, context->binding) : 0;
    return true;
}

struct tls_context *tls_context_new(const struct tls_options *options, struct tls_fault *fault,
                                    struct error *error)
{
    *fault = (struct tls_fault){0};
    struct tls_context *context = calloc(1, sizeof(*context));
    if (context == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    atomic_init(&context->references, 1);
    context->mode = options->mode;
    context->is_accepting = options->is_accepting;
    context->asks_for_certificate = options->is_accepting && is_set(options->ca_file);
    context->ssl = SSL_CTX_new(options->is_accepting ? TLS_server_method() : TLS_client_method());
    if (context->ssl == NULL)
        error_set(error, "OpenSSL: %s", tls_take_reason());
    else if (configure(context, options, fault, error))
        return context;
    tls_context_unref(context);
    ERR_clear_error();
    return NULL;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (context == NULL || atomic_fetch_sub(&context->references, 1) > 1)
        return;
    SSL_CTX_free(context->ssl);
    free(context);
}

enum ssl_mode tls_context_mode(const struct tls_context *context)
{
    return context->mode;
}

/* ---- the slot ---- */

void tls_slot_init(struct tls_slot *slot)
{
    pthread_mutex_init(&slot->mutex, NULL);
    slot->context = NULL;
}

void tls_slot_destroy(struct tls_slot *slot)
{
    tls_context_unref(slot->context);
    pthread_mutex_destroy(&slot->mutex);
}

void tls_slot_set(struct tls_slot *slot, struct tls_context *context)
{
    pthread_mutex_lock(&slot->mutex);
    struct tls_context *old = slot->context;
    slot->context = context;
    pthread_mutex_unlock(&slot->mutex);
    tls_context_unref(old);
}

struct tls_context *tls_slot_get(struct tls_slot *slot)
{
    pthread_mutex_lock(&slot->mutex);
    struct tls_context *context = slot->context != NULL ? tls_context_ref(slot->context) : NULL;
    pthread_mutex_unlock(&slot->mutex);
    return context;
}
