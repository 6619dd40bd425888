/*
 * relay: what a server says, message by message: matched with what it owes, passed on, swallowed, or acted
 * upon.
 *
 * Only headers are looked at, but for the few types that change state; the rest of a message that is cut off
 * by the buffer is passed on (or dropped) as it comes.
 */
#include <stdio.h>

#include "weir/session/begin.h"
#include "weir/session/cached.h"
#include "weir/session/client.h"
#include "weir/session/outbox.h"
#include "weir/util/clock.h"
#include "weir/util/cold.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

enum { WHOLE_LIMIT = 1024 * 1024 }; /* longest message that is waited for to be looked at */

enum relay_act {
    RELAY_PASS,
    RELAY_DROP,
    RELAY_VIOLATION, /* an answer to something that was not asked */
    RELAY_GONE,      /* the lease has ended */
};

/* ---- completed statements
 * ------------------------------------------------------------------------------------------ */

COLD static void forget_prepared(struct lease *lease, const struct sql_statement *statement)
{
    struct client *client = lease->client;
    struct server *server = lease->server;
    bool is_all =
        statement->kind == SQL_KIND_DISCARD_ALL || statement->name == NULL || statement->name[0] == '\0';
    if (is_all) {
        statement_map_clear(&client->prepared);
        if (server->statements != NULL)
            statement_set_clear(server->statements);
        return;
    }
    struct statement *prepared = statement_map_find(&client->prepared, slice_str(statement->name));
    if (prepared != NULL && server->statements != NULL)
        statement_set_remove(server->statements, prepared);
    statement_map_remove(&client->prepared, slice_str(statement->name));
}

COLD static void forget_unnamed(struct lease *lease)
{
    struct client *client = lease->client;
    if (client != NULL && client->unnamed != NULL) {
        statement_unref(client->unnamed);
        client->unnamed = NULL;
    }
    server_forget_unnamed(lease->server);
}

static bool forgives(const struct client *client, const struct sql_statement *statement)
{
    return pin_forgives(config_settings(client->part->config)->harmless_functions, statement);
}

static void completed(struct lease *lease, const struct sql_statement *statement, struct slice tag)
{
    struct client *client = lease->client;
    bool is_block = transaction_block(&client->tx) != TRANSACTION_IDLE;
    transaction_completed(&client->tx, statement, tag);
    uint16_t before = client->pins.mask;
    pin_completed(&client->pins, statement, is_block, forgives(client, statement));
    if (statement->flags & (SQL_ADVISORY_LOCK | SQL_ADVISORY_UNLOCK))
        lease->is_lock_unsure = true;
    uint16_t added = (uint16_t)(client->pins.mask & ~before);
    for (int reason = 0; added != 0 && reason < PIN_COUNT; reason++)
        if (added & 1u << reason)
            counter_bump(&lease->server->part->counters.pins[reason]);
    if (statement->kind == SQL_KIND_DEALLOCATE || statement->kind == SQL_KIND_DISCARD_ALL)
        forget_prepared(lease, statement);
    if (statement->kind == SQL_KIND_DISCARD_ALL)
        forget_unnamed(lease);
    if (statement->kind == SQL_KIND_DISCARD_ALL || statement->kind == SQL_KIND_DISCARD_SEQUENCES)
        lease->server->sequence_client = client->id;
    if (statement->flags & SQL_SCHEMA)
        atomic_fetch_add(&lease->session->shared->schema_epoch, 1);
    if (statement->kind == SQL_KIND_COMMIT || statement->kind == SQL_KIND_ROLLBACK)
        lease_settle(lease, slice_equal_str(tag, "COMMIT"));
}

static const struct sql_statement *statement_of(const struct owed *entry)
{
    if (entry->class == NULL)
        return NULL;
    uint32_t at =
        entry->completed < entry->class->n_statements ? entry->completed : entry->class->n_statements - 1;
    return &entry->class->statements[at];
}

COLD static void end_copy(struct lease *lease)
{
    lease->is_copy_in = lease->has_copied = false;
    for (uint32_t i = 0; i < lease->owed.count; i++) {
        if (owed_at(&lease->owed, i)->kind == OWED_COPY_END) {
            owed_remove(&lease->owed, i);
            return;
        }
    }
}

