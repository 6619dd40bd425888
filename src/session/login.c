/*
 * login: from the first byte of a connection to ReadyForQuery.
 *
 *   [SSLRequest 'N'] ─► StartupMessage ─► authentication ─► welcome of the pool ─► settings checked ─► ready
 *
 * Unknown users run through the same exchange as known ones, with a secret of their own that nobody has.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "weir/auth/md5.h"
#include "weir/session/cached.h"
#include "weir/session/client.h"
#include "weir/session/outbox.h"
#include "weir/util/clock.h"
#include "weir/util/cold.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"
#include "weir/wire/startup.h"

enum { PASSWORD_MAX = 65535 + 64 };

enum login_method { METHOD_NONE, METHOD_PLAIN, METHOD_MD5, METHOD_SCRAM };

struct client_login {
    char *user, *database;
    struct credential *credential; /* counted; NULL: no such user */
    struct profile *settings;      /* of the startup packet; counted */
    struct scram_server *scram;
    enum login_method method;
    uint8_t salt[4];
    bool is_console;
    bool has_encryption_answer; /* SSLRequest or GSSENCRequest has been answered */
    bool is_replication;
};

void client_login_free(struct client_login *login)
{
    if (login == NULL)
        return;
    free(login->user);
    free(login->database);
    credential_unref(login->credential);
    profile_unref(login->settings);
    scram_server_free(login->scram);
    free(login);
}

static void reply(struct client *client, struct buf *out)
{
    client_write_buf(client, out);
    buf_wipe(out);
}

/* ---- after authentication
 * -------------------------------------------------------------------------------------------- */

static void make_key(struct client *client)
{
    struct session_worker *session = client->session;
    struct client *other;
    do { /* 16 bits of peer and hops (0 without peers), 48 random ones */
        memset(client->key, 0, 2);
        if (getrandom(client->key + 2, CLIENT_KEY_BYTES - 2, 0) != CLIENT_KEY_BYTES - 2)
            return;
        HASH_FIND(hh, session->by_key, client->key, CLIENT_KEY_BYTES, other);
    } while (other != NULL);
    HASH_ADD(hh, session->by_key, key, CLIENT_KEY_BYTES, client);
}

/* Is `name` among the messages of `list` (ParameterStatus messages)? */
static bool is_reported(struct slice list, struct slice name)
{
    struct frame frame;
    struct parameter_view view;
    for (size_t at = 0; frame_next(slice_from(list, at), &frame) == FRAME_COMPLETE; at += frame.total)
        if (decode_parameter_status(frame.body, &view) && slice_equal(view.name, name))
            return true;
    return false;
}

/* The pool's messages, but for those that the client's own settings have changed. */
static void append_parameters(struct client *client, struct buf *out, struct slice welcome,
                              struct slice changed)
{
    struct frame frame;
    struct parameter_view view;
    for (size_t at = 0; frame_next(slice_from(welcome, at), &frame) == FRAME_COMPLETE; at += frame.total) {
        if (!decode_parameter_status(frame.body, &view) || is_reported(changed, view.name))
            continue;
        if (slice_equal_str(view.name, "application_name") &&
            profile_get(transaction_current(&client->tx), view.name, &view.value)) {
            encode_parameter_status(out, view.name, view.value);
            continue;
        }
        client_note_parameter(client, view.name, view.value);
        buf_append(out, welcome.data + at, frame.total);
    }
    for (size_t at = 0; frame_next(slice_from(changed, at), &frame) == FRAME_COMPLETE; at += frame.total) {
        if (decode_parameter_status(frame.body, &view))
            client_note_parameter(client, view.name, view.value);
    }
    buf_append_slice(out, changed);
}

static void become_ready(struct client *client, struct slice changed)
{
    struct welcome *welcome = pool_welcome(client->part->pool);
    struct buf out = BUF_INIT;
    make_key(client);
    encode_authentication(&out, AUTH_CODE_OK, SLICE_EMPTY);
    if (welcome != NULL)
        append_parameters(client, &out, slice_make(welcome->bytes, welcome->len), changed);
    encode_backend_key(&out, slice_make(client->key, CLIENT_KEY_BYTES));
    encode_ready(&out, 'I');
    welcome_unref(welcome);
    reply(client, &out);
    client_login_free(client->login);
    client->login = NULL;
    client_configure(client);
    counter_bump(&client->part->counters.client_login_count);
    client_set_state(client, CLIENT_IDLE);
    if (conn_input_pending(client->conn) > 0)
        conn_kick(client->conn);
}

