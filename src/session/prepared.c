/*
 * prepared: the messages of the extended protocol. A client's statement names become the server's own,
 * statements that this server lacks are parsed in front, and the unnamed statement is whoever used it last.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "weir/session/begin.h"
#include "weir/session/cached.h"
#include "weir/session/route.h"
#include "weir/session/sequence.h"
#include "weir/util/cold.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"

enum {
    PARSE_WHOLE = 16 * 1024 * 1024, /* longer statements cannot be kept */
    RECENT_TEXT_LIMIT = 16 * 1024,  /* nor are long ones among the recent: 4 MB in all */
};

COLD static void append_parse(struct buf *out, struct slice name, const struct statement *statement)
{
    size_t begun = encode_begin(out, MSG_PARSE);
    encode_text(out, name);
    encode_text(out, statement->text);
    buf_append_u16(out, statement->n_types);
    for (uint16_t i = 0; i < statement->n_types; i++)
        buf_append_u32(out, statement->types[i]);
    encode_end(out, begun);
}

/* Parse and Bind are counted where prepared statements are tracked. */
static void count(const struct pool_part *part, _Atomic uint64_t *counter)
{
    if (config_settings(part->config)->max_prepared_statements > 0)
        counter_bump(counter);
}

/* What the server held and has to leave; its reference is given up. */
COLD static bool send_close(struct lease *lease, struct statement *victim)
{
    char name[STATEMENT_NAME_SIZE];
    size_t len = statement_name(victim, name);
    encode_target(outbox_make(lease->session->outbox, lease->server->conn), MSG_CLOSE, 'S',
                  slice_make(name, len));
    outbox_made(lease->session->outbox);
    statement_unref(victim);
    return lease_owe(lease, (struct owed){.kind = OWED_CLOSE, .flags = OWED_SWALLOW});
}

/* Puts a Parse of the server's own name into the outbox, and a Close of whoever has to leave for it. */
COLD static bool send_parse(struct lease *lease, struct statement *statement, struct owed entry)
{
    struct server *server = lease->server;
    struct outbox *outbox = lease->session->outbox;
    char name[STATEMENT_NAME_SIZE];
    bool is_added = true;
    struct statement *victim = NULL;
    uint32_t limit = (uint32_t)config_settings(server->part->config)->max_prepared_statements;
    if (server->statements == NULL)
        server->statements = statement_set_new(limit);
    if (server->statements != NULL) {
        statement_set_limit(server->statements, limit); /* which a reload may have changed */
        while ((victim = statement_set_evict(server->statements)) != NULL)
            if (!send_close(lease, victim))
                return false;
        victim = statement_set_add(server->statements, statement, &is_added);
    }
    if (server->statements == NULL || !is_added) {
        struct client *client = lease->client;
        lease_break(lease, "out of memory");
        client_fail(client, "53200", "out of memory");
        return false;
    }
    if (victim != NULL && !send_close(lease, victim))
        return false;
    struct buf *out = outbox_make(outbox, server->conn);
    size_t len = statement_name(statement, name);
    append_parse(out, slice_make(name, len), statement);
    outbox_made(outbox);
    counter_bump(&server->part->counters.server_parse_count);
    return lease_owe(lease, entry);
}

bool route_ensure_statement(struct lease *lease, struct statement *statement)
{
    struct server *server = lease->server;
    if (server->statements != NULL && statement_set_use(server->statements, statement))
        return true;
    return send_parse(
        lease, statement,
        (struct owed){.kind = OWED_PARSE, .flags = OWED_SWALLOW, .statement = statement_ref(statement)});
}

void route_set_unnamed(struct client *client, struct statement *statement)
{
    route_replace(&client->unnamed, statement);
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
        append_parse(out, SLICE_LITERAL(""), statement);
    } else {
        encode_target(out, MSG_CLOSE, 'S', SLICE_LITERAL(""));
    }
    outbox_made(outbox);
    route_replace(&server->unnamed, client->unnamed);
    return lease_owe(lease, (struct owed){.kind = kind, .flags = OWED_SWALLOW});
}

static bool is_first_alone(const struct client *client, const struct sql_class *class)
{
    return client->lease == NULL || !client->lease->is_prepared ? route_must_be_alone(client, class) : false;
}

COLD static struct statement *intern(struct client *client, const struct parse_view *view)
{
    struct memo_answer answer = memo_classify(client->session->memo, view->text, client_is_readable(client));
    uint32_t types[64], *all = types;
    if (view->type_count > 64 && (all = malloc(view->type_count * sizeof(*all))) == NULL)
        return NULL;
    for (uint16_t i = 0; i < view->type_count; i++)
        all[i] = decode_u32(view->types.data + 4 * (size_t)i);
    struct statement *statement = statement_intern(client->session->shared->statements, view->text, all,
                                                   view->type_count, answer.class, answer.text_flags);
    if (all != types)
        free(all);
    return statement;
}

