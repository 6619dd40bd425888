/*
 * login: how Weir logs in to a server: startup packet, authentication, parameters, connect_query, baseline.
 *
 * A machine that is fed one complete message at a time and writes to the server's connection. Confined to the
 * server's worker. Source: protocol chapter, "Start-up". Failure leaves the reason, a SQLSTATE, and
 * PostgreSQL's own ErrorResponse if it sent one.
 */
#ifndef WEIR_POOL_LOGIN_H
#define WEIR_POOL_LOGIN_H

#include "weir/util/buf.h"
#include "weir/util/error.h"
#include "weir/wire/frame.h"

struct server;
struct server_login;

/* MISFIT: its role is not the one that is wanted (server->role). */
enum login_result { LOGIN_MORE, LOGIN_READY, LOGIN_FAILED, LOGIN_MISFIT };

/* Sends the startup packet. NULL when memory is out. */
struct server_login *login_begin(struct server *server);
void login_free(struct server_login *login);

/* One complete message. On LOGIN_FAILED `error` has the reason. */
enum login_result login_feed(struct server *server, const struct frame *frame, struct error *error);

/* The ParameterStatus messages received so far, as sent. */
struct slice login_parameters(const struct server_login *login);

#endif
