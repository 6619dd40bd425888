/*
 * route: a client's messages, one by one: answered here, or sent on to its server, with what has to go in
 * front.
 *
 * A message is either dealt with in full, or, when it has to wait (for a server, for settings), not at all:
 * it is then kept and looked at again. Statement names are the client's own until here, and the server's from
 * here on.
 */
#include <stdio.h>
#include <string.h>

#include "weir/pool/cancel.h"
#include "weir/session/begin.h"
#include "weir/session/cached.h"
#include "weir/session/client.h"
#include "weir/session/route.h"
#include "weir/session/sequence.h"
#include "weir/util/clock.h"
#include "weir/util/cold.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"

enum {
    QUERY_WHOLE = SQL_TEXT_LIMIT + 64, /* longer queries are passed on unread */
};

enum route_step route_fail(struct client *client, const char *sqlstate, const char *message)
{
    client_fail(client, sqlstate, message);
    return ROUTE_ENDED;
}

/* The client's lease, with its settings in force; NULL: wait (or the client has ended). */
struct lease *route_lease(struct client *client, bool must_be_alone, bool is_simple)
{
    struct lease *lease = client->lease;
    if (lease == NULL) {
        client->request_time_us = clock_event_us();
        if (atomic_load_explicit(&client->session->shared->is_draining, memory_order_relaxed)) {
            client_fail(client, "57P01", "server shutting down");
            return NULL;
        }
        struct server *server =
            pool_lease(client->part, &client->waiter, NULL, transaction_current(&client->tx));
        if (server == NULL) {
            if (!client->is_ending)
                client_set_state(client, CLIENT_WAITING);
            return NULL;
        }
        lease = lease_begin(client, server, LEASE_WORK, 0);
        if (lease == NULL) {
            client_fail(client, "53200", "out of memory");
            return NULL;
        }
        client->lease = lease;
        client_set_state(client, CLIENT_LEASED);
    }
    if (!lease_prepare(lease, must_be_alone || (is_simple && server_pipelines_are_blocks(lease->server))))
        return NULL;
    lease_begin_request(lease);
    return lease;
}

/* The answer to the message at hand is an error of Weir's: to the end of a simple query, or of the batch up
 * to Sync. */
COLD static void answer_error(struct client *client, struct buf *response, bool is_simple)
{
    if (is_simple)
        encode_ready(response, client_status(client));
    else
        client->is_skipping = true;
    client_write_buf(client, response);
    buf_free(response);
}

COLD static void answer_cancelled(struct client *client, bool is_simple)
{
    struct buf out = BUF_INIT;
    client->is_cancelled = false;
    encode_error(&out, "ERROR", "57014", "canceling statement due to user request", NULL);
    if (transaction_is_held(&client->tx))
        transaction_failed_while_held(&client->tx);
    answer_error(client, &out, is_simple);
}

/* Has the message at hand been answered with an error already (settings refused, or cancelled while waiting)?
 */
bool route_is_refused(struct client *client, bool is_simple)
{
    struct lease *lease = client->lease;
    if (client->is_cancelled && lease == NULL) {
        answer_cancelled(client, is_simple);
        return true;
    }
    if (lease == NULL || lease->refusal.len == 0)
        return false;
    answer_error(client, &lease->refusal, is_simple);
    lease_try_release(lease);
    return true;
}

void route_pass(struct client *client, struct slice whole)
{
    outbox_pass(route_outbox(client), client->lease->server->conn, whole.data, whole.len);
}

bool route_renames(const struct lease *lease)
{
    const struct pool_part *part = lease->server->part;
    return part->settings.mode != POOL_MODE_SESSION &&
           config_settings(part->config)->max_prepared_statements > 0;
}

/* ---- simple queries
 * ---------------------------------------------------------------------------------------------------- */

