/*
 * http: the small web server for people and scrapers: / (dashboard), /stats (JSON), /metrics (Prometheus),
 * /healthz, /readyz. Reads only; no request changes anything.
 *
 * Off loopback every page but /healthz and /readyz demands "Authorization: Bearer TOKEN", compared in
 * constant time. Runs on the event base it is given, on that base's thread.
 */
#ifndef WEIR_ADMIN_HTTP_H
#define WEIR_ADMIN_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/admin/gather.h"
#include "weir/util/error.h"

struct event_base;
struct http_server;

struct http_settings {
    const char *addr;  /* one address or name */
    int port;          /* 0: any free port (tests) */
    const char *token; /* "" for none; refused off loopback. A blank at either end does not count. */
};

/* NULL with the reason when it cannot listen. `source` and `settings` are copied. */
struct http_server *http_start(struct event_base *base, const struct http_settings *settings,
                               const struct admin_source *source, struct error *error);
/* Stops listening and drops open requests. */
void http_stop(struct http_server *server);
/* The port that it listens on. */
int http_port(const struct http_server *server);

#endif
