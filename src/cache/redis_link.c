/*
 * redis_link: one asynchronous connection, a breaker, and a timer for every question.
 *
 *   down --back-off--> [asking -->] [resolving -->] connecting --AUTH, SELECT, INFO, PING answered--> up
 *     ^---------------------- fail(): refused, lost, too slow, FAILURES_MAX failures in a row -------------'
 *
 * Asking: one Sentinel after another, each time the link is down, where the master is. Each place is dialled
 * in the same way, `asks` telling what the connection is for.
 *
 * hiredis frees its context itself after the disconnect callback; `context` is NULL from then on. A question
 * that was answered by its timer stays until hiredis gives its reply, or up.
 */
#include "weir/cache/redis_link.h"

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
    FAILURES_MAX = 5,
    WORDS_MAX = 256,
    CONNECT_TIMEOUT_US = 1000000,
    RETRY_MIN_US = 100000,
    RETRY_MAX_US = 6400000,
};

enum state { DOWN, RESOLVING, CONNECTING, UP };

/* A name being resolved; outlives the link if need be. */
struct inquiry {
    struct redis_link *link; /* NULL: nobody is interested any more */
};

struct redis_link {
    struct worker *worker;
    struct loop *loop;
    const struct redis_target *target;
    struct redis_link_events events;
    struct resolver *resolver;
    struct inquiry *inquiry;
    enum state state;
    bool is_closing;
    redisAsyncContext *context;
    char *host; /* that is dialled, with `port` */
    unsigned port;
    bool is_asking;     /* a Sentinel */
    size_t sentinel;    /* whose turn it is */
    struct timer timer; /* of connecting, or of backing off */
    uint64_t retry_us;
    unsigned failures; /* in a row */
    unsigned under_way;
    struct redis_server server;
};

struct question {
    struct redis_link *link;
    struct timer timer;
    redis_replied replied;
    void *context;
    bool is_answered;
};

static void connect_now(struct redis_link *l);
static void dial(struct redis_link *l, const char *host, unsigned port);

/* --- going down, and up again --- */

static void on_retry(struct timer *timer)
{
    connect_now(list_entry(timer, struct redis_link, timer));
}

static void fail(struct redis_link *l, const char *reason)
{
    if (l->state == DOWN || l->is_closing)
        return;
    if (l->retry_us == RETRY_MIN_US)
        log_warning("redis %s: %s; the cache goes on without it", redis_target_name(l->target), reason);
    bool was_up = l->state == UP;
    l->state = DOWN;
    l->failures = 0;
    timer_start(l->loop, &l->timer, l->retry_us, on_retry);
    if (l->retry_us < RETRY_MAX_US)
        l->retry_us *= 2;
    redisAsyncContext *context = l->context;
    l->context = NULL;
    if (context != NULL) {
        context->data = NULL;
        redisAsyncFree(context); /* answers all questions with nothing */
    }
    if (was_up && l->events.down != NULL)
        l->events.down(l->events.context);
}

void redis_link_blame(struct redis_link *l, const char *reason)
{
    if (l->state == UP && ++l->failures >= FAILURES_MAX)
        fail(l, reason);
}

const char *redis_link_error(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR ? reply->str : "an answer of the wrong kind";
}

static void on_connect_timeout(struct timer *timer)
{
    fail(list_entry(timer, struct redis_link, timer), "connecting took too long");
}

static void on_disconnected(const redisAsyncContext *context, int status)
{
    struct redis_link *l = context->data;
    (void)status;
    if (l == NULL)
        return;
    l->context = NULL; /* hiredis frees it */
    fail(l, context->errstr != NULL && context->errstr[0] != '\0' ? context->errstr
                                                                  : "the connection was closed");
}

static void on_connected(const redisAsyncContext *context, int status)
{
    struct redis_link *l = context->data;
    if (l == NULL || status == REDIS_OK)
        return;
    l->context = NULL; /* hiredis frees it */
    fail(l, context->errstr != NULL ? context->errstr : "refused");
}

/* --- the first words --- */

/* The value of a line "name:value\r\n"; "" when there is none. */
static void copy_fact(const char *info, const char *name, char *value, size_t size)
{
    size_t len = strlen(name);
    value[0] = '\0';
    for (const char *line = info; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) != 0 || line[len] != ':')
            continue;
        size_t value_len = strcspn(line + len + 1, "\r\n");
        if (value_len < size)
            snprintf(value, size, "%.*s", (int)value_len, line + len + 1);
        return;
    }
}

