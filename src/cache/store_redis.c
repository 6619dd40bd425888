/* store_redis: GET and SET of entries. */
#include "weir/cache/store_redis.h"

#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "weir/cache/redis_nodes.h"

struct store_redis {
    struct redis_nodes *nodes;
    uint64_t timeout_us;
    uint64_t process;
    struct store_redis_counters counters;
};

struct question {
    redis_got got;
    void *context;
};

/* --- life --- */

struct store_redis *store_redis_new(struct worker *worker, const struct redis_target *target,
                                    uint64_t timeout_us, uint64_t process)
{
    struct store_redis *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    *s = (struct store_redis){.timeout_us = timeout_us, .process = process};
    s->nodes = redis_nodes_new(worker, target, NULL);
    if (s->nodes == NULL) {
        free(s);
        return NULL;
    }
    return s;
}

void store_redis_free(struct store_redis *s)
{
    if (s == NULL)
        return;
    redis_nodes_free(s->nodes);
    free(s);
}

bool store_redis_is_up(const struct store_redis *s)
{
    return redis_nodes_is_up(s->nodes);
}

const struct store_redis_counters *store_redis_get_counters(const struct store_redis *s)
{
    return &s->counters;
}

/* --- asking --- */

static struct slice format_key(const struct store_redis *s, const uint64_t hash[2], char *text, size_t size)
{
    int len = snprintf(text, size, "weir:1:%016llx:%016llx%016llx", (unsigned long long)s->process,
                       (unsigned long long)hash[0], (unsigned long long)hash[1]);
    return slice_make(text, (size_t)len);
}

static void on_reply(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                     uint64_t now_us)
{
    struct question *q = context;
    enum redis_answer answer = outcome == REDIS_LATE ? REDIS_ANSWER_LATE : REDIS_ANSWER_BROKEN;
    struct slice value = SLICE_EMPTY;
    if (outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_STRING) {
        answer = REDIS_ANSWER_VALUE;
        value = slice_make(reply->str, (size_t)reply->len);
    } else if (outcome == REDIS_NOWHERE || (outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_NIL)) {
        answer = REDIS_ANSWER_NOTHING;
    }
    q->got(q->context, answer, value, now_us);
    free(q);
}

bool store_redis_get(struct store_redis *s, const struct entry_key *key, redis_got got, void *context)
{
    char name[80];
    struct question *q = malloc(sizeof(*q));
    if (q == NULL)
        return false;
    *q = (struct question){.got = got, .context = context};
    if (redis_nodes_get(s->nodes, format_key(s, key->hash, name, sizeof(name)), s->timeout_us, on_reply, q))
        return true;
    free(q);
    return false;
}

/* --- storing --- */

static void on_stored(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                      uint64_t now_us)
{
    struct store_redis *s = context;
    (void)now_us;
    if (outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_STATUS)
        s->counters.stores++;
    else if (outcome != REDIS_NOWHERE)
        s->counters.store_errors++;
}

bool store_redis_put(struct store_redis *s, const struct entry *entry, uint64_t now_us)
{
    uint64_t keep_ms = entry_keep_ms(entry, now_us);
    if (!store_redis_is_up(s) || keep_ms == 0)
        return false;
    struct buf value = BUF_INIT;
    store_redis_encode(entry, &value);
    char name[80];
    bool is_sent = !buf_failed(&value) &&
                   redis_nodes_set(s->nodes, format_key(s, entry_key_hash(entry), name, sizeof(name)),
                                   buf_slice(&value), keep_ms, on_stored, s);
    buf_free(&value);
    return is_sent;
}

void store_redis_describe(const struct store_redis *s, struct buf *out)
{
    redis_nodes_describe(s->nodes, out);
}