static uint64_t recent_hash(const struct parse_view *view)
{
    uint64_t hash = XXH3_64bits(view->text.data, view->text.len);
    return view->type_count == 0 ? hash
                                 : XXH3_64bits_withSeed(view->types.data, 4 * (size_t)view->type_count, hash);
}

static bool is_recent(const struct recent_statement *recent, uint64_t hash, const struct parse_view *view,
                      bool is_readable)
{
    const struct statement *statement = recent->statement;
    if (recent->hash != hash || statement == NULL || recent->is_readable != is_readable ||
        statement->n_types != view->type_count || !slice_equal(statement->text, view->text))
        return false;
    for (uint16_t i = 0; i < view->type_count; i++)
        if (statement->types[i] != decode_u32(view->types.data + 4 * (size_t)i))
            return false;
    return true;
}

struct statement *route_intern(struct client *client, const struct parse_view *view)
{
    bool is_readable = client_is_readable(client); /* how a text is understood depends on it */
    uint64_t hash = recent_hash(view);
    struct recent_statement *recent = &client->session->recents[hash % RECENT_STATEMENTS];
    if (is_recent(recent, hash, view, is_readable))
        return statement_ref(recent->statement);
    struct statement *statement = intern(client, view);
    if (statement == NULL || view->text.len > RECENT_TEXT_LIMIT)
        return statement;
    statement_unref(recent->statement);
    *recent = (struct recent_statement){statement_ref(statement), hash, is_readable};
    return statement;
}

/* A name that is taken: PostgreSQL is made to say so itself, in its place among the answers. */
COLD static enum route_step parse_duplicate(struct lease *lease, struct slice name, struct slice whole)
{
    struct outbox *outbox = lease->session->outbox;
    client_log(lease->client, LOG_LEVEL_WARNING, "prepared statement '%.*s' was already prepared",
               (int)(name.len < 100 ? name.len : 100), (const char *)name.data);
    encode_parse(outbox_make(outbox, lease->server->conn), name, SLICE_LITERAL(""), SLICE_EMPTY);
    outbox_made(outbox);
    encode_target(&lease->cleanup, MSG_CLOSE, 'S', name);
    lease->cleanup_count++;
    if (!lease_owe(lease, (struct owed){.kind = OWED_PARSE, .flags = OWED_SWALLOW}) ||
        !lease_owe(lease, (struct owed){.kind = OWED_PARSE}))
        return ROUTE_ENDED;
    route_pass(lease->client, whole);
    return ROUTE_DONE;
}

