/* app: the process put together, and taken apart in the opposite order. */
#include "app.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <event2/event.h>

#include "weir/session/peer.h"
#include "weir/cache/cache.h"
#include "weir/util/clock.h"
#include "weir/util/log.h"

/* ---- rounds
 * ------------------------------------------------------------------------------------------------------------
 */

struct round;

struct round_mail {
    struct mail mail;
    struct round *round;
    struct session_worker *session;
};

struct round {
    struct mail finished;
    struct app *app;
    round_visit visit;
    round_done done;
    void *arg;
    _Atomic int left;
    struct round_mail mails[];
};

static void round_finished(struct mail *mail)
{
    struct round *round = (struct round *)(void *)mail;
    if (round->done != NULL)
        round->done(round->app, round->arg, true);
    free(round);
}

static void round_visited(struct mail *mail)
{
    struct round_mail *visited = (struct round_mail *)(void *)mail;
    struct round *round = visited->round;
    if (round->visit != NULL)
        round->visit(visited->session, round->arg);
    if (atomic_fetch_sub(&round->left, 1) == 1)
        worker_post(round->app->control, &round->finished);
}

void app_round(struct app *app, round_visit visit, round_done done, void *arg)
{
    struct round *round = calloc(1, sizeof(*round) + (size_t)app->worker_count * sizeof(struct round_mail));
    if (round == NULL) {
        if (done != NULL)
            done(app, arg, false);
        return;
    }
    *round = (struct round){
        .finished = {.run = round_finished}, .app = app, .visit = visit, .done = done, .arg = arg};
    atomic_init(&round->left, app->worker_count);
    for (int i = 0; i < app->worker_count; i++) {
        round->mails[i] = (struct round_mail){
            .mail = {.run = round_visited}, .round = round, .session = app->shared.workers[i]};
        worker_post(app->workers[i], &round->mails[i].mail);
    }
}

/* ---- signals
 * -------------------------------------------------------------------------------------------------------------
 */

static void ignore_result(void *arg, const struct error *error)
{
    (void)arg;
    if (error != NULL)
        log_warning("%s", error->message);
}

static void command(struct app *app, enum admin_verb verb)
{
    const struct admin_command request = {.verb = verb, .user = "signal"};
    app_command(app, &request, ignore_result, NULL);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    (void)what;
    struct app *app = arg;
    bool is_too_late = number == SIGUSR2 && app->stop != APP_RUNNING;
    log_info("got SIG%s%s", sigabbrev_np(number), is_too_late ? " while shutting down, ignoring" : "");
    switch (number) {
    case SIGHUP:
        command(app, ADMIN_RELOAD);
        break;
    case SIGTERM:
        app_shutdown(app, APP_WAIT_CLIENTS);
        break;
    case SIGINT:
        app_shutdown(app, APP_WAIT_SERVERS);
        break;
    case SIGQUIT:
        app_shutdown(app, APP_STOPPED);
        break;
    case SIGUSR1:
        command(app, ADMIN_PAUSE);
        break;
    case SIGUSR2:
        if (!is_too_late)
            command(app, ADMIN_RESUME);
        break;
    default:
        break;
    }
}

static bool watch_signals(struct app *app)
{
    static const int numbers[] = {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        app->signals[i] = evsignal_new(loop_base(worker_loop(app->control)), numbers[i], on_signal, app);
        if (app->signals[i] == NULL || event_add(app->signals[i], NULL) != 0)
            return false;
    }
    return true;
}

/* ---- putting together
 * ----------------------------------------------------------------------------------------------------- */

static bool draw(uint8_t *out, size_t len)
{
    return getrandom(out, len, 0) == (ssize_t)len;
}

static bool make_workers(struct app *app, struct error *error)
{
    int count = config_settings(app->config)->workers;
    app->control = worker_new(-1);
    app->workers = calloc((size_t)count, sizeof(struct worker *));
    app->shared.workers = calloc((size_t)count, sizeof(struct session_worker *));
    app->shared.profiles = profile_table_new();
    app->shared.statements = statement_table_new();
    app->shared.peers = peer_table_new();
    app->shared.registry = registry_new(count, &session_server_events);
    if (app->control == NULL || app->workers == NULL || app->shared.workers == NULL ||
        app->shared.profiles == NULL || app->shared.statements == NULL || app->shared.peers == NULL ||
        app->shared.registry == NULL)
        return false;
    app_configure_resolver(app);
    registry_set_quiet_hook(app->shared.registry, app_quiet_hook, app);
    if (!app_make_cache(app, error))
        return false;
    for (int i = 0; i < count; i++) {
        app->workers[i] = worker_new(i);
        if (app->workers[i] == NULL)
            return false;
        app->worker_count = i + 1;
        app->shared.workers[i] = session_worker_new(&app->shared, app->workers[i], app->config, &app->access);
        if (app->shared.workers[i] == NULL)
            return false;
        app->shared.worker_count = i + 1;
    }
    return draw(app->shared.mock_key, sizeof(app->shared.mock_key)) &&
           draw(app->shared.cancel_secret, sizeof(app->shared.cancel_secret));
}

static bool make_tls(struct app *app, struct error *error)
{
    struct app_tls tls;
    if (!app_load_tls(app, app->config, false, &tls, error))
        return false;
    app_use_tls(app, &tls);
    return true;
}

