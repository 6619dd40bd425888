/*
 * cached: questions to the cache, hits and fills. Writes are in cached_writes.c.
 *
 * A client that has asked carries a struct cached_ask until the question is settled: a hit is sent, a miss
 * becomes the lease's fill when the query goes out, anything else is forgotten and PostgreSQL asked.
 */
#include "cached_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/cache/cache.h"
#include "weir/cache/reason.h"
#include "weir/session/client.h"
#include "weir/session/outbox.h"
#include "weir/util/clock.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

struct cached_ask {
    struct client *client;
    struct cache_answer answer;
    uint64_t since_us;
    enum cache_shape shape;
    bool is_waiting;
};

/* ---- the pool's part
 * -------------------------------------------------------------------------------------------------- */

void cached_part_free(struct pool_part *part)
{
    struct part_context *context = part->context;
    if (context == NULL)
        return;
    cache_database_unref(context->database);
    buf_free(&context->baseline);
    free(context);
    part->context = NULL;
}

void cached_part_configure(struct pool_part *part)
{
    struct session_worker *session = worker_context(part->worker);
    struct cache *cache = session->shared->cache;
    /* Another configured name may mean the same PostgreSQL database: then writes through this one count too.
     */
    if (cache == NULL || !config_has_cache(part->config)) {
        cached_part_free(part);
        return;
    }
    const struct config_host *host = &part->database->hosts[0];
    struct cache_database *database = cache_database_get(
        cache, host->name, (unsigned)host->port, config_dbname(part->database, part->pool->database->name));
    struct part_context *context = part->context;
    if (context == NULL)
        context = part->context = calloc(1, sizeof(*context));
    if (context == NULL || database == NULL) {
        cache_database_unref(database);
        cached_part_free(part);
        return;
    }
    if (context->database != NULL)
        cache_database_unref(context->database);
    context->database = database;
}

void cached_part_baseline(struct pool_part *part, const struct server_baseline *baseline)
{
    struct part_context *context = part->context;
    if (context == NULL || baseline == NULL)
        return;
    struct slice bytes = slice_make(baseline->bytes, baseline->fingerprint_len + baseline->search_path_len);
    if (context->has_baseline && slice_equal(buf_slice(&context->baseline), bytes) &&
        context->fingerprint_len == baseline->fingerprint_len)
        return;
    buf_clear(&context->baseline);
    buf_append_slice(&context->baseline, bytes);
    context->has_baseline = !buf_failed(&context->baseline);
    context->fingerprint_len = baseline->fingerprint_len;
    context->is_read_committed = baseline->is_read_committed;
    list_for_each(&part->clients, node)
    {
        struct client *client = list_entry(node, struct client, pool_node);
        if (client->scope != NULL)
            cache_scope_unref(client->scope);
        client->scope = NULL;
    }
}

const char *cached_state(const struct pool_part *part, char *text, size_t size)
{
    const struct part_context *context = part->context;
    text[0] = '\0';
    if (context == NULL)
        return text;
    cache_database_reason(context->database, text, size);
    const struct config_user *user = config_user_find(part->config, part->pool->user->name);
    bool is_exact = config_cache_mode(part->config, part->database, user) == CACHE_EXACT;
    if (text[0] == '\0' && is_exact)
        cache_database_exact_reason(context->database, text, size);
    return text;
}

bool cached_explain(struct pool_part *part, struct slice text, struct cache_template *out,
                    struct buf *scratch)
{
    struct session_worker *session = worker_context(part->worker);
    const struct part_context *context = part->context;
    if (context == NULL || !context->has_baseline || session->cache == NULL)
        return false;
    struct slice bytes = buf_slice(&context->baseline);
    const struct config_user *user = config_user_find(part->config, part->pool->user->name);
    struct profile *profile = profile_empty(session->shared->profiles);
    const struct cache_scope_options options = {
        .database = context->database,
        .user = part->pool->user->name,
        .profile = profile,
        .baseline = slice_make(bytes.data, context->fingerprint_len),
        .search_path = slice_from(bytes, context->fingerprint_len),
    };
    struct memo_answer answer = memo_classify(session->memo, text, true);
    struct cache_request request = {
        .scope = cache_scope_get(session->shared->cache, &options),
        .mode = config_cache_mode(part->config, part->database, user),
        .shape = CACHE_SIMPLE,
        .flags = answer.text_flags & TEMPLATE_DATETIME_WORD ? CACHE_DATETIME_WORD : 0,
        .class = answer.class,
        .text = text,
        .ttl_us = config_cache_ttl_us(part->config, part->database, user),
        .now_us = clock_now_us(),
    };
    profile_unref(profile);
    if (request.scope == NULL)
        return false;
    if (config_settings(part->config)->cache_hints != CACHE_HINTS_OFF &&
        answer.class->hint.cache == HINT_CACHE_OFF)
        request.flags |= CACHE_HINT_OFF;
    cache_explain(session->cache, &request, out, scratch);
    cache_scope_unref(request.scope);
    return true;
}