static void answer_here(struct client *client, const struct sql_class *class,
                        const struct transaction_decision *decision)
{
    struct buf out = BUF_INIT;
    if (decision->move == TRANSACTION_ANSWER && decision->tag[0] == '\0')
        encode_empty(&out, MSG_EMPTY_QUERY);
    else if (decision->move == TRANSACTION_ANSWER)
        encode_command_complete(&out, decision->tag);
    else
        encode_error(&out, "ERROR", decision->sqlstate, decision->message, NULL);
    encode_ready(&out, (char)decision->status);
    client_write_buf(client, &out);
    buf_free(&out);
    route_replace(&client->unnamed, NULL); /* a simple query is the end of it */
    if (decision->move == TRANSACTION_ANSWER)
        transaction_answered(&client->tx, class);
    else
        transaction_failed_while_held(&client->tx);
}

/* `DEALLOCATE x` of a protocol statement: the server knows it by another name. True if it was sent. */
static bool send_deallocate(struct lease *lease, struct sql_class *class, bool *is_sent)
{
    struct client *client = lease->client;
    const struct sql_statement *statement = &class->statements[0];
    *is_sent = false;
    if (class->n_statements != 1 || statement->kind != SQL_KIND_DEALLOCATE || !route_renames(lease) ||
        statement->name == NULL || statement->name[0] == '\0')
        return true;
    struct statement *prepared = statement_map_find(&client->prepared, slice_str(statement->name));
    if (prepared == NULL)
        return true;
    if (!route_ensure_statement(lease, prepared))
        return false;
    char name[STATEMENT_NAME_SIZE], text[STATEMENT_NAME_SIZE + 16];
    statement_name(prepared, name);
    snprintf(text, sizeof(text), "DEALLOCATE %s", name);
    encode_query(outbox_make(route_outbox(client), lease->server->conn), slice_str(text));
    outbox_made(route_outbox(client));
    *is_sent = true;
    return true;
}

/*
 * Is the change of settings to be over before this is sent? Where a statement changes settings itself,
 * PostgreSQL would report both changes as one, or, where the second undoes the first, none.
 */
bool route_must_be_alone(const struct client *client, const struct sql_class *class)
{
    const uint32_t flags =
        SQL_CLASS_TRANSACTION | SQL_CLASS_REFUSES_BLOCK | SQL_CLASS_SETTINGS | SQL_CLASS_UNKNOWN_CODE;
    return class->n_statements > 1 || (class->flags & flags) != 0 ||
           class->statements[0].kind == SQL_KIND_UNPARSABLE || transaction_is_held(&client->tx);
}

bool route_is_refused_by_mode(const struct client *client, const struct sql_class *class)
{
    return client->part->settings.mode == POOL_MODE_STATEMENT && class->flags & SQL_CLASS_TRANSACTION;
}

/* Is nothing to be answered before the message at hand? */
static bool is_next_answer(const struct client *client)
{
    const struct lease *lease = client->lease;
    return lease == NULL || (owed_is_empty(&lease->owed) && !lease->is_batch_open && !lease->is_skipping);
}

/*
 * What would bind the session to its server is refused where pin = refuse says so, before it is sent: as an
 * error where it is the next answer, else, since what was sent before has yet to be answered, with the end of
 * the session.
 */
bool route_is_refused_by_pin(struct client *client, const struct sql_class *class, bool is_simple)
{
    const struct config_settings *settings = config_settings(client->part->config);
    struct pins pins = client->pins;
    char reasons[200], message[320];
    if (settings->pin != PIN_REFUSE || client->part->settings.mode == POOL_MODE_SESSION)
        return false;
    for (uint32_t i = 0; i < class->n_statements; i++)
        pin_completed(&pins, &class->statements[i], true,
                      pin_forgives(settings->harmless_functions, &class->statements[i]));
    pins.mask &= (uint16_t)~client->pins.mask;
    if (pins.mask == 0)
        return false;
    pin_text(&pins, reasons, sizeof(reasons));
    snprintf(message, sizeof(message), "pin = refuse does not allow what would keep a server: %s", reasons);
    if (!is_next_answer(client)) {
        client_fail(client, "0A000", message);
        return true;
    }
    struct buf out = BUF_INIT;
    encode_error(&out, "ERROR", "0A000", message,
                 pin_has(&pins, PIN_CODE)
                     ? "Functions that leave nothing behind can be listed in harmless_functions."
                     : NULL);
    if (transaction_is_held(&client->tx))
        transaction_failed_while_held(&client->tx);
    answer_error(client, &out, is_simple);
    return true;
}