static enum route_step parse_named(struct lease *lease, const struct parse_view *view,
                                   struct statement *statement, struct slice whole)
{
    struct client *client = lease->client;
    enum statement_put put = statement_map_put(&client->prepared, view->name, statement);
    if (put == STATEMENT_EXISTS && route_renames(lease))
        return parse_duplicate(lease, view->name, whole);
    char *name = put == STATEMENT_PUT ? slice_dup(view->name) : NULL;
    if (put == STATEMENT_NO_MEMORY || (put == STATEMENT_PUT && name == NULL))
        return route_fail(client, "53200", "out of memory");
    struct owed entry = {.kind = OWED_PARSE, .statement = statement_ref(statement), .name = name};
    if (!route_renames(lease)) {
        count(client->part, &lease->server->part->counters.server_parse_count);
        route_pass(client, whole);
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
    route_replace(&client->unnamed, statement);
    route_replace(&lease->server->unnamed, statement);
    count(client->part, &lease->server->part->counters.server_parse_count);
    route_pass(client, whole);
    return lease_owe(lease, (struct owed){.kind = OWED_PARSE}) ? ROUTE_DONE : ROUTE_ENDED;
}

/*
 * BEGIN, COMMIT and their like have nothing that PostgreSQL could object to: preparing one takes no server.
 * (A client that prepares them in a transaction of its own while others hold every server would otherwise
 * wait for itself.)
 */
static bool parse_without_server(struct client *client, const struct parse_view *view,
                                 struct statement *statement)
{
    const struct sql_class *class = statement->class;
    int limit = config_settings(client->part->config)->max_prepared_statements;
    if (client->lease != NULL || client->part->settings.mode == POOL_MODE_SESSION || limit <= 0 ||
        view->name.len == 0 || class->n_statements != 1 || !(class->flags & SQL_CLASS_TRANSACTION) ||
        statement_map_put(&client->prepared, view->name, statement) != STATEMENT_PUT)
        return false;
    struct buf out = BUF_INIT;
    encode_empty(&out, MSG_PARSE_COMPLETE);
    client_write_buf(client, &out);
    buf_free(&out);
    return true;
}

/* While the server ignores everything up to Sync, messages are only passed on. */
static bool pass_skipped(struct client *client, struct slice whole)
{
    if (client->lease == NULL || !client->lease->is_skipping)
        return false;
    route_pass(client, whole);
    return true;
}

enum route_step route_on_parse(struct client *client, const struct frame *frame, struct slice whole)
{
    struct parse_view view;
    if (whole.len < frame->total) {
        if (frame->total > PARSE_WHOLE)
            return route_fail(client, "54000", "statement is longer than 16 MB");
        return ROUTE_MORE;
    }
    if (!decode_parse(frame->body, &view))
        return route_fail(client, "08P01", "invalid message format");
    if (route_is_refused(client, false) || pass_skipped(client, whole))
        return ROUTE_DONE;
    struct statement *statement = route_intern(client, &view);
    if (statement == NULL)
        return route_fail(client, "53200", "out of memory");
    enum route_step step = ROUTE_WAIT;
    if (route_is_refused_by_mode(client, statement->class)) {
        step = route_fail(client, "08P01", "transaction blocks not allowed in statement pooling mode");
        goto done;
    }
    if (route_is_refused_by_pin(client, statement->class, false)) {
        step = client->is_ending ? ROUTE_ENDED : ROUTE_DONE;
        goto done;
    }
    if (parse_without_server(client, &view, statement)) {
        step = ROUTE_DONE;
        goto done;
    }
    struct lease *lease = route_lease(client, is_first_alone(client, statement->class), false);
    if (lease == NULL) {
        step = client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
        goto done;
    }
    if (!sequence_prepare(lease, statement->class) ||
        (transaction_is_held(&client->tx) && !begin_flush(lease))) {
        step = client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
        goto done;
    }
    lease->is_batch_open = true;
    count(client->part, &client->part->counters.client_parse_count);
    step = view.name.len > 0 ? parse_named(lease, &view, statement, whole)
                             : parse_unnamed(lease, statement, whole);
done:
    statement_unref(statement);
    return step;
}

/* The statement that a name means to this client; the server is made to have it. False when the client has
 * ended. */
static bool resolve(struct lease *lease, struct slice name, struct statement **statement,
                    struct slice *server_name, char text[STATEMENT_NAME_SIZE])
{
    struct client *client = lease->client;
    *server_name = name;
    if (name.len == 0) {
        *statement = client->unnamed;
        return ensure_unnamed(lease);
    }
    *statement = statement_map_find(&client->prepared, name);
    if (*statement == NULL ||
        !route_renames(lease)) /* PostgreSQL itself says that there is none of this name */
        return true;
    *server_name = slice_make(text, statement_name(*statement, text));
    return route_ensure_statement(lease, *statement);
}

static struct sql_class *class_of_name(struct client *client, struct slice name)
{
    const struct statement *statement =
        name.len == 0 ? client->unnamed : statement_map_find(&client->prepared, name);
    return statement != NULL ? statement->class : sql_class_unparsable();
}

/* Common to the messages of the extended protocol that need a server. NULL with the step to return. */
static struct lease *extended_lease(struct client *client, struct sql_class *class, struct slice whole,
                                    enum route_step *step)
{
    *step = ROUTE_DONE;
    if (route_is_refused(client, false) || pass_skipped(client, whole))
        return NULL;
    bool is_alone = class != NULL ? is_first_alone(client, class) : transaction_is_held(&client->tx);
    struct lease *lease = route_lease(client, is_alone, false);
    *step = client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
    if (lease == NULL)
        return NULL;
    if ((class != NULL && !sequence_prepare(lease, class)) ||
        (transaction_is_held(&client->tx) && !begin_flush(lease))) {
        *step = client->is_ending ? ROUTE_ENDED : ROUTE_WAIT;
        return NULL;
    }
    lease->is_batch_open = true;
    return lease;
}

static struct cache_row row_of(struct lease *lease, const struct statement *statement, struct slice bind)
{
    if (statement == NULL)
        return (struct cache_row){.relation = 0};
    const struct cache_values values = {
        .text = statement->text, .bind = bind, .types = statement->types, .type_count = statement->n_types};
    return cached_row(lease, statement->class, &values);
}

/*
 * What the portal runs. Where all that was unknown of the statement is the value of a setting, which is text
 * and so the same bytes in either format, it is known now, and the portal's class is that of set_config with
 * this value. A new reference; NULL when there is no statement.
 */
static struct statement *bound(struct client *client, struct statement *statement, struct slice body)
{
    uint16_t number = statement != NULL ? sql_bound_setting(statement->class) : 0;
    struct bind_view view;
    struct slice value;
    bool is_null;
    uint16_t format;
    if (number == 0 || !decode_bind(body, &view) ||
        !decode_bind_value(&view, number, &value, &is_null, &format))
        return statement_ref(statement);
    struct buf text = BUF_INIT;
    struct statement *made = NULL;
    if (sql_bound_text(statement->class, value, &text) && !buf_failed(&text)) {
        struct slice all = slice_make(text.data, text.len);
        struct memo_answer answer = memo_classify(client->session->memo, all, true);
        made = statement_intern(client->session->shared->statements, all, NULL, 0, answer.class,
                                answer.text_flags);
    }
    buf_free(&text);
    return made != NULL ? made : statement_ref(statement);
}

enum route_step route_on_bind(struct client *client, const struct frame *frame, struct slice whole)
{
    struct bind_view view;
    enum route_step step;
    bool is_whole = whole.len == frame->total;
    if (!decode_bind_names(frame->body, &view)) {
        if (!is_whole && frame->body.len < ROUTE_SMALL_WHOLE)
            return ROUTE_MORE;
        return route_fail(client, "08P01", "invalid message format");
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
    struct statement *run = is_whole ? bound(client, statement, frame->body) : statement_ref(statement);
    bool is_set = lease_portal_set(lease, view.portal, run);
    statement_unref(run);
    if (!is_set)
        return route_fail(client, "53200", "out of memory");
    client->has_hit_portal = client->has_hit_portal && view.portal.len > 0;
    if (view.portal.len == 0)
        lease->portal_row = is_whole ? row_of(lease, statement, slice_from(frame->body, view.tail_offset))
                                     : (struct cache_row){.relation = 0};
    count(client->part, &client->part->counters.bind_count);
    struct owed entry = {.kind = OWED_BIND};
    if (statement != NULL && view.statement.len > 0)
        entry.statement = statement_ref(statement);
    if (!lease_owe(lease, entry))
        return ROUTE_ENDED;
    client->stream_left = frame->total - whole.len;
    if (name.data == view.statement.data) {
        route_pass(client, whole);
        return ROUTE_DONE;
    }
    struct buf *out = outbox_make(route_outbox(client), lease->server->conn);
    buf_append_u8(out, MSG_BIND);
    buf_append_u32(out, (uint32_t)(frame->total - 1 - view.statement.len + name.len));
    encode_text(out, view.portal);
    encode_text(out, name);
    outbox_made(route_outbox(client));
    route_pass(client, slice_from(whole, FRAME_HEADER_BYTES + view.tail_offset));
    return ROUTE_DONE;
}

/* The server's unnamed portal may be one from before a hit, with rows of another query: who goes on with that
 * of the hit names one that no server has, and gets PostgreSQL's error for it. */
static struct slice portal_of(const struct client *client, struct slice name)
{
    return name.len == 0 && client->has_hit_portal ? SLICE_LITERAL("of an answer from the cache") : name;
}

enum route_step route_on_describe(struct client *client, const struct frame *frame, struct slice whole)
{
    struct target_view view;
    enum route_step step;
    if (!decode_target(frame->body, &view))
        return route_fail(client, "08P01", "invalid message format");
    struct sql_class *class = view.kind == 'S' ? class_of_name(client, view.name) : NULL;
    struct lease *lease = extended_lease(client, class, whole, &step);
    if (lease == NULL)
        return step;
    struct statement *statement = NULL;
    struct slice name = view.name;
    char text[STATEMENT_NAME_SIZE];
    if (view.kind == 'S' && !resolve(lease, view.name, &statement, &name, text))
        return ROUTE_ENDED;
    if (view.kind == 'P')
        name = portal_of(client, name);
    if (name.data == view.name.data) {
        route_pass(client, whole);
    } else {
        encode_target(outbox_make(route_outbox(client), lease->server->conn), MSG_DESCRIBE, view.kind, name);
        outbox_made(route_outbox(client));
    }
    struct owed entry = {.kind = OWED_DESCRIBE, .flags = cached_begin_fill(lease)};
    if (statement != NULL && view.name.len > 0)
        entry.statement = statement_ref(statement);
    return lease_owe(lease, entry) ? ROUTE_DONE : ROUTE_ENDED;
}

enum route_step route_on_execute(struct client *client, const struct frame *frame, struct slice whole)
{
    struct execute_view view;
    enum route_step step;
    if (!decode_execute(frame->body, &view))
        return route_fail(client, "08P01", "invalid message format");
    struct lease *lease = extended_lease(client, NULL, whole, &step);
    if (lease == NULL)
        return step;
    struct slice portal = portal_of(client, view.portal);
    struct statement *statement = lease_portal_get(lease, portal);
    struct sql_class *class = statement != NULL ? statement->class : sql_class_unparsable();
    uint64_t place = owed_next_place(&lease->owed);
    enum cached_send send = cached_sending(lease, class, view.portal.len == 0 ? &lease->portal_row : NULL);
    if (send != CACHED_SEND)
        return send == CACHED_HOLD ? ROUTE_WAIT : ROUTE_ENDED;
    if (!sequence_prepare_execute(lease, class))
        return ROUTE_ENDED;
    cached_moved(lease, place);
    transaction_sending(&client->tx, class, false);
    sequence_sending(lease, class);
    lease->is_gap_coming = lease->is_gap_coming || transaction_opens_gap(&client->tx, class);
    if (portal.data == view.portal.data) {
        route_pass(client, whole);
    } else {
        encode_execute(outbox_make(route_outbox(client), lease->server->conn), portal, view.max_rows);
        outbox_made(route_outbox(client));
    }
    struct owed entry = {
        .kind = OWED_EXECUTE, .flags = cached_begin_fill(lease), .class = sql_class_ref(class)};
    if (statement != NULL)
        entry.statement = statement_ref(statement);
    return lease_owe(lease, entry) ? ROUTE_DONE : ROUTE_ENDED;
}

enum route_step route_on_close(struct client *client, const struct frame *frame, struct slice whole)
{
    struct target_view view;
    enum route_step step;
    if (!decode_target(frame->body, &view))
        return route_fail(client, "08P01", "invalid message format");
    struct lease *lease = extended_lease(client, NULL, whole, &step);
    if (lease == NULL)
        return step;
    bool is_named = view.kind == 'S' && view.name.len > 0;
    if (is_named)
        statement_map_remove(&client->prepared, view.name);
    if (is_named && route_renames(lease)) { /* others may be using it under the server's name */
        if (!lease_owe(lease, (struct owed){.kind = OWED_CLOSE, .flags = OWED_SYNTH}))
            return ROUTE_ENDED;
        outbox_flush(route_outbox(client));
        lease_give_synths(lease);
        outbox_flush(route_outbox(client));
        return ROUTE_DONE;
    }
    if (view.kind == 'S') {
        route_replace(&client->unnamed, NULL);
        route_replace(&lease->server->unnamed, NULL);
    } else if (!lease_portal_set(lease, view.name, NULL)) {
        return route_fail(client, "53200", "out of memory");
    } else if (view.name.len == 0) {
        client->has_hit_portal = false;
    }
    route_pass(client, whole);
    return lease_owe(lease, (struct owed){.kind = OWED_CLOSE}) ? ROUTE_DONE : ROUTE_ENDED;
}

enum route_step route_on_flush(struct client *client, const struct frame *frame, struct slice whole)
{
    (void)frame;
    client->is_batch_relayed = false;
    if (client->lease != NULL)
        route_pass(client, whole);
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

COLD static enum route_step sync_here(struct client *client)
{
    struct buf out = BUF_INIT;
    client->is_skipping = false;
    encode_ready(&out, client_status(client));
    client_write_buf(client, &out);
    buf_free(&out);
    return ROUTE_DONE;
}

enum route_step route_on_sync(struct client *client, const struct frame *frame, struct slice whole)
{
    (void)frame;
    struct lease *lease = client->lease;
    client->is_batch_relayed = false;
    if (lease == NULL || (client->is_skipping && !lease->is_batch_open))
        return sync_here(client);
    if (is_inside_copy(lease)) {
        lease->has_early_sync = lease->has_early_sync || lease->has_copied;
        route_pass(client, whole);
        return ROUTE_DONE;
    }
    lease_begin_request(lease);
    lease->is_batch_open = lease->is_skipping = false;
    route_pass(client, whole);
    bool is_gap = lease->is_gap_coming;
    lease->is_gap_coming = false;
    if (!lease_owe(lease, (struct owed){.kind = OWED_SYNC, .flags = is_gap ? OWED_GAP : 0}))
        return ROUTE_ENDED;
    lease->is_holding = lease->profile_owed > 0 || lease->is_begin_owed || is_gap;
    return ROUTE_DONE;
}