void cached_part_crashed(struct pool_part *part)
{
    struct part_context *context = part->context;
    if (context != NULL)
        cache_database_server_lost(context->database);
}

/* ---- who asks
 * ------------------------------------------------------------------------------------------------------------
 */

struct cache_scope *cached_scope(struct client *client)
{
    struct part_context *context = client->part->context;
    struct profile *profile = transaction_current(&client->tx);
    if (client->scope != NULL && client->scope_profile == profile)
        return client->scope;
    if (client->scope != NULL)
        cache_scope_unref(client->scope);
    client->scope = NULL;
    if (context == NULL || !context->has_baseline)
        return NULL;
    struct slice bytes = buf_slice(&context->baseline);
    const struct cache_scope_options options = {
        .database = context->database,
        .user = client->part->pool->user->name,
        .profile = profile,
        .baseline = slice_make(bytes.data, context->fingerprint_len),
        .search_path = slice_from(bytes, context->fingerprint_len),
    };
    client->scope = cache_scope_get(client->session->shared->cache, &options);
    client->scope_profile = profile;
    return client->scope;
}

static unsigned facts(const struct client *client, const struct sql_class *class, uint32_t text_flags)
{
    const struct part_context *context = client->part->context;
    unsigned flags = 0;
    if (!transaction_may_hit(&client->tx, context->is_read_committed))
        flags |= transaction_has_written(&client->tx) ? CACHE_HAS_WRITTEN : CACHE_NOT_COMMITTED_READ;
    /* What a function behind a view has written, too. */
    if (client->lease != NULL && client->lease->write != NULL && !cache_write_is_empty(client->lease->write))
        flags |= CACHE_HAS_WRITTEN;
    if (pin_has(&client->pins, PIN_TEMP_TABLE))
        flags |= CACHE_HAS_TEMPORARY;
    if (pin_has(&client->pins, PIN_CODE) || pin_has(&client->pins, PIN_SETTING) ||
        transaction_is_lost(&client->tx))
        flags |= CACHE_UNSEEN_STATE;
    if (client->lease != NULL) /* who holds a server never waits for one who may be waiting for it */
        flags |= CACHE_NO_WAIT;
    if (text_flags & TEMPLATE_DATETIME_WORD)
        flags |= CACHE_DATETIME_WORD;
    if (config_settings(client->part->config)->cache_hints != CACHE_HINTS_OFF &&
        class->hint.cache == HINT_CACHE_OFF)
        flags |= CACHE_HINT_OFF;
    return flags;
}

static uint64_t ttl_of(const struct client *client, const struct sql_class *class)
{
    const struct pool_part *part = client->part;
    uint64_t ttl = config_cache_ttl_us(part->config, part->database, client->limits);
    uint64_t hint = class->hint.ttl_ms * US_PER_MS;
    if (config_settings(part->config)->cache_hints == CACHE_HINTS_OFF || !class->hint.has_ttl)
        return ttl;
    return ttl == 0 || hint < ttl ? hint : ttl;
}

/* May this client ask at all, at this moment? What it sent before must have been answered. */
static bool may_ask(const struct client *client)
{
    const struct lease *lease = client->lease;
    if (client->cache_mode == CACHE_OFF || client->part->context == NULL || client->is_cancelled)
        return false;
    return lease == NULL || (owed_is_empty(&lease->owed) && !lease->is_batch_open && !lease->is_copy_in &&
                             lease->refusal.len == 0 && lease->fill == NULL);
}

/* ---- asking
 * ----------------------------------------------------------------------------------------------------------------
 */

