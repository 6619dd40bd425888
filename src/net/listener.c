/* listener: accept4 in small batches; descriptor exhaustion is met with a pause. */
#include "weir/net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "weir/util/clock.h"
#include "weir/util/log.h"

enum {
    ACCEPT_BATCH = 64,
    PAUSE_US = 100 * 1000,
};

struct listener {
    int fd;
    struct address address;
    struct loop *loop;
    struct io io;
    struct timer timer;
    listener_fn fn;
    void *context;
};

static bool prepare_unix(const struct address *at, struct error *error)
{
    if (at->as.un.sun_path[0] == '\0')
        return true;
    /* A socket file that nobody answers at is left over from a crash; one that is answered belongs to
     * somebody. */
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_taken = probe >= 0 && (connect(probe, &at->as.any, at->len) == 0 || errno == EAGAIN);
    if (probe >= 0)
        close(probe);
    if (is_taken)
        return error_set(error, "unix socket \"%s\" is in use by another process", at->as.un.sun_path);
    unlink(at->as.un.sun_path);
    return true;
}

static bool finish_unix(const struct address *at, const struct listener_options *options, struct error *error)
{
    const char *path = at->as.un.sun_path;
    if (path[0] == '\0')
        return true;
    if (options->unix_group != NULL && options->unix_group[0] != '\0') {
        const struct group *group = getgrnam(options->unix_group);
        if (group == NULL || chown(path, (uid_t)-1, group->gr_gid) != 0)
            return error_set(error, "cannot give unix socket \"%s\" to group \"%s\"", path,
                             options->unix_group);
    }
    if (chmod(path, (mode_t)options->unix_mode) != 0)
        return error_set(error, "cannot set mode of unix socket \"%s\": %s", path, strerror(errno));
    return true;
}

static bool open_socket(int fd, const struct address *at, const struct listener_options *options,
                        struct error *error)
{
    char host[ADDRESS_TEXT_BYTES];
    address_host_text(at, host);
    bool is_unix = address_is_unix(at);
    int on = 1;
    if (is_unix && !prepare_unix(at, error))
        return false;
    if (!is_unix)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (!is_unix && options->is_shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
        return error_set(error, "so_reuseport: %s", strerror(errno));
    if (!is_unix) /* those accepted inherit it, before anything is sent to them */
        address_tune_buffers(fd, options->buffer_bytes);
    if (at->as.any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, &at->as.any, at->len) != 0 || listen(fd, options->backlog) != 0)
        return error_set(error, "cannot listen on %s:%d: %s", is_unix ? at->as.un.sun_path : host,
                         address_port(at), strerror(errno));
    /* Whom the kernel keeps back nobody can take in when the socket closes. */
    if (!is_unix && !options->is_shared && options->defer_accept_seconds > 0)
        setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &options->defer_accept_seconds, sizeof(int));
    return !is_unix || finish_unix(at, options, error);
}

struct listener *listener_open(const struct address *at, const struct listener_options *options,
                               struct error *error)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    int fd = socket(at->as.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener == NULL || fd < 0) {
        error_set(error, "socket: %s", strerror(errno));
        goto fail;
    }
    if (!open_socket(fd, at, options, error))
        goto fail;
    listener->fd = fd;
    listener->address = *at;
    return listener;
fail:
    if (fd >= 0)
        close(fd);
    free(listener);
    return NULL;
}

static void resume(struct timer *timer)
{
    struct listener *listener = list_entry(timer, struct listener, timer);
    listener_start(listener, listener->loop, listener->fn, listener->context);
}

static void pause_for_descriptors(struct listener *listener, int error)
{
    static struct log_gate gate;
    uint32_t dropped;
    if (log_gate_pass(&gate, 1, &dropped))
        log_warning("accept: %s; pausing for %d ms (raise the limit of open files, or lower max_client_conn)",
                    strerror(error), PAUSE_US / 1000);
    io_stop(&listener->io);
    timer_start(listener->loop, &listener->timer, PAUSE_US, resume);
}

/* False, and errno: there is nobody, or nobody can be taken in now. */
static bool accept_one(struct listener *listener)
{
    struct address peer = {.len = sizeof(peer.as)};
    int client = accept4(listener->fd, &peer.as.any, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0)
        return false;
    if (peer.len == 0 || address_is_unix(&listener->address))
        peer = listener->address;
    listener->fn(listener->context, client, &peer, &listener->address);
    return true;
}

static void acceptable(struct io *io, unsigned what)
{
    (void)what;
    struct listener *listener = list_entry(io, struct listener, io);
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (accept_one(listener))
            continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_for_descriptors(listener, errno);
        return; /* EAGAIN, or a client that left before it was met */
    }
}

void listener_start(struct listener *listener, struct loop *loop, listener_fn fn, void *context)
{
    listener->loop = loop;
    listener->fn = fn;
    listener->context = context;
    if (!io_watch(loop, &listener->io, listener->fd, IO_READ, acceptable))
        log_error("cannot watch a listening socket: %s", strerror(errno));
}

void listener_pause(struct listener *listener)
{
    timer_stop(&listener->timer);
    io_stop(&listener->io);
}

/* Who completes a handshake between the last look and the end is reset, unless the kernel hands such
 * connections to another listener of the port (tcp_migrate_req): nothing else may come in between. */
void listener_close(struct listener *listener)
{
    listener_pause(listener);
    while (listener->fn != NULL && (accept_one(listener) || errno == ECONNABORTED || errno == EINTR))
        continue;
    listener_free(listener);
}

void listener_free(struct listener *listener)
{
    if (listener == NULL)
        return;
    timer_stop(&listener->timer);
    io_stop(&listener->io);
    close(listener->fd);
    if (address_is_unix(&listener->address) && listener->address.as.un.sun_path[0] != '\0')
        unlink(listener->address.as.un.sun_path);
    free(listener);
}

const struct address *listener_address(const struct listener *listener)
{
    return &listener->address;
}