/* Settings that no server needs to be asked about: application_name takes anything. */
static bool is_trivial(const struct profile *profile)
{
    return profile_count(profile) == 0 ||
           (profile_count(profile) == 1 && profile_get(profile, SLICE_LITERAL("application_name"), NULL));
}

static const struct greeting *find_greeting(const struct client *client)
{
    const struct session_worker *session = client->session;
    for (size_t i = 0; i < GREETINGS; i++)
        if (session->greetings[i].profile == transaction_current(&client->tx) &&
            session->greetings[i].pool == client->part->pool)
            return &session->greetings[i];
    return NULL;
}

static void keep_greeting(struct client *client, struct slice parameters)
{
    struct session_worker *session = client->session;
    struct welcome *welcome = malloc(sizeof(*welcome) + parameters.len);
    if (welcome == NULL)
        return;
    atomic_init(&welcome->references, 1);
    welcome->len = parameters.len;
    if (parameters.len > 0)
        memcpy(welcome->bytes, parameters.data, parameters.len);
    struct greeting *greeting = &session->greetings[session->greeting_next++ % GREETINGS];
    profile_unref(greeting->profile);
    welcome_unref(greeting->welcome);
    *greeting = (struct greeting){client->part->pool, profile_ref(transaction_current(&client->tx)), welcome};
}

void login_greeted(struct client *client, struct slice parameters, struct slice error)
{
    struct error_view view;
    if (error.len > 0 && decode_error(slice_from(error, FRAME_HEADER_BYTES), &view)) {
        char state[6], message[300];
        snprintf(state, sizeof(state), "%.*s", (int)view.sqlstate.len, (const char *)view.sqlstate.data);
        snprintf(message, sizeof(message), "%.*s", (int)view.message.len, (const char *)view.message.data);
        client_fail(client, state, message);
        return;
    }
    keep_greeting(client, parameters);
    become_ready(client, parameters);
}

/* Runs the client's settings past a server, which may refuse them, and reports them as it writes them. */
COLD static void begin_greeting(struct client *client, struct server *server)
{
    struct lease *lease = lease_begin(client, server, LEASE_GREETING, 0);
    if (lease == NULL) {
        client_fail(client, "53200", "out of memory");
        return;
    }
    client->lease = lease;
    /* From its state after login, or it would be silent about settings that it has already. The answer comes
     * to login_greeted. */
    if (lease_reset(lease))
        lease_prepare(lease, true);
}

void login_welcome(struct client *client)
{
    if (is_trivial(transaction_current(&client->tx))) {
        become_ready(client, SLICE_EMPTY);
        return;
    }
    const struct greeting *known = find_greeting(client);
    if (known != NULL) {
        become_ready(client, slice_make(known->welcome->bytes, known->welcome->len));
        return;
    }
    struct server *server = pool_lease(client->part, &client->waiter, NULL, NULL);
    if (server != NULL)
        begin_greeting(client, server);
}

void login_granted(struct client *client, struct server *server)
{
    if (server == NULL)
        login_welcome(client);
    else
        begin_greeting(client, server);
}

/* ---- limits
 * --------------------------------------------------------------------------------------------------------------
 */

static bool count_in(struct client *client, const struct config_database *database)
{
    const struct config *config = client->session->config;
    const struct config_user *user = config_user_find(config, client->user->name);
    struct registry_database *shared = client->part->pool->database;
    if (!budget_take(&shared->clients, config_max_db_client_connections(config, database))) {
        client_fail(client, "53300", "client connections exceeded (max_db_client_connections)");
        return false;
    }
    if (!budget_take(&client->user->clients, config_max_user_client_connections(config, user))) {
        budget_give(&shared->clients);
        client_fail(client, "53300", "client connections exceeded (max_user_client_connections)");
        return false;
    }
    client->is_user_counted = true;
    return true;
}

