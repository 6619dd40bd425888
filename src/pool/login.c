/*
 * login: states are what the server is expected to say next.
 *
 *   authenticating ──AuthenticationOk──► starting ──Z──► role ──Z──► connect_query ──Z──► baseline ──Z──►
 * ready
 */
#include "weir/pool/login.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "hosts.h"
#include "role.h"
#include "weir/auth/md5.h"
#include "weir/auth/scram.h"
#include "weir/net/tls.h"
#include "weir/pool/registry.h"
#include "weir/pool/server.h"
#include "weir/util/log.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"

enum stage { STAGE_AUTHENTICATING, STAGE_STARTING, STAGE_ROLE, STAGE_CONNECT_QUERY, STAGE_BASELINE };

struct server_login {
    enum stage stage;
    struct credential *credential;
    struct scram_client *scram;
    struct buf parameters;
};

static struct credential *credential_for(struct server *server)
{
    const struct config_database *database = server->part->database;
    bool is_forced = database->user[0] == '\0' || strcmp(database->user, server->part->pool->user->name) == 0;
    if (database->password[0] != '\0' && is_forced) /* auth_user may be another */
        return credential_new(slice_str(server->part->pool->user->name), slice_str(database->password));
    return pool_credential(server->part->pool);
}

/*
 * Protocol 3.0: all that 3.2 adds is a longer cancel key, and a server (or a pooler in front of it) that
 * knows nothing of 3.2 may refuse instead of saying so. Keys of any length are taken all the same.
 */
static void send_startup(struct server *server)
{
    const struct pool_part *part = server->part;
    const struct config_database *database = part->database;
    const struct encode_parameter all[] = {
        {"user", part->pool->user->name},
        {"database", config_dbname(database, part->pool->database->name)},
        {"client_encoding", database->client_encoding},
        {"datestyle", database->datestyle},
        {"timezone", database->timezone},
        {"application_name", database->application_name},
    };
    struct encode_parameter given[sizeof(all) / sizeof(all[0])];
    size_t count = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].value[0] != '\0')
            given[count++] = all[i];
    struct buf out = BUF_INIT;
    encode_startup(&out, given, count,
                   server->dedicated_to != NULL ? server->dedicated_to->dedicated->startup : SLICE_EMPTY);
    conn_write_buf(server->conn, &out);
    buf_free(&out);
}

struct server_login *login_begin(struct server *server)
{
    struct server_login *login = calloc(1, sizeof(*login));
    if (login == NULL)
        return NULL;
    login->credential = credential_for(server);
    send_startup(server);
    return login;
}

void login_free(struct server_login *login)
{
    if (login == NULL)
        return;
    scram_client_free(login->scram);
    credential_unref(login->credential);
    buf_free(&login->parameters);
    free(login);
}

static void send_and_wipe(struct server *server, struct buf *out)
{
    conn_write_buf(server->conn, out);
    buf_wipe(out);
}

static enum login_result no_password(struct server *server, const char *method, struct error *error)
{
    const struct credential *credential = server->login->credential;
    bool has_secret = credential != NULL && credential_kind(credential) != CREDENTIAL_NONE;
    error_set_state(error, "28P01",
                    "%sserver asks for %s authentication, and Weir has no usable secret of user \"%s\"",
                    has_secret ? "wrong password type: " : "", method, server->part->pool->user->name);
    return LOGIN_FAILED;
}

static enum login_result answer_cleartext(struct server *server, struct error *error)
{
    struct server_login *login = server->login;
    if (login->credential == NULL || credential_kind(login->credential) != CREDENTIAL_PLAIN)
        return no_password(server, "cleartext", error);
    struct buf out = BUF_INIT;
    encode_password(&out, credential_secret(login->credential));
    send_and_wipe(server, &out);
    return LOGIN_MORE;
}

static enum login_result answer_md5(struct server *server, struct slice salt, struct error *error)
{
    struct server_login *login = server->login;
    char stored[MD5_TEXT_SIZE], answer[MD5_TEXT_SIZE];
    if (salt.len != 4 || login->credential == NULL || !credential_md5(login->credential, stored) ||
        !md5_answer(stored, salt.data, answer))
        return no_password(server, "md5", error);
    struct buf out = BUF_INIT;
    encode_password(&out, slice_str(answer));
    send_and_wipe(server, &out);
    scram_wipe(stored, sizeof(stored));
    return LOGIN_MORE;
}

static bool offers(struct slice mechanisms, const char *mechanism)
{
    struct slice name;
    while (decode_text(&mechanisms, &name) && name.len > 0)
        if (slice_equal_str(name, mechanism))
            return true;
    return false;
}

