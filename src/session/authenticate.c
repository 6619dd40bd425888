/*
 * authenticate: how a client proves who it is.
 *
 * Unknown users run through the same exchange as known ones, with a secret of their own that nobody has.
 */
#include <arpa/inet.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "login.h"
#include "weir/auth/md5.h"
#include "weir/net/tls.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

enum { PASSWORD_MAX = 65535 + 64 };

/* Who is at the other end of a Unix socket; false for any other. */
static bool peer_uid(const struct client *client, uid_t *uid)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (client->peer_family != AF_UNIX ||
        getsockopt(conn_fd(client->conn), SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    *uid = peer.uid;
    return true;
}

COLD static void refuse(struct client *client)
{
    struct pool_part *part = client->part;
    counter_bump(part != NULL ? &part->counters.login_failures : &client->session->counters.login_failures);
    const char *text = client->login->method == METHOD_SCRAM  ? "SASL authentication failed"
                       : client->login->method == METHOD_CERT ? "certificate authentication failed"
                                                              : "password authentication failed";
    client_fail(client, "28P01", text);
}

static void begin_plain(struct client *client)
{
    struct buf out = BUF_INIT;
    encode_authentication(&out, AUTH_CODE_CLEARTEXT, SLICE_EMPTY);
    login_reply(client, &out);
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
    login_reply(client, &out);
}

static void begin_scram(struct client *client)
{
    static const char *const mechanisms[] = {SCRAM_MECHANISM_PLUS, SCRAM_MECHANISM, NULL};
    struct client_login *login = client->login;
    const uint8_t *mock_key = client->session->shared->mock_key;
    uint32_t iterations = (uint32_t)config_settings(client->session->config)->scram_iterations;
    uint8_t salt[SCRAM_SALT_LEN], nonce[SCRAM_NONCE_LEN], binding[TLS_BINDING_BYTES];
    const struct tls *tls = conn_tls(client->conn);
    size_t binding_len = tls != NULL ? tls_binding(tls, binding) : 0;
    struct scram_secret secret;
    enum credential_kind kind =
        login->credential != NULL ? credential_kind(login->credential) : CREDENTIAL_NONE;
    bool is_mock = kind == CREDENTIAL_NONE || kind == CREDENTIAL_MD5;
    if (kind == CREDENTIAL_MD5)
        client_log(client, LOG_LEVEL_ERROR,
                   "wrong password type: the secret of user \"%s\" is an md5 hash, which cannot "
                   "answer a SCRAM login",
                   login->user);
    bool has_secret = getrandom(nonce, sizeof(nonce), 0) == (ssize_t)sizeof(nonce) &&
                      scram_salt_for_user(mock_key, slice_str(login->user), salt);
    if (has_secret)
        has_secret = is_mock ? scram_secret_mock(mock_key, slice_str(login->user), iterations, &secret)
                             : credential_scram_secret(login->credential, salt, iterations, &secret);
    if (has_secret)
        login->scram = scram_server_new(&secret, is_mock, nonce, slice_make(binding, binding_len), false);
    scram_wipe(&secret, sizeof(secret));
    if (login->scram == NULL) {
        client_fail(client, "XX000", "authentication is not possible now");
        return;
    }
    struct buf out = BUF_INIT;
    encode_sasl_mechanisms(&out, binding_len > 0 ? mechanisms : mechanisms + 1);
    login_reply(client, &out);
}

/* ---- which method ---- */

/* A user of the process's own uid, over the Unix socket, is the administrator `pgbouncer`. */
static bool is_owner(const struct client *client)
{
    uid_t uid;
    return strcmp(client->login->user, "pgbouncer") == 0 && peer_uid(client, &uid) && uid == getuid();
}

/* Nobody is asked for anything; who logs in is whom the database's connections belong to. */
static void authenticate_any(struct client *client)
{
    struct client_login *login = client->login;
    const struct config_settings *settings = config_settings(client->session->config);
    if (login->is_console) {
        client->is_admin = config_list_contains(settings->admin_users, login->user);
        login_authenticated(client);
        return;
    }
    const struct config_database *database = config_database_find(client->session->config, login->database);
    char *user = database != NULL && database->user[0] != '\0' ? strdup(database->user) : NULL;
    if (user == NULL) {
        client_log(client, LOG_LEVEL_ERROR, "auth_type=any requires forced user");
        client_fail(client, "08P01", "bouncer config error");
        return;
    }
    free(login->user);
    login->user = user;
    login_authenticated(client);
}

static bool may_use_console(struct client *client)
{
    const struct config_settings *settings = config_settings(client->session->config);
    client->is_admin = config_list_contains(settings->admin_users, client->login->user);
    return client->is_admin || config_list_contains(settings->stats_users, client->login->user);
}

COLD static void refuse_by_rules(struct client *client, const char *what)
{
    char from[INET6_ADDRSTRLEN] = "[local]", text[400];
    if (client->peer_family != AF_UNIX)
        inet_ntop(client->peer_family, client->peer_ip, from, sizeof(from));
    snprintf(text, sizeof(text), "%s for host \"%s\", user \"%.100s\", database \"%.100s\", SSL %s", what,
             from, client->login->user, client->login->database, client_is_tls(client) ? "on" : "off");
    client_fail(client, "28000", text);
}

/* The first rule that fits; false when that is a refusal, which the client has been told. */
static bool ask_rules(struct client *client, struct hba_answer *rule)
{
    struct client_login *login = client->login;
    const struct hba *rules = client->session->rules;
    const struct hba_client who = {.family = client->peer_family,
                                   .address = client->peer_ip,
                                   .is_tls = client_is_tls(client),
                                   .is_replication = (login->dedicated.replication != NULL &&
                                                      strcmp(login->dedicated.replication, "physical") == 0),
                                   .database = login->database,
                                   .user = login->user};
    if (rules == NULL || !hba_find(rules, &who, rule)) {
        refuse_by_rules(client, "no pg_hba.conf entry");
        return false;
    }
    client_log(client, LOG_LEVEL_DEBUG, "line %d of auth_hba_file decides", rule->line);
    if (rule->method == HBA_REJECT)
        refuse_by_rules(client, "pg_hba.conf rejects connection");
    return rule->method != HBA_REJECT;
}

static enum login_method method_of_rule(enum hba_method method)
{
    static const enum login_method methods[] = {
        [HBA_TRUST] = METHOD_TRUST, [HBA_MD5] = METHOD_MD5,   [HBA_PASSWORD] = METHOD_PLAIN,
        [HBA_PEER] = METHOD_PEER,   [HBA_CERT] = METHOD_CERT, [HBA_SCRAM_SHA_256] = METHOD_SCRAM};
    return methods[method];
}

static enum login_method method_of_type(enum auth_type type)
{
    switch (type) {
    case AUTH_PLAIN:
        return METHOD_PLAIN;
    case AUTH_MD5:
        return METHOD_MD5;
    case AUTH_SCRAM_SHA_256:
        return METHOD_SCRAM;
    case AUTH_CERT:
        return METHOD_CERT;
    default:
        return METHOD_TRUST;
    }
}

/*
 * A SCRAM secret cannot answer an MD5 challenge, and is the better exchange anyway. Users that auth_query
 * does not know, where that is not to be told, are asked for what those it knows are asked for.
 */
static bool prefers_scram(const struct client *client)
{
    const struct client_login *login = client->login;
    enum credential_kind kind =
        login->credential != NULL ? credential_kind(login->credential) : CREDENTIAL_NONE;
    bool is_hidden =
        login->is_from_query && kind == CREDENTIAL_NONE &&
        config_settings(client->session->config)->auth_query_unknown_user == AUTH_QUERY_UNKNOWN_HIDE;
    return kind == CREDENTIAL_SCRAM || (is_hidden && !client->session->is_md5_usual);
}

/* ---- methods that ask for nothing ---- */

static void by_trust(struct client *client)
{
    if (client->login->credential == NULL)
        client_fail(client, "28000", "\"trust\" authentication failed");
    else
        login_authenticated(client);
}

static bool is_mapped(struct client *client, const struct ident_map *map, const char *system_name)
{
    if (map == NULL)
        return strcmp(system_name, client->login->user) == 0;
    if (ident_allows(map, system_name, client->login->user))
        return true;
    client_log(client, LOG_LEVEL_ERROR,
               "ident map %s does not have a match: it does not let \"%s\" be user \"%s\"",
               ident_map_name(map), system_name, client->login->user);
    return false;
}

static void by_peer(struct client *client, const struct ident_map *map)
{
    uid_t uid;
    struct passwd entry, *found = NULL;
    char space[4096];
    if (client->login->credential != NULL && peer_uid(client, &uid) &&
        getpwuid_r(uid, &entry, space, sizeof(space), &found) == 0 && found != NULL &&
        is_mapped(client, map, found->pw_name))
        login_authenticated(client);
    else
        client_fail(client, "28000", "unix socket login rejected");
}

/* The authorities have signed that it is called so. */
static void by_certificate(struct client *client, const struct ident_map *map)
{
    char name[TLS_NAME_BYTES];
    const struct tls *tls = conn_tls(client->conn);
    if (client->login->credential != NULL && tls != NULL && tls_peer_name(tls, name) &&
        is_mapped(client, map, name))
        login_authenticated(client);
    else
        client_fail(client, "28000", "certificate authentication failed");
}

/* ---- the way through ---- */

void login_found(struct client *client)
{
    struct client_login *login = client->login;
    const struct config_settings *settings = config_settings(client->session->config);
    struct hba_answer rule = {.map = NULL};
    if (login->is_console && !may_use_console(client)) {
        client_fail(client, "08P01", "not allowed");
        return;
    }
    login->method = method_of_type(settings->auth_type);
    if (settings->auth_type == AUTH_HBA) {
        if (!ask_rules(client, &rule))
            return;
        login->method = method_of_rule(rule.method);
    }
    if (login->method == METHOD_MD5 && prefers_scram(client))
        login->method = METHOD_SCRAM;
    client_set_state(client, CLIENT_AUTH);
    switch (login->method) {
    case METHOD_TRUST:
        by_trust(client);
        break;
    case METHOD_PLAIN:
        begin_plain(client);
        break;
    case METHOD_MD5:
        begin_md5(client);
        break;
    case METHOD_SCRAM:
        begin_scram(client);
        break;
    case METHOD_PEER:
        by_peer(client, rule.map);
        break;
    case METHOD_CERT:
        by_certificate(client, rule.map);
        break;
    }
}

void login_authenticate(struct client *client)
{
    struct client_login *login = client->login;
    const struct session_worker *session = client->session;
    if (login->is_console && is_owner(client)) {
        client->is_admin = true;
        login_authenticated(client);
        return;
    }
    if (config_settings(session->config)->auth_type == AUTH_ANY) {
        authenticate_any(client);
        return;
    }
    if (session->users != NULL)
        login->credential = userlist_find(session->users, slice_str(login->user));
    if (login->credential != NULL)
        credential_ref(login->credential);
    if (login->credential == NULL && auth_query_applies(client))
        auth_query_begin(client);
    else
        login_found(client);
}

/* ---- answers ---- */

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
    if (password.len == 0) {
        client_fail(client, "28P01", "empty password returned by client");
        return;
    }
    if (login->credential != NULL && login->method == METHOD_PLAIN)
        is_right = credential_is_password(login->credential, password);
    else if (login->credential != NULL && credential_md5(login->credential, stored))
        is_right = md5_answer_is_right(stored, login->salt, password);
    scram_wipe(stored, sizeof(stored));
    scram_wipe((void *)(uintptr_t)password.data, password.len); /* where it was read into */
    if (is_right)
        login_authenticated(client);
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
    bool is_plus = slice_equal_str(mechanism, SCRAM_MECHANISM_PLUS);
    if ((!is_plus && !slice_equal_str(mechanism, SCRAM_MECHANISM)) ||
        (is_plus && !scram_server_choose_plus(client->login->scram))) {
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
        login_reply(client, &out);
    }
    buf_wipe(&answer);
    if (result == SCRAM_DONE && login->credential != NULL && scram_server_keys(login->scram, &keys)) {
        credential_keep_keys(login->credential, &keys);
        scram_wipe(&keys, sizeof(keys));
    }
    if (result == SCRAM_DONE)
        login_authenticated(client);
    else if (result == SCRAM_REFUSED)
        refuse(client);
    else if (result == SCRAM_BROKEN)
        client_fail(client, "08P01", error.message);
}

size_t login_auth_data(struct client *client, struct slice data)
{
    struct frame frame;
    if (client->login->lookup != NULL) /* nothing was asked yet; what has come early waits */
        return 0;
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