static bool join_pool(struct client *client)
{
    struct session_worker *session = client->session;
    struct client_login *login = client->login;
    const struct config_database *database = config_database_find(session->config, login->database);
    if (database == NULL) { /* removed by a reload while the client was proving who it is */
        client_fail(client, "3D000", "database removed");
        return false;
    }
    const char *pool_user = database->user[0] != '\0' ? database->user : login->user;
    struct pool *pool = registry_pool(session->shared->registry, login->database, pool_user);
    struct pool_part *part = pool != NULL ? pool_part(pool, session->worker, session->config) : NULL;
    if (part == NULL) {
        client_fail(client, "53200", "out of memory");
        return false;
    }
    if (login->credential != NULL && strcmp(pool_user, login->user) == 0)
        pool_set_credential(pool, login->credential);
    else if (session->users != NULL && userlist_find(session->users, slice_str(pool_user)) != NULL)
        pool_set_credential(pool, userlist_find(session->users, slice_str(pool_user)));
    if (session->cache != NULL && !session->has_seen_user) {
        session->has_seen_user = true;
        session->shared->user_seen.fn(session->shared->user_seen.context, pool_user);
    }
    client->part = part;
    if (part->context == NULL)
        cached_part_configure(part);
    list_push_back(&part->clients, &client->pool_node);
    return true;
}

static void console_ready(struct client *client)
{
    static const char *const parameters[][2] = {
        {"server_version", WEIR_VERSION "/weir"},
        {"client_encoding", "UTF8"},
        {"server_encoding", "UTF8"},
        {"DateStyle", "ISO"},
        {"TimeZone", "GMT"},
        {"standard_conforming_strings", "on"},
        {"is_superuser", "on"},
        {"integer_datetimes", "on"},
    };
    struct buf out = BUF_INIT;
    encode_authentication(&out, AUTH_CODE_OK, SLICE_EMPTY);
    for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++)
        encode_parameter_status(&out, slice_str(parameters[i][0]), slice_str(parameters[i][1]));
    make_key(client);
    encode_backend_key(&out, slice_make(client->key, CLIENT_KEY_BYTES));
    encode_ready(&out, 'I');
    reply(client, &out);
    client_login_free(client->login);
    client->login = NULL;
    client_set_state(client, CLIENT_CONSOLE);
}

static void authenticated(struct client *client)
{
    struct client_login *login = client->login;
    struct session_worker *session = client->session;
    client->user = registry_user(session->shared->registry, login->user);
    if (client->user == NULL) {
        client_fail(client, "53200", "out of memory");
        return;
    }
    if (config_settings(session->config)->log_connections)
        log_write(LOG_LEVEL_LOG, client_prefix(client), "login attempt: db=%s user=%s tls=no",
                  login->database, login->user);
    if (login->is_console) {
        console_ready(client);
        return;
    }
    if (!join_pool(client) || !count_in(client, client->part->database))
        return;
    transaction_free(&client->tx);
    transaction_init(&client->tx, login->settings);
    client_set_state(client, CLIENT_GREETING);
    if (pool_wait_for_welcome(client->part, &client->waiter))
        login_welcome(client);
}

/* ---- authentication
 * ---------------------------------------------------------------------------------------------------------
 */

COLD static void refuse(struct client *client)
{
    struct pool_part *part = client->part;
    counter_bump(part != NULL ? &part->counters.login_failures : &client->session->counters.login_failures);
    const char *text = client->login->method == METHOD_SCRAM ? "SASL authentication failed"
                                                             : "password authentication failed";
    client_fail(client, "28P01", text);
}

static void begin_plain(struct client *client)
{
    struct buf out = BUF_INIT;
    encode_authentication(&out, AUTH_CODE_CLEARTEXT, SLICE_EMPTY);
    reply(client, &out);
}

static void begin_md5(struct client *client)
{
    struct buf out = BUF_INIT;
    struct client_login *login = client->login;
    if (getrandom(login->salt, sizeof(login->salt), 0) != (ssize_t)sizeof(login->salt)) {
        client_fail(client, "XX000", "no random numbers");
        return;
    }
    encode_authentication(&out, AUTH_CODE_MD5, slice_make(login->salt, sizeof(login->salt)));
    reply(client, &out);
}

static void begin_scram(struct client *client)
{
    static const char *const mechanisms[] = {SCRAM_MECHANISM, NULL};
    struct client_login *login = client->login;
    const uint8_t *mock_key = client->session->shared->mock_key;
    uint32_t iterations = (uint32_t)config_settings(client->session->config)->scram_iterations;
    uint8_t salt[SCRAM_SALT_LEN], nonce[SCRAM_NONCE_LEN];
    struct scram_secret secret;
    bool is_mock = login->credential == NULL || credential_kind(login->credential) == CREDENTIAL_NONE;
    bool has_secret = getrandom(nonce, sizeof(nonce), 0) == (ssize_t)sizeof(nonce) &&
                      scram_salt_for_user(mock_key, slice_str(login->user), salt);
    if (has_secret && !is_mock && !credential_scram_secret(login->credential, salt, iterations, &secret)) {
        client_fail(client, "28P01", "wrong password type");
        return;
    }
    if (has_secret && is_mock)
        has_secret = scram_secret_mock(mock_key, slice_str(login->user), iterations, &secret);
    if (has_secret)
        login->scram = scram_server_new(&secret, is_mock, nonce, SLICE_EMPTY, false);
    scram_wipe(&secret, sizeof(secret));
    if (login->scram == NULL) {
        client_fail(client, "XX000", "authentication is not possible now");
        return;
    }
    struct buf out = BUF_INIT;
    encode_sasl_mechanisms(&out, mechanisms);
    reply(client, &out);
}