static void drop_answer(struct cache_answer *answer, enum cache_abort why)
{
    if (answer->outcome == CACHE_HIT)
        entry_unref(answer->entry);
    else if (answer->outcome == CACHE_MISS && answer->fill != NULL)
        cache_fill_abort(answer->fill, why);
}

static void free_ask(struct session_worker *session, struct cached_ask *ask)
{
    if (session->spare_ask == NULL)
        session->spare_ask = ask;
    else
        free(ask);
}

bool cached_is_waiting(const struct client *client)
{
    return client->ask != NULL && client->ask->is_waiting;
}

void cached_forget(struct client *client)
{
    struct cached_ask *ask = client->ask;
    if (ask == NULL)
        return;
    client->ask = NULL;
    if (ask->is_waiting)
        cache_wait_cancel(ask->answer.wait);
    else
        drop_answer(&ask->answer, CACHE_ABORT_FETCHER);
    free_ask(client->session, ask);
}

static void answered(void *context, const struct cache_answer *answer)
{
    struct cached_ask *ask = context;
    struct client *client = ask->client;
    struct session_worker *session = client->session;
    session_enter(session);
    ask->answer = *answer;
    ask->is_waiting = false;
    conn_kick(client->conn);
    session_leave(session);
}

/* The state of the client's question: asked now, or settled meanwhile. NULL when memory is out. */
static struct cached_ask *ask_cache(struct client *client, const struct cache_request *request)
{
    if (client->ask != NULL)
        return client->ask;
    struct session_worker *session = client->session;
    struct cached_ask *ask = session->spare_ask != NULL ? session->spare_ask : malloc(sizeof(*ask));
    session->spare_ask = NULL;
    if (ask == NULL)
        return NULL;
    *ask = (struct cached_ask){.client = client, .since_us = clock_event_us(), .shape = request->shape};
    cache_lookup(session->cache, request, answered, ask, &ask->answer);
    ask->is_waiting = ask->answer.outcome == CACHE_WAIT;
    client->ask = ask;
    return ask;
}

static void account_hit(struct client *client, const struct cached_ask *ask, size_t bytes)
{
    struct counters *counters = &client->part->counters;
    uint64_t cost = entry_cost_us(ask->answer.entry);
    uint64_t now = clock_now_us();
    const struct request_times times = {.weir_us = now - ask->since_us, .saved_us = cost, .is_hit = true};
    ledger_record(&client->part->ledger, &times);
    counter_bump(&counters->cache_hits);
    if (ask->answer.source == CACHE_FROM_FETCH)
        counter_bump(&counters->cache_joins);
    else if (ask->answer.source == CACHE_FROM_REDIS)
        counter_bump(&counters->cache_redis_hits);
    counter_bump(&counters->query_count);
    counter_add(&counters->saved_time, cost);
    counter_add(&counters->cache_sent_bytes, bytes);
    counter_add(&counters->bytes_sent, bytes);
    if (transaction_block(&client->tx) == TRANSACTION_IDLE)
        counter_bump(&counters->xact_count);
}

static void settle(struct client *client)
{
    free_ask(client->session, client->ask);
    client->ask = NULL;
}

/* What the outcome means for the message at hand; a hit is left to the caller. */
static enum cached_step step_for(struct client *client, struct cached_ask *ask)
{
    if (ask == NULL)
        return CACHED_RELAY;
    if (ask->is_waiting)
        return CACHED_WAIT;
    switch (ask->answer.outcome) {
    case CACHE_HIT:
        return CACHED_ANSWERED;
    case CACHE_MISS: /* the fill stays until the query is sent */
        return CACHED_RELAY;
    default:
        counter_bump(&client->part->counters.cache_refused);
        settle(client);
        return CACHED_RELAY;
    }
}

/* A server that was granted for a question that the cache has answered meanwhile goes back. */
static void spare_lease(struct client *client)
{
    if (client->lease != NULL)
        lease_try_release(client->lease);
}

static void write_pieces(struct client *client, struct buf *front, struct slice middle, struct buf *back)
{
    struct outbox *outbox = client->session->outbox;
    if (outbox->to == client->conn)
        outbox_flush(outbox);
    const struct iovec parts[] = {
        {front->data, front->len}, {(void *)(uintptr_t)middle.data, middle.len}, {back->data, back->len}};
    if (buf_failed(front) || buf_failed(back))
        conn_fail(client->conn, ENOMEM);
    else
        conn_writev(client->conn, parts, 3);
    buf_free(front);
    buf_free(back);
}

