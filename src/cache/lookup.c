/*
 * lookup: the way of a read: objections that cost nothing, the verdict, the key, the store, the flight,
 * Redis.
 */
#include "share_reads.h"
#include "weir/cache/cache.h"
#include "weir/cache/check.h"
#include "weir/cache/database.h"
#include "weir/cache/fill.h"
#include "weir/cache/key.h"
#include "weir/cache/policy.h"
#include "weir/cache/scope.h"
#include "weir/cache/store_memory.h"
#include "weir/cache/store_redis.h"
#include "weir/cache/verdict.h"
#include "weir/cache/worker.h"
#include "weir/sql/template.h"

/* What is known of a question on its way. */
struct question {
    struct verdict *verdict;
    struct entry_key key;
    struct generation *row; /* that is read, where it is one */
};

/* --- may it --- */

static enum cache_reason judge_asker(const struct cache_request *r)
{
    if (r->mode == CACHE_OFF || (r->mode == CACHE_TTL && r->ttl_us == 0))
        return CACHE_REASON_OFF;
    if ((r->flags & CACHE_HINT_OFF) != 0)
        return CACHE_REASON_HINT;
    if ((r->flags & CACHE_HAS_WRITTEN) != 0)
        return CACHE_REASON_WRITTEN;
    if ((r->flags & CACHE_NOT_COMMITTED_READ) != 0)
        return CACHE_REASON_ISOLATION;
    if ((r->flags & CACHE_HAS_TEMPORARY) != 0)
        return CACHE_REASON_TEMPORARY;
    if ((r->flags & CACHE_UNSEEN_STATE) != 0)
        return CACHE_REASON_UNSEEN;
    return CACHE_REASON_NONE;
}

static enum cache_reason judge_database(const struct cache_request *r)
{
    const struct cache_database *d = r->scope->database;
    if (atomic_load_explicit(&d->is_switched_off, memory_order_relaxed))
        return CACHE_REASON_SWITCHED_OFF;
    if (!database_is_believed(d, r->now_us))
        return CACHE_REASON_NOT_READY;
    if (r->mode == CACHE_EXACT && !atomic_load_explicit(&d->is_exact_allowed, memory_order_relaxed))
        return CACHE_REASON_NOT_EXACT;
    return CACHE_REASON_NONE;
}

static enum cache_reason judge_parameters(const struct cache_request *r)
{
    if ((r->flags & CACHE_DATETIME_WORD) != 0)
        return CACHE_REASON_TIME;
    for (size_t i = 0; i < r->parameter_type_count; i++)
        if (!policy_is_type_harmless(r->parameter_types[i]))
            return CACHE_REASON_PARAMETER;
    if (cache_shape_binds(r->shape) && policy_has_datetime_word(r->bind))
        return CACHE_REASON_TIME;
    return CACHE_REASON_NONE;
}

static enum cache_reason judge(struct cache_worker *w, const struct cache_request *r,
                               struct verdict **verdict)
{
    enum cache_reason reason = judge_asker(r);
    if (reason == CACHE_REASON_NONE)
        reason = judge_database(r);
    if (reason != CACHE_REASON_NONE)
        return reason;
    const struct verdict_question question = {.scope = r->scope,
                                              .class = r->class,
                                              .text = r->text,
                                              .types = r->parameter_types,
                                              .type_count = r->parameter_type_count,
                                              .now_us = r->now_us};
    *verdict = verdicts_get(w->verdicts, &question);
    if (*verdict == NULL)
        return CACHE_REASON_MEMORY;
    if ((*verdict)->reason == CACHE_REASON_NONE &&
        distrust_has(w->cache->distrust, r->scope->database->id, r->text))
        return CACHE_REASON_DISTRUSTED;
    return (*verdict)->reason;
}

enum cache_reason cache_judge(struct cache_worker *w, const struct cache_request *request)
{
    struct verdict *verdict;
    enum cache_reason reason = judge(w, request, &verdict);
    return reason == CACHE_REASON_NONE ? judge_parameters(request) : reason;
}