static enum login_method method_for(const struct client_login *login, enum auth_type type)
{
    enum credential_kind kind =
        login->credential != NULL ? credential_kind(login->credential) : CREDENTIAL_NONE;
    switch (type) {
    case AUTH_PLAIN:
        return METHOD_PLAIN;
    case AUTH_MD5: /* a SCRAM secret cannot answer an MD5 challenge, and is the better exchange anyway */
        return kind == CREDENTIAL_SCRAM ? METHOD_SCRAM : METHOD_MD5;
    case AUTH_SCRAM_SHA_256:
        return METHOD_SCRAM;
    default:
        return METHOD_NONE;
    }
}

/* A user of the process's own uid, over the Unix socket, is the administrator `pgbouncer`. */
static bool is_owner(const struct client *client)
{
    struct ucred credentials;
    socklen_t len = sizeof(credentials);
    return client->peer_family == AF_UNIX && strcmp(client->login->user, "pgbouncer") == 0 &&
           getsockopt(conn_fd(client->conn), SOL_SOCKET, SO_PEERCRED, &credentials, &len) == 0 &&
           credentials.uid == getuid();
}

static void begin_authentication(struct client *client)
{
    struct client_login *login = client->login;
    const struct config_settings *settings = config_settings(client->session->config);
    if (login->is_console && is_owner(client)) {
        client->is_admin = true;
        authenticated(client);
        return;
    }
    if (login->is_console) {
        client->is_admin = config_list_contains(settings->admin_users, login->user);
        if (!client->is_admin && !config_list_contains(settings->stats_users, login->user) &&
            settings->auth_type != AUTH_ANY) {
            client_fail(client, "08P01", "not allowed");
            return;
        }
        client->is_admin = client->is_admin || settings->auth_type == AUTH_ANY;
    }
    if (client->session->users != NULL) {
        login->credential = userlist_find(client->session->users, slice_str(login->user));
        if (login->credential != NULL)
            credential_ref(login->credential);
    }
    login->method = method_for(login, settings->auth_type);
    if (login->method == METHOD_NONE) {
        if (settings->auth_type == AUTH_TRUST && login->credential == NULL)
            client_fail(client, "28000", "\"trust\" authentication failed");
        else
            authenticated(client);
        return;
    }
    client_set_state(client, CLIENT_AUTH);
    if (login->method == METHOD_PLAIN)
        begin_plain(client);
    else if (login->method == METHOD_MD5)
        begin_md5(client);
    else
        begin_scram(client);
}

static void check_password(struct client *client, struct slice body)
{
    struct client_login *login = client->login;
    char stored[MD5_TEXT_SIZE];
    struct slice password;
    bool is_right = false;
    if (!decode_text(&body, &password) || body.len != 0) {
        client_fail(client, "08P01", "invalid password packet");
        return;
    }
    if (login->credential != NULL && login->method == METHOD_PLAIN)
        is_right = credential_is_password(login->credential, password);
    else if (login->credential != NULL && credential_md5(login->credential, stored))
        is_right = md5_answer_is_right(stored, login->salt, password);
    scram_wipe(stored, sizeof(stored));
    if (is_right)
        authenticated(client);
    else
        refuse(client);
}

static bool take_initial(struct client *client, struct slice *body)
{
    struct slice mechanism;
    uint32_t len;
    if (!decode_text(body, &mechanism) || !decode_take_u32(body, &len) || len != body->len) {
        client_fail(client, "08P01", "invalid SASL message");
        return false;
    }
    if (!slice_equal_str(mechanism, SCRAM_MECHANISM)) {
        client_fail(client, "08P01", "client selected an invalid SASL authentication mechanism");
        return false;
    }
    return true;
}

