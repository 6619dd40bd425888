/*
 * feed: how it begins, what it asks, how it ends. What the stream says is in feed_stream.c.
 *
 *   down --both up--> needs --> server --> slot --> settling --older ended, caught up--> current
 *    ^                                                                                      |
 *    '------- anything goes wrong, on either connection; again after a back-off <-----------'
 *
 * Visibility. PostgreSQL ends a transaction for everybody at once: it leaves the array of running ones under
 * a lock, and a snapshot reads the array under that lock. So what one snapshot shows as ended, every snapshot
 * taken later shows too, in whatever backend. The asking connection is such a backend.
 *
 * Settling. What had committed before the slot could see it, and was not yet visible, is told by nobody. It
 * was running for a snapshot taken once the slot was there; when all of those have ended, it has.
 *
 * Currency. At a time t the log is asked how far it goes. What was visible at t stands before that place;
 * once the stream has passed it, all that was visible at t has been told. Where the place lies in what has
 * not been flushed (the stream sends only what has), a message of our own is written behind it and flushed.
 */
#include "feed_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "weir/control/catalog_load.h"
#include "weir/control/control.h"
#include "weir/util/clock.h"
#include "weir/util/log.h"

enum {
    RETRY_MIN_US = 200000,
    RETRY_MAX_US = 15000000,
    TICK_MIN_US = 20000,
    TICK_MAX_US = 1000000,
    VISIBLE_MIN_US = 500, /* between questions while something is not visible yet: doubles */
    VISIBLE_MAX_US = 50000,
    SILENCE_US = 30000000,
    KEYWORDS_MAX = 32,
};

static void on_retry(struct timer *timer);
static void on_tick(struct timer *timer);
static void begin(struct feed *f);

/* --- going wrong --- */

static void end_transactions(struct feed *f)
{
    if (f->open != NULL)
        list_push_back(&f->pending, &f->open->node);
    f->open = NULL;
    for (struct list_node *node; (node = list_pop_front(&f->pending)) != NULL;) {
        struct feed_transaction *t = list_entry(node, struct feed_transaction, node);
        f->events.visible(f->events.context, t->receiver);
        free(t);
    }
}

void feed_lose(struct feed *f, const char *reason)
{
    if (f->phase == FEED_DOWN && timer_is_running(&f->retry))
        return;
    char text[FEED_REASON_SIZE];
    snprintf(text, sizeof(text), "%s", reason);
    if (f->phase >= FEED_SETTLING)
        f->stats.gaps++;
    f->phase = FEED_DOWN;
    timer_stop(&f->tick);
    f->is_asking = false;
    f->events.lost(f->events.context, text);
    end_transactions(f);
    if (strcmp(f->logged, text) != 0)
        log_write(LOG_LEVEL_WARNING, f->name, "feed: %s", text);
    snprintf(f->logged, sizeof(f->logged), "%s", text);
    timer_start(f->loop, &f->retry, f->retry_us, on_retry);
    f->retry_us = f->retry_us * 2 < RETRY_MAX_US ? f->retry_us * 2 : RETRY_MAX_US;
    /* Its slot, if temporary, goes with it. */
    control_restart(f->stream, text);
}

static void on_retry(struct timer *timer)
{
    struct feed *f = list_entry(timer, struct feed, retry);
    if (control_get_state(f->questions) == CONTROL_UP)
        begin(f);
}

static void ask(struct feed *f, struct control *whom, const char *sql, const char *parameter,
                control_done done)
{
    if (!control_query(whom, sql, &parameter, parameter != NULL ? 1 : 0, done, f))
        feed_lose(f, "a question could not be queued");
}

/* Every answer of the beginning starts here: false when it does not go on. */
static bool is_answered(struct feed *f, enum feed_phase phase, const struct pg_result *result,
                        const char *error)
{
    if (f->phase != phase)
        return false;
    if (result != NULL)
        return true;
    feed_lose(f, error);
    return false;
}

/* --- asking, while it streams --- */

static uint64_t tick_us(const struct feed *f)
{
    uint64_t tick = f->options.max_lag_us / 4;
    return tick < TICK_MIN_US ? TICK_MIN_US : tick > TICK_MAX_US ? TICK_MAX_US : tick;
}

static void next_question_in(struct feed *f)
{
    bool is_urgent = !list_is_empty(&f->pending) || f->phase == FEED_SETTLING;
    uint64_t wait = is_urgent && f->visible_wait_us < tick_us(f) ? f->visible_wait_us : tick_us(f);
    f->visible_wait_us = f->visible_wait_us * 2 < VISIBLE_MAX_US ? f->visible_wait_us * 2 : VISIBLE_MAX_US;
    if (!is_urgent)
        f->visible_wait_us = VISIBLE_MIN_US;
    timer_start(f->loop, &f->tick, wait, on_tick);
}