static bool make_key(struct cache_worker *w, const struct cache_request *r, struct entry_key *key)
{
    const struct key_parts parts = {.scope = r->scope->id,
                                    .shape = (uint8_t)r->shape,
                                    .text = r->text,
                                    .parameter_types = r->parameter_types,
                                    .parameter_type_count = r->parameter_type_count,
                                    .row_limit = r->row_limit,
                                    .bind = cache_shape_binds(r->shape) ? r->bind : SLICE_EMPTY};
    return key_build(&w->key, &parts, w->cache->seed, key);
}

enum cache_reason cache_explain(struct cache_worker *w, const struct cache_request *request,
                                struct cache_template *t, struct buf *scratch)
{
    struct verdict *verdict = NULL;
    struct entry_key key;
    enum cache_reason reason = judge(w, request, &verdict);
    if (reason == CACHE_REASON_NONE)
        reason = judge_parameters(request);
    if (reason == CACHE_REASON_NONE && verdict->payoff.is_off)
        reason = CACHE_REASON_NOT_WORTH;
    *t = (struct cache_template){.detail = "", .found = "", .relations = "", .generations = ""};
    if (verdict != NULL) {
        verdict_describe(verdict, t, scratch);
        verdict_count(w->verdicts, verdict, t);
    }
    if (t->reason != reason) {
        t->detail = "";
        t->generations = "";
    }
    t->ttl_us = request->ttl_us;
    t->is_stored = reason == CACHE_REASON_NONE && make_key(w, request, &key) &&
                   store_memory_has(w->cache->memory, &key, request->now_us);
    t->reason = reason;
    return reason;
}

/* --- is it there --- */

static struct entry *find(struct cache_worker *w, const struct cache_request *r, struct verdict *verdict,
                          const struct entry_key *key)
{
    struct entry *entry;
    switch (store_memory_find(w->cache->memory, key, r->now_us, &entry)) {
    case STORE_FOUND:
        break;
    case STORE_ABSENT:
        return NULL;
    case STORE_EXPIRED:
        counter_bump(&w->counters.expired);
        return NULL;
    case STORE_OUTDATED:
        counter_bump(&w->counters.outdated);
        payoff_learn(&verdict->payoff, entry_cost_us(entry));
        verdict->outdated++;
        entry_unref(entry);
        return NULL;
    }
    bool is_too_old = r->ttl_us > 0 && r->now_us >= entry_stored_us(entry) + r->ttl_us;
    bool says_too_little =
        (r->flags & CACHE_NEEDS_DESCRIPTION) != 0 && entry_part(entry, ENTRY_ROW_DESCRIPTION).len == 0;
    if (is_too_old || says_too_little) {
        entry_unref(entry);
        return NULL;
    }
    return entry;
}

/* Redis has answered, or not, for a fill that nobody fetches yet; the leader is the first of those who wait.
 */
static void redis_answered(void *context, enum redis_answer outcome, struct slice value, uint64_t now_us)
{
    struct cache_fill *fill = context;
    struct cache_worker *w = fill->worker;
    struct entry *entry = NULL;
    switch (outcome) {
    case REDIS_ANSWER_VALUE:
        entry = store_redis_decode(value, &fill->flight.key, fill->flight.vector, fill->flight.vector_count,
                                   fill->flight.found_count);
        if (entry == NULL)
            counter_bump(&w->counters.redis_misses);
        break;
    case REDIS_ANSWER_NOTHING:
        counter_bump(&w->counters.redis_misses);
        break;
    case REDIS_ANSWER_LATE:
        counter_bump(&w->counters.redis_timeouts);
        break;
    case REDIS_ANSWER_BROKEN:
        counter_bump(&w->counters.redis_errors);
        break;
    }
    if (entry == NULL || entry_expires_us(entry) <= now_us || !entry_is_current(entry)) {
        entry_unref(entry);
        fill_pass_on(fill);
        return;
    }
    counter_bump(&w->counters.redis_hits);
    store_memory_put(w->cache->memory, entry, now_us);
    fill->source = CACHE_FROM_REDIS;
    fill_land(fill, entry);
    entry_unref(entry);
    fill_free(fill);
}

