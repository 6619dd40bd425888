/*
 * store_redis: one asynchronous connection, a breaker, and a timer for every question.
 *
 *   down --back-off--> [resolving -->] connecting --AUTH, SELECT, PING answered--> up
 *     ^---------------------- fail(): refused, lost, too slow, FAILURES_MAX failures in a row -------------'
 *
 * hiredis frees its context itself after the disconnect callback; `context` is NULL from then on. A question
 * that was answered by its timer stays until hiredis gives its reply, or up.
 */
#include "weir/cache/store_redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include "redis_events.h"
#include "weir/cache/redis_target.h"
#include "weir/net/loop.h"
#include "weir/net/resolve.h"
#include "weir/util/clock.h"
#include "weir/util/log.h"

enum {
    UNDER_WAY_MAX = 1024,
    UNSENT_MAX_BYTES = 8 * 1024 * 1024,
    FAILURES_MAX = 5,
    CONNECT_TIMEOUT_US = 1000000,
    RETRY_MIN_US = 100000,
    RETRY_MAX_US = 6400000,
    KEEP_MAX_MS = 24 * 60 * 60 * 1000, /* of an answer without a time limit */
};

enum state { DOWN, RESOLVING, CONNECTING, UP };

/* A name being resolved; outlives the store if need be. */
struct inquiry {
    struct store_redis *store; /* NULL: nobody is interested any more */
};

struct store_redis {
    struct worker *worker;
    struct loop *loop;
    const struct redis_target *target;
    struct resolver *resolver;
    struct inquiry *inquiry;
    uint64_t timeout_us;
    uint64_t process;
    enum state state;
    bool is_closing;
    redisAsyncContext *context;
    struct timer timer; /* of connecting, or of backing off */
    uint64_t retry_us;
    unsigned failures; /* in a row */
    unsigned under_way;
    struct store_redis_counters counters;
};

struct question {
    struct store_redis *store;
    struct timer timer;
    redis_got got;
    void *context;
    bool is_answered;
};

static void connect_now(struct store_redis *s);

/* --- going down, and up again --- */

static void on_retry(struct timer *timer)
{
    connect_now(list_entry(timer, struct store_redis, timer));
}

static void fail(struct store_redis *s, const char *reason)
{
    if (s->state == DOWN || s->is_closing)
        return;
    if (s->retry_us == RETRY_MIN_US)
        log_warning("redis %s: %s; the cache goes on without it", redis_target_name(s->target), reason);
    s->state = DOWN;
    s->failures = 0;
    timer_start(s->loop, &s->timer, s->retry_us, on_retry);
    if (s->retry_us < RETRY_MAX_US)
        s->retry_us *= 2;
    redisAsyncContext *context = s->context;
    s->context = NULL;
    if (context != NULL) {
        context->data = NULL;
        redisAsyncFree(context); /* answers all questions with nothing */
    }
}

static void note_failure(struct store_redis *s, const char *reason)
{
    if (++s->failures >= FAILURES_MAX)
        fail(s, reason);
}

static void on_connect_timeout(struct timer *timer)
{
    fail(list_entry(timer, struct store_redis, timer), "connecting took too long");
}

static void on_disconnected(const redisAsyncContext *context, int status)
{
    struct store_redis *s = context->data;
    (void)status;
    if (s == NULL)
        return;
    s->context = NULL; /* hiredis frees it */
    fail(s, context->errstr != NULL && context->errstr[0] != '\0' ? context->errstr
                                                                  : "the connection was closed");
}

static void on_connected(const redisAsyncContext *context, int status)
{
    struct store_redis *s = context->data;
    if (s == NULL || status == REDIS_OK)
        return;
    s->context = NULL; /* hiredis frees it */
    fail(s, context->errstr != NULL ? context->errstr : "refused");
}

/* --- the first words --- */

static void on_greeting(redisAsyncContext *context, void *reply, void *is_last)
{
    struct store_redis *s = context->data;
    const redisReply *r = reply;
    if (s == NULL || s->state != CONNECTING)
        return;
    if (r == NULL || r->type == REDIS_REPLY_ERROR) {
        fail(s, r != NULL ? r->str : "the connection was lost");
        return;
    }
    if (is_last == NULL)
        return;
    timer_stop(&s->timer);
    s->state = UP;
    s->retry_us = RETRY_MIN_US;
    log_info("redis %s: connected", redis_target_name(s->target));
}

