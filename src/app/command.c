/*
 * command: what signals and the console tell the process to do.
 *
 * Commands that take effect on workers go there in a round. PAUSE, WAIT_CLOSE and orderly shutdowns wait for
 * an event that workers report (app_quiet_hook): a server has come back, a client has gone. The check is then
 * made here.
 */
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "weir/util/log.h"

struct task {
    struct admin_command command;
    struct registry_database *database;
    _Atomic size_t count;
    admin_done_fn *done;
    void *done_arg;
};

/* ---- waiting for rest
 * ------------------------------------------------------------------------------------------------- */

static bool is_at_rest(struct app *app, const struct app_wait *wait)
{
    bool is_close = wait->verb == ADMIN_WAIT_CLOSE;
    for (struct registry_database *d = registry_databases(app->shared.registry); d != NULL; d = d->next)
        if ((wait->database == NULL || wait->database == d) &&
            budget_used(is_close ? &d->closing : &d->leased) > 0)
            return false;
    return true;
}

static void end_wait(struct app_wait *wait)
{
    timer_stop(&wait->timer);
    list_remove(&wait->app->waits, &wait->node);
    wait->done(wait->done_arg, NULL);
    free(wait);
}

/* What is in use still, stays so: nothing new begins all the same. */
static void suspend_timeout(struct timer *timer)
{
    log_warning("SUSPEND: server connections are in use after suspend_timeout");
    end_wait(list_entry(timer, struct app_wait, timer));
}

/* But for those of the console. Whoever has been accepted counts, though it has not said yet what it wants.
 */
static bool have_all_left(struct app *app)
{
    int consoles = budget_used(&registry_console(app->shared.registry)->clients), all = 0;
    for (int i = 0; i < app->shared.worker_count; i++)
        all += atomic_load(&app->shared.workers[i]->load);
    return all <= consoles;
}

static void check(struct mail *mail)
{
    struct app *app = (struct app *)(void *)((char *)mail - offsetof(struct app, check_mail));
    atomic_store(&app->is_check_posted, false);
    list_for_each(&app->waits, node)
    {
        struct app_wait *wait = list_entry(node, struct app_wait, node);
        if (!is_at_rest(app, wait))
            continue;
        end_wait(wait);
    }
    if ((app->stop == APP_WAIT_CLIENTS && have_all_left(app)) ||
        (app->stop == APP_WAIT_SERVERS && is_at_rest(app, &(struct app_wait){.verb = ADMIN_PAUSE}))) {
        log_info(app->stop == APP_WAIT_CLIENTS ? "all clients have left" : "all servers have been released");
        app->stop = APP_STOPPED;
        loop_stop(worker_loop(app->control));
    }
    if (list_is_empty(&app->waits) && app->stop == APP_RUNNING)
        atomic_store(&app->is_watching, false);
}

void app_quiet_hook(void *context)
{
    struct app *app = context;
    if (!atomic_load_explicit(&app->is_watching, memory_order_relaxed) ||
        atomic_exchange(&app->is_check_posted, true))
        return;
    app->check_mail.run = check;
    worker_post(app->control, &app->check_mail);
}

void app_watch(struct app *app)
{
    atomic_store(&app->is_watching, true);
    app_quiet_hook(app);
}

/* ---- shutdown
 * ------------------------------------------------------------------------------------------------------------
 */

static void visit_drain(struct session_worker *session, void *arg)
{
    (void)arg;
    session_drain(session);
}

static void drained(struct app *app, void *arg, bool is_complete)
{
    (void)arg, (void)is_complete;
    app_watch(app);
}

static void drain(struct app *app, void *arg, bool is_complete)
{
    (void)arg, (void)is_complete;
    app_round(app, visit_drain, drained, app);
}

void app_shutdown(struct app *app, enum app_stop how)
{
    if (how == APP_STOPPED || app->stop != APP_RUNNING) { /* told twice, in whichever way: at once */
        log_info("shutting down at once");
        app->stop = APP_STOPPED;
        loop_stop(worker_loop(app->control));
        return;
    }
    log_info(how == APP_WAIT_SERVERS ? "shutting down: waiting for transactions to end"
                                     : "shutting down: waiting for clients to leave");
    app->stop = how;
    app_tell_stopping();
    atomic_store(&app->shared.is_draining, how == APP_WAIT_SERVERS);
    atomic_store(&app->shared.is_closing, true);
    app_stop_listening(app, how == APP_WAIT_SERVERS ? drain : drained);
}

/* ---- commands
 * ------------------------------------------------------------------------------------------------------------
 */

static void visit(struct session_worker *session, void *arg)
{
    struct task *task = arg;
    switch (task->command.verb) {
    case ADMIN_PAUSE:
    case ADMIN_SUSPEND:
        session_pause(session, task->database);
        break;
    case ADMIN_RESUME:
        session_resume(session, task->database);
        break;
    case ADMIN_RECONNECT:
        session_reconnect(session, task->database);
        break;
    case ADMIN_KILL:
        atomic_fetch_add(&task->count, session_kill(session, task->database, "admin forced disconnect"));
        session_pause(session, task->database);
        break;
    case ADMIN_KILL_CLIENT:
        atomic_fetch_add(&task->count,
                         session_kill_client(session, task->command.client_id, task->command.client_ptr,
                                             "admin forced disconnect"));
        break;
    default:
        break;
    }
}