/* What the snapshot shows is told, oldest first. */
static void tell_visible(struct feed *f, struct slice snapshot)
{
    struct list_node *end = &f->pending.head;
    for (struct list_node *node = f->pending.head.next, *next; node != end; node = next) {
        next = node->next;
        struct feed_transaction *t = list_entry(node, struct feed_transaction, node);
        if (!logical_snapshot_shows(snapshot, t->xid))
            continue;
        list_remove(&f->pending, node);
        f->visible_wait_us = VISIBLE_MIN_US;
        f->events.visible(f->events.context, t->receiver);
        free(t);
    }
}

static void settle(struct feed *f, const char *snapshot)
{
    if (f->older == NULL)
        f->older = strdup(snapshot);
    f->is_settled = f->older != NULL && logical_snapshot_shows_all(slice_str(snapshot), slice_str(f->older));
}

/* The oldest place not yet passed is kept, and the newest: a stream that is always a little behind passes
 * every one in its turn. */
static void remember_place(struct feed *f, uint64_t lsn)
{
    struct feed_place *place = f->place.as_of_us == 0 ? &f->place : &f->next_place;
    *place = (struct feed_place){.lsn = lsn, .as_of_us = f->asked_us};
}

void feed_pass(struct feed *f)
{
    while (f->place.as_of_us != 0 && f->processed >= f->place.lsn) {
        uint64_t as_of = f->place.as_of_us;
        f->place = f->next_place;
        f->next_place.as_of_us = 0;
        if (!f->is_settled)
            continue;
        if (f->phase == FEED_SETTLING) {
            f->phase = FEED_CURRENT;
            f->retry_us = f->options.retry_min_us;
            f->logged[0] = '\0';
            log_write(LOG_LEVEL_LOG, f->name, "feed: up, replication slot \"%s\"", f->options.slot);
            f->events.began(f->events.context, &f->facts);
        }
        f->stats.as_of_us = as_of;
        f->events.current(f->events.context, as_of, f->is_waited_for);
    }
}

static void take_standby_state(struct feed *f, const char *state)
{
    bool was_waited_for = f->is_waited_for;
    f->is_waited_for = strcmp(state, "sync") == 0;
    if (was_waited_for && !f->is_waited_for && f->phase == FEED_CURRENT)
        f->events.current(f->events.context, f->stats.as_of_us, false);
    if (f->options.is_synchronous && was_waited_for != f->is_waited_for)
        log_write(LOG_LEVEL_LOG, f->name, "feed: commits %s for it (sync_state is \"%s\")",
                  f->is_waited_for ? "wait" : "do not wait", state);
}

static void on_answer(void *context, const struct pg_result *result, const char *error)
{
    struct feed *f = context;
    f->is_asking = false;
    if (f->phase < FEED_SETTLING)
        return;
    uint64_t lsn;
    if (result == NULL || PQntuples(result) != 1 || !logical_lsn_parse(PQgetvalue(result, 0, 0), &lsn) ||
        !logical_lsn_parse(PQgetvalue(result, 0, 1), &f->flushed)) {
        feed_lose(f, result == NULL ? error : "the place in the log makes no sense");
        return;
    }
    const char *snapshot = PQgetvalue(result, 0, 2);
    f->stats.lag_bytes = lsn > f->processed ? lsn - f->processed : 0;
    take_standby_state(f, PQgetvalue(result, 0, 3));
    if (!f->is_settled)
        settle(f, snapshot);
    tell_visible(f, slice_str(snapshot));
    remember_place(f, lsn);
    feed_pass(f);
    next_question_in(f);
}

/* The place is asked for before the snapshot is taken, or at the same time: what was visible when the
 * question was sent stands before it. */
static const char question[] =
    "SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_current_wal_flush_lsn(), "
    "pg_catalog.txid_current_snapshot(), "
    "(SELECT s.sync_state FROM pg_catalog.pg_stat_replication s WHERE s.pid = $1::pg_catalog.int4)";

void feed_ask(struct feed *f)
{
    if (f->is_asking || f->phase < FEED_SETTLING)
        return;
    char pid[16];
    snprintf(pid, sizeof(pid), "%u", control_backend_pid(f->stream));
    f->is_asking = true;
    f->asked_us = clock_now_us();
    ask(f, f->questions, question, pid, on_answer);
}

static void on_marked(void *context, const struct pg_result *result, const char *error)
{
    struct feed *f = context;
    if (result == NULL && f->phase >= FEED_SETTLING)
        feed_lose(f, error);
}

/* Its own flush is enough; it must not wait for a standby, least of all for this one. */
static const char mark[] = "SELECT pg_catalog.set_config('synchronous_commit', 'local', true), "
                           "pg_catalog.pg_logical_emit_message(true, '" FEED_NOTE "', '')";

