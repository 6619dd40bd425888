/* reload: another configuration and users file for everybody, or the old ones if anything is wrong with the
 * new. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "weir/util/log.h"

struct reload {
    struct config *config;
    struct userlist *users;
    admin_done_fn *done;
    void *done_arg;
};

static void report(void *arg, const struct error *problem)
{
    (void)arg;
    log_error("%s", problem->message);
}

struct config *app_load_config(const char *path, const struct config *previous, struct error *error)
{
    const struct config_source source = {
        .path = path, .read = process_read_file, .report = report, .previous = previous};
    return config_load(&source, error);
}

void app_forget_config(struct config *config)
{
    config_unref(config);
}

int app_print_options(void)
{
    struct buf out = BUF_INIT;
    option_print_table(&out);
    bool is_written = fwrite(out.data, 1, out.len, stdout) == out.len;
    buf_free(&out);
    return is_written ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void report_user(void *arg, const struct error *problem)
{
    (void)arg;
    log_warning("%s", problem->message);
}

bool app_load_users(struct app *app, const struct config *config, struct userlist **users)
{
    const char *path = config_settings(config)->auth_file;
    *users = NULL;
    if (path[0] == '\0')
        return true;
    struct buf text = BUF_INIT;
    struct error error = ERROR_INIT;
    if (!process_read_file(NULL, path, &text, &error)) {
        log_error("auth_file \"%s\": %s", path, error.message);
        buf_wipe(&text);
        return false;
    }
    *users = userlist_parse(path, buf_slice(&text), app->users, report_user, NULL);
    buf_wipe(&text);
    return *users != NULL;
}

static void visit(struct session_worker *session, void *arg)
{
    const struct reload *reload = arg;
    session_configure(session, reload->config, reload->users);
}

static void finish(struct app *app, void *arg, bool is_complete)
{
    (void)app;
    struct reload *reload = arg;
    struct error error = ERROR_INIT;
    if (!is_complete)
        error_set_state(&error, "53200", "out of memory");
    if (reload->done != NULL)
        reload->done(reload->done_arg, is_complete ? NULL : &error);
    config_unref(reload->config);
    userlist_unref(reload->users);
    free(reload);
}

/* Takes over both references. */
static bool spread(struct app *app, struct config *config, struct userlist *users, admin_done_fn *done,
                   void *done_arg)
{
    struct reload *reload = malloc(sizeof(*reload));
    if (reload == NULL) {
        config_unref(config);
        userlist_unref(users);
        return false;
    }
    *reload = (struct reload){config_ref(config), users != NULL ? userlist_ref(users) : NULL, done, done_arg};
    config_unref(app->config);
    userlist_unref(app->users);
    app->config = config;
    app->users = users;
    struct error error = ERROR_INIT;
    if (!app_watch_databases(app, &error))
        log_warning("%s", error.message);
    app_round(app, visit, finish, reload);
    return true;
}

bool app_reload(struct app *app, admin_done_fn *done, void *done_arg)
{
    struct error error = ERROR_INIT;
    struct userlist *users;
    struct config *config = app_load_config(app->options.path, app->config, &error);
    if (config == NULL) {
        log_error("RELOAD: the configuration stays as it was: %s", error.message);
        return false;
    }
    struct app_tls tls;
    if (!app_load_tls(app, config, false, &tls, &error)) {
        log_error("RELOAD: the configuration stays as it was: %s", error.message);
        config_unref(config);
        return false;
    }
    if (!app_load_users(app, config, &users) || !process_open_log(&app->options, config)) {
        app_drop_tls(&tls);
        config_unref(config);
        return false;
    }
    app_use_tls(app, &tls);
    log_info("configuration reloaded from %s", app->options.path);
    return spread(app, config, users, done, done_arg);
}

bool app_set(struct app *app, const char *key, const char *value, admin_done_fn *done, void *done_arg,
             struct error *error)
{
    struct config *config = config_set(app->config, key, value, error);
    if (config == NULL)
        return false;
    struct userlist *users = app->users != NULL ? userlist_ref(app->users) : NULL;
    const char *before = config_settings(app->config)->auth_file, *after = config_settings(config)->auth_file;
    if (strcmp(before, after) != 0) {
        userlist_unref(users);
        if (!app_load_users(app, config, &users)) {
            config_unref(config);
            return error_set(error, "auth_file \"%s\" cannot be read; it stays as it was", after);
        }
    }
    if (app_is_tls_key(key)) {
        struct app_tls tls;
        if (!app_load_tls(app, config, true, &tls, error)) {
            userlist_unref(users);
            config_unref(config);
            return false;
        }
        app_use_tls(app, &tls);
    }
    process_open_log(&app->options, config);
    return spread(app, config, users, done, done_arg) || error_set_state(error, "53200", "out of memory");
}
