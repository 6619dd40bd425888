/*
 * What the loads of the bench have in common: PostgreSQL's protocol as far as they speak it, without a
 * library, so that asking costs little. Whatever is not as expected ends the program.
 */
#ifndef WEIR_TESTS_BENCH_SPEAK_H
#define WEIR_TESTS_BENCH_SPEAK_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 512, MESSAGE_BYTES = 512 };

struct request {
    uint8_t bytes[MESSAGE_BYTES];
    size_t len;
};

struct connection {
    int fd;
    uint32_t key;
    size_t len; /* of the answer so far */
    uint8_t answer[ANSWER_BYTES];
};

static inline void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

/* Appends a message: its type, its length, its body. */
static inline void add_message(struct request *r, char type, const void *body, size_t len)
{
    uint32_t size = htonl((uint32_t)len + 4);
    if (r->len + len + 5 > sizeof r->bytes) {
        fail("a message is too long");
    }
    r->bytes[r->len] = (uint8_t)type;
    memcpy(r->bytes + r->len + 1, &size, 4);
    if (len > 0) {
        memcpy(r->bytes + r->len + 5, body, len);
    }
    r->len += len + 5;
}

static inline void add_parse(struct request *r, const char *name, const char *text)
{
    uint8_t body[MESSAGE_BYTES];
    size_t name_size = strlen(name) + 1, text_size = strlen(text) + 1;
    memcpy(body, name, name_size);
    memcpy(body + name_size, text, text_size);
    memset(body + name_size + text_size, 0, 2); /* no types */
    add_message(r, 'P', body, name_size + text_size + 2);
}

/* Bind, Describe, Execute and Sync, as libpq sends them; the key is the one parameter, as text. */
static inline void add_execution(struct request *r, const char *name, uint32_t key)
{
    char digits[16];
    uint32_t digit_count = (uint32_t)snprintf(digits, sizeof digits, "%u", key);
    uint8_t body[64] = {0}; /* the portal has no name */
    size_t at = 1 + strlen(name) + 1;
    memcpy(body + 1, name, strlen(name));
    at += 2;          /* all formats are text */
    body[at + 1] = 1; /* one parameter */
    at += 2;
    uint32_t size = htonl(digit_count);
    memcpy(body + at, &size, 4);
    memcpy(body + at + 4, digits, digit_count);
    at += 4 + digit_count + 2; /* and of the results too */
    add_message(r, 'B', body, at);
    add_message(r, 'D', "P", 2);
    add_message(r, 'E', "\0\0\0\0", 5);
    add_message(r, 'S', NULL, 0);
}

static inline void send_all(const struct connection *c, const void *bytes, size_t len)
{
    /* One request is far smaller than the socket's buffer, and there is never more than one. */
    if (send(c->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len) {
        fail("a request could not be sent");
    }
}

static inline void receive(struct connection *c)
{
    ssize_t got = recv(c->fd, c->answer + c->len, sizeof c->answer - c->len, 0);
    if (got <= 0) {
        fail(got == 0 ? "a connection ended" : strerror(errno));
    }
    c->len += (size_t)got;
}

/* Reads until ReadyForQuery, blocking. What comes at login may be longer than an answer: only its end counts.
 */
static inline void wait_until_ready(struct connection *c)
{
    uint8_t header[5];
    for (;;) {
        if (recv(c->fd, header, 5, MSG_WAITALL) != 5) {
            fail("the login failed");
        }
        uint32_t size;
        memcpy(&size, header + 1, 4);
        size = ntohl(size) - 4;
        if (size > sizeof c->answer ||
            (size > 0 && recv(c->fd, c->answer, size, MSG_WAITALL) != (ssize_t)size)) {
            fail("the login failed");
        }
        if (header[0] == 'E') {
            fail("the login was refused");
        }
        if (header[0] == 'Z') {
            return;
        }
    }
}

/* Connects as postgres to postgres, and waits until it may ask. */
static inline void connect_to(struct connection *c, uint16_t port)
{
    static const char startup[] = "\0\0\0\x29\0\3\0\0user\0postgres\0database\0postgres\0";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        fail("cannot connect");
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    send_all(c, startup, sizeof startup);
    wait_until_ready(c);
}

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline double cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#endif