static enum route_step send_query(struct client *client, struct sql_class *class, const struct frame *frame,
                                  struct slice whole)
{
    struct lease *lease = route_lease(client, route_must_be_alone(client, class), true);
    if (lease == NULL)
        return client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
    bool is_sent;
    if (!sequence_prepare(lease, class))
        return client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
    uint64_t place = owed_next_place(&lease->owed);
    const struct cache_values values = {.text = whole.len == frame->total && frame->body.len > 0
                                                    ? slice_make(frame->body.data, frame->body.len - 1)
                                                    : SLICE_EMPTY};
    struct cache_row row = cached_row(lease, class, &values);
    enum cached_send send = cached_sending(lease, class, &row);
    if (send != CACHED_SEND)
        return send == CACHED_HOLD ? ROUTE_WAIT : ROUTE_ENDED;
    if ((transaction_is_held(&client->tx) && !begin_flush(lease)) || !send_deallocate(lease, class, &is_sent))
        return client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
    cached_moved(lease, place);
    transaction_sending(&client->tx, class, false);
    sequence_sending(lease, class);
    bool is_gap = transaction_opens_gap(&client->tx, class);
    uint8_t flags = cached_begin_fill(lease) | (is_gap ? OWED_GAP : 0);
    if (!lease_owe(lease, (struct owed){.kind = OWED_QUERY, .flags = flags, .class = sql_class_ref(class)}))
        return ROUTE_ENDED;
    if (!is_sent)
        route_pass(client, whole);
    client->stream_left = frame->total - whole.len;
    server_forget_unnamed(lease->server); /* a simple query is the end of it */
    route_replace(&client->unnamed, NULL);
    lease->is_holding = lease->profile_owed > 0 || lease->is_begin_owed || is_gap;
    return ROUTE_DONE;
}

static enum route_step on_query(struct client *client, const struct frame *frame, struct slice whole)
{
    struct slice text = SLICE_EMPTY;
    bool is_whole = whole.len == frame->total;
    if (config_settings(client->part->config)->disable_pqexec)
        return route_fail(client, "08P01", "PQexec disallowed");
    if (!is_whole && frame->total <= QUERY_WHOLE)
        return ROUTE_MORE;
    if (is_whole && !decode_query(frame->body, &text))
        return route_fail(client, "08P01", "invalid message format");
    if (route_is_refused(client, true))
        return ROUTE_DONE;
    struct memo *memo = client->session->memo;
    struct memo_answer answer = {.class = sql_class_unparsable()};
    if (is_whole)
        answer = memo_classify(memo, text, client_is_readable(client));
    struct sql_class *class = answer.class;
    if (route_is_refused_by_mode(client, class))
        return route_fail(client, "08P01", "transaction blocks not allowed in statement pooling mode");
    bool is_refusing = config_settings(client->part->config)->pin == PIN_REFUSE;
    if (is_refusing && !is_whole && client->part->settings.mode != POOL_MODE_SESSION)
        return route_fail(client, "54000", "pin = refuse does not allow what is too long to be looked into");
    if (is_refusing && route_is_refused_by_pin(client, class, true))
        return client->is_ending ? ROUTE_ENDED : ROUTE_DONE;
    struct transaction_decision decision =
        transaction_decide(&client->tx, class, client->may_defer && is_next_answer(client));
    if (is_whole && (decision.move == TRANSACTION_ANSWER || decision.move == TRANSACTION_REFUSE)) {
        answer_here(client, class, &decision);
        return ROUTE_DONE;
    }
    enum cached_step step =
        is_whole && client->cache_mode != CACHE_OFF ? cached_query(client, &answer, text) : CACHED_RELAY;
    if (step != CACHED_RELAY)
        return step == CACHED_ANSWERED ? ROUTE_DONE : ROUTE_WAIT;
    return send_query(client, class, frame, whole);
}

/* ---- the rest
 * ------------------------------------------------------------------------------------------------------------
 */

