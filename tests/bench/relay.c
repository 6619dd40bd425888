/*
 * The bare relay that the bench compares with: accepts on a port of the loopback, connects each client to a
 * server of its own, and copies bytes both ways through one buffer of 64 KiB. It knows no protocol, pools
 * nothing and looks at nothing: what a proxy on libevent costs at the least.
 *
 *   relay LISTEN-PORT SERVER-PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct link;

/* One socket of a link. What could not be written to it at once waits in `held`, and its peer is not read. */
struct end {
    struct link *link;
    struct end *peer;
    struct event *readable;
    struct event *writable;
    char *held;
    size_t held_bytes;
    int fd;
};

struct link {
    struct end client;
    struct end server;
};

static struct event_base *base;
static struct sockaddr_in server_address;
static char buffer[64 * 1024];

static void end_close(struct end *end)
{
    if (end->readable != NULL) {
        event_free(end->readable);
    }
    if (end->writable != NULL) {
        event_free(end->writable);
    }
    free(end->held);
    if (end->fd >= 0) {
        close(end->fd);
    }
}

static void link_free(struct link *link)
{
    end_close(&link->client);
    end_close(&link->server);
    free(link);
}

/* Keeps what the socket did not take, and stops reading the other one; false when there is no memory. */
static bool end_hold(struct end *end, const char *data, size_t size)
{
    end->held = malloc(size);
    if (end->held == NULL) {
        return false;
    }
    memcpy(end->held, data, size);
    end->held_bytes = size;
    event_del(end->peer->readable);
    event_add(end->writable, NULL);
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct end *end = context;
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    (void)what;
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            link_free(end->link);
        }
        return;
    }
    ssize_t sent = send(end->peer->fd, buffer, (size_t)got, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        link_free(end->link);
        return;
    }
    size_t done = sent < 0 ? 0 : (size_t)sent;
    if (done < (size_t)got && !end_hold(end->peer, buffer + done, (size_t)got - done)) {
        link_free(end->link);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct end *end = context;
    ssize_t sent = send(fd, end->held, end->held_bytes, MSG_NOSIGNAL);
    (void)what;
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            link_free(end->link);
        }
        return;
    }
    end->held_bytes -= (size_t)sent;
    memmove(end->held, end->held + sent, end->held_bytes);
    if (end->held_bytes == 0) {
        free(end->held);
        end->held = NULL;
        event_del(end->writable);
        event_add(end->peer->readable, NULL);
    }
}

static bool end_open(struct link *link, struct end *end, struct end *peer, int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    end->link = link;
    end->peer = peer;
    end->fd = fd;
    end->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, end);
    end->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, end);
    return end->readable != NULL && end->writable != NULL && evutil_make_socket_nonblocking(fd) == 0 &&
           event_add(end->readable, NULL) == 0;
}

static void on_accept(evutil_socket_t listener, short what, void *context)
{
    int client = accept(listener, NULL, NULL);
    (void)what;
    (void)context;
    if (client < 0) {
        return;
    }
    /* Loopback answers at once, so that a blocking connect does. */
    int server = socket(AF_INET, SOCK_STREAM, 0);
    struct link *link = calloc(1, sizeof *link);
    if (server < 0 || link == NULL ||
        connect(server, (const struct sockaddr *)&server_address, sizeof server_address) != 0) {
        close(client);
        if (server >= 0) {
            close(server);
        }
        free(link);
        return;
    }
    link->server.fd = server;
    bool is_open = end_open(link, &link->client, &link->server, client);
    if (!end_open(link, &link->server, &link->client, server) || !is_open) {
        link_free(link);
    }
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    return address;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("relay LISTEN-PORT SERVER-PORT\n", stderr);
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    server_address = loopback(argv[2]);
    struct sockaddr_in own = loopback(argv[1]);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (const struct sockaddr *)&own, sizeof own) != 0 || listen(listener, 1024) != 0) {
        perror("relay");
        return 1;
    }
    evutil_make_socket_nonblocking(listener);
    base = event_base_new();
    struct event *acceptor = event_new(base, listener, EV_READ | EV_PERSIST, on_accept, NULL);
    event_add(acceptor, NULL);
    event_base_dispatch(base);
    return 0;
}