static struct scram_client *scram_for(struct credential *credential, struct slice binding)
{
    uint8_t nonce[SCRAM_NONCE_LEN];
    struct scram_keys keys;
    if (credential == NULL || getrandom(nonce, sizeof(nonce), 0) != (ssize_t)sizeof(nonce))
        return NULL;
    struct scram_client *client = NULL;
    bool has_keys = credential_keys(credential, &keys);
    if (credential_kind(credential) == CREDENTIAL_PLAIN) {
        client = scram_client_new(credential_secret(credential), nonce, binding);
        if (client != NULL && has_keys)
            scram_client_suggest_keys(client, &keys);
    } else if (has_keys) {
        client = scram_client_new_keys(&keys, nonce, binding);
    }
    if (has_keys)
        scram_wipe(&keys, sizeof(keys));
    return client;
}

static enum login_result begin_scram(struct server *server, struct slice mechanisms, struct error *error)
{
    struct server_login *login = server->login;
    struct buf first = BUF_INIT, out = BUF_INIT;
    const struct tls *tls = conn_tls(server->conn);
    uint8_t binding[TLS_BINDING_BYTES];
    bool has_plus = tls != NULL && offers(mechanisms, SCRAM_MECHANISM_PLUS);
    size_t binding_len = has_plus ? tls_binding(tls, binding) : 0;
    if (login->scram == NULL && (binding_len > 0 || offers(mechanisms, SCRAM_MECHANISM)))
        login->scram = scram_for(login->credential, slice_make(binding, binding_len));
    if (login->scram == NULL)
        return no_password(server, "scram-sha-256", error);
    if (tls != NULL && !has_plus)
        scram_client_note_no_offer(login->scram);
    if (scram_client_feed(login->scram, SLICE_EMPTY, &first, error) != SCRAM_CONTINUE) {
        buf_free(&first);
        return LOGIN_FAILED;
    }
    encode_sasl_initial(&out, binding_len > 0 ? SCRAM_MECHANISM_PLUS : SCRAM_MECHANISM, buf_slice(&first));
    send_and_wipe(server, &out);
    buf_wipe(&first);
    return LOGIN_MORE;
}

static enum login_result continue_scram(struct server *server, uint32_t code, struct slice data,
                                        struct error *error)
{
    struct server_login *login = server->login;
    if (login->scram == NULL) {
        error_set_state(error, "08P01", "server continues a SASL exchange that was never begun");
        return LOGIN_FAILED;
    }
    struct buf answer = BUF_INIT, out = BUF_INIT;
    enum scram_result result = scram_client_feed(login->scram, data, &answer, error);
    struct scram_keys keys;
    if (result == SCRAM_DONE && scram_client_keys(login->scram, &keys)) {
        credential_keep_keys(login->credential, &keys);
        scram_wipe(&keys, sizeof(keys));
    }
    bool is_good = result == (code == AUTH_CODE_SASL_FINAL ? SCRAM_DONE : SCRAM_CONTINUE);
    if (is_good && answer.len > 0) {
        encode_sasl_response(&out, buf_slice(&answer));
        send_and_wipe(server, &out);
    } else if (!is_good && error->message[0] == '\0') {
        error_set_state(error, "28000", "server failed to prove that it knows the secret of user \"%s\"",
                        server->part->pool->user->name);
    }
    buf_wipe(&answer);
    return is_good ? LOGIN_MORE : LOGIN_FAILED;
}

static enum login_result authenticate(struct server *server, struct slice body, struct error *error)
{
    uint32_t code;
    struct slice rest;
    if (server->login->stage != STAGE_AUTHENTICATING || !decode_authentication(body, &code, &rest)) {
        error_set_state(error, "08P01", "unexpected authentication message from server");
        return LOGIN_FAILED;
    }
    switch (code) {
    case AUTH_CODE_OK:
        server->login->stage = STAGE_STARTING;
        return LOGIN_MORE;
    case AUTH_CODE_CLEARTEXT:
        return answer_cleartext(server, error);
    case AUTH_CODE_MD5:
        return answer_md5(server, rest, error);
    case AUTH_CODE_SASL:
        return begin_scram(server, rest, error);
    case AUTH_CODE_SASL_CONTINUE:
    case AUTH_CODE_SASL_FINAL:
        return continue_scram(server, code, rest, error);
    default:
        error_set_state(error, "0A000", "server asks for authentication method %u, which Weir does not know",
                        code);
        return LOGIN_FAILED;
    }
}

static void keep_parameter(struct server *server, const struct frame *frame)
{
    struct parameter_view view;
    if (!decode_parameter_status(frame->body, &view))
        return;
    encode_parameter_status(&server->login->parameters, view.name, view.value);
    role_take_parameter(&server->role, view.name, view.value);
    if (slice_equal_str(view.name, "server_version")) {
        snprintf(server->version, sizeof(server->version), "%.*s", (int)view.value.len,
                 (const char *)view.value.data);
        server->major = (int)strtol(server->version, NULL, 10);
    }
}