static void on_tick(struct timer *timer)
{
    struct feed *f = list_entry(timer, struct feed, tick);
    uint64_t now = clock_now_us();
    if (f->place.as_of_us != 0 && now > f->heard_us + SILENCE_US) {
        feed_lose(f, "the stream is silent");
        return;
    }
    if (f->place.as_of_us != 0) {
        if (!feed_confirm(f, true))
            return;
        if (f->flushed < f->place.lsn && f->marked < f->place.lsn) {
            f->marked = f->place.lsn;
            ask(f, f->questions, mark, NULL, on_marked);
        }
    }
    feed_ask(f);
}

/* --- beginning --- */

static void on_streaming(void *context, const struct pg_result *result, const char *error)
{
    struct feed *f = context;
    if (!is_answered(f, FEED_SLOT, result, error))
        return;
    if (PQresultStatus(result) != PGRES_COPY_BOTH) {
        feed_lose(f, "the server does not stream");
        return;
    }
    f->phase = FEED_SETTLING;
    f->is_settled = f->is_waited_for = false;
    free(f->older);
    f->older = NULL;
    f->place.as_of_us = f->next_place.as_of_us = 0;
    f->processed = f->confirmed = f->marked = 0;
    f->visible_wait_us = VISIBLE_MIN_US;
    f->heard_us = clock_now_us();
    feed_ask(f);
}

static void start_streaming(struct feed *f)
{
    char sql[256];
    snprintf(sql, sizeof(sql),
             "START_REPLICATION SLOT \"%s\" LOGICAL 0/0 (\"include-xids\" '1', \"include-timestamp\" '0', "
             "\"skip-empty-xacts\" '0', \"include-rewrites\" '1')",
             f->options.slot);
    if (!control_stream(f->stream, sql, on_streaming, feed_take, f))
        feed_lose(f, "a question could not be queued");
}

static void on_created(void *context, const struct pg_result *result, const char *error)
{
    struct feed *f = context;
    if (is_answered(f, FEED_SLOT, result, error))
        start_streaming(f);
}

static void take_slot(struct feed *f)
{
    f->phase = FEED_SLOT;
    if (f->slot_step == FEED_SLOT_USE) {
        start_streaming(f);
        return;
    }
    f->events.lost(
        f->events.context,
        f->options.is_synchronous
            ? "the replication slot is being made: it waits for running transactions to end, also for "
              "those that wait for a synchronous standby"
            : "the replication slot is being made: it waits for running transactions to end");
    char sql[160];
    snprintf(sql, sizeof(sql), "CREATE_REPLICATION_SLOT \"%s\"%s LOGICAL test_decoding NOEXPORT_SNAPSHOT",
             f->options.slot, f->options.is_synchronous ? "" : " TEMPORARY");
    ask(f, f->stream, sql, NULL, on_created);
}

static bool is_same_server(const struct catalog_facts *a, const struct catalog_facts *b)
{
    return a->database_oid == b->database_oid && a->server_start_us == b->server_start_us &&
           !a->is_in_recovery && !b->is_in_recovery;
}

static void on_stream_facts(void *context, const struct pg_result *result, const char *error)
{
    struct feed *f = context;
    struct catalog_facts facts;
    if (!is_answered(f, FEED_SERVER, result, error))
        return;
    if (!catalog_facts_take(result, &facts) || !is_same_server(&facts, &f->facts))
        feed_lose(f, "its two connections have reached different servers");
    else
        take_slot(f);
}

static void meet_server(struct feed *f)
{
    f->phase = FEED_SERVER;
    switch (control_get_state(f->stream)) {
    case CONTROL_UP:
        ask(f, f->stream, catalog_facts_query(), NULL, on_stream_facts);
        break;
    case CONTROL_IDLE:
        control_start(f->stream);
        break;
    case CONTROL_CONNECTING:
    case CONTROL_WAITING:
        break;
    }
}

static void on_facts(void *context, const struct pg_result *result, const char *error)
{
    struct feed *f = context;
    if (!is_answered(f, FEED_NEEDS, result, error))
        return;
    f->facts = (struct catalog_facts){.system_identifier = 0};
    if (catalog_facts_take(result, &f->facts))
        meet_server(f);
    else
        feed_lose(f, "the server does not say who it is");
}

static void on_dropped(void *context, const struct pg_result *result, const char *error)
{
    struct feed *f = context;
    if (!is_answered(f, FEED_NEEDS, result, error))
        return;
    log_write(LOG_LEVEL_LOG, f->name, "feed: dropped replication slot \"%s\", which was of no use any more",
              f->options.slot);
    ask(f, f->questions, catalog_facts_query(), NULL, on_facts);
}

