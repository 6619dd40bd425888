/*
 * auth_query: the secret of a user that auth_file does not know, asked as a query through the pool of
 * auth_user.
 *
 * The client waits for a server of that pool like any other, so that nobody else does. The query goes in the
 * extended protocol with the user's name as its parameter, never as part of its text; the answer is one row
 * of two columns, name and secret, and serves this one login. relay.c counts the answers; here is what they
 * mean.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "login.h"
#include "weir/session/cached.h"
#include "weir/session/outbox.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

struct auth_lookup {
    struct buf name, secret; /* of the row; the second is wiped */
    uint32_t rows;
    char problem[400]; /* why the answer is of no use; empty: it is */
};

void auth_lookup_free(struct auth_lookup *lookup)
{
    if (lookup == NULL)
        return;
    buf_free(&lookup->name);
    buf_wipe(&lookup->secret);
    free(lookup);
}

/* ---- whom to ask, and where ---- */

/* The database of the client; NULL for the console and for one that nobody knows. */
static const struct config_database *own_database(const struct client *client)
{
    const struct client_login *login = client->login;
    return login->is_console ? NULL : config_database_find(client->session->config, login->database);
}

static const char *setting_of(const char *own, const char *global)
{
    return own != NULL && own[0] != '\0' ? own : global;
}

static const char *auth_user(const struct client *client)
{
    const struct config_database *own = own_database(client);
    return setting_of(own != NULL ? own->auth_user : NULL,
                      config_settings(client->session->config)->auth_user);
}

bool auth_query_applies(const struct client *client)
{
    return !client->login->is_unknown_database && auth_user(client)[0] != '\0';
}

/* The database in which the query runs; NULL when there is none, which the client has been told. */
static const char *auth_database(struct client *client)
{
    struct session_worker *session = client->session;
    const struct config_database *own = own_database(client);
    const char *name =
        setting_of(own != NULL ? own->auth_dbname : NULL, config_settings(session->config)->auth_dbname);
    if (name[0] == '\0')
        name = client->login->database;
    bool is_reserved = login_is_console_name(session->config, name);
    if (is_reserved || config_database_find(session->config, name) == NULL) {
        if (is_reserved)
            client_log(client, LOG_LEVEL_ERROR, "cannot use the reserved \"%s\" database as an auth_dbname",
                       name);
        else
            client_log(client, LOG_LEVEL_ERROR, "authentication database \"%s\" is not configured", name);
        client_fail(client, "08P01", "bouncer config error");
        return NULL;
    }
    struct registry_database *shared = registry_database(session->shared->registry, name);
    if (shared != NULL && atomic_load(&shared->is_disabled)) {
        char message[200];
        snprintf(message, sizeof(message), "authentication database \"%s\" is disabled", name);
        client_fail(client, "57P01", message);
        return NULL;
    }
    return name;
}

void auth_query_begin(struct client *client)
{
    struct session_worker *session = client->session;
    struct client_login *login = client->login;
    const char *database = auth_database(client), *user = auth_user(client);
    if (database == NULL)
        return;
    struct pool *pool = registry_pool(session->shared->registry, database, user);
    struct pool_part *part = pool != NULL ? pool_part(pool, session->worker, session->config) : NULL;
    login->lookup = calloc(1, sizeof(*login->lookup));
    if (part == NULL || login->lookup == NULL) {
        client_fail(client, "53200", "out of memory");
        return;
    }
    struct credential *secret =
        session->users != NULL ? userlist_find(session->users, slice_str(user)) : NULL;
    if (secret != NULL)
        login_give_secret(pool, secret);
    if (part->context == NULL)
        cached_part_configure(part);
    client_set_state(client, CLIENT_AUTH);
    struct server *server = pool_lease(part, &client->waiter, NULL, NULL);
    if (server != NULL)
        auth_query_granted(client, server);
}

void auth_query_granted(struct client *client, struct server *server)
{
    static const uint8_t kinds[] = {OWED_PARSE, OWED_BIND, OWED_DESCRIBE, OWED_EXECUTE, OWED_SYNC};
    const struct config_database *own = own_database(client);
    const char *query = setting_of(own != NULL ? own->auth_query : NULL,
                                   config_settings(client->session->config)->auth_query);
    struct slice user = slice_str(client->login->user);
    struct lease *lease = lease_begin(client, server, LEASE_LOOKUP, 0);
    client->lease = lease;
    if (lease == NULL) {
        client_fail(client, "53200", "out of memory");
        return;
    }
    if (!lease_reset(
            lease)) /* somebody may have logged in as auth_user, and left another search_path or role */
        return;
    server_forget_unnamed(server);
    struct outbox *outbox = client->session->outbox;
    struct buf *out = outbox_make(outbox, server->conn);
    encode_parse(out, SLICE_EMPTY, slice_str(query), SLICE_EMPTY);
    encode_bind_text(out, SLICE_EMPTY, SLICE_EMPTY, &user, 1);
    encode_target(out, MSG_DESCRIBE, 'P', SLICE_EMPTY);
    encode_execute(out, SLICE_EMPTY, 0);
    encode_empty(out, MSG_SYNC);
    outbox_made(outbox);
    for (size_t i = 0; i < sizeof(kinds); i++)
        if (!lease_owe(lease, (struct owed){.kind = kinds[i], .flags = OWED_SWALLOW}))
            return;
    outbox_flush(outbox);
}

/* ---- the answer ---- */

static void note_problem(struct auth_lookup *lookup, const char *problem)
{
    if (lookup->problem[0] == '\0')
        snprintf(lookup->problem, sizeof(lookup->problem), "%s", problem);
}

