/* fill: collecting, admission, and what becomes of those who wait. */
#include "weir/cache/fill.h"

#include <stdlib.h>
#include <string.h>

#include "share_reads.h"
#include "weir/cache/check.h"
#include "weir/cache/database.h"
#include "weir/cache/scope.h"
#include "weir/cache/store_memory.h"
#include "weir/cache/store_redis.h"
#include "weir/cache/verdict.h"
#include "weir/cache/worker.h"
#include "weir/net/worker.h"
#include "weir/util/clock.h"
#include "weir/util/log.h"
#include "weir/wire/decode.h"

/* --- life --- */

enum {
    SPARES = 32,
    SPARE_ROOM = 1024, /* bytes behind a fill, and of each part, that a spare may keep */
};

/* One with nothing in it, and room for key and vector. */
static struct cache_fill *take(struct cache_worker *w, size_t room)
{
    struct cache_fill *fill = w->spare_fills;
    if (room <= SPARE_ROOM && fill != NULL) {
        w->spare_fills = fill->next_spare;
        w->spare_fill_count--;
        return fill;
    }
    room = room < SPARE_ROOM ? SPARE_ROOM : room;
    fill = malloc(sizeof(*fill) + room);
    if (fill != NULL)
        *fill = (struct cache_fill){.worker = w, .room = room};
    return fill;
}

/* All that is kept is the memory. */
static bool keep(struct cache_worker *w, struct cache_fill *fill)
{
    if (fill->room > SPARE_ROOM || w->spare_fill_count >= SPARES)
        return false;
    struct cache_fill spare = {.worker = w, .room = fill->room, .next_spare = w->spare_fills};
    for (int i = 0; i < ENTRY_PART_COUNT; i++) {
        if (fill->parts[i].cap > SPARE_ROOM)
            buf_free(&fill->parts[i]);
        buf_clear(&fill->parts[i]);
        spare.parts[i] = fill->parts[i];
    }
    *fill = spare;
    w->spare_fills = fill;
    w->spare_fill_count++;
    return true;
}

void fill_free_spares(struct cache_worker *w)
{
    for (struct cache_fill *fill; (fill = w->spare_fills) != NULL;) {
        w->spare_fills = fill->next_spare;
        for (int i = 0; i < ENTRY_PART_COUNT; i++)
            buf_free(&fill->parts[i]);
        free(fill);
    }
    w->spare_fill_count = 0;
}

struct cache_fill *fill_new(struct cache_worker *w, const struct cache_request *r,
                            const struct entry_key *key, const struct verdict *verdict,
                            struct generation *row)
{
    size_t count = verdict->slot_count + 2u; /* at most */
    struct cache_fill *fill = take(w, count * sizeof(struct vector_item) + key->bytes.len);
    if (fill == NULL)
        return NULL;
    struct vector_item *vector = (void *)(fill + 1);
    uint8_t *bytes = (uint8_t *)(vector + count);
    memcpy(bytes, key->bytes.data, key->bytes.len);
    fill->flight.key = (struct entry_key){{key->hash[0], key->hash[1]}, slice_make(bytes, key->bytes.len)};
    fill->flight.vector = vector;
    if (r->shape == CACHE_DESCRIBE) { /* a description: the epoch alone */
        vector[0] = (struct vector_item){.slot = generation_ref(verdict->slots[0])};
        fill->flight.vector_count = fill->flight.found_count = 1;
    } else {
        fill->flight.vector_count = verdict_vector(verdict, row, vector, &fill->flight.found_count);
    }
    fill->scope = cache_scope_ref(r->scope);
    fill->version = verdict->version;
    fill->ttl_us = r->ttl_us;
    fill->shape = r->shape;
    fill->source = CACHE_FROM_FETCH;
    return fill;
}

void fill_free(struct cache_fill *fill)
{
    if (fill == NULL)
        return;
    for (size_t i = 0; i < fill->flight.vector_count; i++)
        generation_unref(fill->flight.vector[i].slot);
    cache_scope_unref(fill->scope);
    check_free(fill->check);
    if (keep(fill->worker, fill))
        return;
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        buf_free(&fill->parts[i]);
    free(fill);
}