static enum relay_act on_command_complete(struct lease *lease, const struct frame *frame)
{
    struct owed *front = owed_front(&lease->owed);
    struct slice tag;
    if (front == NULL || (front->kind != OWED_QUERY && front->kind != OWED_EXECUTE) ||
        !decode_command_tag(frame->body, &tag))
        return RELAY_VIOLATION;
    enum relay_act act = front->flags & OWED_SWALLOW ? RELAY_DROP : RELAY_PASS;
    const struct sql_statement *statement = statement_of(front);
    if (front->flags & OWED_SEQUENCE && lease->client != NULL)
        lease->server->sequence_client = lease->client->id;
    if (front->flags & OWED_PROBE && lease->client != NULL && slice_equal_str(tag, "SELECT 0"))
        pin_clear(&lease->client->pins, PIN_ADVISORY_LOCK);
    if (statement != NULL && lease->client != NULL)
        completed(lease, statement, tag);
    lease->has_early_sync = false;
    if (front->kind == OWED_QUERY) {
        front->completed++;
    } else {
        if (front->flags & OWED_PROFILE)
            lease->profile_owed--;
        owed_pop(&lease->owed);
    }
    if (lease->is_copy_in)
        end_copy(lease);
    return act;
}

/* ---- errors
 * ------------------------------------------------------------------------------------------------------------
 */

/* An entry that the server will not answer, since an error came before it. */
COLD static void skipped(struct lease *lease, struct owed *entry)
{
    struct client *client = lease->client;
    struct server *server = lease->server;
    if (entry->kind != OWED_PARSE)
        return;
    if (entry->statement != NULL && server->statements != NULL && !(entry->flags & OWED_SYNTH))
        statement_set_remove(server->statements, entry->statement);
    if (entry->flags & OWED_SWALLOW)
        return;
    if (entry->name != NULL && client != NULL)
        statement_map_remove(&client->prepared, slice_str(entry->name));
    if (entry->name == NULL && entry->statement == NULL)
        forget_unnamed(lease);
}

/* PostgreSQL ignores everything up to the next Sync. */
COLD static void skip_to_sync(struct lease *lease)
{
    while (!owed_is_empty(&lease->owed) && owed_front(&lease->owed)->kind != OWED_SYNC) {
        skipped(lease, owed_front(&lease->owed));
        owed_pop(&lease->owed);
    }
    lease->is_skipping = owed_is_empty(&lease->owed);
}

/* The plan of this statement is of no use any more: the next one who wants it has it parsed again. */
COLD static void drop_stale_plan(struct lease *lease, const struct owed *front)
{
    struct statement *statement = front->statement;
    struct server *server = lease->server;
    if (statement == NULL || server->statements == NULL || !statement_set_use(server->statements, statement))
        return;
    char name[STATEMENT_NAME_SIZE];
    size_t len = statement_name(statement, name);
    encode_target(&lease->cleanup, MSG_CLOSE, 'S', slice_make(name, len));
    lease->cleanup_count++;
    statement_set_remove(server->statements, statement);
}

/* A syntax error in the text itself: nothing of it has run, whatever it would have been. */
COLD static bool is_misspelt(const struct owed *front, const struct error_view *view)
{
    return front->completed == 0 && view->has_position && !view->has_context &&
           slice_equal_str(view->sqlstate, "42601");
}

COLD static void note_error(struct lease *lease, const struct owed *front, const struct error_view *view)
{
    struct client *client = lease->client;
    lease->has_failed = true;
    if (client == NULL)
        return;
    const struct sql_statement *statement =
        front->kind == OWED_QUERY || front->kind == OWED_EXECUTE ? statement_of(front) : NULL;
    if (statement != NULL && !is_misspelt(front, view))
        pin_failed(&client->pins, statement, forgives(client, statement));
    if (statement != NULL && statement->flags & (SQL_ADVISORY_LOCK | SQL_ADVISORY_UNLOCK))
        lease->is_lock_unsure = true;
    transaction_errored(&client->tx);
}