static void note_error(struct auth_lookup *lookup, struct slice body)
{
    struct error_view view;
    char text[300] = "malformed ErrorResponse";
    if (decode_error(body, &view))
        snprintf(text, sizeof(text), "%.*s %.*s", (int)view.severity.len, (const char *)view.severity.data,
                 (int)view.message.len, (const char *)view.message.data);
    note_problem(lookup, text);
}

static void check_columns(struct auth_lookup *lookup, struct slice body)
{
    uint16_t columns;
    char text[80];
    if (!decode_take_u16(&body, &columns)) {
        note_problem(lookup, "malformed RowDescription");
    } else if (columns != 2) {
        snprintf(text, sizeof(text), "expected 2 columns from auth_query, not %u", columns);
        note_problem(lookup, text);
    }
}

static void take_row(struct auth_lookup *lookup, struct slice body)
{
    struct slice cursor, name, secret;
    uint16_t columns;
    if (lookup->rows++ > 0 || lookup->problem[0] != '\0')
        return;
    if (!decode_row_start(body, &cursor, &columns) || columns != 2 || !decode_row_column(&cursor, &name) ||
        !decode_row_column(&cursor, &secret)) {
        note_problem(lookup, "malformed row");
        return;
    }
    if (name.data == NULL || name.len == 0)
        note_problem(lookup, "auth_query response contained null user name");
    else if (name.len > USERLIST_MAX_NAME || secret.len > USERLIST_MAX_SECRET)
        note_problem(lookup, "the name or the secret is too long");
    else if (memchr(name.data, '\0', name.len) != NULL ||
             (secret.len > 0 && memchr(secret.data, '\0', secret.len) != NULL))
        note_problem(lookup, "a NUL byte in the name or the secret");
    buf_append_slice(&lookup->name, name);
    if (secret.len > 0) /* NULL is no secret: nobody can log in with it */
        buf_append_slice(&lookup->secret, secret);
}

void auth_query_saw(struct lease *lease, const struct frame *frame, struct slice whole)
{
    const struct owed *front = owed_front(&lease->owed);
    struct client *client = lease->client;
    struct auth_lookup *lookup = client != NULL ? client->login->lookup : NULL;
    if (lookup == NULL)
        return;
    bool is_answer = front != NULL && front->kind != OWED_QUERY; /* else to what prepares the server */
    switch (frame->type) {
    case MSG_ERROR:
        note_error(lookup, frame->body);
        break;
    case MSG_ROW_DESCRIPTION:
        if (is_answer)
            check_columns(lookup, frame->body);
        break;
    case MSG_DATA_ROW:
        if (is_answer && whole.len < frame->total)
            note_problem(lookup, "the row is too long");
        else if (is_answer)
            take_row(lookup, frame->body);
        if (is_answer) /* nobody looks at it again: relay drops it */
            scram_wipe((void *)(uintptr_t)frame->body.data, frame->body.len);
        break;
    case MSG_COPY_IN_RESPONSE:
    case MSG_COPY_BOTH_RESPONSE: /* it would wait for data for ever */
        lease_break(lease, "auth_query wants data");
        auth_query_lost(client, "auth_query wants data");
        break;
    default:
        break;
    }
}

static void fail_lookup(struct client *client, const char *problem)
{
    client_log(client, LOG_LEVEL_ERROR, "auth_query for \"%s\": %s", client->login->user, problem);
    client_fail(client, "08P01", "bouncer config error");
}

void auth_query_lost(struct client *client, const char *reason)
{
    const struct auth_lookup *lookup = client->login->lookup;
    fail_lookup(client, lookup->problem[0] != '\0' ? lookup->problem : reason);
}

/* Takes the row's name and secret; false when memory is out. */
static bool keep_found(struct client *client, struct auth_lookup *lookup)
{
    struct client_login *login = client->login;
    char *name = slice_dup(buf_slice(&lookup->name));
    login->credential = credential_new(buf_slice(&lookup->name), buf_slice(&lookup->secret));
    if (name == NULL || login->credential == NULL || buf_failed(&lookup->name) ||
        buf_failed(&lookup->secret)) {
        free(name);
        return false;
    }
    free(login->user);
    login->user = name;
    if (credential_kind(login->credential) != CREDENTIAL_NONE)
        client->session->is_md5_usual = credential_kind(login->credential) == CREDENTIAL_MD5;
    return true;
}

static void take_answer(struct client *client, struct auth_lookup *lookup)
{
    const struct config_settings *settings = config_settings(client->session->config);
    client->login->is_from_query = true;
    if (lookup->rows > 1)
        note_problem(lookup, "expected at most one row from auth_query");
    if (lookup->problem[0] != '\0')
        fail_lookup(client, lookup->problem);
    else if (lookup->rows == 0 && settings->auth_query_unknown_user == AUTH_QUERY_UNKNOWN_REVEAL)
        client_fail(client, "28000", "no such user");
    else if (lookup->rows > 0 && !keep_found(client, lookup))
        client_fail(client, "53200", "out of memory");
    else
        login_found(client);
}

void auth_query_done(struct lease *lease)
{
    struct client *client = lease->client;
    struct auth_lookup *lookup = client->login->lookup;
    client->login->lookup = NULL;
    if (!lease_try_release(lease)) {
        note_problem(lookup, "auth_query leaves a transaction open");
        lease_break(lease, "auth_query leaves a transaction open");
    }
    if (!client->is_ending) {
        take_answer(client, lookup);
        if (!client->is_ending && conn_input_pending(client->conn) > 0)
            conn_kick(client->conn);
    }
    auth_lookup_free(lookup);
}