/* The version is looked at last: the epoch changes after the version when a new catalog comes. */
static bool is_version_current(const struct cache_fill *fill)
{
    return atomic_load(&fill->scope->database->version) == fill->version;
}

bool fill_remember(struct cache_fill *fill)
{
    return flight_remember(fill->worker->cache->flights, &fill->flight) && is_version_current(fill);
}

/* --- those who wait --- */

struct cache_wait *wait_new(struct cache_worker *w, const struct cache_request *r, cache_answered answered,
                            void *context)
{
    struct cache_wait *wait = w->spare_wait != NULL ? w->spare_wait : malloc(sizeof(*wait));
    w->spare_wait = NULL;
    if (wait == NULL)
        return NULL;
    *wait = (struct cache_wait){
        .worker = w,
        .database = r->scope->database, /* lives as long as the cache */
        .answered = answered,
        .context = context,
        .ttl_us = r->ttl_us,
        .needs_description = (r->flags & CACHE_NEEDS_DESCRIPTION) != 0,
    };
    return wait;
}

void wait_free(struct cache_wait *wait)
{
    if (wait != NULL && wait->worker->spare_wait == NULL)
        wait->worker->spare_wait = wait;
    else
        free(wait);
}

/* The entry may have grown old in the mailbox, or may say too little for this one. */
static bool is_acceptable(const struct cache_wait *wait, const struct entry *entry, uint64_t now_us)
{
    return entry_is_current(entry) && database_is_believed(wait->database, now_us) &&
           entry_expires_us(entry) > now_us &&
           (wait->ttl_us == 0 || now_us < entry_stored_us(entry) + wait->ttl_us) &&
           (!wait->needs_description || entry_part(entry, ENTRY_ROW_DESCRIPTION).len > 0);
}

static void deliver(struct mail *mail)
{
    struct cache_wait *wait = list_entry(mail, struct cache_wait, mail);
    struct cache_answer answer = wait->answer;
    struct cache_counters *counters = &wait->worker->counters;
    if (answer.fill != NULL)
        answer.fill->worker = wait->worker;
    if (wait->is_cancelled) {
        entry_unref(answer.entry);
        if (answer.fill != NULL)
            cache_fill_abort(answer.fill, CACHE_ABORT_FETCHER);
        free(wait);
        return;
    }
    if (answer.outcome == CACHE_HIT && !is_acceptable(wait, answer.entry, clock_now_us())) {
        entry_unref(answer.entry);
        answer = (struct cache_answer){.outcome = CACHE_PASS, .reason = CACHE_REASON_FETCH_FAILED};
    }
    if (answer.outcome == CACHE_HIT) {
        counter_bump(&counters->hits);
        counter_add(&counters->saved_us, entry_cost_us(answer.entry));
    } else if (answer.outcome == CACHE_PASS && answer.reason != CACHE_REASON_FETCH_FAILED) {
        counter_bump(&counters->passes);
        counter_bump(&counters->passes_by_reason[answer.reason]);
    } else {
        counter_bump(&counters->misses);
    }
    cache_answered answered = wait->answered;
    void *context = wait->context;
    wait_free(wait);
    answered(context, &answer);
}

void wait_deliver(struct cache_wait *wait)
{
    deliver(&wait->mail);
}

void wait_tell(struct cache_wait *wait, const struct cache_answer *answer)
{
    wait->answer = *answer;
    wait->mail.run = deliver;
    worker_post(wait->worker->worker, &wait->mail);
}

void cache_wait_cancel(struct cache_wait *wait)
{
    if (flight_leave(wait->worker->cache->flights, &wait->waiter))
        wait_free(wait);
    else
        wait->is_cancelled = true;
}

