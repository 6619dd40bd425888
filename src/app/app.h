/*
 * Private to app: the process, and rounds through the workers.
 */
#ifndef WEIR_APP_PRIVATE_H
#define WEIR_APP_PRIVATE_H

#include "weir/admin/console.h"
#include "weir/admin/http.h"
#include "weir/app.h"
#include "weir/net/listener.h"
#include "weir/session/session.h"

enum { APP_LISTENERS = 32 };

enum app_stop { APP_RUNNING, APP_WAIT_SERVERS, APP_WAIT_CLIENTS, APP_STOPPED };

struct event;

/* PAUSE and WAIT_CLOSE, which end when workers have come to rest. */
struct app_wait {
    struct list_node node;
    struct timer timer; /* suspend_timeout */
    struct app *app;
    enum admin_verb verb;
    struct registry_database *database; /* NULL: all */
    admin_done_fn *done;
    void *done_arg;
};

struct app {
    struct app_options options;
    struct config *config;
    struct session_access access; /* what the files of `config` said when they were read last */
    struct worker *control;
    int worker_count;
    struct worker **workers;
    struct session_shared shared;
    struct listener *listeners[APP_LISTENERS];
    size_t listener_count;
    struct console *console;
    struct http_server *http;
    struct admin_source source;
    struct event *signals[6];
    struct timer stats_timer;
    struct timer watchdog; /* half the time that the service manager has patience for */
    uint64_t watchdog_us;
    struct list waits;
    struct list explains; /* EXPLAIN CACHE that waits for PostgreSQL's answer */
    enum app_stop stop;
    bool is_suspended;
    bool is_paused;
    _Atomic bool is_watching; /* workers tell when a server comes back or a client leaves */
    _Atomic bool is_check_posted;
    struct mail check_mail;
    char *pidfile;
    int ready_fd;        /* a daemon's, while it starts */
    struct list watched; /* databases that the cache knows (caching.c) */
    char *first_user;    /* whose rights the control connections have where nothing else is said */
};

/*
 * Runs `visit` on every worker's thread (NULL: only to know that all have come by), then `done` on the
 * control thread. Memory out: `done` at once, with is_complete false.
 */
typedef void (*round_visit)(struct session_worker *session, void *arg);
typedef void (*round_done)(struct app *app, void *arg, bool is_complete);
void app_round(struct app *app, round_visit visit, round_done done, void *arg);

/* process.c */
bool process_change_user(const struct app_options *options, const struct config *config, struct error *error);
void process_raise_file_limit(const struct config *config);
/* What comes back is the daemon; it writes to `ready_fd`, by the second function, when it serves. */
bool process_go_daemon(int *ready_fd, struct error *error);
void process_daemon_serves(int ready_fd);
/* The kept path of the pid file, for its removal; NULL with an error, or without when there is none to write.
 */
char *process_write_pidfile(const char *path, struct error *error);
bool process_read_file(void *arg, const char *path, struct buf *out, struct error *error);
bool process_open_log(const struct app_options *options, const struct config *config);

/* listen.c */
bool app_open_listeners(struct app *app, struct error *error);
void app_start_listeners(struct app *app);
void app_pause_listeners(struct app *app);
/* Closes them for good, once everyone who has got through to them is in. */
void app_stop_listening(struct app *app, round_done done);
void app_close_listeners(struct app *app);

/* manager.c: to the service manager, where there is one. */
void app_tell_ready(struct app *app);
void app_tell_reloading(void);
void app_tell_stopping(void);

/* reload.c */
/* How long it remembers addresses. */
void app_configure_resolver(struct app *app);
/* Reads auth_file and the rules; false, and nothing in `access`, when one of them cannot be used. */
bool app_load_access(struct app *app, const struct config *config, struct session_access *access,
                     struct error *error);
void app_forget_access(struct session_access *access);
bool app_reload(struct app *app, admin_done_fn *done, void *done_arg);
bool app_set(struct app *app, const char *key, const char *value, admin_done_fn *done, void *done_arg,
             struct error *error);

/* secure.c */
/* Sets "file:line: key = "value": why", with stars for secrets, and returns false. */
bool app_blame_key(const struct config *config, const char *key, const struct error *why,
                   struct error *error);
struct app_tls {
    struct tls_context *clients, *servers; /* counted; NULL: no TLS */
};
/* Reads what the configuration names. `is_step`: it may be one of several changes that only fit together;
 * then what is in use stays where a certificate and its key do not belong together yet. */
bool app_load_tls(struct app *app, const struct config *config, bool is_step, struct app_tls *out,
                  struct error *error);
/* For new connections from now on. Takes over the references. */
void app_use_tls(struct app *app, struct app_tls *tls);
void app_drop_tls(struct app_tls *tls);
bool app_is_tls_key(const char *key);

/* admin.c */
bool app_start_admin(struct app *app, struct error *error);
void app_stop_admin(struct app *app);
void app_console_execute(void *context, const struct session_console_query *query);

/* explain.c */
void app_explain(void *arg, const struct admin_explain *question, admin_explained_fn *done, void *done_arg);
void app_end_explains(struct app *app);

/* caching.c */
bool app_make_cache(struct app *app, struct error *error);
bool app_watch_databases(struct app *app, struct error *error);
void app_free_cache(struct app *app);
/* CACHE FLUSH, DISABLE and ENABLE. */
bool app_cache_command(struct app *app, const struct admin_command *command, struct error *error);
/* The names of databases that CACHE DISABLE has turned off, with commas; belongs to the snapshot. */
const char *app_disabled_caches(struct app *app, struct admin_snapshot *snapshot);
void app_add_feeds(struct app *app, struct admin_snapshot *snapshot);
/* Adds what the servers have of what a feed needs, and then passes the snapshot on, possibly later. */
void app_check_feeds(struct app *app, struct admin_snapshot *snapshot, admin_gathered_fn *done,
                     void *done_arg);
/* A user has logged in to a database; any worker's thread. */
void app_user_seen(void *context, const char *user);

/* command.c */
void app_command(void *arg, const struct admin_command *command, admin_done_fn *done, void *done_arg);
void app_watch(struct app *app);
void app_quiet_hook(void *context);
void app_shutdown(struct app *app, enum app_stop how);

#endif