static bool start_workers(struct app *app)
{
    for (int i = 0; i < app->worker_count; i++)
        if (!worker_start(app->workers[i]))
            return false;
    return true;
}

static void visit_begin(struct session_worker *session, void *arg)
{
    (void)arg;
    session_keep_minimums(session);
}

static bool build(struct app *app, struct error *error)
{
    const struct config_settings *settings = config_settings(app->config);
    if (!process_change_user(&app->options, app->config, error))
        return false;
    if (app->options.is_daemon && settings->logfile[0] == '\0' && !settings->syslog)
        return error_set(error, "-d needs \"logfile\" or \"syslog\" in %s, or nothing would be seen",
                         app->options.path);
    if (!process_open_log(&app->options, app->config))
        return error_set(error, "logfile \"%s\" cannot be opened", settings->logfile);
    process_raise_file_limit(app->config);
    if (!app_load_access(app, app->config, &app->access, error))
        return false;
    if (app->options.is_daemon && !process_go_daemon(&app->ready_fd, error))
        return false;
    error->message[0] = '\0';
    app->pidfile = process_write_pidfile(settings->pidfile, error);
    if (error->message[0] != '\0')
        return false;
    app->shared.console = (struct session_console){app_console_execute, app};
    app->shared.user_seen = (struct session_user_seen){app_user_seen, app};
    error_set(error, "out of memory or descriptors while starting %d workers", settings->workers);
    if (!make_workers(app, error))
        return false;
    if (!make_tls(app, error) || !app_open_listeners(app, error) || !app_start_admin(app, error) ||
        !app_watch_databases(app, error))
        return false;
    if (!watch_signals(app) || !start_workers(app))
        return error_set(error, "cannot start threads");
    app_round(app, visit_begin, NULL, NULL);
    app_start_listeners(app);
    if (app->options.is_daemon)
        process_daemon_serves(app->ready_fd);
    return true;
}

struct app *app_new(const struct app_options *options, struct config *config, struct error *error)
{
    struct app *app = calloc(1, sizeof(*app));
    if (app == NULL) {
        config_unref(config);
        error_set(error, "out of memory");
        log_fatal("cannot start: %s", error->message);
        return NULL;
    }
    app->options = *options;
    app->config = config;
    list_init(&app->waits);
    list_init(&app->explains);
    tls_slot_init(&app->shared.client_tls);
    if (build(app, error))
        return app;
    log_fatal("cannot start: %s", error->message); /* while there is a log */
    app_free(app);
    return NULL;
}

int app_run(struct app *app)
{
    log_info("Weir %s: process %d, %d worker%s, %zu database%s", WEIR_VERSION, (int)getpid(),
             app->worker_count, app->worker_count == 1 ? "" : "s", config_database_count(app->config),
             config_database_count(app->config) == 1 ? "" : "s");
    app_tell_ready(app);
    loop_run(worker_loop(app->control));
    log_info("stopped");
    return 0;
}

/* What was still on its way between threads arrives while everything it refers to is there. */
static void drain_mails(struct app *app)
{
    bool had_mail = app->control != NULL;
    while (had_mail) {
        had_mail = worker_drain(app->control);
        for (int i = 0; i < app->worker_count; i++)
            had_mail = (app->workers[i] != NULL && worker_drain(app->workers[i])) || had_mail;
    }
}

void app_free(struct app *app)
{
    if (app == NULL)
        return;
    app->stop = APP_STOPPED;
    for (int i = 0; i < app->worker_count; i++)
        if (app->workers[i] != NULL)
            worker_stop(app->workers[i]);
    if (app->shared.registry != NULL)
        resolver_stop(registry_resolver(app->shared.registry));
    drain_mails(app);
    app_close_listeners(app);
    app_stop_admin(app);
    for (int i = 0; i < app->shared.worker_count; i++)
        session_worker_end(app->shared.workers[i]);
    app_free_cache(app);
    for (int i = 0; i < app->worker_count; i++)
        worker_free(app->workers[i]);
    for (int i = 0; i < app->shared.worker_count; i++)
        session_worker_free(app->shared.workers[i]);
    for (size_t i = 0; i < sizeof(app->signals) / sizeof(app->signals[0]); i++)
        if (app->signals[i] != NULL)
            event_free(app->signals[i]);
    struct list_node *node;
    while ((node = list_pop_front(&app->waits)) != NULL) {
        struct app_wait *wait = list_entry(node, struct app_wait, node);
        timer_stop(&wait->timer);
        free(wait);
    }
    registry_free(app->shared.registry);
    tls_slot_destroy(&app->shared.client_tls);
    worker_free(app->control);
    if (app->shared.cache != NULL)
        cache_free(app->shared.cache);
    if (app->shared.statements != NULL)
        statement_table_free(app->shared.statements);
    peer_table_free(app->shared.peers);
    if (app->shared.profiles != NULL)
        profile_table_free(app->shared.profiles);
    free(app->first_user);
    free(app->shared.workers);
    free(app->workers);
    app_forget_access(&app->access);
    config_unref(app->config);
    if (app->pidfile != NULL)
        unlink(app->pidfile);
    free(app->pidfile);
    free(app);
    log_close();
}
