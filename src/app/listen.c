/* listen: which sockets, and to which worker a connection goes. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "weir/util/log.h"

struct accepted_mail {
    struct mail mail;
    struct session_worker *session;
    int fd;
    struct address peer, local;
};

static bool add(struct app *app, const struct address *at, struct error *error)
{
    const struct config_settings *settings = config_settings(app->config);
    const struct listener_options options = {
        .backlog = settings->listen_backlog,
        .defer_accept_seconds = settings->tcp_defer_accept,
        .unix_mode = settings->unix_socket_mode,
        .unix_group = settings->unix_socket_group,
        .buffer_bytes = settings->tcp_socket_buffer,
        .is_shared = settings->so_reuseport != 0,
    };
    if (app->listener_count == APP_LISTENERS)
        return error_set(error, "listen_addr: more than %d addresses", APP_LISTENERS);
    struct listener *listener = listener_open(at, &options, error);
    if (listener == NULL)
        return false;
    app->listeners[app->listener_count++] = listener;
    char host[ADDRESS_TEXT_BYTES];
    address_host_text(at, host);
    if (address_is_unix(at))
        log_info("listening on unix:%s",
                 at->as.un.sun_path[0] != '\0' ? at->as.un.sun_path : at->as.un.sun_path + 1);
    else
        log_info("listening on %s:%d", host, address_port(at));
    return true;
}

static bool add_name(struct app *app, const char *name, int port, struct error *error)
{
    struct address at;
    if (address_from_literal(&at, name, port))
        return add(app, &at, error);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int rc = getaddrinfo(name, NULL, &hints, &found);
    if (rc != 0)
        return error_set(error, "listen_addr: cannot resolve \"%s\": %s", name, gai_strerror(rc));
    bool is_good = true;
    for (struct addrinfo *ai = found; ai != NULL && is_good; ai = ai->ai_next) {
        memset(&at, 0, sizeof(at));
        memcpy(&at.as, ai->ai_addr, ai->ai_addrlen);
        at.len = ai->ai_addrlen;
        if (ai->ai_family == AF_INET)
            at.as.in.sin_port = htons((uint16_t)port);
        else
            at.as.in6.sin6_port = htons((uint16_t)port);
        is_good = add(app, &at, error);
    }
    freeaddrinfo(found);
    return is_good;
}

static bool add_any(struct app *app, int port, struct error *error)
{
    struct error ignored;
    bool has_v6 = add_name(app, "::", port, &ignored); /* a system without IPv6 is served by the other */
    return add_name(app, "0.0.0.0", port, error) || has_v6;
}

bool app_open_listeners(struct app *app, struct error *error)
{
    const struct config_settings *settings = config_settings(app->config);
    char *names = strdup(settings->listen_addr), *rest = names;
    bool is_good = names != NULL;
    for (char *name; is_good && (name = strsep(&rest, ",")) != NULL;) {
        name += strspn(name, " \t");
        name[strcspn(name, " \t")] = '\0';
        if (strcmp(name, "*") == 0)
            is_good = add_any(app, settings->listen_port, error);
        else if (name[0] != '\0')
            is_good = add_name(app, name, settings->listen_port, error);
    }
    free(names);
    if (is_good && settings->unix_socket_dir[0] != '\0') {
        struct address at;
        is_good = address_from_unix(&at, settings->unix_socket_dir, settings->listen_port, error) &&
                  add(app, &at, error);
    }
    if (is_good && app->listener_count == 0)
        return error_set(error,
                         "nothing to listen on: set listen_addr (for example 127.0.0.1) or unix_socket_dir");
    return is_good;
}

static void accept_mail(struct mail *mail)
{
    struct accepted_mail accepted = *(struct accepted_mail *)(void *)mail;
    free(mail);
    session_accept(accepted.session, accepted.fd, &accepted.peer, &accepted.local);
}

/* One worker: it accepts by itself. */
static void accept_here(void *context, int fd, const struct address *peer, const struct address *local)
{
    struct app *app = context;
    session_accept(app->shared.workers[0], fd, peer, local);
}

/* Several: the control thread accepts, and the one with the fewest clients gets it. */
static void accept_for_others(void *context, int fd, const struct address *peer, const struct address *local)
{
    struct app *app = context;
    struct session_worker *least = app->shared.workers[0];
    for (int i = 1; i < app->worker_count; i++) {
        struct session_worker *other = app->shared.workers[i];
        if (atomic_load_explicit(&other->load, memory_order_relaxed) <
            atomic_load_explicit(&least->load, memory_order_relaxed))
            least = other;
    }
    struct accepted_mail *accepted = malloc(sizeof(*accepted));
    if (accepted == NULL) {
        close(fd);
        return;
    }
    *accepted = (struct accepted_mail){
        .mail = {.run = accept_mail}, .session = least, .fd = fd, .peer = *peer, .local = *local};
    worker_post(least->worker, &accepted->mail);
}

static void start_on(struct app *app, struct loop *loop)
{
    for (size_t i = 0; i < app->listener_count; i++)
        listener_start(app->listeners[i], loop, app->worker_count == 1 ? accept_here : accept_for_others,
                       app);
}

static void visit_start(struct session_worker *session, void *arg)
{
    start_on(arg, worker_loop(session->worker));
}

static void visit_pause(struct session_worker *session, void *arg)
{
    (void)session;
    struct app *app = arg;
    for (size_t i = 0; i < app->listener_count; i++)
        listener_pause(app->listeners[i]);
}

void app_start_listeners(struct app *app)
{
    if (app->worker_count == 1)
        app_round(app, visit_start, NULL, app);
    else
        start_on(app, worker_loop(app->control));
}

void app_pause_listeners(struct app *app)
{
    if (app->worker_count == 1)
        app_round(app, visit_pause, NULL, app);
    else
        visit_pause(NULL, app);
}

/* The Unix socket stays to the end, so that the console can be reached. */
static void visit_close(struct session_worker *session, void *arg)
{
    (void)session;
    struct app *app = arg;
    size_t kept = 0;
    for (size_t i = 0; i < app->listener_count; i++) {
        if (address_is_unix(listener_address(app->listeners[i])))
            app->listeners[kept++] = app->listeners[i];
        else
            listener_close(app->listeners[i]);
    }
    app->listener_count = kept;
}

void app_stop_listening(struct app *app, round_done done)
{
    if (app->worker_count > 1)
        visit_close(NULL, app);
    app_round(app, app->worker_count == 1 ? visit_close : NULL, done, app);
}

void app_close_listeners(struct app *app)
{
    for (size_t i = 0; i < app->listener_count; i++)
        listener_free(app->listeners[i]);
    app->listener_count = 0;
}
