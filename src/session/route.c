/*
 * route: a client's messages, one by one: answered here, or sent on to its server, with what has to go in front.
 *
 * A message is either dealt with in full, or, when it has to wait (for a server, for settings), not at all: it is then kept
 * and looked at again. Statement names are the client's own until here, and the server's from here on.
 */
#include <stdio.h>
#include <string.h>

#include "weir/pool/cancel.h"
#include "weir/session/cached.h"
#include "weir/session/client.h"
#include "weir/session/outbox.h"
#include "weir/util/clock.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

enum {
    QUERY_WHOLE = SQL_TEXT_LIMIT + 64,      /* longer queries are passed on unread */
    PARSE_WHOLE = 16 * 1024 * 1024,         /* longer statements cannot be kept */
    SMALL_WHOLE = 64 * 1024,                /* names and the like */
};

enum route_step {
    ROUTE_DONE,
    ROUTE_WAIT, /* not dealt with; kept */
    ROUTE_MORE, /* the rest of the message is needed */
    ROUTE_ENDED,
};

static enum route_step fail(struct client *client, const char *sqlstate, const char *message)
{
    client_fail(client, sqlstate, message);
    return ROUTE_ENDED;
}

static struct outbox *outbox_of(const struct client *client)
{
    return client->session->outbox;
}