COLD static enum relay_act on_error(struct lease *lease, const struct frame *frame, struct slice whole)
{
    struct owed *front = owed_front(&lease->owed);
    struct error_view view;
    if (!decode_error(frame->body, &view))
        return RELAY_VIOLATION;
    counter_bump(&lease->server->part->counters.server_errors);
    if (slice_equal_str(view.severity, "FATAL") || slice_equal_str(view.severity, "PANIC")) {
        lease->server->close_needed = true;
        lease->server->close_reason = "server conn crashed?";
        if (lease->purpose == LEASE_LOOKUP)
            return RELAY_DROP;
        lease->is_end_told = true;
        return RELAY_PASS;
    }
    if (front == NULL) /* nothing was asked: PostgreSQL has something to say on its own, and will close */
        return RELAY_PASS;
    if (front->flags & OWED_PROBE) /* the pin stays */
        return RELAY_DROP;
    note_error(lease, front, &view);
    cached_end_fill(lease, false);
    if (front->flags & OWED_PROFILE) {
        lease_refused(lease, whole);
        return lease->is_ending ? RELAY_GONE : RELAY_DROP;
    }
    if (front->flags & OWED_SEQUENCE && !owed_ends_with_ready(front)) {
        skip_to_sync(lease);
        return RELAY_PASS;
    }
    if (front->flags & OWED_BEGIN && !owed_ends_with_ready(front)) {
        if (!begin_refused(lease))
            return RELAY_GONE;
        skip_to_sync(lease);
        return RELAY_PASS;
    }
    if (slice_equal_str(view.sqlstate, "0A000") && view.message.len > 11 &&
        memcmp(view.message.data, "cached plan", 11) == 0)
        drop_stale_plan(lease, front);
    if (slice_equal_str(view.sqlstate, "25006")) /* read_only_sql_transaction */
        server_doubt_role(lease->server);
    if (slice_equal_str(view.sqlstate, "26000"))
        client_log(lease->client, LOG_LEVEL_WARNING, "prepared statement did not exist");
    if (lease->is_copy_in) {
        lease->is_uncertain = lease->is_uncertain || lease->has_early_sync;
        end_copy(lease);
    }
    enum relay_act act = front->flags & OWED_SWALLOW ? RELAY_DROP : RELAY_PASS;
    if (!owed_ends_with_ready(front))
        skip_to_sync(lease);
    return act;
}

/* ---- ReadyForQuery
 * -------------------------------------------------------------------------------------------------------- */

COLD static void greeting_done(struct lease *lease)
{
    struct client *client = lease->client;
    struct buf parameters = lease->greeting, refusal = lease->refusal;
    lease->greeting = lease->refusal = BUF_INIT;
    lease_settle(lease, !lease->has_failed);
    lease->has_failed = false;
    lease_try_release(lease);
    login_greeted(client, buf_slice(&parameters), buf_slice(&refusal));
    buf_free(&parameters);
    buf_free(&refusal);
}

static enum relay_act on_own_ready(struct lease *lease, const struct owed *front)
{
    bool is_profile = front->flags & OWED_PROFILE, is_begin = front->flags & OWED_BEGIN;
    if (front->flags & OWED_SEQUENCE)
        lease->has_failed = lease->is_holding = false;
    owed_pop(&lease->owed);
    if (is_begin && !begin_is_failed(lease))
        return RELAY_GONE;
    if (lease->purpose == LEASE_LOOKUP && owed_is_empty(&lease->owed)) {
        auth_query_done(lease);
        return RELAY_GONE;
    }
    if (!is_profile)
        return RELAY_DROP;
    lease->profile_owed--;
    lease_settle(lease, !lease->has_failed);
    lease->has_failed = false;
    lease->is_holding = false;
    if (lease->purpose == LEASE_GREETING) {
        greeting_done(lease);
        return RELAY_GONE;
    }
    return RELAY_DROP;
}

/*
 * The server has gone back to its own defaults, the session to those of its startup packet: these are set
 * before the client hears that its RESET is done, and reported in place of the others. True: that is under
 * way, or the lease has ended.
 */
static bool closes_gap(struct lease *lease, const struct owed *front, uint8_t status)
{
    if (!(front->flags & OWED_GAP))
        return false;
    lease->is_holding = false;
    if (lease->client == NULL || status == 'E' || !transaction_has_gap(&lease->client->tx))
        return false;
    if (!lease_close_gap(lease))
        return true;
    if (lease->profile_owed == 0)
        return false;
    owed_pop(&lease->owed); /* its answer comes again, behind those to the settings */
    lease->is_holding = true;
    encode_empty(outbox_make(lease->session->outbox, lease->server->conn), MSG_SYNC);
    outbox_made(lease->session->outbox);
    (void)lease_owe(lease, (struct owed){.kind = OWED_SYNC});
    return true;
}

