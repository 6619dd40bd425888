/* address: text to socket address and back. Resolves no names. */
#include "weir/net/address.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "weir/config/settings.h"

bool address_from_literal(struct address *out, const char *host, int port)
{
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, host, &out->as.in.sin_addr) == 1) {
        out->as.in.sin_family = AF_INET;
        out->as.in.sin_port = htons((uint16_t)port);
        out->len = sizeof(out->as.in);
        return true;
    }
    if (inet_pton(AF_INET6, host, &out->as.in6.sin6_addr) == 1) {
        out->as.in6.sin6_family = AF_INET6;
        out->as.in6.sin6_port = htons((uint16_t)port);
        out->len = sizeof(out->as.in6);
        return true;
    }
    return false;
}

bool address_from_unix(struct address *out, const char *directory, int port, struct error *error)
{
    memset(out, 0, sizeof(*out));
    out->as.un.sun_family = AF_UNIX;
    char *path = out->as.un.sun_path;
    size_t size = sizeof(out->as.un.sun_path);
    int len = snprintf(path, size, "%s/.s.PGSQL.%d", directory, port);
    if (len < 0 || (size_t)len >= size)
        return error_set(error, "unix socket path \"%s/.s.PGSQL.%d\" is longer than %zu bytes", directory,
                         port, size - 1);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len);
    if (path[0] == '@')
        path[0] = '\0';
    else
        out->len++;
    return true;
}

bool address_from_host(struct address *out, const char *host, int port, struct error *error)
{
    error->message[0] = '\0';
    if (host[0] == '/' || host[0] == '@')
        return address_from_unix(out, host, port, error);
    return address_from_literal(out, host, port);
}

bool address_is_unix(const struct address *a)
{
    return a->as.any.sa_family == AF_UNIX;
}

int address_port(const struct address *a)
{
    if (a->as.any.sa_family == AF_INET)
        return ntohs(a->as.in.sin_port);
    if (a->as.any.sa_family == AF_INET6)
        return ntohs(a->as.in6.sin6_port);
    return 0;
}

void address_host_text(const struct address *a, char *out)
{
    const void *from =
        a->as.any.sa_family == AF_INET ? (const void *)&a->as.in.sin_addr : &a->as.in6.sin6_addr;
    if (address_is_unix(a) || inet_ntop(a->as.any.sa_family, from, out, ADDRESS_TEXT_BYTES) == NULL)
        snprintf(out, ADDRESS_TEXT_BYTES, "unix");
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->len == b->len && memcmp(&a->as, &b->as, a->len) == 0;
}

static void set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

/* A segment that fills a small buffer alone is acknowledged only when the peer's delay for that has passed
 * (40 ms for every 64 KB over loopback): at least two have to fit. */
void address_tune_buffers(int fd, int bytes)
{
    enum { SEGMENT_MIN = 536, SEGMENT_MAX = 32767 /* that one can ask for */ };
    if (bytes <= 0)
        return;
    set(fd, SOL_SOCKET, SO_SNDBUF, bytes);
    set(fd, SOL_SOCKET, SO_RCVBUF, bytes);
    if (bytes / 2 <= SEGMENT_MAX)
        set(fd, IPPROTO_TCP, TCP_MAXSEG, bytes / 2 < SEGMENT_MIN ? SEGMENT_MIN : bytes / 2);
}

struct socket_options address_options(const struct config_settings *settings)
{
    return (struct socket_options){.keepalive = settings->tcp_keepalive != 0,
                                   .keepidle = settings->tcp_keepidle,
                                   .keepintvl = settings->tcp_keepintvl,
                                   .keepcnt = settings->tcp_keepcnt,
                                   .user_timeout_ms = settings->tcp_user_timeout,
                                   .buffer_bytes = settings->tcp_socket_buffer};
}

void address_tune(int fd, const struct address *a, const struct socket_options *options)
{
    if (address_is_unix(a))
        return;
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    address_tune_buffers(fd, options->buffer_bytes);
    if (options->user_timeout_ms > 0)
        set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options->user_timeout_ms);
    if (!options->keepalive)
        return;
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (options->keepidle > 0)
        set(fd, IPPROTO_TCP, TCP_KEEPIDLE, options->keepidle);
    if (options->keepintvl > 0)
        set(fd, IPPROTO_TCP, TCP_KEEPINTVL, options->keepintvl);
    if (options->keepcnt > 0)
        set(fd, IPPROTO_TCP, TCP_KEEPCNT, options->keepcnt);
}