static void tell_all(struct list *waiters, struct entry *entry, enum cache_source source)
{
    for (struct list_node *node; (node = list_pop_front(waiters)) != NULL;) {
        struct cache_answer answer = {.outcome = CACHE_PASS, .reason = CACHE_REASON_FETCH_FAILED};
        if (entry != NULL)
            answer = (struct cache_answer){.outcome = CACHE_HIT, .source = source, .entry = entry_ref(entry)};
        wait_tell(list_entry(node, struct cache_wait, waiter.node), &answer);
    }
}

void fill_land(struct cache_fill *fill, struct entry *entry)
{
    if (!fill->flight.is_listed)
        return;
    struct list waiters;
    flight_end(fill->worker->cache->flights, &fill->flight, &waiters);
    tell_all(&waiters, entry, fill->source);
}

void fill_pass_on(struct cache_fill *fill)
{
    fill->is_started = fill->is_too_big = false;
    fill->bytes = 0;
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        buf_clear(&fill->parts[i]);
    struct flight_waiter *next = flight_promote(fill->worker->cache->flights, &fill->flight);
    if (next == NULL) {
        fill_free(fill);
        return;
    }
    struct cache_answer answer = {.outcome = CACHE_MISS, .fill = fill};
    wait_tell(list_entry(&next->node, struct cache_wait, waiter.node), &answer);
}

/* --- the fetcher's calls --- */

/* Is the scope's baseline of the server whose catalog the vector was chosen by? fill_remember looks whether
 * it is still that one. */
static bool is_same_server(const struct cache_fill *fill)
{
    struct cache_scope *scope = fill->scope;
    if (atomic_load_explicit(&scope->matched_version, memory_order_relaxed) == fill->version)
        return true;
    uint64_t version;
    bool is_same = database_is_same_server(scope->database, scope->baseline, &version);
    if (is_same)
        atomic_store_explicit(&scope->matched_version, version, memory_order_relaxed);
    return is_same;
}

bool cache_fill_start(struct cache_fill *fill, struct slice baseline, uint64_t now_us)
{
    fill->started_us = now_us;
    fill->is_started = slice_equal(fill->scope->baseline, baseline) && is_same_server(fill) &&
                       database_is_believed(fill->scope->database, now_us) && fill_remember(fill);
    /* Nobody should wait for what will not be stored. */
    if (!fill->is_started)
        fill_land(fill, NULL);
    return fill->is_started;
}

bool cache_fill_append(struct cache_fill *fill, enum entry_part part, struct slice bytes)
{
    if (!fill->is_started || fill->is_too_big)
        return false;
    fill->bytes += bytes.len;
    size_t limit = atomic_load_explicit(&fill->worker->cache->max_result_bytes, memory_order_relaxed);
    if (fill->bytes <= limit) {
        buf_append_slice(&fill->parts[part], bytes);
        if (!buf_failed(&fill->parts[part]))
            return true;
    }
    fill->is_too_big = true;
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        buf_free(&fill->parts[i]);
    fill_land(fill, NULL);
    return false;
}

void cache_fill_release(struct cache_fill *fill)
{
    fill_land(fill, NULL);
}

static bool is_complete(const struct cache_fill *fill)
{
    if (!fill->is_started || fill->is_too_big)
        return false;
    size_t parameters = fill->parts[ENTRY_PARAMETER_DESCRIPTION].len;
    size_t description = fill->parts[ENTRY_ROW_DESCRIPTION].len;
    size_t rows = fill->parts[ENTRY_ROWS].len;
    switch (fill->shape) {
    case CACHE_SIMPLE:
        return parameters == 0 && description > 0 && rows > 0;
    case CACHE_EXECUTE:
        return parameters == 0 && rows > 0;
    case CACHE_DESCRIBE:
        return parameters > 0 && description > 0 && rows == 0;
    case CACHE_EXECUTE_DESCRIBED:
        return parameters > 0 && description > 0 && rows > 0;
    }
    return false;
}