static void on_needs(void *context, const struct pg_result *result, const char *error)
{
    struct feed *f = context;
    struct feed_needs needs;
    char text[FEED_REASON_SIZE];
    enum feed_slot_step step;
    if (!is_answered(f, FEED_NEEDS, result, error))
        return;
    if (!feed_needs_take(result, &needs)) {
        feed_lose(f, "the answer about replication has an unexpected shape");
        return;
    }
    if (!feed_needs_judge(&needs, f->options.slot, f->options.is_synchronous, &step, text, sizeof(text))) {
        feed_lose(f, text);
        return;
    }
    f->slot_step = step;
    if (step == FEED_SLOT_DROP)
        ask(f, f->questions, "SELECT pg_catalog.pg_drop_replication_slot($1)", f->options.slot, on_dropped);
    else
        ask(f, f->questions, catalog_facts_query(), NULL, on_facts);
}

static void begin(struct feed *f)
{
    f->phase = FEED_NEEDS;
    ask(f, f->questions, feed_needs_query(), f->options.slot, on_needs);
}

/* --- connections --- */

static void on_questions_up(void *context)
{
    struct feed *f = context;
    if (f->phase == FEED_DOWN && !timer_is_running(&f->retry))
        begin(f);
}

static void on_questions_down(void *context, const char *reason)
{
    feed_lose(context, reason);
}

static void on_stream_up(void *context)
{
    struct feed *f = context;
    if (f->phase == FEED_SERVER)
        meet_server(f);
}

static void on_stream_down(void *context, const char *reason)
{
    struct feed *f = context;
    if (f->phase != FEED_DOWN && f->phase != FEED_NEEDS)
        feed_lose(f, reason);
}

/* --- life --- */

static const char *option(const struct control_options *connection, const char *keyword)
{
    for (size_t i = 0; connection->keywords[i] != NULL; i++)
        if (strcmp(connection->keywords[i], keyword) == 0 && connection->values[i] != NULL)
            return connection->values[i];
    return "";
}

/* The connection's own keywords, and those in `more`, pairs ended by NULL. */
static struct control *connect_with(struct feed *f, const struct control_options *connection,
                                    const char *const *more, const struct control_events *events)
{
    const char *keywords[KEYWORDS_MAX + 1] = {NULL}, *values[KEYWORDS_MAX + 1] = {NULL};
    size_t count = 0;
    for (; connection->keywords[count] != NULL && count < KEYWORDS_MAX - 2; count++) {
        keywords[count] = connection->keywords[count];
        values[count] = connection->values[count];
    }
    for (; *more != NULL; more += 2, count++) {
        keywords[count] = more[0];
        values[count] = more[1];
    }
    struct control_options options = *connection;
    options.keywords = keywords;
    options.values = values;
    options.is_replication = events->up == on_stream_up;
    /* A slot may have to wait for the longest transaction there is. */
    if (options.is_replication)
        options.query_timeout_us = UINT64_C(86400) * US_PER_SECOND;
    return control_new(f->loop, &options, events);
}

struct feed *feed_new(struct loop *loop, const struct control_options *connection,
                      const struct feed_options *options, const struct feed_events *events)
{
    struct feed *f = calloc(1, sizeof(*f));
    char *slot = strdup(options->slot);
    if (f == NULL || slot == NULL) {
        free(f);
        free(slot);
        return NULL;
    }
    f->loop = loop;
    f->events = *events;
    f->options = *options;
    f->options.slot = f->slot = slot;
    if (f->options.retry_min_us == 0)
        f->options.retry_min_us = RETRY_MIN_US;
    f->retry_us = f->options.retry_min_us;
    list_init(&f->pending);
    snprintf(f->name, sizeof(f->name), "%s@%s", option(connection, "dbname"), option(connection, "host"));
    const char *const of_stream[] = {"application_name", slot, "replication", "database", NULL};
    const char *const of_questions[] = {"application_name", "weir feed", NULL};
    f->stream =
        connect_with(f, connection, of_stream,
                     &(struct control_events){.up = on_stream_up, .down = on_stream_down, .context = f});
    f->questions = connect_with(
        f, connection, of_questions,
        &(struct control_events){.up = on_questions_up, .down = on_questions_down, .context = f});
    if (f->stream == NULL || f->questions == NULL) {
        feed_free(f);
        return NULL;
    }
    return f;
}

void feed_free(struct feed *f)
{
    if (f == NULL)
        return;
    f->phase = FEED_DOWN;
    control_free(f->stream);
    control_free(f->questions);
    timer_stop(&f->tick);
    timer_stop(&f->retry);
    end_transactions(f);
    free(f->older);
    free(f->slot);
    free(f);
}

void feed_start(struct feed *f)
{
    control_start(f->questions);
}

uint32_t feed_backend_pid(const struct feed *f)
{
    return control_backend_pid(f->stream);
}

void feed_get_stats(const struct feed *f, struct feed_stats *stats)
{
    *stats = f->stats;
}
