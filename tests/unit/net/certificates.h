/*
 * certificates: a folder of keys and certificates, made by openssl(1) when a test program begins.
 *
 *   ca.crt, other.crt              two authorities
 *   server.crt, server.key         signed by ca: localhost, 127.0.0.1
 *   client.crt, client.key         signed by ca: common name "app"
 *   stranger.crt, stranger.key     signed by other: common name "app"
 *   locked.key                     server.key behind a passphrase
 */
#ifndef WEIR_TESTS_NET_CERTIFICATES_H
#define WEIR_TESTS_NET_CERTIFICATES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char certificates_folder[] = "/tmp/weir-tls-XXXXXX";

static inline void certificates_run(const char *command)
{
    char line[2000];
    snprintf(line, sizeof(line), "cd %s && { %s; } >log 2>&1", certificates_folder, command);
    assert_int_equal(system(line), 0);
}

static inline void certificates_sign(const char *name, const char *subject, const char *authority,
                                     const char *names)
{
    char line[1500];
    snprintf(
        line, sizeof(line),
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=%s' -keyout %s.key "
        "-out %s.csr && printf '%s\\n' >%s.ext && openssl x509 -req -in %s.csr -days 2 -CA %s.crt "
        "-CAkey %s.key -CAcreateserial -extfile %s.ext -out %s.crt",
        subject, name, name, names, name, name, authority, authority, name, name);
    certificates_run(line);
}

static inline int certificates_make(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(certificates_folder));
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "ca" : "other";
        char line[500];
        snprintf(line, sizeof(line),
                 "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
                 "'/CN=%s' -keyout %s.key -out %s.crt",
                 name, name, name);
        certificates_run(line);
    }
    certificates_sign("server", "weir", "ca", "subjectAltName=DNS:localhost,IP:127.0.0.1");
    certificates_sign("client", "app", "ca", "");
    certificates_sign("stranger", "app", "other", "");
    certificates_run("openssl ec -in server.key -aes128 -passout pass:secret -out locked.key");
    return 0;
}

static inline int certificates_remove(void **state)
{
    (void)state;
    char line[100];
    snprintf(line, sizeof(line), "rm -rf %s", certificates_folder);
    return system(line);
}

/* The path of one of them; valid until a few calls later. */
static inline const char *certificate(const char *name)
{
    static char paths[8][100];
    static int at;
    char *path = paths[at++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", certificates_folder, name);
    return path;
}

#endif