static void check_scram(struct client *client, struct slice body)
{
    struct client_login *login = client->login;
    bool is_first = login->salt[0] == 0;
    struct error error = ERROR_INIT;
    struct buf answer = BUF_INIT, out = BUF_INIT;
    if (is_first && !take_initial(client, &body))
        return;
    login->salt[0] = 1;
    enum scram_result result = scram_server_feed(login->scram, body, &answer, &error);
    struct scram_keys keys;
    if (result == SCRAM_CONTINUE || result == SCRAM_DONE) {
        encode_authentication(&out, result == SCRAM_DONE ? AUTH_CODE_SASL_FINAL : AUTH_CODE_SASL_CONTINUE,
                              buf_slice(&answer));
        reply(client, &out);
    }
    buf_wipe(&answer);
    if (result == SCRAM_DONE && login->credential != NULL && scram_server_keys(login->scram, &keys)) {
        credential_keep_keys(login->credential, &keys);
        scram_wipe(&keys, sizeof(keys));
    }
    if (result == SCRAM_DONE)
        authenticated(client);
    else if (result == SCRAM_REFUSED)
        refuse(client);
    else if (result == SCRAM_BROKEN)
        client_fail(client, "08P01", error.message);
}

static size_t auth_data(struct client *client, struct slice data)
{
    struct frame frame;
    switch (frame_next(data, &frame)) {
    case FRAME_INCOMPLETE:
        return 0;
    case FRAME_PARTIAL:
        if (frame.total <= PASSWORD_MAX && frame.type == MSG_PASSWORD) {
            conn_set_input_limit(client->conn, PASSWORD_MAX + 16);
            return 0;
        }
        break;
    case FRAME_COMPLETE:
        if (frame.type != MSG_PASSWORD)
            break;
        if (client->login->method == METHOD_SCRAM)
            check_scram(client, frame.body);
        else
            check_password(client, frame.body);
        return frame.total;
    case FRAME_BAD:
        break;
    }
    client_fail(client, "08P01", "expected a password message");
    return data.len;
}

/* ---- the startup packet
 * ------------------------------------------------------------------------------------------------------- */

static bool set_text(char **slot, struct slice value)
{
    free(*slot);
    *slot = slice_dup(value);
    return *slot != NULL;
}

static bool is_ignored(const struct client *client, const char *name)
{
    return config_list_contains(config_settings(client->session->config)->ignore_startup_parameters, name);
}

static bool add_setting(struct client *client, struct slice name, struct slice value)
{
    struct client_login *login = client->login;
    char text[128];
    snprintf(text, sizeof(text), "%.*s", (int)name.len, (const char *)name.data);
    if (is_ignored(client, text))
        return true;
    struct profile *profile = profile_set(login->settings, name, value);
    if (profile == NULL) {
        char message[200];
        snprintf(message, sizeof(message), "unsupported startup parameter: %s", text);
        client_fail(client, "08P01", message);
        return false;
    }
    profile_unref(login->settings);
    login->settings = profile;
    return true;
}

static bool add_options(struct client *client, struct slice options)
{
    uint8_t *scratch = malloc(options.len + 1);
    struct slice cursor = options, name, value;
    int found = scratch == NULL ? -1 : 1;
    bool is_ignored_whole = is_ignored(client, "options");
    while (!is_ignored_whole && found > 0 &&
           (found = startup_next_option(&cursor, scratch, &name, &value)) > 0) {
        if (!add_setting(client, name, value)) {
            free(scratch);
            return false;
        }
    }
    free(scratch);
    if (found >= 0)
        return true;
    client_fail(client, "08P01",
                "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed");
    return false;
}

static bool take_parameters(struct client *client, struct slice parameters)
{
    struct client_login *login = client->login;
    struct slice cursor = parameters, name, value;
    bool is_good = true;
    while (is_good && startup_next_parameter(&cursor, &name, &value)) {
        if (slice_equal_str(name, "user"))
            is_good = set_text(&login->user, value);
        else if (slice_equal_str(name, "database"))
            is_good = set_text(&login->database, value);
        else if (slice_equal_str(name, "replication"))
            login->is_replication = !slice_equal_str(value, "off") && !slice_equal_str(value, "false") &&
                                    !slice_equal_str(value, "0") && !slice_equal_str(value, "no");
        else if (slice_equal_str(name, "options"))
            is_good = add_options(client, value);
        else if (name.len < 5 || memcmp(name.data, "_pq_.", 5) != 0)
            is_good = add_setting(client, name, value);
        if (client->is_ending)
            return false;
    }
    if (!is_good)
        client_fail(client, "53200", "out of memory");
    return is_good;
}

