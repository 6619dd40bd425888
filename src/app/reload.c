/* reload: another configuration and users file for everybody, or the old ones if anything is wrong with the
 * new. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "weir/util/log.h"

struct reload {
    struct config *config;
    struct session_access access;
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

static void report_line(void *arg, const struct error *problem)
{
    (void)arg;
    log_warning("%s", problem->message);
}

void app_forget_access(struct session_access *access)
{
    userlist_unref(access->users);
    hba_unref(access->rules);
    *access = (struct session_access){NULL, NULL};
}

/* The whole of a file that a key names. Wipe `text` after use. */
static bool read_for(const char *key, const char *path, struct buf *text, struct error *error)
{
    struct error why = ERROR_INIT;
    if (process_read_file(NULL, path, text, &why))
        return true;
    return error_set_state(error, "F0000", "%s \"%.200s\" cannot be read: %.200s", key, path, why.message);
}

static bool load_rules(const struct config_settings *settings, struct hba **rules, struct error *error)
{
    struct buf text = BUF_INIT, maps = BUF_INIT;
    struct ident *ident = NULL;
    bool is_good = read_for("auth_hba_file", settings->auth_hba_file, &text, error);
    if (is_good && settings->auth_ident_file[0] != '\0') {
        is_good = read_for("auth_ident_file", settings->auth_ident_file, &maps, error);
        if (is_good)
            ident = ident_parse(settings->auth_ident_file, buf_slice(&maps), report_line, NULL);
    }
    const struct hba_source source = {.path = settings->auth_hba_file,
                                      .text = buf_slice(&text),
                                      .ident = ident,
                                      .read = process_read_file,
                                      .report = report_line};
    *rules = is_good ? hba_parse(&source, error) : NULL;
    ident_unref(ident);
    buf_free(&maps);
    buf_free(&text);
    return *rules != NULL;
}

bool app_load_access(struct app *app, const struct config *config, struct session_access *access,
                     struct error *error)
{
    const struct config_settings *settings = config_settings(config);
    const char *path = settings->auth_file;
    struct buf text = BUF_INIT;
    bool is_good = true;
    *access = (struct session_access){NULL, NULL};
    if (path[0] != '\0') {
        is_good = read_for("auth_file", path, &text, error);
        if (is_good)
            access->users = userlist_parse(path, buf_slice(&text), app->access.users, report_line, NULL);
        buf_wipe(&text);
        if (is_good && access->users == NULL)
            is_good = error_set_state(error, "53200", "out of memory");
    }
    if (is_good && settings->auth_type == AUTH_HBA)
        is_good = load_rules(settings, &access->rules, error);
    if (!is_good)
        app_forget_access(access);
    return is_good;
}

void app_configure_resolver(struct app *app)
{
    const struct config_settings *settings = config_settings(app->config);
    resolver_keep(registry_resolver(app->shared.registry), settings->dns_max_ttl_us,
                  settings->dns_nxdomain_ttl_us);
}

static void visit(struct session_worker *session, void *arg)
{
    const struct reload *reload = arg;
    session_configure(session, reload->config, &reload->access);
}

static void finish(struct app *app, void *arg, bool is_complete)
{
    struct reload *reload = arg;
    struct error error = ERROR_INIT;
    app_tell_ready(app);
    if (!is_complete)
        error_set_state(&error, "53200", "out of memory");
    if (reload->done != NULL)
        reload->done(reload->done_arg, is_complete ? NULL : &error);
    config_unref(reload->config);
    app_forget_access(&reload->access);
    free(reload);
}

static struct session_access keep_access(const struct session_access *access)
{
    return (struct session_access){access->users != NULL ? userlist_ref(access->users) : NULL,
                                   access->rules != NULL ? hba_ref(access->rules) : NULL};
}

/* Takes over all references. */
static bool spread(struct app *app, struct config *config, struct session_access *access, admin_done_fn *done,
                   void *done_arg)
{
    struct reload *reload = malloc(sizeof(*reload));
    if (reload == NULL) {
        config_unref(config);
        app_forget_access(access);
        return false;
    }
    *reload = (struct reload){config_ref(config), keep_access(access), done, done_arg};
    config_unref(app->config);
    app_forget_access(&app->access);
    app->config = config;
    app->access = *access;
    app_configure_resolver(app);
    struct error error = ERROR_INIT;
    if (!app_watch_databases(app, &error))
        log_warning("%s", error.message);
    app_round(app, visit, finish, reload);
    return true;
}

static bool reload(struct app *app, admin_done_fn *done, void *done_arg)
{
    struct error error = ERROR_INIT;
    struct session_access access;
    struct config *config = app_load_config(app->options.path, app->config, &error);
    if (config == NULL) {
        log_error("RELOAD: the configuration stays as it was"); /* each problem has just been reported */
        return false;
    }
    if (!app_load_access(app, config, &access, &error)) {
        log_error("RELOAD: everything stays as it was: %s", error.message);
        config_unref(config);
        return false;
    }
    struct app_tls tls;
    if (!app_load_tls(app, config, false, &tls, &error)) {
        log_error("RELOAD: everything stays as it was: %s", error.message);
        app_forget_access(&access);
        config_unref(config);
        return false;
    }
    if (!process_open_log(&app->options, config)) {
        app_drop_tls(&tls);
        app_forget_access(&access);
        config_unref(config);
        return false;
    }
    app_use_tls(app, &tls);
    log_info("configuration reloaded from %s", app->options.path);
    return spread(app, config, &access, done, done_arg);
}

bool app_reload(struct app *app, admin_done_fn *done, void *done_arg)
{
    app_tell_reloading();
    if (reload(app, done, done_arg))
        return true; /* ready again when every worker has it: see finish */
    app_tell_ready(app);
    return false;
}

/* Do the files have to be read again where only these keys differ? */
static bool names_other_files(const struct config_settings *a, const struct config_settings *b)
{
    return strcmp(a->auth_file, b->auth_file) != 0 || strcmp(a->auth_hba_file, b->auth_hba_file) != 0 ||
           strcmp(a->auth_ident_file, b->auth_ident_file) != 0 ||
           (a->auth_type == AUTH_HBA) != (b->auth_type == AUTH_HBA);
}

bool app_set(struct app *app, const char *key, const char *value, admin_done_fn *done, void *done_arg,
             struct error *error)
{
    struct config *config = config_set(app->config, key, value, error);
    if (config == NULL)
        return false;
    struct session_access access = keep_access(&app->access);
    if (names_other_files(config_settings(app->config), config_settings(config))) {
        app_forget_access(&access);
        if (!app_load_access(app, config, &access, error)) {
            config_unref(config);
            return false;
        }
    }
    if (app_is_tls_key(key)) {
        struct app_tls tls;
        if (!app_load_tls(app, config, true, &tls, error)) {
            app_forget_access(&access);
            config_unref(config);
            return false;
        }
        app_use_tls(app, &tls);
    }
    process_open_log(&app->options, config);
    return spread(app, config, &access, done, done_arg) || error_set_state(error, "53200", "out of memory");
}