static void answer_miss(struct cache_worker *w, struct cache_fill *fill, struct cache_answer *answer)
{
    counter_bump(&w->counters.misses);
    *answer = (struct cache_answer){.outcome = CACHE_MISS, .fill = fill};
}

/* The flight is ours: ask Redis, if there is one, and let the caller wait; else the caller fetches. */
static void lead(struct cache_worker *w, struct cache_fill *fill, struct cache_wait *wait, bool asks_redis,
                 struct cache_answer *answer)
{
    if (asks_redis) {
        if (store_redis_get(w->redis, &fill->flight.key, redis_answered, fill)) {
            *answer = (struct cache_answer){.outcome = CACHE_WAIT, .wait = wait};
            return;
        }
        counter_bump(&w->counters.redis_skipped);
        flight_leave(w->cache->flights, &wait->waiter);
    }
    wait_free(wait);
    answer_miss(w, fill, answer);
}

/* What the parameters are need not be looked at before: with such ones nothing is ever stored to be found. */
static enum cache_reason ask(struct cache_worker *w, const struct cache_request *r, const struct question *q,
                             struct cache_wait *wait, struct cache_answer *answer)
{
    enum cache_reason reason = judge_parameters(r);
    struct cache_fill *fill =
        reason == CACHE_REASON_NONE ? fill_new(w, r, &q->key, q->verdict, q->row) : NULL;
    if (fill == NULL) {
        wait_free(wait);
        return reason != CACHE_REASON_NONE ? reason : CACHE_REASON_MEMORY;
    }
    if (!fill_remember(fill)) {
        fill_free(fill);
        wait_free(wait);
        return CACHE_REASON_WRITE_UNDER_WAY;
    }
    bool asks_redis = wait != NULL && w->redis != NULL && store_redis_is_up(w->redis);
    switch (flight_enter(w->cache->flights, &fill->flight, wait != NULL ? &wait->waiter : NULL, asks_redis)) {
    case FLIGHT_LEADS:
        lead(w, fill, wait, asks_redis, answer);
        break;
    case FLIGHT_JOINED:
        fill_free(fill);
        counter_bump(&w->counters.joins);
        payoff_join(&q->verdict->payoff, r->now_us);
        *answer = (struct cache_answer){.outcome = CACHE_WAIT, .wait = wait};
        break;
    case FLIGHT_APART:
        wait_free(wait);
        answer_miss(w, fill, answer);
        break;
    }
    return CACHE_REASON_NONE;
}

static void answer_pass(struct cache_worker *w, enum cache_reason reason, struct cache_answer *answer)
{
    counter_bump(&w->counters.passes);
    counter_bump(&w->counters.passes_by_reason[reason]);
    *answer = (struct cache_answer){.outcome = CACHE_PASS, .reason = reason};
}

/* --- is it worth it --- */

/* What a statement returns is described once for many a question, and depends on the epoch alone. */
static bool is_worth_it(const struct cache_request *r, struct verdict *verdict)
{
    if (!verdict->payoff.is_off || r->shape == CACHE_DESCRIBE)
        return true;
    const struct cache_values values = request_values(r);
    verdict_note_row(verdict, verdict_row(verdict, &values));
    return payoff_question(&verdict->payoff, verdict_versions(verdict));
}

/* --- is it right --- */

static uint64_t next_random(struct cache_worker *w)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return w->random >> 33;
}

