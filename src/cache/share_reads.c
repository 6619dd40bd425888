/*
 * share_reads: a read in a shared cache asks the ledger for the tokens of what it depends on, in one round
 * trip, and together with it for the value, where memory has none. What it then believes, or fetches, goes by
 * these tokens: they were read after the asker asked, and before its query is sent.
 */
#include "share_reads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "share_parts.h"
#include "weir/cache/fill.h"
#include "weir/cache/scope.h"
#include "weir/cache/store_memory.h"
#include "weir/cache/store_redis.h"
#include "weir/cache/verdict.h"
#include "weir/cache/worker.h"
#include "weir/util/clock.h"

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include <xxhash.h>
#pragma GCC diagnostic pop

enum {
    TOKENS_MAX = 200,
    SCOPE_NUMBER_BYTES = 8, /* in front of a key's bytes; see key_build */
};

struct shared_read {
    struct cache_worker *worker;
    struct cache_wait *wait;
    struct cache_fill *fill;
    struct share_place *place;
    struct entry *entry; /* what memory has, or Redis has given; NULL: nothing */
    enum cache_source source;
    enum cache_reason reason; /* NONE: the tokens are there, and clean */
    bool has_tokens;
    struct buf early; /* a value that came before the tokens, from another node of a Cluster */
    bool joins_flights;
    unsigned left; /* answers to come */
};

/* --- names of values --- */

/* The key as every Weir has it: whose number it begins with here stands as a digest there. */
static bool make_form(const struct cache_scope *scope, struct slice key, struct buf *bytes,
                      struct value_form *form)
{
    buf_append(bytes, scope->digest, SCOPE_DIGEST_BYTES);
    buf_append_slice(bytes, slice_from(key, SCOPE_NUMBER_BYTES));
    uint64_t wall = clock_wall_us(), now = clock_now_us();
    *form = (struct value_form){.key = buf_slice(bytes), .ahead_us = wall > now ? wall - now : 0};
    return !buf_failed(bytes);
}