/* Where INFO is not allowed nothing is known, which is for those to judge who need it. */
static void on_info(redisAsyncContext *context, void *reply, void *unused)
{
    struct redis_link *l = context->data;
    const redisReply *r = reply;
    (void)unused;
    if (l == NULL)
        return;
    const char *info = r != NULL && r->type == REDIS_REPLY_STRING ? r->str : "";
    copy_fact(info, "run_id", l->server.run_id, sizeof(l->server.run_id));
    copy_fact(info, "role", l->server.role, sizeof(l->server.role));
    copy_fact(info, "maxmemory_policy", l->server.eviction, sizeof(l->server.eviction));
}

static void on_greeting(redisAsyncContext *context, void *reply, void *is_last)
{
    struct redis_link *l = context->data;
    const redisReply *r = reply;
    if (l == NULL || l->state != CONNECTING)
        return;
    if (r == NULL || r->type == REDIS_REPLY_ERROR) {
        fail(l, r != NULL ? r->str : "the connection was lost");
        return;
    }
    if (is_last == NULL)
        return;
    if (l->target->master != NULL && strcmp(l->server.role, "master") != 0) {
        fail(l, "the Sentinels' master is none");
        return;
    }
    timer_stop(&l->timer);
    l->state = UP;
    l->retry_us = RETRY_MIN_US;
    log_info("redis %s: connected", redis_target_name(l->target));
    if (l->events.up != NULL)
        l->events.up(l->events.context);
}

static void greet(struct redis_link *l)
{
    const struct redis_target *t = l->target;
    if (t->password != NULL && t->user != NULL)
        redisAsyncCommand(l->context, on_greeting, NULL, "AUTH %s %s", t->user, t->password);
    else if (t->password != NULL)
        redisAsyncCommand(l->context, on_greeting, NULL, "AUTH %s", t->password);
    if (t->database != 0)
        redisAsyncCommand(l->context, on_greeting, NULL, "SELECT %u", t->database);
    redisAsyncCommand(l->context, on_info, NULL, "INFO");
    redisAsyncCommand(l->context, on_greeting, l, "PING");
}

/* --- Sentinels --- */

/* The connection to a Sentinel has done its work, or failed at it: the next time another is asked first. */
static void on_master(redisAsyncContext *context, void *reply, void *unused)
{
    struct redis_link *l = context->data;
    const redisReply *r = reply;
    char host[256];
    (void)unused;
    if (l == NULL || !l->is_asking)
        return;
    bool is_known = r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
                    r->element[0]->type == REDIS_REPLY_STRING && r->element[1]->type == REDIS_REPLY_STRING &&
                    (size_t)r->element[0]->len < sizeof(host);
    unsigned long port = is_known ? strtoul(r->element[1]->str, NULL, 10) : 0;
    if (port == 0 || port > UINT16_MAX) {
        fail(l,
             r != NULL && r->type == REDIS_REPLY_ERROR ? r->str : "the Sentinel does not know this master");
        return;
    }
    snprintf(host, sizeof(host), "%s", r->element[0]->str);
    l->is_asking = false;
    l->context = NULL;
    context->data = NULL;
    redisAsyncDisconnect(context);
    dial(l, host, (unsigned)port);
}

static void use_context(struct redis_link *l, redisAsyncContext *context)
{
    if (context == NULL || context->err != 0) {
        fail(l, context != NULL ? context->errstr : "out of memory");
        if (context != NULL)
            redisAsyncFree(context);
        return;
    }
    context->data = l;
    l->context = context;
    l->state = CONNECTING;
    if (!redis_events_attach(context, l->loop)) {
        fail(l, "no event for the connection");
        return;
    }
    redisAsyncSetConnectCallback(context, on_connected);
    redisAsyncSetDisconnectCallback(context, on_disconnected);
    if (l->is_asking)
        redisAsyncCommand(context, on_master, NULL, "SENTINEL get-master-addr-by-name %s", l->target->master);
    else
        greet(l);
}

static void on_resolved(void *arg, const struct resolve_answer *answer)
{
    struct inquiry *inquiry = arg;
    struct redis_link *l = inquiry->link;
    free(inquiry);
    if (l == NULL)
        return;
    l->inquiry = NULL;
    if (l->state != RESOLVING)
        return;
    if (answer->count == 0) {
        fail(l, answer->error);
        return;
    }
    char text[ADDRESS_TEXT_BYTES];
    address_host_text(&answer->addresses[0], text);
    use_context(l, redisAsyncConnect(text, (int)l->port));
}

static void ask_for_address(struct redis_link *l)
{
    l->state = RESOLVING;
    if (l->inquiry != NULL)
        return; /* the last question is still open */
    if (l->resolver == NULL)
        l->resolver = resolver_new(NULL);
    l->inquiry = malloc(sizeof(*l->inquiry));
    if (l->inquiry != NULL)
        l->inquiry->link = l;
    if (l->inquiry == NULL || l->resolver == NULL ||
        !resolver_ask(l->resolver, l->host, (int)l->port, l->worker, on_resolved, l->inquiry)) {
        free(l->inquiry);
        l->inquiry = NULL;
        fail(l, "out of memory");
    }
}

