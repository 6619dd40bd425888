/*
 * login: from the first byte of a connection to its pool.
 *
 *   [SSLRequest, S or N] ─► StartupMessage ─► authenticate.c ─► pool and limits ─► greeting.c ─► ready
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "login.h"
#include "weir/net/tls.h"
#include "weir/session/cached.h"
#include "weir/session/cancel_request.h"
#include "weir/session/peer.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/startup.h"

enum { TLS_HANDSHAKE = 0x16 }; /* the first byte of a TLS connection; no startup packet is that long */

void client_login_free(struct client_login *login)
{
    if (login == NULL)
        return;
    peer_forget_client(login->forward);
    cancel_request_forget_client(login->cancel);
    free(login->user);
    free(login->database);
    credential_unref(login->credential);
    buf_free(&login->startup);
    buf_free(&login->dedicated.welcome);
    profile_unref(login->settings);
    scram_server_free(login->scram);
    auth_lookup_free(login->lookup);
    free(login);
}

void login_reply(struct client *client, struct buf *out)
{
    client_write_buf(client, out);
    buf_wipe(out);
}

/* ---- limits ---- */

/* `limit` is that of the database. An administrator is let in whatever the limits are. */
static bool count_in(struct client *client, int limit)
{
    const struct config *config = client->session->config;
    const struct config_user *user = config_user_find(config, client->user->name);
    struct registry_database *shared = client_database(client);
    int user_limit = config_max_user_client_connections(config, user);
    if (!budget_take(&shared->clients, client->is_admin ? 0 : limit)) {
        client_fail(client, "53300", "client connections exceeded (max_db_client_connections)");
        return false;
    }
    if (!budget_take(&client->user->clients, client->is_admin ? 0 : user_limit)) {
        budget_give(&shared->clients);
        client_fail(client, "53300", "client connections exceeded (max_user_client_connections)");
        return false;
    }
    client->is_user_counted = true;
    return true;
}

void login_give_secret(struct pool *pool, struct credential *credential)
{
    struct credential *known = pool_credential(pool);
    struct scram_keys keys;
    if (known != NULL && known != credential && credential_is_same(known, credential)) {
        if (credential_keys(credential, &keys)) {
            credential_keep_keys(known, &keys);
            scram_wipe(&keys, sizeof(keys));
        }
    } else if (known != credential) {
        pool_set_credential(pool, credential);
    }
    credential_unref(known);
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
        login_give_secret(pool, login->credential);
    else
        session_share_credential(session, pool);
    if (session->cache != NULL && !session->has_seen_user) {
        session->has_seen_user = true;
        session->shared->user_seen.fn(session->shared->user_seen.context, pool_user);
    }
    client->part = part;
    if (database->is_fallback && !atomic_exchange(&pool->database->is_auto, true))
        log_info("registered new auto-database: db=%s", login->database);
    if (part->context == NULL)
        cached_part_configure(part);
    list_push_back(&part->clients, &client->pool_node);
    return true;
}

static void log_attempt(const struct client *client)
{
    const struct client_login *login = client->login;
    char tls[TLS_TEXT_BYTES] = "no";
    if (conn_tls(client->conn) != NULL)
        tls_describe(conn_tls(client->conn), tls);
    log_write(LOG_LEVEL_LOG, client_prefix(client), "login attempt: db=%s user=%s tls=%s", login->database,
              login->user, tls);
}

void login_authenticated(struct client *client)
{
    struct client_login *login = client->login;
    struct session_worker *session = client->session;
    client->user = registry_user(session->shared->registry, login->user);
    if (client->user == NULL) {
        client_fail(client, "53200", "out of memory");
        return;
    }
    if (config_settings(session->config)->log_connections)
        log_attempt(client);
    if (login->is_console) {
        if (count_in(client, config_settings(session->config)->max_db_client_connections))
            login_console_ready(client);
        return;
    }
    if (login->is_unknown_database) {
        char message[200];
        snprintf(message, sizeof(message), "no such database: %s", login->database);
        client_fail(client, "3D000", message);
        return;
    }
    if (!join_pool(client) ||
        !count_in(client, config_max_db_client_connections(session->config, client->part->database)))
        return;
    transaction_free(&client->tx);
    transaction_init(&client->tx, login->settings);
    client_set_state(client, CLIENT_GREETING);
    if (login->dedicated.replication != NULL) {
        replication_ask(client);
        return;
    }
    if (pool_wait_for_welcome(client->part, &client->waiter))
        login_welcome(client);
}

