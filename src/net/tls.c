/*
 * tls: the state of one connection, through OpenSSL.
 *
 *   socket ──recv──► (ahead) ──► OpenSSL ──► tls_recv           tls_send ──► OpenSSL ──► write function
 *
 * What OpenSSL writes is always taken whole, so that it never waits to write, and nothing has to be tried
 * again with the same bytes. It reads from the socket until that is empty, which a short read already says: a
 * query costs one recv, as without TLS. Between messages an established state holds no buffers.
 */
#include "tls_state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls_context.h"
#include "weir/util/buf.h"
#include "weir/util/cold.h"

enum { RECORD_BYTES = 16 * 1024 };

struct tls {
    SSL *ssl;
    struct tls_context *context; /* counted */
    tls_write_fn write;
    void *write_context;
    struct buf ahead;
    char *host;    /* connecting */
    char *problem; /* NULL: none */
    int fd;
    int error; /* of the socket */
    bool is_established : 1;
    bool is_drained : 1;  /* the socket has nothing more, and will tell when it has */
    bool has_no_news : 1; /* it will tell no more: it is read until it says so itself */
    bool is_over : 1;     /* no more will be read: error 0 for an end */
};

/* ---- what OpenSSL reads from and writes to ---- */

static int read_bytes(BIO *bio, char *out, int len)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->ahead.len > 0) {
        size_t taken = tls->ahead.len < (size_t)len ? tls->ahead.len : (size_t)len;
        memcpy(out, tls->ahead.data, taken);
        buf_consume(&tls->ahead, taken);
        if (tls->ahead.len == 0)
            buf_free(&tls->ahead);
        return (int)taken;
    }
    ssize_t got = -1;
    if (!tls->is_drained) {
        do
            got = recv(tls->fd, out, (size_t)len, 0);
        while (got < 0 && errno == EINTR);
        tls->is_drained = got < (ssize_t)len && !tls->has_no_news;
        if (got > 0)
            return (int)got;
        if (got == 0 || errno != EAGAIN) {
            tls->is_over = true;
            tls->error = got == 0 ? 0 : errno;
            return (int)got;
        }
        tls->is_drained = true;
    }
    BIO_set_retry_read(bio);
    return -1;
}

static int write_bytes(BIO *bio, const char *data, int len)
{
    struct tls *tls = BIO_get_data(bio);
    tls->write(tls->write_context, data, (size_t)len);
    return len;
}

static long control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *method;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir connection");
    if (method == NULL)
        return;
    BIO_meth_set_read(method, read_bytes);
    BIO_meth_set_write(method, write_bytes);
    BIO_meth_set_ctrl(method, control);
}

/* ---- beginning and end ---- */

/* The name that the server's certificate has to bear, and that the server is told. */
static bool expect_host(struct tls *tls, const char *host)
{
    uint8_t address[sizeof(struct in6_addr)];
    bool is_address = inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
    tls->host = strdup(host);
    if (tls->host == NULL || (!is_address && SSL_set_tlsext_host_name(tls->ssl, host) != 1))
        return false;
    if (tls->context->mode != SSL_MODE_VERIFY_FULL)
        return true;
    SSL_set_hostflags(tls->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return is_address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), host) == 1
                      : SSL_set1_host(tls->ssl, host) == 1;
}

static bool prepare(struct tls *tls, const char *host, struct slice ahead)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    tls->ssl = SSL_new(tls->context->ssl);
    BIO *bio = method != NULL && tls->ssl != NULL ? BIO_new(method) : NULL;
    if (bio == NULL)
        return false;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    if (ahead.len > 0)
        buf_append_slice(&tls->ahead, ahead);
    if (buf_failed(&tls->ahead))
        return false;
    if (tls->context->is_accepting) {
        SSL_set_accept_state(tls->ssl);
        return true;
    }
    SSL_set_connect_state(tls->ssl);
    return expect_host(tls, host);
}

COLD struct tls *tls_new(struct tls_context *context, const char *host, struct slice ahead, int fd,
                         tls_write_fn write, void *write_context)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    if (tls == NULL)
        return NULL;
    *tls = (struct tls){.context = tls_context_ref(context), .write = write, .write_context = write_context};
    tls->fd = fd;
    if (prepare(tls, host, ahead))
        return tls;
    tls_free(tls);
    ERR_clear_error();
    return NULL;
}

COLD void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    tls_context_unref(tls->context);
    buf_free(&tls->ahead);
    free(tls->host);
    free(tls->problem);
    free(tls);
}

/* ---- reading ---- */

/* In OpenSSL's words, and of a certificate also what is wrong with it. */
COLD static void note_problem(struct tls *tls)
{
    struct buf text = BUF_INIT;
    long verdict = SSL_get_verify_result(tls->ssl);
    bool is_verdict =
        verdict != X509_V_OK && ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    buf_append_str(&text, tls_take_reason());
    if (is_verdict)
        buf_printf(&text, ": %s", X509_verify_cert_error_string(verdict));
    const char *words = buf_text(&text);
    tls->problem = words != NULL ? strdup(words) : NULL;
    buf_free(&text);
}

