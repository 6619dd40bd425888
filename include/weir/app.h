/*
 * app: a process built from a configuration: workers, listeners, console, HTTP, and what signals and commands
 * do to them.
 *
 * The control thread (the one that calls app_run) owns everything here; workers are reached by mail. The only
 * layer that may wire others together.
 */
#ifndef WEIR_APP_H
#define WEIR_APP_H

#include <stdbool.h>

#include "weir/util/error.h"

struct app;
struct config;

struct app_options {
    const char *path; /* of the ini file */
    const char *user; /* -u; NULL: the configuration's */
    bool is_quiet;    /* -q */
    bool is_daemon;   /* -d */
    int verbose;      /* -v, counted */
};

/* Reads a configuration; every problem goes to the log. NULL when there was one. */
struct config *app_load_config(const char *path, const struct config *previous, struct error *error);

/* Whether the TLS files that it names can be used; a problem goes to the log. */
bool app_check_tls(const struct config *config);

/* Whether the URL of Redis is one; a problem goes to the log. */
bool app_check_redis(const struct config *config);

void app_forget_config(struct config *config);

/* Every configuration key to stdout; returns an exit status. */
int app_print_options(void);

/* Everything up to the first accept: privileges, limits, sockets, threads. NULL with the reason, which is in
 * the log too. Takes over `config`. */
struct app *app_new(const struct app_options *options, struct config *config, struct error *error);

/* Serves until told to stop by a signal or the console. Returns the exit status. */
int app_run(struct app *app);
void app_free(struct app *app);

#endif