enum cached_step cached_query(struct client *client, const struct memo_answer *known, struct slice text)
{
    struct sql_class *class = known->class;
    if (client->ask == NULL &&
        (!may_ask(client) || !(class->flags & SQL_CLASS_READ_CANDIDATE) || cached_scope(client) == NULL))
        return CACHED_RELAY;
    const struct cache_request request = {
        .scope = client->scope,
        .mode = client->cache_mode,
        .shape = CACHE_SIMPLE,
        .flags = facts(client, class, known->text_flags),
        .class = class,
        .text = text,
        .template = known->template,
        .ttl_us = ttl_of(client, class),
        .now_us = clock_event_us(),
    };
    struct cached_ask *ask = ask_cache(client, &request);
    enum cached_step step = step_for(client, ask);
    if (step != CACHED_ANSWERED)
        return step;
    struct entry *entry = ask->answer.entry;
    struct slice answer = entry_answer(entry);
    struct buf none = BUF_INIT, ready = BUF_INIT;
    encode_ready(&ready, client_status(client));
    write_pieces(client, &none, answer, &ready);
    route_set_unnamed(client, NULL); /* a simple query is the end of it, and of the portal */
    client->has_hit_portal = true;
    account_hit(client, ask, answer.len);
    entry_unref(entry);
    settle(client);
    spare_lease(client);
    return CACHED_ANSWERED;
}

/* ---- batches of the extended protocol
 * ---------------------------------------------------------------------------------------- */

struct batch {
    bool has_parse, has_bind, has_execute;
    bool is_bound_first; /* before the Describe */
    uint8_t describes;   /* 'S', 'P' or 0 */
    uint8_t end;         /* MSG_SYNC or MSG_FLUSH */
    struct parse_view parse;
    struct bind_view bind;
    struct slice bind_body;
    struct slice described; /* statement name */
    uint32_t row_limit;
    size_t total;
};

enum batch_result { BATCH_WHOLE, BATCH_SHORT, BATCH_ODD };

static bool add_to_batch(struct batch *batch, const struct frame *frame)
{
    struct target_view target;
    struct execute_view execute = {.max_rows = 0};
    switch (frame->type) {
    case MSG_PARSE:
        batch->has_parse = !batch->has_parse && !batch->has_bind && batch->describes == 0 &&
                           decode_parse(frame->body, &batch->parse);
        return batch->has_parse;
    case MSG_BIND:
        batch->has_bind =
            !batch->has_bind && batch->describes != 'P' && decode_bind(frame->body, &batch->bind);
        batch->bind_body = frame->body;
        return batch->has_bind;
    case MSG_DESCRIBE:
        if (batch->describes != 0 || batch->has_execute || !decode_target(frame->body, &target))
            return false;
        batch->describes = target.kind;
        batch->described = target.name;
        batch->is_bound_first = batch->has_bind;
        return target.kind == 'S' || (batch->has_bind && slice_equal(target.name, batch->bind.portal));
    case MSG_EXECUTE:
        batch->has_execute = !batch->has_execute && batch->has_bind &&
                             decode_execute(frame->body, &execute) &&
                             slice_equal(execute.portal, batch->bind.portal);
        batch->row_limit = execute.max_rows;
        return batch->has_execute;
    default:
        return false;
    }
}

static enum batch_result read_batch(struct slice data, struct batch *batch)
{
    enum { LONGEST = 32 * 1024 };
    struct frame frame;
    *batch = (struct batch){.total = 0};
    while (batch->total < LONGEST) {
        enum frame_result result = frame_next(slice_from(data, batch->total), &frame);
        if (result == FRAME_INCOMPLETE || (result == FRAME_PARTIAL && batch->total + frame.total < LONGEST))
            return BATCH_SHORT;
        if (result != FRAME_COMPLETE)
            return BATCH_ODD;
        batch->total += frame.total;
        if (frame.type == MSG_SYNC || frame.type == MSG_FLUSH) {
            batch->end = frame.type;
            bool is_run = batch->has_execute && frame.type == MSG_SYNC;
            bool is_description = !batch->has_bind && batch->describes == 'S';
            return is_run || is_description ? BATCH_WHOLE : BATCH_ODD;
        }
        if (!add_to_batch(batch, &frame))
            return BATCH_ODD;
    }
    return BATCH_ODD;
}

