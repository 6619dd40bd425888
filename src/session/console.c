/*
 * console: a client of the administration console. Its queries leave the worker; the answer comes back by
 * mail.
 *
 * Only the simple protocol: of an extended batch every message up to Sync is ignored after one error. Input
 * is kept while an answer is outstanding.
 */
#include <stdlib.h>

#include "weir/session/client.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

static void ready(struct client *client)
{
    struct buf out = BUF_INIT;
    encode_ready(&out, 'I');
    client_write_buf(client, &out);
    buf_free(&out);
}

static void refuse_extended(struct client *client)
{
    client->is_skipping = true;
    client_error(client, "0A000", "extended query protocol not supported by admin console");
}

static void query(struct client *client, struct slice body)
{
    struct slice text;
    if (!decode_query(body, &text)) {
        client_fail(client, "08P01", "invalid message format");
        return;
    }
    const struct session_console *console = &client->session->shared->console;
    if (console->execute == NULL) {
        client_error(client, "0A000", "there is no console");
        ready(client);
        return;
    }
    client->is_console_busy = true;
    counter_bump(&client->session->counters.query_count);
    const struct session_console_query out = {client->session, client->key, client->user->name, text,
                                              client->is_admin};
    console->execute(console->context, &out);
}

static void message(struct client *client, const struct frame *frame)
{
    switch (frame->type) {
    case MSG_QUERY:
        query(client, frame->body);
        break;
    case MSG_TERMINATE:
        client_close(client, "client close request");
        break;
    case MSG_SYNC:
        client->is_skipping = false;
        ready(client);
        break;
    case MSG_PARSE:
    case MSG_BIND:
    case MSG_DESCRIBE:
    case MSG_EXECUTE:
    case MSG_CLOSE:
    case MSG_FLUSH:
        if (!client->is_skipping)
            refuse_extended(client);
        break;
    case MSG_COPY_DATA:
    case MSG_COPY_DONE:
    case MSG_COPY_FAIL:
        break;
    default:
        client_fail(client, "08P01", "invalid frontend message type");
    }
}

size_t console_data(struct client *client, struct slice data)
{
    size_t used = 0;
    struct frame frame;
    while (!client->is_ending && !client->is_console_busy) {
        enum frame_result result = frame_next(slice_from(data, used), &frame);
        if (result == FRAME_BAD || (result == FRAME_PARTIAL && frame.total > CONN_INPUT_LIMIT)) {
            client_fail(client, "08P01", "invalid message length");
            break;
        }
        if (result != FRAME_COMPLETE)
            return used;
        message(client, &frame);
        used += frame.total;
    }
    return client->is_ending ? data.len : used;
}

void session_console_reply(struct session_worker *session, const uint8_t key[CLIENT_KEY_BYTES],
                           struct slice messages)
{
    struct client *client;
    HASH_FIND(hh, session->by_key, key, CLIENT_KEY_BYTES, client);
    if (client == NULL || !client->is_console_busy)
        return; /* it did not wait for the answer */
    session_enter(session);
    client->is_console_busy = false;
    client_write(client, messages);
    ready(client);
    if (conn_input_pending(client->conn) > 0)
        conn_kick(client->conn);
    session_leave(session);
}
