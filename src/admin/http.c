/*
 * evhttp does the protocol. A request that has to gather lives in a list until its answer, so that http_stop
 * can cut it off: its completion then only cleans up. evhttp lets go of a request whose client has left in
 * between; answering it is still right, and frees it.
 */
#include "weir/admin/http.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "weir/admin/json.h"
#include "weir/admin/prometheus.h"
#include "weir/util/list.h"

#define MAX_HEADER_BYTES 16384
#define MAX_BODY_BYTES   4096
#define TIMEOUT_SECONDS  30
#define MAX_TOKEN_BYTES  1024

static const unsigned char dashboard[] = {
#include "dashboard.html.inc"
};

struct http_server {
    struct admin_source source;
    struct evhttp *http;
    char *token; /* "" for none */
    int port;
    struct list exchanges;
};

typedef void write_fn(const struct admin_snapshot *snapshot, const struct config *config,
                      const struct json_process *process, struct buf *out);

/* A request that waits for a snapshot. */
struct exchange {
    struct list_node node;
    struct http_server *server; /* NULL once it is gone */
    struct evhttp_request *request;
    write_fn *write;
    const char *content_type;
};

static void set_header(struct evhttp_request *request, const char *name, const char *value)
{
    evhttp_add_header(evhttp_request_get_output_headers(request), name, value);
}

static void reply(struct evhttp_request *request, int status, const char *content_type, struct slice body)
{
    struct evbuffer *out = evbuffer_new();
    set_header(request, "Content-Type", content_type);
    set_header(request, "Cache-Control", "no-store");
    set_header(request, "X-Content-Type-Options", "nosniff");
    if (out == NULL || evbuffer_add(out, body.data, body.len) != 0)
        status = HTTP_INTERNAL;
    evhttp_send_reply(request, status, NULL, out);
    if (out != NULL)
        evbuffer_free(out);
}

static void reply_text(struct evhttp_request *request, int status, const char *text)
{
    reply(request, status, "text/plain; charset=utf-8", slice_str(text));
}

static bool is_allowed(const struct http_server *server, struct evhttp_request *request)
{
    if (server->token[0] == '\0')
        return true;
    const char *given = evhttp_find_header(evhttp_request_get_input_headers(request), "Authorization");
    if (given == NULL || strncasecmp(given, "Bearer ", 7) != 0)
        return false;
    given += 7;
    size_t len = strlen(given);
    return len == strlen(server->token) && CRYPTO_memcmp(given, server->token, len) == 0;
}

/* True when the request may go on; otherwise it has been answered. */
static bool admit(const struct http_server *server, struct evhttp_request *request)
{
    if (is_allowed(server, request))
        return true;
    set_header(request, "WWW-Authenticate", "Bearer realm=\"weir\"");
    reply_text(request, 401, "Send the token of http_token_file: Authorization: Bearer TOKEN\n");
    return false;
}

static struct json_process process_state(const struct admin_source *source)
{
    struct admin_flags flags = source->flags(source->arg);
    uint64_t now_us = source->now_us(source->arg);
    return (struct json_process){.uptime_us = now_us - source->started_us,
                                 .wall_us = source->wall_us(source->arg),
                                 .is_paused = flags.is_paused,
                                 .is_shutting_down = flags.is_shutting_down,
                                 .is_ready = source->is_ready(source->arg, NULL)};
}

static void gathered(void *arg, struct admin_snapshot *snapshot)
{
    struct exchange *exchange = arg;
    struct http_server *server = exchange->server;
    if (server != NULL) {
        struct buf out = BUF_INIT;
        if (snapshot != NULL) {
            struct config *config = server->source.config(server->source.arg);
            struct json_process process = process_state(&server->source);
            exchange->write(snapshot, config, &process, &out);
            config_unref(config);
        }
        if (snapshot == NULL || snapshot_failed(snapshot) || buf_failed(&out))
            reply_text(exchange->request, HTTP_SERVUNAVAIL, "out of memory\n");
        else
            reply(exchange->request, HTTP_OK, exchange->content_type, buf_slice(&out));
        list_remove(&server->exchanges, &exchange->node);
        buf_free(&out);
    }
    snapshot_free(snapshot);
    free(exchange);
}

static void gather(struct http_server *server, struct evhttp_request *request, unsigned parts,
                   write_fn *write, const char *content_type)
{
    if (!admit(server, request))
        return;
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    if (exchange == NULL) {
        reply_text(request, HTTP_SERVUNAVAIL, "out of memory\n");
        return;
    }
    exchange->server = server;
    exchange->request = request;
    exchange->write = write;
    exchange->content_type = content_type;
    list_push_back(&server->exchanges, &exchange->node);
    server->source.gather(server->source.arg, parts, gathered, exchange);
}

static void on_stats(struct evhttp_request *request, void *arg)
{
    gather(arg, request, SNAPSHOT_POOLS | SNAPSHOT_LEDGERS | SNAPSHOT_TEMPLATES, json_stats,
           "application/json");
}

