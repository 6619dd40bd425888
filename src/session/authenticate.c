/*
 * authenticate: how a client proves who it is.
 *
 * Unknown users run through the same exchange as known ones, with a secret of their own that nobody has.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "login.h"
#include "weir/auth/md5.h"
#include "weir/net/tls.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

enum { PASSWORD_MAX = 65535 + 64 };

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
    case AUTH_CERT:
        return METHOD_CERT;
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

/* The authorities have signed that it is called so. */
static void check_certificate(struct client *client)
{
    char name[TLS_NAME_BYTES];
    const struct client_login *login = client->login;
    if (login->credential != NULL && conn_tls(client->conn) != NULL &&
        tls_peer_name(conn_tls(client->conn), name) && strcmp(name, login->user) == 0)
        login_authenticated(client);
    else
        refuse(client);
}

void login_authenticate(struct client *client)
{
    struct client_login *login = client->login;
    const struct config_settings *settings = config_settings(client->session->config);
    if (login->is_console && is_owner(client)) {
        client->is_admin = true;
        login_authenticated(client);
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
            login_authenticated(client);
        return;
    }
    if (login->method == METHOD_CERT) {
        check_certificate(client);
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
