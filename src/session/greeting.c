/*
 * greeting: what a client is told between its authentication and its first query.
 *
 * The pool's own welcome serves all whose startup packet asks for nothing special; other settings are run
 * past a server once, and what it reported is remembered for the next client that asks for the same.
 */
#include <stdio.h>
#include <sys/random.h>

#include "login.h"
#include "weir/session/outbox.h"
#include "weir/session/peer.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

static void make_key(struct client *client)
{
    struct session_worker *session = client->session;
    struct client *other;
    do { /* 16 bits of peer and hops (0 without peers), 48 random ones */
        peer_sign(session->config, client->key);
        if (getrandom(client->key + 2, CLIENT_KEY_BYTES - 2, 0) != CLIENT_KEY_BYTES - 2)
            return;
        HASH_FIND(hh, session->by_key, client->key, CLIENT_KEY_BYTES, other);
    } while (other != NULL);
    HASH_ADD(hh, session->by_key, key, CLIENT_KEY_BYTES, client);
}

void login_give_key(struct client *client, struct buf *out)
{
    const uint8_t *secret = client->session->shared->cancel_secret;
    uint8_t whole[CANCEL_KEY_LONG];
    make_key(client);
    client->has_long_key = client->has_long_key && cancel_key_lengthen(secret, client->key, whole);
    if (client->has_long_key)
        encode_backend_key(out, slice_make(whole, sizeof(whole)));
    else
        encode_backend_key(out, slice_make(client->key, CLIENT_KEY_BYTES));
    scram_wipe(whole, sizeof(whole));
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
    encode_authentication(&out, AUTH_CODE_OK, SLICE_EMPTY);
    if (welcome != NULL)
        append_parameters(client, &out, slice_make(welcome->bytes, welcome->len), changed);
    login_give_key(client, &out);
    const char *message = config_settings(client->session->config)->login_notify_message;
    if (message[0] != '\0')
        encode_notice(&out, "NOTICE", "00000", message);
    encode_ready(&out, 'I');
    welcome_unref(welcome);
    login_reply(client, &out);
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
    if (server_is_console(server)) { /* it has nothing to set, and nothing to report */
        lease_try_release(lease);
        login_greeted(client, SLICE_EMPTY, SLICE_EMPTY);
        return;
    }
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
    if (client->login->dedicated.replication != NULL)
        replication_begin(client, server);
    else if (server == NULL)
        login_welcome(client);
    else
        begin_greeting(client, server);
}

void login_console_ready(struct client *client)
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
    login_give_key(client, &out);
    encode_ready(&out, 'I');
    login_reply(client, &out);
    client_login_free(client->login);
    client->login = NULL;
    client_set_state(client, CLIENT_CONSOLE);
}