/* The client's lease, with its settings in force; NULL: wait (or the client has ended). */
static struct lease *lease_for(struct client *client, bool must_be_alone)
{
    struct lease *lease = client->lease;
    if (lease == NULL) {
        client->request_time_us = clock_now_us();
        struct server *server = pool_lease(client->part, &client->waiter, NULL, transaction_current(&client->tx));
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
    if (!lease_prepare(lease, must_be_alone))
        return NULL;
    lease_begin_request(lease);
    return lease;
}

/* The answer to the message at hand is an error of Weir's: to the end of a simple query, or of the batch up to Sync. */
static void answer_error(struct client *client, struct slice response, bool is_simple)
{
    struct buf out = BUF_INIT;
    buf_append_slice(&out, response);
    if (is_simple)
        encode_ready(&out, client_status(client));
    else
        client->is_skipping = true;
    client_write(client, buf_slice(&out));
    buf_free(&out);
}

static void answer_cancelled(struct client *client, bool is_simple)
{
    struct buf out = BUF_INIT;
    client->is_cancelled = false;
    encode_error(&out, "ERROR", "57014", "canceling statement due to user request", NULL);
    if (transaction_is_held(&client->tx))
        transaction_failed_while_held(&client->tx);
    answer_error(client, buf_slice(&out), is_simple);
    buf_free(&out);
}

/* Has the message at hand been answered with an error already (settings refused, or cancelled while waiting)? */
static bool is_refused(struct client *client, bool is_simple)
{
    struct lease *lease = client->lease;
    if (client->is_cancelled && lease == NULL) {
        answer_cancelled(client, is_simple);
        return true;
    }
    if (lease == NULL || lease->refusal.len == 0)
        return false;
    answer_error(client, buf_slice(&lease->refusal), is_simple);
    buf_free(&lease->refusal);
    lease_try_release(lease);
    return true;
}

static void pass(struct client *client, struct slice whole)
{
    outbox_pass(outbox_of(client), client->lease->server->conn, whole.data, whole.len);
}

static bool renames(const struct lease *lease)
{
    const struct pool_part *part = lease->server->part;
    return part->settings.mode != POOL_MODE_SESSION && config_settings(part->config)->max_prepared_statements > 0;
}

static void set_unnamed(struct statement **slot, struct statement *statement)
{
    struct statement *old = *slot;
    *slot = statement != NULL ? statement_ref(statement) : NULL;
    if (old != NULL)
        statement_unref(old);
}

/* ---- simple queries ---------------------------------------------------------------------------------------------------- */

static void answer_here(struct client *client, const struct sql_class *class, const struct transaction_decision *decision)
{
    struct buf out = BUF_INIT;
    if (decision->move == TRANSACTION_ANSWER && decision->tag[0] == '\0')
        encode_empty(&out, MSG_EMPTY_QUERY);
    else if (decision->move == TRANSACTION_ANSWER)
        encode_command_complete(&out, decision->tag);
    else
        encode_error(&out, "ERROR", decision->sqlstate, decision->message, NULL);
    encode_ready(&out, (char)decision->status);
    client_write(client, buf_slice(&out));
    buf_free(&out);
    if (decision->move == TRANSACTION_ANSWER)
        transaction_answered(&client->tx, class);
    else
        transaction_failed_while_held(&client->tx);
}

/* The held-back BEGIN goes in front, in the same write. */
static bool flush_begin(struct lease *lease)
{
    struct outbox *outbox = lease->session->outbox;
    encode_query(outbox_make(outbox, lease->server->conn), slice_str(transaction_begin_text(&lease->client->tx)));
    outbox_made(outbox);
    transaction_flushed(&lease->client->tx);
    return lease_owe(lease, (struct owed){.kind = OWED_QUERY, .flags = OWED_SWALLOW | OWED_BEGIN});
}

/* `DEALLOCATE x` of a protocol statement: the server knows it by another name. True if it was sent. */
static bool send_deallocate(struct lease *lease, struct sql_class *class, bool *is_sent)
{
    struct client *client = lease->client;
    const struct sql_statement *statement = &class->statements[0];
    *is_sent = false;
    if (class->n_statements != 1 || statement->kind != SQL_KIND_DEALLOCATE || !renames(lease) || statement->name == NULL)
        return true;
    struct statement *prepared = statement_map_find(&client->prepared, slice_str(statement->name));
    if (prepared == NULL)
        return true;
    if (!route_ensure_statement(lease, prepared))
        return false;
    char name[STATEMENT_NAME_SIZE], text[STATEMENT_NAME_SIZE + 16];
    statement_name(prepared, name);
    snprintf(text, sizeof(text), "DEALLOCATE %s", name);
    encode_query(outbox_make(outbox_of(client), lease->server->conn), slice_str(text));
    outbox_made(outbox_of(client));
    *is_sent = true;
    return true;
}

/*
 * Is the change of settings to be over before this is sent? Where a statement changes settings itself, PostgreSQL would report
 * both changes as one, or, where the second undoes the first, none.
 */
static bool must_be_alone(const struct client *client, const struct sql_class *class)
{
    const uint32_t flags =
        SQL_CLASS_TRANSACTION | SQL_CLASS_REFUSES_BLOCK | SQL_CLASS_SETTINGS | SQL_CLASS_UNKNOWN_CODE;
    return class->n_statements > 1 || (class->flags & flags) != 0 ||
           class->statements[0].kind == SQL_KIND_UNPARSABLE || transaction_is_held(&client->tx);
}

static bool is_refused_by_mode(const struct client *client, const struct sql_class *class)
{
    return client->part->settings.mode == POOL_MODE_STATEMENT && class->flags & SQL_CLASS_TRANSACTION;
}

static enum route_step send_query(struct client *client, struct sql_class *class, const struct frame *frame,
                                  struct slice whole)
{
    struct lease *lease = lease_for(client, must_be_alone(client, class));
    if (lease == NULL)
        return client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
    bool is_sent;
    if ((transaction_is_held(&client->tx) && !flush_begin(lease)) || !send_deallocate(lease, class, &is_sent))
        return ROUTE_ENDED;
    if (!cached_sending(lease, class))
        return ROUTE_ENDED;
    transaction_sending(&client->tx, class, false);
    uint8_t flags = cached_begin_fill(lease, false);
    if (!lease_owe(lease, (struct owed){.kind = OWED_QUERY, .flags = flags, .class = sql_class_ref(class)}))
        return ROUTE_ENDED;
    if (!is_sent)
        pass(client, whole);
    client->stream_left = frame->total - whole.len;
    lease_forget_unnamed(lease->server); /* a simple query is the end of it */
    set_unnamed(&client->unnamed, NULL);
    lease->is_holding = lease->profile_owed > 0;
    return ROUTE_DONE;
}

static enum route_step on_query(struct client *client, const struct frame *frame, struct slice whole)
{
    struct slice text = SLICE_EMPTY;
    bool is_whole = whole.len == frame->total;
    if (!is_whole && frame->total <= QUERY_WHOLE)
        return ROUTE_MORE;
    if (is_whole && !decode_query(frame->body, &text))
        return fail(client, "08P01", "invalid message format");
    if (is_refused(client, true))
        return ROUTE_DONE;
    struct memo *memo = client->session->memo;
    struct memo_answer answer = {.class = sql_class_unparsable()};
    if (is_whole)
        answer = memo_classify(memo, text, client_is_readable(client));
    struct sql_class *class = answer.class;
    if (is_refused_by_mode(client, class))
        return fail(client, "0A000", "transaction blocks not allowed in statement pooling mode");
    struct transaction_decision decision = transaction_decide(&client->tx, class, client->may_defer);
    if (is_whole && (decision.move == TRANSACTION_ANSWER || decision.move == TRANSACTION_REFUSE)) {
        answer_here(client, class, &decision);
        return ROUTE_DONE;
    }
    enum cached_step step = is_whole && client->cache_mode != CACHE_OFF
                                ? cached_query(client, class, answer.text_flags, text)
                                : CACHED_RELAY;
    if (step != CACHED_RELAY)
        return step == CACHED_ANSWERED ? ROUTE_DONE : ROUTE_WAIT;
    return send_query(client, class, frame, whole);
}

/* ---- prepared statements ------------------------------------------------------------------------------------------------ */

/* Puts a Parse of the server's own name into the outbox, and a Close of whoever has to leave for it. */
static bool send_parse(struct lease *lease, struct statement *statement, struct owed entry)
{
    struct server *server = lease->server;
    struct outbox *outbox = lease->session->outbox;
    char name[STATEMENT_NAME_SIZE];
    bool is_added = true;
    if (server->statements == NULL) {
        int limit = config_settings(server->part->config)->max_prepared_statements;
        server->statements = statement_set_new((uint32_t)limit);
    }
    struct statement *victim =
        server->statements == NULL ? NULL : statement_set_add(server->statements, statement, &is_added);
    if (server->statements == NULL || !is_added) {
        struct client *client = lease->client;
        lease_break(lease, "out of memory");
        client_fail(client, "53200", "out of memory");
        return false;
    }
    struct buf *out = outbox_make(outbox, server->conn);
    if (victim != NULL) {
        size_t len = statement_name(victim, name);
        encode_target(out, MSG_CLOSE, 'S', slice_make(name, len));
        statement_unref(victim);
    }
    size_t len = statement_name(statement, name);
    size_t begun = encode_begin(out, MSG_PARSE);
    encode_text(out, slice_make(name, len));
    encode_text(out, statement->text);
    buf_append_u16(out, statement->n_types);
    for (uint16_t i = 0; i < statement->n_types; i++)
        buf_append_u32(out, statement->types[i]);
    encode_end(out, begun);
    outbox_made(outbox);
    counter_bump(&server->part->counters.server_parse_count);
    if (victim != NULL && !lease_owe(lease, (struct owed){.kind = OWED_CLOSE, .flags = OWED_SWALLOW}))
        return false;
    return lease_owe(lease, entry);
}

bool route_ensure_statement(struct lease *lease, struct statement *statement)
{
    struct server *server = lease->server;
    if (server->statements != NULL && statement_set_use(server->statements, statement))
        return true;
    return send_parse(lease, statement,
                      (struct owed){.kind = OWED_PARSE, .flags = OWED_SWALLOW, .statement = statement_ref(statement)});
}

void route_set_unnamed(struct client *client, struct statement *statement)
{
    set_unnamed(&client->unnamed, statement);
}

/* The server's unnamed statement is to be this client's: another one may have used it in between. */
static bool ensure_unnamed(struct lease *lease)
{
    struct client *client = lease->client;
    struct server *server = lease->server;
    if (server->unnamed == client->unnamed || lease->is_skipping)
        return true;
    struct outbox *outbox = lease->session->outbox;
    struct buf *out = outbox_make(outbox, server->conn);
    const struct statement *statement = client->unnamed;
    uint8_t kind = statement != NULL ? OWED_PARSE : OWED_CLOSE;
    if (statement != NULL) {
        size_t begun = encode_begin(out, MSG_PARSE);
        encode_text(out, SLICE_LITERAL(""));
        encode_text(out, statement->text);
        buf_append_u16(out, statement->n_types);
        for (uint16_t i = 0; i < statement->n_types; i++)
            buf_append_u32(out, statement->types[i]);
        encode_end(out, begun);
    } else {
        encode_target(out, MSG_CLOSE, 'S', SLICE_LITERAL(""));
    }
    outbox_made(outbox);
    set_unnamed(&server->unnamed, client->unnamed);
    return lease_owe(lease, (struct owed){.kind = kind, .flags = OWED_SWALLOW});
}

static bool is_first_alone(const struct client *client, const struct sql_class *class)
{
    return client->lease == NULL || !client->lease->is_prepared ? must_be_alone(client, class) : false;
}

struct statement *route_intern(struct client *client, const struct parse_view *view)
{
    struct memo_answer answer = memo_classify(client->session->memo, view->text, client_is_readable(client));
    uint32_t types[64], *all = types;
    if (view->type_count > 64 && (all = malloc(view->type_count * sizeof(*all))) == NULL)
        return NULL;
    for (uint16_t i = 0; i < view->type_count; i++)
        all[i] = decode_u32(view->types.data + 4 * (size_t)i);
    struct statement *statement =
        statement_intern(client->session->shared->statements, view->text, all, view->type_count, answer.class,
                         answer.text_flags);
    if (all != types)
        free(all);
    return statement;
}

/* A name that is taken: PostgreSQL is made to say so itself, in its place among the answers. */
static enum route_step parse_duplicate(struct lease *lease, struct slice name, struct slice whole)
{
    struct outbox *outbox = lease->session->outbox;
    encode_parse(outbox_make(outbox, lease->server->conn), name, SLICE_LITERAL(""), SLICE_EMPTY);
    outbox_made(outbox);
    encode_target(&lease->cleanup, MSG_CLOSE, 'S', name);
    lease->cleanup_count++;
    if (!lease_owe(lease, (struct owed){.kind = OWED_PARSE, .flags = OWED_SWALLOW}) ||
        !lease_owe(lease, (struct owed){.kind = OWED_PARSE}))
        return ROUTE_ENDED;
    pass(lease->client, whole);
    return ROUTE_DONE;
}

static enum route_step parse_named(struct lease *lease, const struct parse_view *view, struct statement *statement,
                                   struct slice whole)
{
    struct client *client = lease->client;
    enum statement_put put = statement_map_put(&client->prepared, view->name, statement);
    if (put == STATEMENT_EXISTS && renames(lease))
        return parse_duplicate(lease, view->name, whole);
    char *name = put == STATEMENT_PUT ? slice_dup(view->name) : NULL;
    if (put == STATEMENT_NO_MEMORY || (put == STATEMENT_PUT && name == NULL))
        return fail(client, "53200", "out of memory");
    struct owed entry = {.kind = OWED_PARSE, .statement = statement_ref(statement), .name = name};
    if (!renames(lease)) {
        counter_bump(&lease->server->part->counters.server_parse_count);
        pass(client, whole);
        return lease_owe(lease, entry) ? ROUTE_DONE : ROUTE_ENDED;
    }
    struct server *server = lease->server;
    if (server->statements == NULL || !statement_set_use(server->statements, statement))
        return send_parse(lease, statement, entry) ? ROUTE_DONE : ROUTE_ENDED;
    entry.flags = OWED_SYNTH;
    if (!lease_owe(lease, entry))
        return ROUTE_ENDED;
    outbox_flush(lease->session->outbox);
    lease_give_synths(lease);
    outbox_flush(lease->session->outbox);
    return ROUTE_DONE;
}

static enum route_step parse_unnamed(struct lease *lease, struct statement *statement, struct slice whole)
{
    struct client *client = lease->client;
    set_unnamed(&client->unnamed, statement);
    set_unnamed(&lease->server->unnamed, statement);
    counter_bump(&lease->server->part->counters.server_parse_count);
    pass(client, whole);
    return lease_owe(lease, (struct owed){.kind = OWED_PARSE}) ? ROUTE_DONE : ROUTE_ENDED;
}

/*
 * BEGIN, COMMIT and their like have nothing that PostgreSQL could object to: preparing one takes no server. (A client that
 * prepares them in a transaction of its own while others hold every server would otherwise wait for itself.)
 */
static bool parse_without_server(struct client *client, const struct parse_view *view, struct statement *statement)
{
    const struct sql_class *class = statement->class;
    int limit = config_settings(client->part->config)->max_prepared_statements;
    if (client->lease != NULL || client->part->settings.mode == POOL_MODE_SESSION || limit <= 0 || view->name.len == 0 ||
        class->n_statements != 1 || !(class->flags & SQL_CLASS_TRANSACTION) ||
        statement_map_put(&client->prepared, view->name, statement) != STATEMENT_PUT)
        return false;
    struct buf out = BUF_INIT;
    encode_empty(&out, MSG_PARSE_COMPLETE);
    client_write(client, buf_slice(&out));
    buf_free(&out);
    return true;
}

/* While the server ignores everything up to Sync, messages are only passed on. */
static bool pass_skipped(struct client *client, struct slice whole)
{
    if (client->lease == NULL || !client->lease->is_skipping)
        return false;
    pass(client, whole);
    return true;
}

static enum route_step on_parse(struct client *client, const struct frame *frame, struct slice whole)
{
    struct parse_view view;
    if (whole.len < frame->total) {
        if (frame->total > PARSE_WHOLE)
            return fail(client, "54000", "statement is longer than 16 MB");
        return ROUTE_MORE;
    }
    if (!decode_parse(frame->body, &view))
        return fail(client, "08P01", "invalid message format");
    if (is_refused(client, false) || pass_skipped(client, whole))
        return ROUTE_DONE;
    struct statement *statement = route_intern(client, &view);
    if (statement == NULL)
        return fail(client, "53200", "out of memory");
    enum route_step step = ROUTE_WAIT;
    if (is_refused_by_mode(client, statement->class)) {
        step = fail(client, "0A000", "transaction blocks not allowed in statement pooling mode");
        goto done;
    }
    if (parse_without_server(client, &view, statement)) {
        step = ROUTE_DONE;
        goto done;
    }
    struct lease *lease = lease_for(client, is_first_alone(client, statement->class));
    if (lease == NULL) {
        step = client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
        goto done;
    }
    if (transaction_is_held(&client->tx) && !flush_begin(lease)) {
        step = ROUTE_ENDED;
        goto done;
    }
    lease->is_batch_open = true;
    counter_bump(&client->part->counters.client_parse_count);
    step = view.name.len > 0 ? parse_named(lease, &view, statement, whole) : parse_unnamed(lease, statement, whole);
done:
    statement_unref(statement);
    return step;
}

/* The statement that a name means to this client; the server is made to have it. False when the client has ended. */
static bool resolve(struct lease *lease, struct slice name, struct statement **statement, struct slice *server_name,
                    char text[STATEMENT_NAME_SIZE])
{
    struct client *client = lease->client;
    *server_name = name;
    if (name.len == 0) {
        *statement = client->unnamed;
        return ensure_unnamed(lease);
    }
    *statement = statement_map_find(&client->prepared, name);
    if (*statement == NULL || !renames(lease)) /* PostgreSQL itself says that there is none of this name */
        return true;
    *server_name = slice_make(text, statement_name(*statement, text));
    return route_ensure_statement(lease, *statement);
}

static const struct sql_class *class_of_name(struct client *client, struct slice name)
{
    const struct statement *statement =
        name.len == 0 ? client->unnamed : statement_map_find(&client->prepared, name);
    return statement != NULL ? statement->class : sql_class_unparsable();
}

/* Common to the messages of the extended protocol that need a server. NULL with the step to return. */
static struct lease *extended_lease(struct client *client, const struct sql_class *class, struct slice whole,
                                    enum route_step *step)
{
    *step = ROUTE_DONE;
    if (is_refused(client, false) || pass_skipped(client, whole))
        return NULL;
    bool is_alone = class != NULL ? is_first_alone(client, class) : transaction_is_held(&client->tx);
    struct lease *lease = lease_for(client, is_alone);
    *step = client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
    if (lease == NULL)
        return NULL;
    *step = ROUTE_ENDED;
    if (transaction_is_held(&client->tx) && !flush_begin(lease))
        return NULL;
    lease->is_batch_open = true;
    return lease;
}

static enum route_step on_bind(struct client *client, const struct frame *frame, struct slice whole)
{
    struct bind_view view;
    enum route_step step;
    bool is_whole = whole.len == frame->total;
    if (!decode_bind_names(frame->body, &view)) {
        if (!is_whole && frame->body.len < SMALL_WHOLE)
            return ROUTE_MORE;
        return fail(client, "08P01", "invalid message format");
    }
    struct lease *lease = extended_lease(client, class_of_name(client, view.statement), whole, &step);
    if (lease == NULL) {
        if (step == ROUTE_DONE)
            client->stream_left = frame->total - whole.len;
        return step;
    }
    struct statement *statement;
    struct slice name;
    char text[STATEMENT_NAME_SIZE];
    if (!resolve(lease, view.statement, &statement, &name, text))
        return ROUTE_ENDED;
    if (!lease_portal_set(lease, view.portal, statement))
        return fail(client, "53200", "out of memory");
    counter_bump(&client->part->counters.bind_count);
    struct owed entry = {.kind = OWED_BIND};
    if (statement != NULL && view.statement.len > 0)
        entry.statement = statement_ref(statement);
    if (!lease_owe(lease, entry))
        return ROUTE_ENDED;
    client->stream_left = frame->total - whole.len;
    if (name.data == view.statement.data) {
        pass(client, whole);
        return ROUTE_DONE;
    }
    struct buf *out = outbox_make(outbox_of(client), lease->server->conn);
    buf_append_u8(out, MSG_BIND);
    buf_append_u32(out, (uint32_t)(frame->total - 1 - view.statement.len + name.len));
    encode_text(out, view.portal);
    encode_text(out, name);
    outbox_made(outbox_of(client));
    pass(client, slice_from(whole, FRAME_HEADER_BYTES + view.tail_offset));
    return ROUTE_DONE;
}

static enum route_step on_describe(struct client *client, const struct frame *frame, struct slice whole)
{
    struct target_view view;
    enum route_step step;
    if (!decode_target(frame->body, &view))
        return fail(client, "08P01", "invalid message format");
    const struct sql_class *class = view.kind == 'S' ? class_of_name(client, view.name) : NULL;
    struct lease *lease = extended_lease(client, class, whole, &step);
    if (lease == NULL)
        return step;
    struct statement *statement = NULL;
    struct slice name = view.name;
    char text[STATEMENT_NAME_SIZE];
    if (view.kind == 'S' && !resolve(lease, view.name, &statement, &name, text))
        return ROUTE_ENDED;
    if (name.data == view.name.data) {
        pass(client, whole);
    } else {
        encode_target(outbox_make(outbox_of(client), lease->server->conn), MSG_DESCRIBE, 'S', name);
        outbox_made(outbox_of(client));
    }
    struct owed entry = {.kind = OWED_DESCRIBE, .flags = cached_begin_fill(lease, view.kind == 'S')};
    if (statement != NULL && view.name.len > 0)
        entry.statement = statement_ref(statement);
    return lease_owe(lease, entry) ? ROUTE_DONE : ROUTE_ENDED;
}

static enum route_step on_execute(struct client *client, const struct frame *frame, struct slice whole)
{
    struct execute_view view;
    enum route_step step;
    if (!decode_execute(frame->body, &view))
        return fail(client, "08P01", "invalid message format");
    struct lease *lease = extended_lease(client, NULL, whole, &step);
    if (lease == NULL)
        return step;
    struct statement *statement = lease_portal_get(lease, view.portal);
    struct sql_class *class = statement != NULL ? statement->class : sql_class_unparsable();
    if (!cached_sending(lease, class))
        return ROUTE_ENDED;
    transaction_sending(&client->tx, class, false);
    pass(client, whole);
    struct owed entry = {.kind = OWED_EXECUTE, .flags = cached_begin_fill(lease, false), .class = sql_class_ref(class)};
    if (statement != NULL)
        entry.statement = statement_ref(statement);
    return lease_owe(lease, entry) ? ROUTE_DONE : ROUTE_ENDED;
}

static enum route_step on_close(struct client *client, const struct frame *frame, struct slice whole)
{
    struct target_view view;
    enum route_step step;
    if (!decode_target(frame->body, &view))
        return fail(client, "08P01", "invalid message format");
    struct lease *lease = extended_lease(client, NULL, whole, &step);
    if (lease == NULL)
        return step;
    bool is_named = view.kind == 'S' && view.name.len > 0;
    if (is_named)
        statement_map_remove(&client->prepared, view.name);
    if (is_named && renames(lease)) { /* others may be using it under the server's name */
        if (!lease_owe(lease, (struct owed){.kind = OWED_CLOSE, .flags = OWED_SYNTH}))
            return ROUTE_ENDED;
        outbox_flush(outbox_of(client));
        lease_give_synths(lease);
        outbox_flush(outbox_of(client));
        return ROUTE_DONE;
    }
    if (view.kind == 'S') {
        set_unnamed(&client->unnamed, NULL);
        set_unnamed(&lease->server->unnamed, NULL);
    } else if (!lease_portal_set(lease, view.name, NULL)) {
        return fail(client, "53200", "out of memory");
    }
    pass(client, whole);
    return lease_owe(lease, (struct owed){.kind = OWED_CLOSE}) ? ROUTE_DONE : ROUTE_ENDED;
}

static enum route_step on_flush(struct client *client, const struct frame *frame, struct slice whole)
{
    (void)frame;
    client->is_batch_relayed = false;
    if (client->lease != NULL)
        pass(client, whole);
    return ROUTE_DONE;
}

/* Between CopyInResponse and CopyDone PostgreSQL reads a Sync and ignores it. */
static bool is_inside_copy(struct lease *lease)
{
    if (!lease->is_copy_in)
        return false;
    for (uint32_t i = 0; i < lease->owed.count; i++)
        if (owed_at(&lease->owed, i)->kind == OWED_COPY_END)
            return false;
    return true;
}

static enum route_step sync_here(struct client *client)
{
    struct buf out = BUF_INIT;
    client->is_skipping = false;
    encode_ready(&out, client_status(client));
    client_write(client, buf_slice(&out));
    buf_free(&out);
    return ROUTE_DONE;
}

static enum route_step on_sync(struct client *client, const struct frame *frame, struct slice whole)
{
    (void)frame;
    struct lease *lease = client->lease;
    client->is_batch_relayed = false;
    if (lease == NULL || (client->is_skipping && !lease->is_batch_open))
        return sync_here(client);
    if (is_inside_copy(lease)) {
        lease->has_early_sync = lease->has_early_sync || lease->has_copied;
        pass(client, whole);
        return ROUTE_DONE;
    }
    lease_begin_request(lease);
    lease->is_batch_open = lease->is_skipping = false;
    pass(client, whole);
    if (!lease_owe(lease, (struct owed){.kind = OWED_SYNC}))
        return ROUTE_ENDED;
    lease->is_holding = lease->profile_owed > 0;
    return ROUTE_DONE;
}

/* ---- the rest ------------------------------------------------------------------------------------------------------------ */

static enum route_step on_function_call(struct client *client, const struct frame *frame, struct slice whole)
{
    if (is_refused(client, true))
        return ROUTE_DONE;
    struct lease *lease = lease_for(client, true);
    if (lease == NULL)
        return client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
    if (transaction_is_held(&client->tx) && !flush_begin(lease))
        return ROUTE_ENDED;
    if (!lease->is_skipping) {
        if (!cached_sending(lease, NULL))
            return ROUTE_ENDED;
        transaction_sending(&client->tx, sql_class_unparsable(), false);
        pin_set(&client->pins, PIN_CODE);
        if (!lease_owe(lease, (struct owed){.kind = OWED_FUNCTION}))
            return ROUTE_ENDED;
    }
    pass(client, whole);
    client->stream_left = frame->total - whole.len;
    return ROUTE_DONE;
}

static enum route_step on_copy_data(struct client *client, const struct frame *frame, struct slice whole)
{
    struct lease *lease = client->lease;
    client->stream_left = frame->total - whole.len;
    if (lease == NULL) /* outside a COPY PostgreSQL ignores it */
        return ROUTE_DONE;
    lease->has_copied = true;
    pass(client, whole);
    return ROUTE_DONE;
}

static enum route_step on_copy_end(struct client *client, const struct frame *frame, struct slice whole)
{
    struct lease *lease = client->lease;
    client->stream_left = frame->total - whole.len;
    if (lease == NULL)
        return ROUTE_DONE;
    pass(client, whole);
    if (owed_is_empty(&lease->owed))
        return ROUTE_DONE;
    return lease_owe(lease, (struct owed){.kind = OWED_COPY_END}) ? ROUTE_DONE : ROUTE_ENDED;
}

static enum route_step on_terminate(struct client *client, const struct frame *frame, struct slice whole)
{
    (void)frame, (void)whole;
    outbox_flush(outbox_of(client));
    client_close(client, "client close request");
    return ROUTE_ENDED;
}

typedef enum route_step (*route_fn)(struct client *client, const struct frame *frame, struct slice whole);

static const struct route {
    route_fn fn;
    bool is_partial; /* looks at messages that are not there in full */
} routes[256] = {
    [MSG_QUERY] = {on_query, true},
    [MSG_PARSE] = {on_parse, true},
    [MSG_BIND] = {on_bind, true},
    [MSG_DESCRIBE] = {on_describe, false},
    [MSG_EXECUTE] = {on_execute, false},
    [MSG_CLOSE] = {on_close, false},
    [MSG_FLUSH] = {on_flush, false},
    [MSG_SYNC] = {on_sync, false},
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
        return fail(client, "08P01", text);
    }
    if ((size_t)config_settings(client->part->config)->max_packet_size < frame->total)
        return fail(client, "08P01", "packet is larger than max_packet_size");
    if (whole.len < frame->total && !route->is_partial)
        return frame->total > SMALL_WHOLE ? fail(client, "08P01", "invalid message length") : ROUTE_MORE;
    if (client->is_skipping && frame->type != MSG_SYNC && frame->type != MSG_TERMINATE) {
        client->stream_left = frame->total - whole.len; /* ignored, as PostgreSQL does after an error */
        return ROUTE_DONE;
    }
    return route->fn(client, frame, whole);
}

static size_t take_stream(struct client *client, struct slice rest)
{
    size_t here = rest.len < client->stream_left ? rest.len : (size_t)client->stream_left;
    if (client->lease != NULL && !client->is_skipping)
        pass(client, slice_make(rest.data, here));
    client->stream_left -= here;
    /* The answer may have come before the end of the message, as to a COPY that failed. */
    if (client->stream_left == 0 && client->lease != NULL && owed_is_empty(&client->lease->owed)) {
        outbox_flush(outbox_of(client));
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
    return lease->is_holding || conn_is_congested(lease->server->conn) ||
           (owed_is_empty(&lease->owed) && cancel_is_pending(lease->server) && client->stream_left == 0);
}

/* A batch that the cache may answer as a whole. True when it is not for route_one (now); `here` bytes are dealt with. */
static bool is_taken_by_cache(struct client *client, struct slice rest, size_t *here)
{
    uint8_t type = rest.data[0];
    *here = 0;
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
        fail(client, "08P01", "invalid message length");
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