/* The rows come first, then CommandComplete. */
static bool has_row(const struct cache_fill *fill)
{
    const struct buf *rows = &fill->parts[ENTRY_ROWS];
    return rows->len > 0 && rows->data[0] == MSG_DATA_ROW;
}

static struct entry *make_entry(const struct cache_fill *fill, uint64_t now_us)
{
    struct entry_contents contents = {.key = fill->flight.key,
                                      .vector = fill->flight.vector,
                                      .vector_count = has_row(fill) ? fill->flight.found_count
                                                                    : fill->flight.vector_count,
                                      .stored_us = fill->started_us,
                                      .expires_us = UINT64_MAX,
                                      .cost_us = now_us > fill->started_us ? now_us - fill->started_us : 0};
    if (fill->ttl_us > 0)
        contents.expires_us = fill->started_us + fill->ttl_us;
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        contents.parts[i] = buf_slice(&fill->parts[i]);
    return entry_new(&contents);
}

/* Where the cache was wrong nothing that it holds of this database is believed any more. */
static COLD void distrust(const struct cache_fill *fill, struct slice rows, uint64_t now_us)
{
    char text[1400];
    check_describe(fill->check, now_us, rows, text, sizeof(text));
    log_warning(
        "cache: an answer was wrong, its template is not cached any more (does something write to the "
        "database around Weir?): user %.*s, %s",
        (int)fill->scope->user.len, (const char *)fill->scope->user.data, text);
    distrust_add(fill->worker->cache->distrust, fill->scope->database->id, check_text(fill->check));
    database_change_epoch(fill->scope->database);
}

/* False when the answer is not to be kept. */
static bool settle_check(const struct cache_fill *fill, uint64_t now_us)
{
    struct cache_counters *counters = &fill->worker->counters;
    struct slice rows = buf_slice(&fill->parts[ENTRY_ROWS]);
    switch (check_compare(fill->check, fill->flight.vector, fill->flight.vector_count,
                          buf_slice(&fill->parts[ENTRY_ROW_DESCRIPTION]), rows)) {
    case CHECK_RIGHT:
        counter_bump(&counters->checks_right);
        return true;
    case CHECK_UNDECIDED:
        counter_bump(&counters->checks_undecided);
        return true;
    case CHECK_WRONG:
        break;
    }
    counter_bump(&counters->checks_wrong);
    distrust(fill, rows, now_us);
    return false;
}

enum cache_committed cache_fill_commit(struct cache_fill *fill, uint64_t now_us)
{
    struct cache_worker *w = fill->worker;
    if (!is_complete(fill) || atomic_load(&fill->scope->database->is_switched_off)) {
        cache_fill_abort(fill, CACHE_ABORT_ANSWER);
        return CACHE_UNFIT;
    }
    bool is_current =
        vector_is_current(fill->flight.vector, fill->flight.vector_count) && is_version_current(fill);
    if (fill->check != NULL && !is_current)
        counter_bump(&w->counters.checks_undecided);
    else if (fill->check != NULL)
        is_current = settle_check(fill, now_us);
    struct entry *entry = is_current ? make_entry(fill, now_us) : NULL;
    if (entry != NULL) {
        counter_bump(&w->counters.fills);
        store_memory_put(w->cache->memory, entry, now_us);
        if ((w->redis != NULL && store_redis_put(w->redis, entry, now_us)) ||
            (w->share != NULL && share_store(w, fill->scope, entry, now_us)))
            counter_bump(&w->counters.redis_stores);
    } else {
        counter_bump(&w->counters.fills_refused);
    }
    fill_land(fill, entry);
    entry_unref(entry);
    fill_free(fill);
    return is_current ? CACHE_STORED : CACHE_OVERTAKEN;
}

void cache_fill_abort(struct cache_fill *fill, enum cache_abort why)
{
    counter_bump(&fill->worker->counters.fills_aborted);
    if (why == CACHE_ABORT_FETCHER && fill->flight.is_listed) {
        fill_pass_on(fill);
        return;
    }
    fill_land(fill, NULL);
    fill_free(fill);
}