/* A client that asks for more than 3.0, or for options of the protocol, is told what there is. */
static void negotiate(struct client *client, const struct startup *startup)
{
    struct slice options[16], cursor = startup->parameters, name, value;
    uint32_t count = 0;
    while (count < 16 && startup_next_parameter(&cursor, &name, &value))
        if (name.len >= 5 && memcmp(name.data, "_pq_.", 5) == 0)
            options[count++] = name;
    if (startup->minor == 0 && count == 0)
        return;
    struct buf out = BUF_INIT;
    encode_negotiate_version(&out, 0, options, count);
    reply(client, &out);
}

static bool is_console_name(const char *name)
{
    return strcmp(name, "pgbouncer") == 0 || strcmp(name, "weir") == 0;
}

static bool check_database(struct client *client)
{
    struct client_login *login = client->login;
    struct session_worker *session = client->session;
    const struct config_database *database = config_database_find(session->config, login->database);
    login->is_console = is_console_name(login->database) && (database == NULL || database->is_fallback);
    if (login->is_console)
        return true;
    char message[200];
    if (database == NULL) {
        snprintf(message, sizeof(message), "no such database: %s", login->database);
        client_fail(client, "3D000", message);
        return false;
    }
    struct registry_database *shared = registry_database(session->shared->registry, login->database);
    if (shared != NULL && atomic_load(&shared->is_disabled)) {
        snprintf(message, sizeof(message), "database \"%s\" is disabled", login->database);
        client_fail(client, "57P01", message);
        return false;
    }
    int limit = config_settings(session->config)->max_client_conn;
    if (!budget_take(&session->shared->clients, limit)) {
        client_fail(client, "53300", "no more connections allowed (max_client_conn)");
        return false;
    }
    client->is_counted = true;
    return true;
}

static void begin_session(struct client *client, const struct startup *startup)
{
    struct client_login *login = client->login;
    login->settings = profile_empty(client->session->shared->profiles);
    if (!take_parameters(client, startup->parameters))
        return;
    if (login->user == NULL || login->user[0] == '\0') {
        client_fail(client, "28000", "no PostgreSQL user name specified in startup packet");
        return;
    }
    if ((login->database == NULL || login->database[0] == '\0') &&
        !set_text(&login->database, slice_str(login->user))) {
        client_fail(client, "53200", "out of memory");
        return;
    }
    if (login->is_replication) {
        client_fail(client, "0A000", "replication connections are not supported");
        return;
    }
    if (atomic_load(&client->session->shared->is_shutting_down)) {
        client_fail(client, "57P01", "pooler is shutting down");
        return;
    }
    if (!check_database(client))
        return;
    negotiate(client, startup);
    begin_authentication(client);
}

COLD static void pass_cancel_on(struct client *client, struct slice key)
{
    if (key.len == CLIENT_KEY_BYTES)
        session_spread_cancel(client->session, key.data);
    client_close(client, "cancel request");
}

static size_t startup_data(struct client *client, struct slice data)
{
    struct startup startup;
    struct error error = ERROR_INIT;
    switch (startup_parse(data, &startup, &error)) {
    case STARTUP_INCOMPLETE:
        return 0;
    case STARTUP_BAD:
        client_fail(client, error.sqlstate, error.message);
        return data.len;
    case STARTUP_SSL:
    case STARTUP_GSS:
        if (client->login->has_encryption_answer && startup.kind == STARTUP_SSL) {
            client_fail(client, "08P01", "SSLRequest was answered already");
            return data.len;
        }
        client->login->has_encryption_answer =
            startup.kind == STARTUP_SSL || client->login->has_encryption_answer;
        client_write(client, SLICE_LITERAL("N"));
        break;
    case STARTUP_CANCEL:
        pass_cancel_on(client, startup.cancel_key);
        return data.len;
    case STARTUP_MESSAGE:
        begin_session(client, &startup);
        break;
    }
    return startup.total;
}

size_t login_data(struct client *client, struct slice data)
{
    size_t used = 0;
    if (client->login == NULL && (client->login = calloc(1, sizeof(*client->login))) == NULL) {
        client_fail(client, "53200", "out of memory");
        return data.len;
    }
    while (used < data.len && !client->is_ending &&
           (client->state == CLIENT_STARTUP || client->state == CLIENT_AUTH)) {
        struct slice rest = slice_from(data, used);
        size_t here = client->state == CLIENT_STARTUP ? startup_data(client, rest) : auth_data(client, rest);
        if (here == 0)
            break;
        used += here;
    }
    return client->is_ending ? data.len : used;
}