/* One hit in so many, at random distances, so that no rhythm of an application hides anything. */
static bool is_to_be_checked(struct cache_worker *w, const struct cache_request *r)
{
    unsigned one_in = atomic_load_explicit(&w->cache->check_one_in, memory_order_relaxed);
    if (one_in == 0 || r->mode != CACHE_EXACT || w->share != NULL ||
        !database_is_told_at_once(r->scope->database))
        return false;
    if (w->until_check == 0 || w->until_check > 2 * (uint64_t)one_in)
        w->until_check = 1 + (unsigned)(next_random(w) % (2 * (uint64_t)one_in - 1));
    return --w->until_check == 0;
}

/* The hit goes to PostgreSQL like a miss that nobody else waits for. False: it stays a hit. */
static bool begin_check(struct cache_worker *w, const struct cache_request *r, const struct question *q,
                        struct entry *entry, struct cache_answer *answer)
{
    const struct cache_values values = request_values(r);
    struct cache_fill *fill = fill_new(w, r, &q->key, q->verdict, verdict_row(q->verdict, &values));
    if (fill == NULL)
        return false;
    fill->check = check_new(entry, r->text);
    if (fill->check == NULL || !fill_remember(fill)) {
        fill_free(fill);
        return false;
    }
    entry_unref(entry);
    *answer = (struct cache_answer){.outcome = CACHE_MISS, .fill = fill};
    return true;
}

static void answer_hit(struct cache_worker *w, const struct cache_request *r, struct verdict *verdict,
                       struct entry *entry, struct cache_answer *answer)
{
    uint64_t cost_us = entry_cost_us(entry);
    counter_bump(&w->counters.hits);
    counter_add(&w->counters.saved_us, cost_us);
    verdict->hits++;
    verdict->saved_us += cost_us;
    if (r->shape != CACHE_DESCRIBE)
        payoff_hit(&verdict->payoff, cost_us, r->now_us);
    *answer = (struct cache_answer){.outcome = CACHE_HIT, .entry = entry};
}

static void note_miss(const struct cache_request *r, struct question *q)
{
    q->verdict->misses++;
    if (r->shape == CACHE_DESCRIBE)
        return;
    const struct cache_values values = request_values(r);
    q->row = verdict_row(q->verdict, &values);
    verdict_note_row(q->verdict, q->row);
    payoff_miss(&q->verdict->payoff, verdict_versions(q->verdict), r->now_us);
}

void cache_lookup(struct cache_worker *w, const struct cache_request *r, cache_answered answered,
                  void *context, struct cache_answer *answer)
{
    struct question q = {.verdict = NULL};
    enum cache_reason reason = judge(w, r, &q.verdict);
    if (q.verdict != NULL)
        q.verdict->calls++;
    if (reason == CACHE_REASON_NONE && !is_worth_it(r, q.verdict))
        reason = CACHE_REASON_NOT_WORTH;
    if (reason == CACHE_REASON_NONE && !make_key(w, r, &q.key))
        reason = CACHE_REASON_MEMORY;
    if (reason != CACHE_REASON_NONE) {
        answer_pass(w, reason, answer);
        return;
    }
    struct entry *entry = find(w, r, q.verdict, &q.key);
    if (w->share != NULL) {
        q.verdict->hits += entry != NULL;
        q.verdict->misses += entry == NULL;
        reason = entry == NULL ? judge_parameters(r) : CACHE_REASON_NONE;
        if (reason == CACHE_REASON_NONE)
            reason = share_lookup(w, r, q.verdict, &q.key, entry, answered, context, answer);
        if (reason != CACHE_REASON_NONE)
            answer_pass(w, reason, answer);
        return;
    }
    if (entry != NULL) {
        if (!is_to_be_checked(w, r) || !begin_check(w, r, &q, entry, answer))
            answer_hit(w, r, q.verdict, entry, answer);
        return;
    }
    note_miss(r, &q);
    /* Without memory for a wait there is simply no waiting. */
    struct cache_wait *wait =
        (r->flags & CACHE_NO_WAIT) == 0 && answered != NULL ? wait_new(w, r, answered, context) : NULL;
    reason = ask(w, r, &q, wait, answer);
    if (reason != CACHE_REASON_NONE)
        answer_pass(w, reason, answer);
}