COLD static enum route_step on_function_call(struct client *client, const struct frame *frame,
                                             struct slice whole)
{
    if (route_is_refused(client, true))
        return ROUTE_DONE;
    if (config_settings(client->part->config)->pin == PIN_REFUSE &&
        client->part->settings.mode != POOL_MODE_SESSION)
        return route_fail(client, "0A000", "pin = refuse does not allow function calls of the protocol");
    struct lease *lease = route_lease(client, true, true);
    if (lease == NULL)
        return client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
    if (!sequence_prepare(lease, sql_class_unparsable()))
        return client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
    uint64_t place = owed_next_place(&lease->owed);
    enum cached_send send = lease->is_skipping ? CACHED_SEND : cached_sending(lease, NULL, NULL);
    if (send != CACHED_SEND)
        return send == CACHED_HOLD ? ROUTE_WAIT : ROUTE_ENDED;
    if (transaction_is_held(&client->tx) && !begin_flush(lease))
        return client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
    cached_moved(lease, place);
    if (!lease->is_skipping) {
        transaction_sending(&client->tx, sql_class_unparsable(), false);
        pin_set(&client->pins, PIN_CODE);
        if (!lease_owe(lease, (struct owed){.kind = OWED_FUNCTION}))
            return ROUTE_ENDED;
    }
    route_pass(client, whole);
    client->stream_left = frame->total - whole.len;
    lease->is_holding = lease->is_begin_owed;
    return ROUTE_DONE;
}

COLD static enum route_step on_copy_data(struct client *client, const struct frame *frame, struct slice whole)
{
    struct lease *lease = client->lease;
    client->stream_left = frame->total - whole.len;
    if (lease == NULL) /* outside a COPY PostgreSQL ignores it */
        return ROUTE_DONE;
    lease->has_copied = true;
    route_pass(client, whole);
    return ROUTE_DONE;
}

COLD static enum route_step on_copy_end(struct client *client, const struct frame *frame, struct slice whole)
{
    struct lease *lease = client->lease;
    client->stream_left = frame->total - whole.len;
    if (lease == NULL)
        return ROUTE_DONE;
    route_pass(client, whole);
    if (owed_is_empty(&lease->owed))
        return ROUTE_DONE;
    return lease_owe(lease, (struct owed){.kind = OWED_COPY_END}) ? ROUTE_DONE : ROUTE_ENDED;
}

COLD static enum route_step on_terminate(struct client *client, const struct frame *frame, struct slice whole)
{
    (void)frame, (void)whole;
    outbox_flush(route_outbox(client));
    client_close(client, "client close request");
    return ROUTE_ENDED;
}

static const struct route {
    route_fn fn;
    bool is_partial; /* looks at messages that are not there in full */
} routes[256] = {
    [MSG_QUERY] = {on_query, true},
    [MSG_PARSE] = {route_on_parse, true},
    [MSG_BIND] = {route_on_bind, true},
    [MSG_DESCRIBE] = {route_on_describe, false},
    [MSG_EXECUTE] = {route_on_execute, false},
    [MSG_CLOSE] = {route_on_close, false},
    [MSG_FLUSH] = {route_on_flush, false},
    [MSG_SYNC] = {route_on_sync, false},
    [MSG_FUNCTION_CALL] = {on_function_call, true},
    [MSG_COPY_DATA] = {on_copy_data, true},
    [MSG_COPY_DONE] = {on_copy_end, false},
    [MSG_COPY_FAIL] = {on_copy_end, true},
    [MSG_TERMINATE] = {on_terminate, false},
};

static enum route_step dispatch(struct client *client, const struct frame *frame, struct slice whole)
{
    const struct route *route = &routes[frame->type];
    if (route->fn == NULL) {
        char text[64];
        snprintf(text, sizeof(text), "invalid frontend message type %u", frame->type);
        return route_fail(client, "08P01", text);
    }
    if ((size_t)config_settings(client->part->config)->max_packet_size < frame->total)
        return route_fail(client, "08P01", "packet is larger than max_packet_size");
    if (whole.len < frame->total && !route->is_partial)
        return frame->total > ROUTE_SMALL_WHOLE ? route_fail(client, "08P01", "invalid message length")
                                                : ROUTE_MORE;
    if (client->is_skipping && frame->type != MSG_SYNC && frame->type != MSG_TERMINATE) {
        client->stream_left = frame->total - whole.len; /* ignored, as PostgreSQL does after an error */
        return ROUTE_DONE;
    }
    return route->fn(client, frame, whole);
}