/* ---- the startup packet ---- */

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

static void ask_replication(struct client_login *login, struct slice value)
{
    static const char *const off[] = {"off", "of", "false", "fals", "fal", "fa", "f", "no", "n", "0"};
    for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
        if (slice_equal_nocase(value, slice_str(off[i])))
            return;
    login->dedicated.replication = slice_equal_str(value, "database") ? "logical" : "physical";
    buf_clear(&login->startup);
    encode_text(&login->startup, SLICE_LITERAL("replication"));
    encode_text(&login->startup, value);
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
            ask_replication(login, value);
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

/* The server's administrator sees where the client comes from. */
static bool add_host(struct client *client)
{
    struct slice name = SLICE_LITERAL("app");
    char text[320];
    if (!config_settings(client->session->config)->application_name_add_host)
        return true;
    profile_get(client->login->settings, SLICE_LITERAL("application_name"), &name);
    if (name.len > 200)
        name.len = 200;
    snprintf(text, sizeof(text), "%.*s - %s", (int)name.len, (const char *)name.data, client_address(client));
    struct profile *profile =
        profile_set(client->login->settings, SLICE_LITERAL("application_name"), slice_str(text));
    if (profile == NULL) {
        client_fail(client, "53200", "out of memory");
        return false;
    }
    profile_unref(client->login->settings);
    client->login->settings = profile;
    return true;
}

/* How many there are; their names into `names`, unless it is NULL. */
static uint32_t options_of_protocol(const struct startup *startup, struct slice *names)
{
    struct slice cursor = startup->parameters, name, value;
    uint32_t count = 0;
    while (startup_next_parameter(&cursor, &name, &value)) {
        if (name.len < 5 || memcmp(name.data, "_pq_.", 5) != 0)
            continue;
        if (names != NULL)
            names[count] = name;
        count++;
    }
    return count;
}

/* A client that asks for more than 3.2, or for options of the protocol, is told what there is. All that 3.2
 * brings is a longer cancel key; 3.1 was never spoken. */
static bool negotiate(struct client *client, const struct startup *startup)
{
    enum { NEWEST_MINOR = 2 };
    uint16_t minor = startup->minor < NEWEST_MINOR ? startup->minor : NEWEST_MINOR;
    client->has_long_key = minor == NEWEST_MINOR;
    uint32_t count = options_of_protocol(startup, NULL);
    if (minor == startup->minor && count == 0)
        return true;
    struct slice *options = malloc((count + 1) * sizeof(*options));
    if (options == NULL) {
        client_fail(client, "53200", "out of memory");
        return false;
    }
    options_of_protocol(startup, options);
    struct buf out = BUF_INIT;
    encode_negotiate_version(&out, minor, options, count);
    login_reply(client, &out);
    free(options);
    return true;
}

bool login_is_console_name(const struct config *config, const char *name)
{
    if (strcmp(name, "pgbouncer") == 0)
        return true;
    const struct config_database *database = config_database_find(config, name);
    return strcmp(name, "weir") == 0 && (database == NULL || database->is_fallback);
}

static bool check_database(struct client *client)
{
    struct client_login *login = client->login;
    struct session_worker *session = client->session;
    const struct config_database *database = config_database_find(session->config, login->database);
    login->is_console = login_is_console_name(session->config, login->database);
    if (login->is_console)
        return true;
    char message[200];
    login->is_unknown_database = database == NULL;
    struct registry_database *shared =
        database != NULL ? registry_database(session->shared->registry, login->database) : NULL;
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

/* Whoever comes by the Unix socket is not asked for TLS. */
static bool is_secure_enough(const struct client *client)
{
    return conn_tls(client->conn) != NULL || client->peer_family == AF_UNIX ||
           config_settings(client->session->config)->client_tls_sslmode < SSL_MODE_REQUIRE;
}

static void begin_session(struct client *client, const struct startup *startup)
{
    struct client_login *login = client->login;
    if (!is_secure_enough(client)) {
        client_fail(client, "08P01", "SSL required");
        return;
    }
    login->settings = profile_empty(client->session->shared->profiles);
    if (!take_parameters(client, startup->parameters) || !add_host(client))
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
    if ((client->is_late || atomic_load(&client->session->shared->is_draining)) &&
        !login_is_console_name(client->session->config, login->database)) {
        client_fail(client, "57P01", "pooler is shutting down");
        return;
    }
    if (!check_database(client))
        return;
    if (negotiate(client, startup))
        login_authenticate(client);
}

/* Of a key of ours, as it was given: however often it has been passed on. */
COLD static void cancel_own(struct client *client, struct slice key)
{
    const uint8_t *secret = client->session->shared->cancel_secret;
    uint8_t own[CLIENT_KEY_BYTES];
    memcpy(own, key.data, CLIENT_KEY_BYTES);
    own[1] &= 0xFC;
    bool is_long = key.len != CLIENT_KEY_BYTES;
    if (is_long && !cancel_key_is_long_of(secret, own, key))
        client_close(client, "cancel request");
    else
        cancel_request_spread(client, own, is_long);
}

COLD static void pass_cancel_on(struct client *client, struct slice key)
{
    const struct config_peer *peer = peer_of(client->session->config, key.data);
    if (peer != NULL && peer_forward(client, peer, key))
        return;
    if (peer == NULL)
        cancel_own(client, key);
    else
        client_close(client, "cancel request");
}

/* ---- TLS ---- */

/* The context for this client's TLS, counted; NULL: it gets none. */
static struct tls_context *tls_for(struct client *client)
{
    bool may_have = client->peer_family != AF_UNIX && conn_tls(client->conn) == NULL;
    return may_have ? tls_slot_get(&client->session->shared->client_tls) : NULL;
}

/* After a yes the next byte is the handshake's: what came along with the question nobody has encrypted, and
 * somebody in between may have put it there. */
static size_t answer_ssl_request(struct client *client, const struct startup *startup, struct slice data)
{
    if (client->login->has_encryption_answer || conn_tls(client->conn) != NULL) {
        client_fail(client, "08P01", "SSLRequest was answered already");
        return data.len;
    }
    client->login->has_encryption_answer = true;
    struct tls_context *tls = tls_for(client);
    if (tls == NULL) {
        client_write(client, SLICE_LITERAL("N"));
    } else if (data.len > startup->total) {
        client_fail(client, "08P01", "received unencrypted data after SSL request");
    } else {
        client_write(client, SLICE_LITERAL("S"));
        conn_start_tls(client->conn, tls, NULL, SLICE_EMPTY);
    }
    tls_context_unref(tls);
    return startup->total;
}

/* A handshake without a question; protects against being taken for a server of another protocol by ALPN. */
static bool begin_direct_tls(struct client *client, struct slice data)
{
    struct tls_context *tls = tls_for(client);
    if (tls == NULL)
        return false;
    client->login->is_direct_tls = true;
    conn_start_tls(client->conn, tls, NULL, data);
    tls_context_unref(tls);
    return true;
}

static size_t startup_data(struct client *client, struct slice data)
{
    struct startup startup;
    struct error error = ERROR_INIT;
    if (client->login->forward != NULL || client->login->cancel != NULL)
        return data.len; /* one request is all that this connection is for */
    if (data.data[0] == TLS_HANDSHAKE && !client->login->has_encryption_answer &&
        begin_direct_tls(client, data))
        return data.len;
    if (client->login->is_direct_tls && !tls_is_postgresql(conn_tls(client->conn))) {
        client_fail(client, "08P01", "direct TLS without the ALPN protocol postgresql");
        return data.len;
    }
    switch (startup_parse(data, &startup, &error)) {
    case STARTUP_INCOMPLETE:
        return 0;
    case STARTUP_BAD:
        client_fail(client, error.sqlstate, error.message);
        return data.len;
    case STARTUP_SSL:
        return answer_ssl_request(client, &startup, data);
    case STARTUP_GSS:
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
        size_t here =
            client->state == CLIENT_STARTUP ? startup_data(client, rest) : login_auth_data(client, rest);
        if (here == 0)
            break;
        used += here;
    }
    return client->is_ending ? data.len : used;
}