static enum relay_act on_ready(struct lease *lease, const struct frame *frame)
{
    struct owed *front = owed_front(&lease->owed);
    uint8_t status;
    if (front == NULL || !owed_ends_with_ready(front) || !decode_ready(frame->body, &status))
        return RELAY_VIOLATION;
    if (status == 'I')
        cached_commit(lease);
    if (!(front->flags &
          OWED_SWALLOW)) /* that of BEGIN, or of settings, comes before the answer that is kept */
        cached_end_fill(lease, !lease->has_failed);
    lease->status = (char)status;
    if (front->flags & OWED_SWALLOW)
        return on_own_ready(lease, front);
    if (closes_gap(lease, front, status))
        return lease->is_ending ? RELAY_GONE : RELAY_DROP;
    profile_unref(lease->switched);
    lease->switched = NULL;
    if (lease->client != NULL && !lease->is_begin_refused)
        transaction_ready(&lease->client->tx, status);
    owed_pop(&lease->owed);
    if (status == 'I') {
        lease_settle(lease, !lease->has_failed);
        lease_portals_clear(lease);
    }
    if (status != 'E')
        lease->has_failed = false;
    lease->has_early_sync = false;
    lease_end_request(lease, (char)status);
    if (!lease->is_begin_refused)
        return RELAY_PASS;
    begin_refused_ready(lease);
    return RELAY_DROP;
}

/* ---- the rest
 * ----------------------------------------------------------------------------------------------------------------
 */

/*
 * PostgreSQL reports parameters in front of ReadyForQuery, those that Weir has changed for this client along
 * with those that it has changed itself. The first are no news to it.
 */
COLD static bool is_news(const struct lease *lease, struct slice name)
{
    const struct client *client = lease->client;
    const struct profile *now = transaction_current(&client->tx);
    struct slice here = SLICE_EMPTY, there = SLICE_EMPTY;
    if (lease->switched == NULL || pin_has(&client->pins, PIN_CODE))
        return true;
    if (now == lease->switched)
        return false;
    if (slice_equal_str(name, "is_superuser") || slice_equal_str(name, "session_authorization"))
        return true;
    bool is_set = profile_get(now, name, &here);
    return is_set != profile_get(lease->switched, name, &there) || !slice_equal(here, there);
}

COLD static enum relay_act on_parameter(struct lease *lease, const struct frame *frame, struct slice whole)
{
    struct owed *front = owed_front(&lease->owed);
    struct parameter_view view;
    bool is_read = decode_parameter_status(frame->body, &view);
    if (is_read)
        server_note_parameter(lease->server, view.name, view.value);
    if (lease->purpose == LEASE_GREETING) {
        buf_append_slice(&lease->greeting, whole);
        return RELAY_DROP;
    }
    if (front != NULL && front->flags & OWED_SWALLOW)
        return RELAY_DROP;
    if (lease->client == NULL || !is_read)
        return RELAY_PASS;
    bool is_gap = front != NULL && front->flags & OWED_GAP && transaction_has_gap(&lease->client->tx);
    if (!is_news(lease, view.name) || (is_gap && transaction_is_startup(&lease->client->tx, view.name)))
        return RELAY_DROP;
    client_note_parameter(lease->client, view.name, view.value);
    return RELAY_PASS;
}

COLD static void begin_copy_in(struct lease *lease)
{
    /* A Sync sent in front of the copy data is read, and ignored, by the COPY. */
    lease->is_copy_in = true;
    lease->has_copied = false;
    for (uint32_t i = 1; i < lease->owed.count && owed_at(&lease->owed, i)->kind != OWED_COPY_END;) {
        if (owed_at(&lease->owed, i)->kind == OWED_SYNC)
            owed_remove(&lease->owed, i);
        else
            i++;
    }
}