static struct slice name_value(const struct cache_database *d, const struct value_form *form, char *text,
                               size_t size)
{
    XXH128_hash_t hash = XXH3_128bits(form->key.data, form->key.len);
    int len = snprintf(text, size, "weir:v:%llu.%llu:%016llx%016llx",
                       (unsigned long long)atomic_load(&d->share.database_oid),
                       (unsigned long long)atomic_load(&d->share.server_start_us),
                       (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    return slice_make(text, (size_t)len);
}

/* --- the answers --- */

static void drop_entry(struct shared_read *read)
{
    entry_unref(read->entry);
    read->entry = NULL;
}

static void free_read(struct shared_read *read)
{
    buf_free(&read->early);
    free(read);
}

static void tell(struct shared_read *read, struct cache_answer answer)
{
    read->wait->answer = answer;
    if (read->worker->share->is_stopped) /* sessions are not to be called from here any more */
        wait_tell(read->wait, &answer);
    else
        wait_deliver(read->wait);
    free_read(read);
}

static bool is_right(const struct shared_read *read, uint64_t now_us)
{
    size_t count;
    const struct cache_wait *wait = read->wait;
    const struct entry *entry = read->entry;
    const struct vector_item *vector = entry_vector(entry, &count);
    return vector_is_shared_same(vector, count, read->fill->flight.vector, read->fill->flight.vector_count) &&
           entry_is_current(entry) && entry_expires_us(entry) > now_us &&
           (wait->ttl_us == 0 || now_us < entry_stored_us(entry) + wait->ttl_us) &&
           (!wait->needs_description || entry_part(entry, ENTRY_ROW_DESCRIPTION).len > 0);
}

static void fetch(struct shared_read *read)
{
    struct cache_worker *w = read->worker;
    struct cache_fill *fill = read->fill;
    struct flight_waiter *waiter = read->joins_flights ? &read->wait->waiter : NULL;
    drop_entry(read);
    if (flight_enter(w->cache->flights, &fill->flight, waiter, false) != FLIGHT_JOINED) {
        tell(read, (struct cache_answer){.outcome = CACHE_MISS, .fill = fill});
        return;
    }
    /* Its tokens are those that this one has just read. */
    counter_bump(&w->counters.joins);
    fill_free(fill);
    free_read(read);
}

/* What Redis has is believed by the tokens. */
static void take_value(struct shared_read *read, struct slice value)
{
    const struct flight *flight = &read->fill->flight;
    struct buf bytes = BUF_INIT;
    struct value_form form;
    if (read->reason == CACHE_REASON_NONE && make_form(read->fill->scope, flight->key.bytes, &bytes, &form))
        read->entry = redis_value_decode(value, &flight->key, &form, flight->vector, flight->vector_count,
                                         flight->found_count);
    read->source = CACHE_FROM_REDIS;
    if (read->entry == NULL)
        counter_bump(&read->worker->counters.redis_misses);
    buf_free(&bytes);
}

static void finish(struct shared_read *read, uint64_t now_us)
{
    struct cache_worker *w = read->worker;
    struct cache_database *d = read->fill->scope->database;
    if (read->wait->is_cancelled) {
        fill_free(read->fill);
        drop_entry(read);
        free(read->wait);
        free_read(read);
        return;
    }
    if (read->early.len > 0)
        take_value(read, buf_slice(&read->early));
    /* The place, the definitions and the belief may have gone since the question was asked. */
    if (read->reason == CACHE_REASON_NONE &&
        (!database_is_believed(d, now_us) || atomic_load(&d->share.place) != read->place))
        read->reason = CACHE_REASON_NOT_READY;
    if (read->reason == CACHE_REASON_NONE && !fill_remember(read->fill))
        read->reason = CACHE_REASON_WRITE_UNDER_WAY;
    if (read->reason != CACHE_REASON_NONE) {
        fill_free(read->fill);
        drop_entry(read);
        tell(read, (struct cache_answer){.outcome = CACHE_PASS, .reason = read->reason});
        return;
    }
    if (read->entry == NULL || !is_right(read, now_us)) {
        if (read->entry != NULL)
            counter_bump(&w->counters.outdated);
        fetch(read);
        return;
    }
    if (read->source == CACHE_FROM_REDIS) {
        counter_bump(&w->counters.redis_hits);
        store_memory_put(w->cache->memory, read->entry, now_us);
    }
    fill_free(read->fill);
    tell(read, (struct cache_answer){.outcome = CACHE_HIT, .source = read->source, .entry = read->entry});
}

static void answered(struct shared_read *read, uint64_t now_us)
{
    if (--read->left == 0)
        finish(read, now_us);
}

static void count_failure(struct shared_read *read, enum redis_outcome outcome)
{
    struct cache_counters *counters = &read->worker->counters;
    counter_bump(outcome == REDIS_LATE ? &counters->redis_timeouts : &counters->redis_errors);
}

/* Writes the tokens into the fill's vector. */
static enum cache_reason read_tokens(struct shared_read *read, const struct redisReply *reply)
{
    struct cache_database *d = read->fill->scope->database;
    struct flight *flight = &read->fill->flight;
    uint64_t incarnation = 0, schema;
    bool is_clean, is_all_clean = true;
    if (!ledger_read_number(reply->element[0], &incarnation) || incarnation != read->place->incarnation) {
        share_poke(d, false);
        return CACHE_REASON_NOT_READY;
    }
    if (!ledger_read_field(reply->element[1], incarnation, &schema, &is_clean))
        return CACHE_REASON_LEDGER;
    if (!is_clean || schema != atomic_load(&d->share.schema)) {
        share_poke(d, true);
        return CACHE_REASON_NOT_READY;
    }
    for (size_t i = 0; i < flight->vector_count; i++) {
        if (!ledger_read_field(reply->element[2 + i], incarnation, &flight->vector[i].shared, &is_clean))
            return CACHE_REASON_LEDGER;
        is_all_clean &= is_clean;
    }
    return is_all_clean ? CACHE_REASON_NONE : CACHE_REASON_WRITE_UNDER_WAY;
}

static void on_tokens(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                      uint64_t now_us)
{
    struct shared_read *read = context;
    bool is_good = outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_ARRAY &&
                   reply->elements == 2 + read->fill->flight.vector_count;
    read->reason = is_good ? read_tokens(read, reply) : CACHE_REASON_LEDGER;
    read->has_tokens = true;
    if (!is_good) {
        struct cache_database *d = read->fill->scope->database;
        if (share_client_answer(read->worker->share, d, outcome, reply) == LEDGER_ELSEWHERE) {
            counter_bump(&read->worker->counters.redis_skipped);
            share_poke(d, false);
        } else {
            count_failure(read, outcome);
        }
    }
    answered(read, now_us);
}

/* Comes after the tokens, unless it is from another node. */
static void on_value(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                     uint64_t now_us)
{
    struct shared_read *read = context;
    bool is_good = outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_STRING;
    bool is_nothing =
        outcome == REDIS_NOWHERE || (outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_NIL);
    if (is_good && read->has_tokens)
        take_value(read, slice_make(reply->str, (size_t)reply->len));
    else if (is_good)
        buf_append(&read->early, reply->str, (size_t)reply->len);
    else if (is_nothing)
        counter_bump(&read->worker->counters.redis_misses);
    else
        count_failure(read, outcome);
    answered(read, now_us);
}

/* --- asking --- */

static bool ask_tokens(struct shared_read *read, struct redis_link *link)
{
    const struct flight *flight = &read->fill->flight;
    struct slice words[TOKENS_MAX + 4] = {SLICE_LITERAL("HMGET"), slice_str(read->place->key),
                                          SLICE_LITERAL("i"), SLICE_LITERAL("s")};
    char texts[TOKENS_MAX][GENERATION_NAME_SIZE];
    for (size_t i = 0; i < flight->vector_count; i++) {
        words[4 + i] = generation_name(flight->vector[i].slot, texts[i]);
    }
    return redis_link_ask(link, words, 4 + (int)flight->vector_count, read->worker->cache->redis_timeout_us,
                          on_tokens, read);
}

static bool ask_value(struct shared_read *read)
{
    struct cache_worker *w = read->worker;
    struct buf bytes = BUF_INIT;
    struct value_form form;
    char name[120];
    bool is_asked =
        make_form(read->fill->scope, read->fill->flight.key.bytes, &bytes, &form) &&
        redis_nodes_get(w->share->nodes, name_value(read->fill->scope->database, &form, name, sizeof(name)),
                        w->cache->redis_timeout_us, on_value, read);
    buf_free(&bytes);
    return is_asked;
}

enum cache_reason share_lookup(struct cache_worker *w, const struct cache_request *r,
                               const struct verdict *verdict, const struct entry_key *key,
                               struct entry *entry, cache_answered told, void *context,
                               struct cache_answer *answer)
{
    struct share_place *place;
    struct redis_link *link = share_client_link(w->share, r->scope->database, &place);
    struct shared_read *read = link != NULL && told != NULL ? calloc(1, sizeof(*read)) : NULL;
    const struct cache_values values = request_values(r);
    struct cache_fill *fill =
        read != NULL ? fill_new(w, r, key, verdict, verdict_row(verdict, &values)) : NULL;
    struct cache_wait *wait = fill != NULL ? wait_new(w, r, told, context) : NULL;
    enum cache_reason reason = link == NULL || told == NULL ? CACHE_REASON_LEDGER : CACHE_REASON_MEMORY;
    if (wait == NULL)
        goto failed;
    reason = CACHE_REASON_WRITE_UNDER_WAY;
    if (!fill_remember(fill))
        goto failed;
    *read = (struct shared_read){.worker = w,
                                 .wait = wait,
                                 .fill = fill,
                                 .place = place,
                                 .entry = entry,
                                 .source = CACHE_FROM_MEMORY,
                                 .joins_flights = (r->flags & CACHE_NO_WAIT) == 0};
    reason = CACHE_REASON_LEDGER;
    if (fill->flight.vector_count > TOKENS_MAX || !ask_tokens(read, link))
        goto failed;
    read->left = 1;
    read->left += entry == NULL && ask_value(read);
    *answer = (struct cache_answer){.outcome = CACHE_WAIT, .wait = wait};
    return CACHE_REASON_NONE;
failed:
    if (reason == CACHE_REASON_LEDGER)
        counter_bump(&w->counters.redis_skipped);
    fill_free(fill);
    wait_free(wait);
    free(read);
    entry_unref(entry);
    return reason;
}

/* --- storing --- */

bool share_store(struct cache_worker *w, const struct cache_scope *scope, const struct entry *entry,
                 uint64_t now_us)
{
    struct share_place *place;
    uint64_t keep_ms = entry_keep_ms(entry, now_us);
    if (keep_ms == 0 || share_client_link(w->share, scope->database, &place) == NULL)
        return false;
    struct buf bytes = BUF_INIT, value = BUF_INIT;
    struct value_form form;
    char name[120];
    bool is_sent = make_form(scope, entry_key_bytes(entry), &bytes, &form);
    if (is_sent)
        redis_value_encode(entry, &form, &value);
    is_sent = is_sent && !buf_failed(&value) &&
              redis_nodes_set(w->share->nodes, name_value(scope->database, &form, name, sizeof(name)),
                              buf_slice(&value), keep_ms, NULL, NULL);
    buf_free(&bytes);
    buf_free(&value);
    return is_sent;
}