/* The one statement that the batch is about; a new reference. A Parse in it must find its name free. */
static struct statement *batch_statement(struct client *client, const struct batch *batch)
{
    struct slice name = batch->has_bind ? batch->bind.statement : batch->described;
    if (batch->describes == 'S' && !slice_equal(batch->described, name))
        return NULL;
    if (batch->has_parse) {
        bool is_taken = name.len > 0 && statement_map_find(&client->prepared, name) != NULL;
        if (is_taken || !slice_equal(batch->parse.name, name))
            return NULL;
        return route_intern(client, &batch->parse);
    }
    struct statement *statement =
        name.len == 0 ? client->unnamed : statement_map_find(&client->prepared, name);
    return statement != NULL ? statement_ref(statement) : NULL;
}

static bool keep_statement(struct client *client, const struct batch *batch, struct statement *statement)
{
    if (!batch->has_parse)
        return true;
    counter_bump(&client->part->counters.client_parse_count);
    return batch->parse.name.len == 0 || /* the unnamed one has a place of its own */
           statement_map_put(&client->prepared, batch->parse.name, statement) == STATEMENT_PUT;
}

static void answer_batch(struct client *client, const struct batch *batch, struct cached_ask *ask)
{
    struct entry *entry = ask->answer.entry;
    struct buf front = BUF_INIT, back = BUF_INIT;
    struct slice rows = entry_part(entry, ENTRY_ROWS);
    if (batch->has_parse)
        encode_empty(&front, MSG_PARSE_COMPLETE);
    if (batch->is_bound_first)
        encode_empty(&front, MSG_BIND_COMPLETE);
    if (batch->describes == 'S')
        buf_append_slice(&front, entry_part(entry, ENTRY_PARAMETER_DESCRIPTION));
    if (batch->describes != 0)
        buf_append_slice(&front, entry_part(entry, ENTRY_ROW_DESCRIPTION));
    if (batch->has_bind && !batch->is_bound_first)
        encode_empty(&front, MSG_BIND_COMPLETE);
    if (batch->has_bind) {
        counter_bump(&client->part->counters.bind_count);
        if (batch->bind.portal.len == 0)
            client->has_hit_portal = true;
    }
    if (batch->end == MSG_SYNC)
        encode_ready(&back, client_status(client));
    size_t bytes = front.len + rows.len + back.len;
    write_pieces(client, &front, rows, &back);
    if (batch->has_bind)
        account_hit(client, ask, bytes);
    entry_unref(entry);
    settle(client);
    spare_lease(client);
}

static enum cache_shape batch_shape(const struct batch *batch)
{
    if (!batch->has_bind)
        return CACHE_DESCRIBE;
    return batch->describes == 'S' ? CACHE_EXECUTE_DESCRIBED : CACHE_EXECUTE;
}

static enum cached_step ask_about(struct client *client, const struct batch *batch,
                                  struct statement *statement)
{
    struct sql_class *class = statement->class;
    if (client->ask == NULL && (!(class->flags & SQL_CLASS_READ_CANDIDATE) || cached_scope(client) == NULL))
        return CACHED_RELAY;
    struct cache_request request = {
        .scope = client->scope,
        .mode = client->cache_mode,
        .shape = batch_shape(batch),
        .flags = facts(client, class, statement->text_flags),
        .class = class,
        .text = statement->text,
        .parameter_types = statement->types,
        .parameter_type_count = statement->n_types,
        .ttl_us = ttl_of(client, class),
        .now_us = clock_event_us(),
    };
    request.row_limit = batch->row_limit;
    if (batch->has_bind)
        request.bind = slice_from(batch->bind_body, batch->bind.tail_offset);
    if (batch->describes == 'P')
        request.flags |= CACHE_NEEDS_DESCRIPTION;
    struct cached_ask *ask = ask_cache(client, &request);
    enum cached_step step = step_for(client, ask);
    if (step != CACHED_ANSWERED)
        return step;
    if (!keep_statement(client, batch, statement)) {
        cached_forget(client);
        return CACHED_RELAY;
    }
    answer_batch(client, batch, ask);
    return CACHED_ANSWERED;
}