static void on_metrics(struct evhttp_request *request, void *arg)
{
    gather(arg, request, SNAPSHOT_POOLS | SNAPSHOT_LEDGERS, prometheus_metrics, PROMETHEUS_CONTENT_TYPE);
}

static void on_dashboard(struct evhttp_request *request, void *arg)
{
    (void)arg; /* the page holds no data; what it fetches is protected */
    set_header(
        request, "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; frame-ancestors 'none'");
    reply(request, HTTP_OK, "text/html; charset=utf-8", slice_make(dashboard, sizeof(dashboard)));
}

static void on_health(struct evhttp_request *request, void *arg)
{
    (void)arg;
    reply_text(request, HTTP_OK, "ok\n");
}

static void on_ready(struct evhttp_request *request, void *arg)
{
    const struct http_server *server = arg;
    struct error why = ERROR_INIT;
    if (server->source.is_ready(server->source.arg, &why))
        reply_text(request, HTTP_OK, "ready\n");
    else
        reply_text(request, HTTP_SERVUNAVAIL, why.message[0] != '\0' ? why.message : "not ready");
}

static void on_other(struct evhttp_request *request, void *arg)
{
    (void)arg;
    reply_text(request, HTTP_NOTFOUND, "There are /, /stats, /metrics, /healthz and /readyz.\n");
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24) == 127;
    if (address->ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
    return false;
}

/* Binds, and holds the rule that off loopback there is a token. */
static bool bind_socket(struct http_server *server, const struct http_settings *settings, struct error *error)
{
    struct evhttp_bound_socket *bound =
        evhttp_bind_socket_with_handle(server->http, settings->addr, (uint16_t)settings->port);
    if (bound == NULL)
        return error_set(error, "cannot listen for HTTP on %s:%d: %s", settings->addr, settings->port,
                         strerror(EVUTIL_SOCKET_ERROR()));
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len) != 0)
        return error_set(error, "cannot tell the HTTP address: %s", strerror(EVUTIL_SOCKET_ERROR()));
    if (server->token[0] == '\0' && !is_loopback(&address))
        return error_set(error, "http_addr = %s is not a loopback address: http_token_file is needed",
                         settings->addr);
    server->port =
        ntohs(address.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)(const void *)&address)->sin6_port
                                            : ((const struct sockaddr_in *)(const void *)&address)->sin_port);
    return true;
}

/* A copy without blanks and line ends around it. */
static char *copy_token(const char *token)
{
    static const char blanks[] = " \t\r\n";
    token += strspn(token, blanks);
    size_t len = strlen(token);
    while (len > 0 && strchr(blanks, token[len - 1]) != NULL)
        len--;
    return len <= MAX_TOKEN_BYTES ? slice_dup(slice_make(token, len)) : NULL;
}

struct http_server *http_start(struct event_base *base, const struct http_settings *settings,
                               const struct admin_source *source, struct error *error)
{
    struct http_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    server->source = *source;
    list_init(&server->exchanges);
    server->token = copy_token(settings->token != NULL ? settings->token : "");
    server->http = evhttp_new(base);
    if (server->token == NULL || server->http == NULL) {
        error_set(error, "out of memory, or the HTTP token is longer than %d bytes", MAX_TOKEN_BYTES);
        http_stop(server);
        return NULL;
    }
    evhttp_set_allowed_methods(server->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_max_headers_size(server->http, MAX_HEADER_BYTES);
    evhttp_set_max_body_size(server->http, MAX_BODY_BYTES);
    evhttp_set_timeout(server->http, TIMEOUT_SECONDS);
    evhttp_set_cb(server->http, "/", on_dashboard, server);
    evhttp_set_cb(server->http, "/stats", on_stats, server);
    evhttp_set_cb(server->http, "/metrics", on_metrics, server);
    evhttp_set_cb(server->http, "/healthz", on_health, server);
    evhttp_set_cb(server->http, "/readyz", on_ready, server);
    evhttp_set_gencb(server->http, on_other, server);
    if (!bind_socket(server, settings, error)) {
        http_stop(server);
        return NULL;
    }
    return server;
}

void http_stop(struct http_server *server)
{
    if (server == NULL)
        return;
    struct list_node *node;
    while ((node = list_pop_front(&server->exchanges)) != NULL) {
        struct exchange *exchange = list_entry(node, struct exchange, node);
        exchange->server = NULL;
        /* evhttp_free frees the requests that it still holds; this one it has let go of. */
        if (evhttp_request_get_connection(exchange->request) == NULL)
            evhttp_request_free(exchange->request);
    }
    if (server->http != NULL)
        evhttp_free(server->http);
    if (server->token != NULL)
        OPENSSL_cleanse(server->token, strlen(server->token));
    free(server->token);
    free(server);
}

int http_port(const struct http_server *server)
{
    return server->port;
}