static void wait_for_rest(struct app *app, struct task *task)
{
    struct app_wait *wait = calloc(1, sizeof(*wait));
    struct error error = ERROR_INIT;
    if (wait == NULL) {
        error_set_state(&error, "53200", "out of memory");
        task->done(task->done_arg, &error);
        return;
    }
    *wait = (struct app_wait){.app = app,
                              .verb = task->command.verb,
                              .database = task->database,
                              .done = task->done,
                              .done_arg = task->done_arg};
    list_push_back(&app->waits, &wait->node);
    uint64_t limit_us = config_settings(app->config)->suspend_timeout_us;
    if (wait->verb == ADMIN_SUSPEND && limit_us > 0)
        timer_start(worker_loop(app->control), &wait->timer, limit_us, suspend_timeout);
    app_watch(app);
}

static void visited(struct app *app, void *arg, bool is_complete)
{
    struct task *task = arg;
    struct error error = ERROR_INIT;
    enum admin_verb verb = task->command.verb;
    bool is_good = is_complete;
    if (!is_complete)
        error_set_state(&error, "53200", "out of memory");
    if (is_good && verb == ADMIN_KILL_CLIENT && atomic_load(&task->count) == 0)
        is_good = error_set_state(&error, "08P01", "client not found");
    if (is_good && (verb == ADMIN_PAUSE || verb == ADMIN_WAIT_CLOSE || verb == ADMIN_SUSPEND))
        wait_for_rest(app, task);
    else
        task->done(task->done_arg, is_good ? NULL : &error);
    free(task);
}

static bool find_database(struct app *app, const struct admin_command *command,
                          struct registry_database **database, struct error *error)
{
    *database = NULL;
    if (command->database == NULL)
        return true;
    if (config_database_find(app->config, command->database) == NULL)
        return error_set_state(error, "08P01", "no such database: %s", command->database);
    *database = registry_database(app->shared.registry, command->database);
    return *database != NULL || error_set_state(error, "53200", "out of memory");
}

/* Switches that workers look at, set before they are told. */
static bool flip(struct app *app, enum admin_verb verb, struct registry_database *database,
                 struct error *error)
{
    bool on = verb == ADMIN_PAUSE || verb == ADMIN_KILL;
    switch (verb) {
    case ADMIN_SUSPEND:
        if (app->is_suspended || app->is_paused)
            return error_set_state(error, "55000", "already suspended/paused");
        app->is_suspended = true;
        app_pause_listeners(app);
        registry_set_paused(app->shared.registry, true);
        return true;
    case ADMIN_RESUME:
    case ADMIN_PAUSE:
    case ADMIN_KILL:
        if (database != NULL) {
            if (!on && !atomic_load(&database->is_paused))
                return error_set_state(error, "55000", "database %s is not paused", database->name);
            atomic_store(&database->is_paused, on);
            return true;
        }
        if (app->stop != APP_RUNNING)
            return error_set_state(error, "08P01", "pooler is shutting down");
        if (verb == ADMIN_PAUSE && (app->is_paused || app->is_suspended))
            return error_set_state(error, "55000", "already suspended/paused");
        if (!on && !app->is_paused && !app->is_suspended)
            return error_set_state(error, "55000", "pooler is not paused/suspended");
        if (app->is_suspended)
            app_start_listeners(app);
        app->is_suspended = false;
        app->is_paused = on;
        registry_set_paused(app->shared.registry, on);
        return true;
    default:
        return true;
    }
}

static void start_round(struct app *app, const struct admin_command *command, admin_done_fn *done,
                        void *done_arg)
{
    struct error error = ERROR_INIT;
    struct registry_database *database;
    if (!find_database(app, command, &database, &error) || !flip(app, command->verb, database, &error)) {
        done(done_arg, &error);
        return;
    }
    if (command->verb == ADMIN_DISABLE || command->verb == ADMIN_ENABLE) {
        atomic_store(&database->is_disabled, command->verb == ADMIN_DISABLE);
        done(done_arg, NULL);
        return;
    }
    struct task *task = calloc(1, sizeof(*task));
    if (task == NULL) {
        error_set_state(&error, "53200", "out of memory");
        done(done_arg, &error);
        return;
    }
    task->command = *command;
    task->database = database;
    task->done = done;
    task->done_arg = done_arg;
    app_round(app, visit, visited, task);
}

static void reload_or_say(struct app *app, admin_done_fn *done, void *done_arg)
{
    struct error error = ERROR_INIT;
    if (app_reload(app, done, done_arg))
        return;
    error_set_state(&error, "F0000", "RELOAD failed, see logs for additional details");
    done(done_arg, &error);
}

void app_command(void *arg, const struct admin_command *command, admin_done_fn *done, void *done_arg)
{
    struct app *app = arg;
    struct error error = ERROR_INIT;
    switch (command->verb) {
    case ADMIN_RELOAD:
        reload_or_say(app, done, done_arg);
        return;
    case ADMIN_SET:
        if (!app_set(app, command->key, command->value, done, done_arg, &error))
            done(done_arg, &error);
        return;
    case ADMIN_SHUTDOWN:
    case ADMIN_SHUTDOWN_WAIT_SERVERS:
    case ADMIN_SHUTDOWN_WAIT_CLIENTS:
        done(done_arg, NULL);
        app_shutdown(app, command->verb == ADMIN_SHUTDOWN                ? APP_STOPPED
                          : command->verb == ADMIN_SHUTDOWN_WAIT_SERVERS ? APP_WAIT_SERVERS
                                                                         : APP_WAIT_CLIENTS);
        return;
    case ADMIN_CACHE_FLUSH:
    case ADMIN_CACHE_DISABLE:
    case ADMIN_CACHE_ENABLE:
        done(done_arg, app_cache_command(app, command, &error) ? NULL : &error);
        return;
    default:
        start_round(app, command, done, done_arg);
    }
}