/* Answers that take their entry off, and those that come before the last one of theirs. */
static enum relay_act match(struct lease *lease, uint8_t type)
{
    struct owed *front = owed_front(&lease->owed);
    if (front == NULL)
        return type == MSG_NOTICE || type == MSG_NOTIFICATION ? RELAY_PASS : RELAY_VIOLATION;
    enum relay_act act = front->flags & OWED_SWALLOW ? RELAY_DROP : RELAY_PASS;
    bool is_last = false;
    switch (type) {
    case MSG_PARSE_COMPLETE:
        is_last = front->kind == OWED_PARSE;
        break;
    case MSG_BIND_COMPLETE:
        is_last = front->kind == OWED_BIND;
        break;
    case MSG_CLOSE_COMPLETE:
        is_last = front->kind == OWED_CLOSE;
        break;
    case MSG_NO_DATA:
        is_last = front->kind == OWED_DESCRIBE;
        break;
    case MSG_PORTAL_SUSPENDED:
        is_last = front->kind == OWED_EXECUTE;
        break;
    case MSG_ROW_DESCRIPTION:
        if (front->kind == OWED_QUERY)
            return act;
        is_last = front->kind == OWED_DESCRIBE;
        break;
    case MSG_EMPTY_QUERY:
        if (front->kind == OWED_QUERY)
            return act;
        is_last = front->kind == OWED_EXECUTE;
        break;
    case MSG_COPY_IN_RESPONSE:
        if (lease->client ==
            NULL) { /* nobody is left to send the data, and no Sync is heard before its end */
            lease_break(lease, "client disconnected with query in progress");
            return RELAY_GONE;
        }
        begin_copy_in(lease);
        return act;
    default: /* rows, copy data, notices, notifications, function results, descriptions of parameters */
        return act;
    }
    if (!is_last)
        return RELAY_VIOLATION;
    if (front->flags & OWED_PROFILE)
        lease->profile_owed--;
    bool is_profile = front->flags & OWED_PROFILE, is_begin = front->flags & OWED_BEGIN;
    owed_pop(&lease->owed);
    if (is_begin && type == MSG_CLOSE_COMPLETE)
        lease->is_begin_owed = lease->is_holding = false;
    if (is_profile && lease->profile_owed == 0)
        lease->is_holding = false;
    return act;
}

static bool needs_whole(const struct lease *lease, uint8_t type)
{
    if (lease->purpose == LEASE_LOOKUP)
        return type != MSG_COPY_DATA && type != MSG_NOTICE;
    return type == MSG_ERROR || type == MSG_READY || type == MSG_COMMAND_COMPLETE ||
           type == MSG_PARAMETER_STATUS;
}

static enum relay_act act_on(struct lease *lease, const struct frame *frame, struct slice whole)
{
    switch (frame->type) {
    case MSG_ERROR:
        return on_error(lease, frame, whole);
    case MSG_READY:
        return on_ready(lease, frame);
    case MSG_COMMAND_COMPLETE:
        return on_command_complete(lease, frame);
    case MSG_PARAMETER_STATUS:
        return on_parameter(lease, frame, whole);
    default:
        return match(lease, frame->type);
    }
}

COLD static void violate(struct lease *lease, uint8_t type)
{
    struct client *client = lease->client;
    char text[80];
    snprintf(text, sizeof(text), "unexpected message 0x%02x from server", type);
    lease_break(lease, text);
    if (client != NULL)
        client_fail(client, "08P01", text);
}

/* Rows of a query, which change nothing. */
static inline bool is_row(const struct owed *front, uint8_t type)
{
    return type == MSG_DATA_ROW || (type == MSG_ROW_DESCRIPTION && front->kind == OWED_QUERY);
}

/* Words that take their entry off and do nothing else. */
static inline bool is_plain_end(const struct owed *front, uint8_t type)
{
    return (type == MSG_PARSE_COMPLETE && front->kind == OWED_PARSE) ||
           (type == MSG_BIND_COMPLETE && front->kind == OWED_BIND) ||
           (type == MSG_ROW_DESCRIPTION && front->kind == OWED_DESCRIBE);
}

static inline void give_synths(struct lease *lease)
{
    const struct owed *front = owed_front(&lease->owed);
    if (front != NULL && front->flags & OWED_SYNTH)
        lease_give_synths(lease);
}