COLD static size_t take_stream(struct client *client, struct slice rest)
{
    size_t here = rest.len < client->stream_left ? rest.len : (size_t)client->stream_left;
    if (client->lease != NULL && !client->is_skipping)
        route_pass(client, slice_make(rest.data, here));
    client->stream_left -= here;
    /* The answer may have come before the end of the message, as to a COPY that failed. */
    if (client->stream_left == 0 && client->lease != NULL && owed_is_empty(&client->lease->owed)) {
        outbox_flush(route_outbox(client));
        if (lease_try_release(client->lease))
            lease_ended_for(client);
    }
    return here;
}

static bool has_to_wait(const struct client *client)
{
    const struct lease *lease = client->lease;
    if (client->state == CLIENT_WAITING || cached_is_waiting(client))
        return true;
    if (lease == NULL)
        return false;
    /* A cancel still on its way is for what has ended, not for what would come next. */
    return lease->is_announcing || (lease->is_holding && client->stream_left == 0) ||
           conn_is_congested(lease->server->conn) ||
           (owed_is_empty(&lease->owed) && cancel_is_pending(lease->server) && client->stream_left == 0);
}

/* A batch that the cache may answer as a whole. True when it is not for route_one (now); `here` bytes are
 * dealt with. */
static bool is_taken_by_cache(struct client *client, struct slice rest, size_t *here)
{
    uint8_t type = rest.data[0];
    *here = 0;
    if (type == MSG_CLOSE)
        return cached_close(client, rest, here);
    if (client->cache_mode == CACHE_OFF || (type != MSG_PARSE && type != MSG_BIND && type != MSG_DESCRIBE))
        return false;
    switch (cached_batch(client, rest, here)) {
    case CACHED_ANSWERED:
        return true;
    case CACHED_WAIT:
        *here = 0;
        return true;
    case CACHED_RELAY:
        break;
    }
    return false;
}

/* One message; the number of bytes dealt with, 0 when it has to wait. */
static size_t route_one(struct client *client, struct slice rest)
{
    struct frame frame;
    switch (frame_next(rest, &frame)) {
    case FRAME_INCOMPLETE:
        return 0;
    case FRAME_BAD:
        route_fail(client, "08P01", "invalid message length");
        return 0;
    case FRAME_PARTIAL:
    case FRAME_COMPLETE:
        break;
    }
    size_t here = rest.len < frame.total ? rest.len : frame.total;
    switch (dispatch(client, &frame, slice_make(rest.data, here))) {
    case ROUTE_DONE:
        return here;
    case ROUTE_MORE:
        conn_set_input_limit(client->conn, frame.total + WORKER_READ_BYTES);
        return 0;
    case ROUTE_WAIT:
    case ROUTE_ENDED:
        break;
    }
    return 0;
}

size_t route_data(struct client *client, struct slice data)
{
    size_t used = 0;
    struct session_worker *session = client->session;
    while (used < data.len && !client->is_ending && !has_to_wait(client)) {
        struct slice rest = slice_from(data, used);
        size_t here;
        if (client->stream_left > 0)
            here = take_stream(client, rest);
        else if (!is_taken_by_cache(client, rest, &here))
            here = route_one(client, rest);
        if (here == 0)
            break;
        used += here;
    }
    outbox_flush(session->outbox);
    if (client->is_ending)
        return data.len;
    counter_add(&client->part->counters.bytes_received, used);
    struct lease *lease = client->lease;
    if (cached_is_waiting(client))
        timer_stop(&client->timer);
    else if (used > 0 && client->state != CLIENT_WAITING && (lease == NULL || lease->busy_since_us == 0))
        client_arm_idle(client); /* it has been answered without a server */
    if (lease != NULL && conn_is_congested(lease->server->conn))
        conn_set_reading(client->conn, false);
    return used;
}