static void greet(struct store_redis *s)
{
    const struct redis_target *t = s->target;
    if (t->password != NULL && t->user != NULL)
        redisAsyncCommand(s->context, on_greeting, NULL, "AUTH %s %s", t->user, t->password);
    else if (t->password != NULL)
        redisAsyncCommand(s->context, on_greeting, NULL, "AUTH %s", t->password);
    if (t->database != 0)
        redisAsyncCommand(s->context, on_greeting, NULL, "SELECT %u", t->database);
    redisAsyncCommand(s->context, on_greeting, s, "PING");
}

static void use_context(struct store_redis *s, redisAsyncContext *context)
{
    if (context == NULL || context->err != 0) {
        fail(s, context != NULL ? context->errstr : "out of memory");
        if (context != NULL)
            redisAsyncFree(context);
        return;
    }
    context->data = s;
    s->context = context;
    s->state = CONNECTING;
    if (!redis_events_attach(context, s->loop)) {
        fail(s, "no event for the connection");
        return;
    }
    redisAsyncSetConnectCallback(context, on_connected);
    redisAsyncSetDisconnectCallback(context, on_disconnected);
    greet(s);
}

static void on_resolved(void *arg, const struct resolve_answer *answer)
{
    struct inquiry *inquiry = arg;
    struct store_redis *s = inquiry->store;
    free(inquiry);
    if (s == NULL)
        return;
    s->inquiry = NULL;
    if (s->state != RESOLVING)
        return;
    if (answer->count == 0) {
        fail(s, answer->error);
        return;
    }
    char text[ADDRESS_TEXT_BYTES];
    address_host_text(&answer->addresses[0], text);
    use_context(s, redisAsyncConnect(text, (int)s->target->port));
}

static void ask_for_address(struct store_redis *s)
{
    s->state = RESOLVING;
    if (s->inquiry != NULL)
        return; /* the last question is still open */
    if (s->resolver == NULL)
        s->resolver = resolver_new(NULL);
    s->inquiry = malloc(sizeof(*s->inquiry));
    if (s->inquiry != NULL)
        s->inquiry->store = s;
    if (s->inquiry == NULL || s->resolver == NULL ||
        !resolver_ask(s->resolver, s->target->host, (int)s->target->port, s->worker, on_resolved,
                      s->inquiry)) {
        free(s->inquiry);
        s->inquiry = NULL;
        fail(s, "out of memory");
    }
}

static void connect_now(struct store_redis *s)
{
    s->state = CONNECTING;
    timer_start(s->loop, &s->timer, CONNECT_TIMEOUT_US, on_connect_timeout);
    if (s->target->path != NULL) {
        use_context(s, redisAsyncConnectUnix(s->target->path));
        return;
    }
    struct address literal;
    if (address_from_literal(&literal, s->target->host, (int)s->target->port))
        use_context(s, redisAsyncConnect(s->target->host, (int)s->target->port));
    else
        ask_for_address(s);
}

/* --- life --- */

struct store_redis *store_redis_new(struct worker *worker, const struct redis_target *target,
                                    uint64_t timeout_us, uint64_t process)
{
    struct store_redis *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->worker = worker;
    s->loop = worker_loop(worker);
    s->target = target;
    s->timeout_us = timeout_us;
    s->process = process;
    s->retry_us = RETRY_MIN_US;
    s->state = DOWN;
    timer_start(s->loop, &s->timer, 1, on_retry); /* connects from the loop's thread */
    return s;
}

void store_redis_free(struct store_redis *s)
{
    if (s == NULL)
        return;
    s->is_closing = true;
    timer_stop(&s->timer);
    if (s->context != NULL) {
        s->context->data = NULL;
        redisAsyncFree(s->context);
    }
    if (s->inquiry != NULL)
        s->inquiry->store = NULL;
    resolver_free(s->resolver);
    free(s);
}

bool store_redis_is_up(const struct store_redis *s)
{
    return s->state == UP && s->under_way < UNDER_WAY_MAX;
}