static void send_query(struct server *server, const char *sql)
{
    struct buf out = BUF_INIT;
    encode_query(&out, slice_str(sql));
    conn_write_buf(server->conn, &out);
    buf_free(&out);
}

/* A ReadyForQuery has come: on to the next thing that has to be asked. */
static enum login_result advance(struct server *server)
{
    struct server_login *login = server->login;
    const struct pool_part *part = server->part;
    bool has_target = part->database->target_session_attrs != TARGET_SESSION_ANY;
    bool is_dedicated = server->dedicated_to != NULL; /* may not know SQL, and need not tell its role */
    if (login->stage == STAGE_STARTING) {
        login->stage = STAGE_ROLE;
        if (has_target && !is_dedicated && !role_is_known(&server->role)) {
            send_query(server, role_query());
            return LOGIN_MORE;
        }
    }
    if (login->stage == STAGE_ROLE) {
        login->stage = STAGE_CONNECT_QUERY;
        if (has_target && role_is_known(&server->role) &&
            !hosts_accept(server->part, server->host, &server->role))
            return LOGIN_MISFIT;
        if (is_dedicated)
            return LOGIN_READY;
        if (part->database->connect_query[0] != '\0') {
            send_query(server, part->database->connect_query);
            return LOGIN_MORE;
        }
    }
    if (login->stage == STAGE_CONNECT_QUERY) {
        login->stage = STAGE_BASELINE;
        const char *query = registry_baseline_query(part->pool->registry);
        if (part->context != NULL && query != NULL) {
            send_query(server, query);
            return LOGIN_MORE;
        }
    }
    return LOGIN_READY;
}

static void keep_baseline(struct server *server, struct slice body)
{
    struct slice cursor, fingerprint, search_path, isolation;
    uint16_t columns;
    if (server->login->stage != STAGE_BASELINE || server->baseline != NULL ||
        !decode_row_start(body, &cursor, &columns) || columns != 3 ||
        !decode_row_column(&cursor, &fingerprint) || !decode_row_column(&cursor, &search_path) ||
        !decode_row_column(&cursor, &isolation))
        return;
    struct server_baseline *baseline = malloc(sizeof(*baseline) + fingerprint.len + search_path.len);
    if (baseline == NULL)
        return; /* without a baseline nothing is cached from this server */
    baseline->is_read_committed = slice_equal_str(isolation, "read committed");
    baseline->fingerprint_len = fingerprint.len;
    baseline->search_path_len = search_path.len;
    memcpy(baseline->bytes, fingerprint.data, fingerprint.len);
    memcpy(baseline->bytes + fingerprint.len, search_path.data, search_path.len);
    server->baseline = baseline;
}

static enum login_result refused(struct server *server, struct slice body, struct error *error)
{
    struct error_view view;
    if (server->login->stage == STAGE_BASELINE)
        return LOGIN_MORE;
    if (!decode_error(body, &view)) {
        error_set_state(error, "08P01", "malformed ErrorResponse from server");
        return LOGIN_FAILED;
    }
    char state[6];
    snprintf(state, sizeof(state), "%.*s", (int)view.sqlstate.len, (const char *)view.sqlstate.data);
    error_set_state(error, state, "%.*s", (int)view.message.len, (const char *)view.message.data);
    return LOGIN_FAILED;
}

enum login_result login_feed(struct server *server, const struct frame *frame, struct error *error)
{
    switch (frame->type) {
    case MSG_AUTHENTICATION:
        return authenticate(server, frame->body, error);
    case MSG_PARAMETER_STATUS:
        keep_parameter(server, frame);
        return LOGIN_MORE;
    case MSG_BACKEND_KEY_DATA:
        if (frame->body.len < 8 || frame->body.len > SERVER_KEY_MAX)
            break;
        memcpy(server->key, frame->body.data, frame->body.len);
        server->key_len = (uint16_t)frame->body.len;
        return LOGIN_MORE;
    case MSG_ERROR:
        return refused(server, frame->body, error);
    case MSG_READY:
        if (server->login->stage == STAGE_AUTHENTICATING)
            break;
        return advance(server);
    case MSG_DATA_ROW:
        if (server->login->stage == STAGE_ROLE)
            role_take_row(&server->role, frame->body);
        keep_baseline(server, frame->body);
        return LOGIN_MORE;
    default: /* notices, and what a connect_query returns */
        return LOGIN_MORE;
    }
    error_set_state(error, "08P01", "unexpected message '%c' from server during login", frame->type);
    return LOGIN_FAILED;
}

struct slice login_parameters(const struct server_login *login)
{
    return buf_slice(&login->parameters);
}
