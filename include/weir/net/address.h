/*
 * address: a socket address with its length, made from text and turned into text. Values; any thread.
 */
#ifndef WEIR_NET_ADDRESS_H
#define WEIR_NET_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

#include "weir/util/error.h"

struct config_settings;

struct address {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } as;
};

enum { ADDRESS_TEXT_BYTES = 120 };

/* An IPv4 or IPv6 literal; false for anything else, such as a name. */
bool address_from_literal(struct address *out, const char *host, int port);
/* The socket that PostgreSQL puts into `directory` for `port`; '@' in front means the abstract name space. */
bool address_from_unix(struct address *out, const char *directory, int port, struct error *error);

/* As `host` stands in a configuration: a directory, an abstract name, or a literal. False with an empty error
 * for a name that has to be looked up. */
bool address_from_host(struct address *out, const char *host, int port, struct error *error);

bool address_is_unix(const struct address *a);
int address_port(const struct address *a);
/* "10.0.0.7", "::1", or "unix". `out` has ADDRESS_TEXT_BYTES. */
void address_host_text(const struct address *a, char *out);
bool address_equal(const struct address *a, const struct address *b);

/* Keep-alive and buffer settings, zero meaning the system's own; applied to TCP sockets only. */
struct socket_options {
    bool keepalive;
    int keepidle, keepintvl, keepcnt; /* seconds, seconds, probes */
    int user_timeout_ms;
    int buffer_bytes;
};
/* What the configuration says of sockets. */
struct socket_options address_options(const struct config_settings *settings);

/* The kernel's buffers of a TCP socket, or of those that a listening one will accept; 0 leaves them. */
void address_tune_buffers(int fd, int bytes);
/* TCP_NODELAY and the given options; failures are ignored, as none of them changes what is sent. */
void address_tune(int fd, const struct address *a, const struct socket_options *options);

#endif