/* Why OpenSSL did not go on, as an errno; everything but EAGAIN is for good. */
static int settle(struct tls *tls, int result)
{
    int what = SSL_get_error(tls->ssl, result);
    if (what == SSL_ERROR_WANT_READ && !tls->is_over)
        return EAGAIN;
    if (what == SSL_ERROR_ZERO_RETURN) {
        tls->is_over = true;
        tls->error = 0;
    } else if (!tls->is_over) {
        tls->is_over = true;
        tls->error = EPROTO;
        note_problem(tls);
    }
    ERR_clear_error();
    return tls->error != 0 ? tls->error : EPIPE;
}

static void begin_reading(struct tls *tls, bool has_ended)
{
    tls->has_no_news = tls->has_no_news || has_ended;
    tls->is_drained = false;
}

COLD int tls_handshake(struct tls *tls, bool has_ended)
{
    if (tls->is_over)
        return tls->error != 0 ? tls->error : EPIPE;
    begin_reading(tls, has_ended);
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result != 1)
        return settle(tls, result);
    tls->is_established = true;
    return 0;
}

bool tls_is_established(const struct tls *tls)
{
    return tls->is_established;
}

/* Not inlined, as tls_send: it would only spread the code of connections without TLS. */
APART ssize_t tls_recv(struct tls *tls, uint8_t *out, size_t room, bool *has_ended)
{
    size_t total = 0, got;
    int error = tls->is_over ? (tls->error != 0 ? tls->error : EPIPE) : 0;
    begin_reading(tls, *has_ended);
    ERR_clear_error();
    while (error == 0 && total < room) {
        if (SSL_read_ex(tls->ssl, out + total, room - total, &got) == 1)
            total += got;
        else
            error = settle(tls, 0);
    }
    if (error != 0 && error != EAGAIN)
        *has_ended = true;
    if (total > 0)
        return (ssize_t)total;
    errno = error;
    return error == EPIPE ? 0 : -1;
}

bool tls_has_pending(const struct tls *tls)
{
    return tls->ahead.len > 0 || SSL_has_pending(tls->ssl) == 1;
}

/* ---- writing ---- */

static bool encrypt(struct tls *tls, const void *data, size_t len)
{
    size_t written;
    if (len == 0 || (SSL_write_ex(tls->ssl, data, len, &written) == 1 && written == len))
        return true;
    if (tls->problem == NULL)
        note_problem(tls);
    return false;
}

APART bool tls_send(struct tls *tls, const struct iovec *parts, int count)
{
    uint8_t record[RECORD_BYTES];
    size_t used = 0;
    if (!tls->is_established)
        return true;
    ERR_clear_error();
    if (count == 1)
        return encrypt(tls, parts[0].iov_base, parts[0].iov_len);
    for (int i = 0; i < count; i++) {
        const uint8_t *from = parts[i].iov_base;
        size_t left = parts[i].iov_len;
        while (left > 0) {
            size_t room = sizeof(record) - used, step = left < room ? left : room;
            memcpy(record + used, from, step);
            used += step;
            from += step;
            left -= step;
            if (used == sizeof(record)) {
                if (!encrypt(tls, record, used))
                    return false;
                used = 0;
            }
        }
    }
    return encrypt(tls, record, used);
}

COLD void tls_say_end(struct tls *tls)
{
    if (!tls->is_established || (tls->is_over && tls->error != 0))
        return;
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

const char *tls_problem(const struct tls *tls)
{
    return tls->problem != NULL ? tls->problem : "";
}

/* ---- questions ---- */

COLD void tls_describe(const struct tls *tls, char *out)
{
    out[0] = '\0';
    if (tls->is_established)
        snprintf(out, TLS_TEXT_BYTES, "%s/%s", SSL_get_version(tls->ssl), SSL_get_cipher_name(tls->ssl));
}

COLD size_t tls_binding(const struct tls *tls, uint8_t *out)
{
    if (!tls->is_established)
        return 0;
    if (tls->context->is_accepting) {
        memcpy(out, tls->context->binding, tls->context->binding_len);
        return tls->context->binding_len;
    }
    X509 *theirs = SSL_get1_peer_certificate(tls->ssl);
    size_t len = theirs != NULL ? tls_hash_certificate(theirs, out) : 0;
    X509_free(theirs);
    return len;
}

COLD bool tls_peer_name(const struct tls *tls, char *out)
{
    if (!tls->is_established || !tls->context->asks_for_certificate ||
        SSL_get_verify_result(tls->ssl) != X509_V_OK)
        return false;
    X509 *theirs = SSL_get1_peer_certificate(tls->ssl);
    if (theirs == NULL)
        return false;
    X509_NAME *subject = X509_get_subject_name(theirs);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    uint8_t *text = NULL;
    int len =
        at < 0 ? -1 : ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    bool is_name = len > 0 && len < TLS_NAME_BYTES && memchr(text, '\0', (size_t)len) == NULL;
    if (is_name) {
        memcpy(out, text, (size_t)len);
        out[len] = '\0';
    }
    OPENSSL_free(text);
    X509_free(theirs);
    ERR_clear_error();
    return is_name;
}

COLD bool tls_is_postgresql(const struct tls *tls)
{
    const uint8_t *name = NULL;
    unsigned len = 0;
    SSL_get0_alpn_selected(tls->ssl, &name, &len);
    return len == 10 && memcmp(name, "postgresql", 10) == 0;
}

struct tls_context *tls_context_of(const struct tls *tls)
{
    return tls->context;
}

const char *tls_host(const struct tls *tls)
{
    return tls->host != NULL ? tls->host : "";
}