/* What most answers are made of, if it is the client's own and there in full: passed on at once. */
static inline bool pass_plain(struct lease *lease, const struct frame *frame, const uint8_t *data)
{
    const struct owed *front = owed_front(&lease->owed);
    if (front == NULL || front->flags != 0 || lease->client == NULL)
        return false;
    bool is_end = is_plain_end(front, frame->type);
    if (!is_end && !is_row(front, frame->type))
        return false;
    outbox_pass(lease->session->outbox, lease->client->conn, data, frame->total);
    if (is_end) {
        owed_pop(&lease->owed);
        give_synths(lease);
    }
    return true;
}

/* One step; false when the rest has to wait for more bytes, or the lease has ended. */
static bool step(struct lease *lease, struct slice data, size_t *used)
{
    struct client *client = lease->client;
    struct slice rest = slice_from(data, *used);
    struct frame frame;
    enum frame_result result = frame_next(rest, &frame);
    if (result == FRAME_INCOMPLETE)
        return false;
    if (result == FRAME_COMPLETE && pass_plain(lease, &frame, rest.data)) {
        *used += frame.total;
        return true;
    }
    if (result == FRAME_BAD) {
        violate(lease, rest.data[0]);
        return false;
    }
    if (result == FRAME_PARTIAL && needs_whole(lease, frame.type) && frame.total <= WHOLE_LIMIT) {
        conn_set_input_limit(lease->server->conn, WHOLE_LIMIT + WORKER_READ_BYTES);
        return false;
    }
    size_t here = result == FRAME_COMPLETE ? frame.total : rest.len;
    const struct owed *front = owed_front(&lease->owed);
    /* A notice that came with Parse or Bind, or behind the rows, belongs to the answer as well. */
    bool is_filled =
        frame.type == MSG_NOTICE || (front != NULL && front->flags & OWED_FILL && frame.type != MSG_READY);
    if (lease->purpose == LEASE_LOOKUP)
        auth_query_saw(lease, &frame, slice_make(rest.data, here));
    if (lease->is_ending) {
        *used += here;
        return false;
    }
    enum relay_act act = act_on(lease, &frame, slice_make(rest.data, here));
    if (act == RELAY_VIOLATION)
        violate(lease, frame.type);
    if (act == RELAY_VIOLATION || act == RELAY_GONE || lease->is_ending) {
        *used += here;
        return false;
    }
    if (act == RELAY_PASS && client != NULL && lease->client == client)
        outbox_pass(lease->session->outbox, client->conn, rest.data, here);
    if (is_filled && lease->fill != NULL)
        cached_tee(lease, frame.type, slice_make(rest.data, here), here == frame.total);
    lease->skip = frame.total - here;
    lease->skip_type = frame.type;
    lease->skip_is_filled = is_filled;
    lease->skip_is_dropped = act != RELAY_PASS;
    *used += here;
    give_synths(lease);
    return true;
}

COLD static void take_skip(struct lease *lease, struct slice data, size_t *used)
{
    size_t here = data.len - *used < lease->skip ? data.len - *used : lease->skip;
    if (!lease->skip_is_dropped && lease->client != NULL)
        outbox_pass(lease->session->outbox, lease->client->conn, data.data + *used, here);
    lease->skip -= here;
    if (lease->skip_is_filled && lease->fill != NULL)
        cached_tee(lease, lease->skip_type, slice_make(data.data + *used, here), lease->skip == 0);
    *used += here;
}

size_t relay_data(struct lease *lease, struct slice data)
{
    size_t used = 0;
    bool was_holding = lease->is_holding;
    struct pool_part *part = lease->server->part;
    bool is_counted = lease->client != NULL;
    while (used < data.len && !lease->is_ending) {
        if (lease->skip > 0)
            take_skip(lease, data, &used);
        else if (!step(lease, data, &used))
            break;
    }
    if (is_counted)
        counter_add(&part->counters.bytes_sent, used);
    if (lease->is_ending)
        return used;
    outbox_flush(lease->session->outbox);
    struct client *client = lease->client;
    if (client != NULL && conn_is_congested(client->conn))
        conn_set_reading(lease->server->conn, false);
    /* What waited for the settings comes first, or the server that has them would be gone. */
    if (was_holding && !lease->is_holding)
        lease_resume_client(lease);
    if (!lease->is_ending && owed_is_empty(&lease->owed) && lease_try_release(lease))
        lease_ended_for(client);
    return used;
}