const struct store_redis_counters *store_redis_get_counters(const struct store_redis *s)
{
    return &s->counters;
}

/* --- asking --- */

static int format_key(const struct store_redis *s, const uint64_t hash[2], char *text, size_t size)
{
    return snprintf(text, size, "weir:1:%016llx:%016llx%016llx", (unsigned long long)s->process,
                    (unsigned long long)hash[0], (unsigned long long)hash[1]);
}

static void answer(struct question *q, enum redis_answer what, struct slice value)
{
    if (q->is_answered)
        return;
    q->is_answered = true;
    timer_stop(&q->timer);
    q->got(q->context, what, value, clock_tick());
}

static void on_late(struct timer *timer)
{
    struct question *q = list_entry(timer, struct question, timer);
    struct store_redis *s = q->store;
    answer(q, REDIS_LATE, SLICE_EMPTY);
    note_failure(s, "no answer in time");
}

/* hiredis has called its last word on this question: with a reply, or with NULL when the connection is gone.
 */
static void on_reply(redisAsyncContext *context, void *reply, void *arg)
{
    struct question *q = arg;
    const redisReply *r = reply;
    struct store_redis *s = q->store;
    (void)context;
    s->under_way--;
    bool was_late = q->is_answered;
    if (r == NULL) {
        answer(q, REDIS_BROKEN, SLICE_EMPTY);
    } else if (r->type == REDIS_REPLY_STRING) {
        answer(q, REDIS_VALUE, slice_make(r->str, (size_t)r->len));
    } else if (r->type == REDIS_REPLY_NIL) {
        answer(q, REDIS_NOTHING, SLICE_EMPTY);
    } else {
        answer(q, REDIS_BROKEN, SLICE_EMPTY);
        note_failure(s, r->type == REDIS_REPLY_ERROR ? r->str : "an answer of the wrong kind");
        free(q);
        return;
    }
    if (r != NULL && !was_late)
        s->failures = 0;
    free(q);
}

bool store_redis_get(struct store_redis *s, const struct entry_key *key, redis_got got, void *context)
{
    if (!store_redis_is_up(s))
        return false;
    struct question *q = calloc(1, sizeof(*q));
    if (q == NULL)
        return false;
    *q = (struct question){.store = s, .got = got, .context = context};
    char name[80];
    int len = format_key(s, key->hash, name, sizeof(name));
    if (redisAsyncCommand(s->context, on_reply, q, "GET %b", name, (size_t)len) != REDIS_OK) {
        free(q);
        return false;
    }
    s->under_way++;
    timer_start(s->loop, &q->timer, s->timeout_us, on_late);
    return true;
}

/* --- storing --- */

static void on_stored(redisAsyncContext *context, void *reply, void *arg)
{
    struct store_redis *s = arg;
    const redisReply *r = reply;
    (void)context;
    s->under_way--;
    if (r != NULL && r->type == REDIS_REPLY_STATUS) {
        s->counters.stores++;
        return;
    }
    s->counters.store_errors++;
    if (r != NULL)
        note_failure(s, r->type == REDIS_REPLY_ERROR ? r->str : "an answer of the wrong kind");
}

bool store_redis_put(struct store_redis *s, const struct entry *entry, uint64_t now_us)
{
    uint64_t expires_us = entry_expires_us(entry);
    uint64_t keep_ms = expires_us > now_us ? (expires_us - now_us) / US_PER_MS : 0;
    if (keep_ms > KEEP_MAX_MS)
        keep_ms = KEEP_MAX_MS;
    if (!store_redis_is_up(s) || keep_ms == 0 || sdslen(s->context->c.obuf) > UNSENT_MAX_BYTES)
        return false;
    struct buf value = BUF_INIT;
    store_redis_encode(entry, &value);
    char name[80];
    int len = format_key(s, entry_key_hash(entry), name, sizeof(name));
    bool is_sent = !buf_failed(&value) &&
                   redisAsyncCommand(s->context, on_stored, s, "SET %b %b PX %llu", name, (size_t)len,
                                     value.data, value.len, (unsigned long long)keep_ms) == REDIS_OK;
    s->under_way += is_sent;
    buf_free(&value);
    return is_sent;
}