static void connect_now(struct redis_link *l)
{
    l->state = CONNECTING;
    timer_start(l->loop, &l->timer, CONNECT_TIMEOUT_US, on_connect_timeout);
    if (l->target->path != NULL) {
        use_context(l, redisAsyncConnectUnix(l->target->path));
        return;
    }
    l->is_asking = l->target->master != NULL;
    if (l->is_asking) {
        const struct redis_host *next = &l->target->guides[l->sentinel++ % l->target->guide_count];
        dial(l, next->name, next->port);
    } else {
        dial(l, l->target->host, l->target->port);
    }
}

static void dial(struct redis_link *l, const char *host, unsigned port)
{
    char *copy = strdup(host);
    if (copy == NULL) {
        fail(l, "out of memory");
        return;
    }
    free(l->host);
    l->host = copy;
    l->port = port;
    struct address literal;
    if (address_from_literal(&literal, l->host, (int)l->port))
        use_context(l, redisAsyncConnect(l->host, (int)l->port));
    else
        ask_for_address(l);
}

/* --- life --- */

struct redis_link *redis_link_new(struct worker *worker, const struct redis_target *target,
                                  const struct redis_link_events *events)
{
    struct redis_link *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->worker = worker;
    l->loop = worker_loop(worker);
    l->target = target;
    if (events != NULL)
        l->events = *events;
    l->retry_us = RETRY_MIN_US;
    l->state = DOWN;
    timer_start(l->loop, &l->timer, 1, on_retry); /* connects from the loop's thread */
    return l;
}

void redis_link_free(struct redis_link *l)
{
    if (l == NULL)
        return;
    l->is_closing = true;
    timer_stop(&l->timer);
    if (l->context != NULL) {
        l->context->data = NULL;
        redisAsyncFree(l->context);
    }
    if (l->inquiry != NULL)
        l->inquiry->link = NULL;
    resolver_free(l->resolver);
    free(l->host);
    free(l);
}

bool redis_link_is_up(const struct redis_link *l)
{
    return l->state == UP && l->under_way < UNDER_WAY_MAX;
}

bool redis_link_has_failed(const struct redis_link *l)
{
    return l->state == DOWN && l->retry_us > RETRY_MIN_US;
}

size_t redis_link_unsent(const struct redis_link *l)
{
    return l->context != NULL ? sdslen(l->context->c.obuf) : 0;
}

const struct redis_server *redis_link_server(const struct redis_link *l)
{
    return &l->server;
}

/* --- asking --- */

static void answer(struct question *q, enum redis_outcome outcome, const redisReply *reply)
{
    if (q->is_answered)
        return;
    q->is_answered = true;
    timer_stop(&q->timer);
    q->replied(q->context, outcome, reply, clock_tick());
}

static void on_late(struct timer *timer)
{
    struct question *q = list_entry(timer, struct question, timer);
    struct redis_link *l = q->link;
    answer(q, REDIS_LATE, NULL);
    redis_link_blame(l, "no answer in time");
}

/* hiredis has called its last word on this question: with a reply, or with NULL when the connection is gone.
 */
static void on_reply(redisAsyncContext *context, void *reply, void *arg)
{
    struct question *q = arg;
    const redisReply *r = reply;
    (void)context;
    q->link->under_way--;
    /* Before the callback, which may blame the link for this reply. */
    if (r != NULL && r->type != REDIS_REPLY_ERROR && !q->is_answered)
        q->link->failures = 0;
    answer(q, r != NULL ? REDIS_REPLIED : REDIS_BROKEN, r);
    /* It was the master once. */
    if (r != NULL && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "READONLY", 8) == 0)
        fail(q->link, r->str);
    free(q);
}

bool redis_link_ask(struct redis_link *l, const struct slice *words, int count, uint64_t timeout_us,
                    redis_replied replied, void *context)
{
    const char *texts[WORDS_MAX];
    size_t lens[WORDS_MAX];
    struct question *q = redis_link_is_up(l) && count <= WORDS_MAX ? calloc(1, sizeof(*q)) : NULL;
    if (q == NULL)
        return false;
    *q = (struct question){.link = l, .replied = replied, .context = context};
    for (int i = 0; i < count; i++) {
        texts[i] = (const char *)words[i].data;
        lens[i] = words[i].len;
    }
    if (redisAsyncCommandArgv(l->context, on_reply, q, count, texts, lens) != REDIS_OK) {
        free(q);
        return false;
    }
    l->under_way++;
    if (timeout_us > 0)
        timer_start(l->loop, &q->timer, timeout_us, on_late);
    return true;
}