enum cached_step cached_batch(struct client *client, struct slice data, size_t *used)
{
    struct batch batch;
    if (client->is_batch_relayed || client->is_skipping || (client->ask == NULL && !may_ask(client)))
        return CACHED_RELAY;
    switch (read_batch(data, &batch)) {
    case BATCH_SHORT:
        return CACHED_WAIT;
    case BATCH_ODD:
        client->is_batch_relayed = true;
        return CACHED_RELAY;
    case BATCH_WHOLE:
        break;
    }
    if (batch.has_bind && batch.bind.portal.len > 0 && client->lease != NULL &&
        lease_portal_get(client->lease, batch.bind.portal) != NULL) { /* an error, which PostgreSQL gives */
        client->is_batch_relayed = true;
        return CACHED_RELAY;
    }
    struct statement *statement = batch_statement(client, &batch);
    enum cached_step step = statement != NULL ? ask_about(client, &batch, statement) : CACHED_RELAY;
    if (statement != NULL && step == CACHED_ANSWERED && batch.has_parse && batch.parse.name.len == 0)
        route_set_unnamed(client, statement);
    if (statement != NULL)
        statement_unref(statement);
    *used = batch.total;
    client->is_batch_relayed = step == CACHED_RELAY;
    return step;
}

bool cached_close(struct client *client, struct slice data, size_t *used)
{
    struct frame frame;
    struct target_view target;
    if (client->lease != NULL || client->is_batch_relayed || client->is_skipping || client->ask != NULL ||
        !may_ask(client) || frame_next(data, &frame) != FRAME_COMPLETE ||
        !decode_target(frame.body, &target) || target.kind != 'P')
        return false;
    struct buf out = BUF_INIT;
    encode_empty(&out, MSG_CLOSE_COMPLETE);
    client_write_buf(client, &out);
    buf_free(&out);
    *used = frame.total;
    return true;
}

/* ---- fills
 * ------------------------------------------------------------------------------------------------------------------------
 */

uint8_t cached_begin_fill_now(struct lease *lease)
{
    struct client *client = lease->client;
    struct cached_ask *ask = client->ask;
    if (lease->fill != NULL)
        return OWED_FILL;
    struct cache_fill *fill = ask->answer.fill;
    bool is_description = ask->shape == CACHE_DESCRIBE;
    settle(client);
    counter_bump(&client->part->counters.cache_misses);
    const struct server_baseline *baseline = lease->server->baseline;
    struct slice fingerprint =
        baseline != NULL ? slice_make(baseline->bytes, baseline->fingerprint_len) : SLICE_EMPTY;
    if (!cache_fill_start(fill, fingerprint, clock_event_us())) {
        cache_fill_abort(fill, CACHE_ABORT_ANSWER);
        return 0;
    }
    lease->fill = fill;
    lease->fills_description = is_description;
    return OWED_FILL;
}

void cached_end_fill_now(struct lease *lease, bool is_complete)
{
    struct cache_fill *fill = lease->fill;
    lease->fill = NULL;
    if (is_complete) {
        struct counters *counters = &lease->server->part->counters;
        enum cache_committed committed = cache_fill_commit(fill, clock_event_us());
        if (committed == CACHE_STORED)
            counter_bump(&counters->cache_fills);
        else if (committed == CACHE_OVERTAKEN)
            counter_bump(&counters->cache_discarded);
    } else {
        cache_fill_abort(fill, lease->client == NULL ? CACHE_ABORT_FETCHER : CACHE_ABORT_ANSWER);
    }
}

void cached_tee(struct lease *lease, uint8_t type, struct slice bytes, bool is_end)
{
    enum entry_part part;
    switch (type) {
    case MSG_PARAMETER_DESCRIPTION:
        part = ENTRY_PARAMETER_DESCRIPTION;
        break;
    case MSG_ROW_DESCRIPTION:
        part = ENTRY_ROW_DESCRIPTION;
        break;
    case MSG_DATA_ROW:
    case MSG_COMMAND_COMPLETE:
        part = ENTRY_ROWS;
        break;
    default: /* a notice, a parameter, an error, ...: not an answer to be repeated */
        cached_end_fill(lease, false);
        return;
    }
    if (!cache_fill_append(lease->fill, part, bytes))
        cached_end_fill(lease, false);
    else if (lease->fills_description && part == ENTRY_ROW_DESCRIPTION && is_end)
        cached_end_fill(lease, true);
}
