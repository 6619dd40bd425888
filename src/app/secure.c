/* secure: TLS contexts from the configuration, for both sides; read anew with every reload, since files
 * change under the same names. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "app.h"
#include "weir/util/log.h"

static struct tls_options options_of(const struct config_settings *s, bool is_accepting)
{
    if (is_accepting)
        return (struct tls_options){.is_accepting = true,
                                    .mode = s->client_tls_sslmode,
                                    .ca_file = s->client_tls_ca_file,
                                    .cert_file = s->client_tls_cert_file,
                                    .key_file = s->client_tls_key_file,
                                    .ciphers = s->client_tls_ciphers,
                                    .tls13_ciphers = s->client_tls13_ciphers,
                                    .protocols = s->client_tls_protocols,
                                    .dheparams = s->client_tls_dheparams,
                                    .ecdhcurve = s->client_tls_ecdhcurve};
    return (struct tls_options){.mode = s->server_tls_sslmode,
                                .ca_file = s->server_tls_ca_file,
                                .cert_file = s->server_tls_cert_file,
                                .key_file = s->server_tls_key_file,
                                .ciphers = s->server_tls_ciphers,
                                .tls13_ciphers = s->server_tls13_ciphers,
                                .protocols = s->server_tls_protocols};
}

bool app_blame_key(const struct config *config, const char *key, const struct error *why, struct error *error)
{
    char where[200];
    struct buf value = BUF_INIT;
    config_where(config, key, where, sizeof(where));
    option_format(option_find(OPTION_GLOBAL, key), config_settings(config), &value);
    const char *text = buf_text(&value);
    error_set_state(error, "F0000", "%s: %s = \"%.120s\": %s", where, key, text != NULL ? text : "",
                    why->message);
    buf_free(&value);
    return false;
}

/* The context of one side in `out`; NULL for none. `running`: what a half-made change leaves as it is; NULL:
 * there is no such leniency. */
static bool load(const struct config *config, bool is_accepting, struct tls_slot *running,
                 struct tls_context **out, struct error *error)
{
    const struct tls_options options = options_of(config_settings(config), is_accepting);
    struct tls_fault fault;
    struct error why = ERROR_INIT;
    *out = NULL;
    if (options.mode == SSL_MODE_DISABLE)
        return true;
    *out = tls_context_new(&options, &fault, &why);
    if (*out != NULL)
        return true;
    if (fault.key != NULL)
        app_blame_key(config, fault.key, &why, error);
    else
        error_set_state(error, "F0000", "TLS: %s", why.message);
    if (running != NULL && fault.is_half_a_pair)
        *out = tls_slot_get(running);
    if (*out != NULL)
        log_warning("%s; the one in use stays until both fit", error->message);
    return *out != NULL;
}

bool app_load_tls(struct app *app, const struct config *config, bool is_step, struct app_tls *out,
                  struct error *error)
{
    struct tls_slot *clients = is_step ? &app->shared.client_tls : NULL;
    struct tls_slot *servers = is_step ? registry_server_tls(app->shared.registry) : NULL;
    *out = (struct app_tls){NULL, NULL};
    if (load(config, true, clients, &out->clients, error) &&
        load(config, false, servers, &out->servers, error))
        return true;
    app_drop_tls(out);
    return false;
}

void app_use_tls(struct app *app, struct app_tls *tls)
{
    tls_slot_set(&app->shared.client_tls, tls->clients);
    tls_slot_set(registry_server_tls(app->shared.registry), tls->servers);
    *tls = (struct app_tls){NULL, NULL};
}

void app_drop_tls(struct app_tls *tls)
{
    tls_context_unref(tls->clients);
    tls_context_unref(tls->servers);
    *tls = (struct app_tls){NULL, NULL};
}

bool app_check_tls(const struct config *config)
{
    struct error error = ERROR_INIT;
    struct app_tls tls;
    bool is_good = app_load_tls(NULL, config, false, &tls, &error);
    if (!is_good)
        log_error("%s", error.message);
    app_drop_tls(&tls);
    return is_good;
}

bool app_is_tls_key(const char *key)
{
    return strncasecmp(key, "client_tls", 10) == 0 || strncasecmp(key, "server_tls", 10) == 0;
}
