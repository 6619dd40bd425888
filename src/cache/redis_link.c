/*
 * redis_link: one connection, a breaker, and a timer for every question.
 *
 *   down --back-off--> [asking -->] [resolving -->] connecting --AUTH, SELECT, INFO, PING answered--> up
 *     ^---------------------- fail(): refused, lost, too slow, FAILURES_MAX failures in a row -------------'
 *
 * Asking: one Sentinel after another, each time the link is down, where the master is. Each place is dialled
 * in the same way, `is_asking` telling what the connection is for.
 *
 * Replies come in the order of the questions: each is for the first of `asked`. A question that was answered
 * by its timer stays there until its reply comes, or the connection goes. Whatever is told may make the link
 * fail, so that `conn` is another one, or none, when it returns.
 */
#include "weir/cache/redis_link.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "weir/cache/redis_target.h"
#include "weir/net/conn.h"
#include "weir/net/loop.h"
#include "weir/net/resolve.h"
#include "weir/util/buf.h"
#include "weir/util/clock.h"
#include "weir/util/list.h"
#include "weir/util/log.h"

enum {
    UNDER_WAY_MAX = 1024,
    FAILURES_MAX = 5,
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
    struct conn *conn;   /* NULL while down, or resolving */
    redisReader *reader; /* of what `conn` brings */
    struct list asked;   /* struct question: sent and not replied to */
    char *host;          /* that is dialled, with `port` */
    unsigned port;
    bool is_asking;     /* a Sentinel */
    size_t sentinel;    /* whose turn it is */
    struct timer timer; /* of connecting, or of backing off */
    uint64_t retry_us;
    unsigned failures; /* in a row */
    struct redis_server server;
};

struct question {
    struct list_node node;
    struct redis_link *link;
    struct timer timer;
    redis_replied replied;
    void *context;
    bool is_answered;
};

static void connect_now(struct redis_link *l);
static void dial(struct redis_link *l, const char *host, unsigned port);

/* --- questions --- */

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

/* "*3\r\n" */
static void append_count(struct buf *out, char kind, size_t count)
{
    char text[24], *at = text + sizeof(text);
    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + count % 10);
    while ((count /= 10) > 0);
    *--at = kind;
    buf_append(out, at, (size_t)(text + sizeof(text) - at));
}

static bool send_words(struct redis_link *l, const struct slice *words, int count, uint64_t timeout_us,
                       redis_replied replied, void *context)
{
    struct buf out = BUF_INIT;
    struct question *q = l->conn != NULL ? calloc(1, sizeof(*q)) : NULL;
    append_count(&out, '*', (size_t)count);
    for (int i = 0; i < count; i++) {
        append_count(&out, '$', words[i].len);
        buf_append_slice(&out, words[i]);
        buf_append(&out, "\r\n", 2);
    }
    if (q == NULL || buf_failed(&out)) {
        buf_free(&out);
        free(q);
        return false;
    }
    *q = (struct question){.link = l, .replied = replied, .context = context};
    list_push_back(&l->asked, &q->node);
    if (timeout_us > 0)
        timer_start(l->loop, &q->timer, timeout_us, on_late);
    conn_write_buf(l->conn, &out); /* where that fails the loop tells of it, later */
    buf_free(&out);
    return true;
}

/* The connection goes, and with it all questions. */
static void hang_up(struct redis_link *l)
{
    struct list lost;
    conn_free(l->conn);
    l->conn = NULL;
    redisReaderFree(l->reader);
    l->reader = NULL;
    list_init(&lost);
    for (struct list_node *node; (node = list_pop_front(&l->asked)) != NULL;)
        list_push_back(&lost, node);
    for (struct list_node *node; (node = list_pop_front(&lost)) != NULL;) {
        struct question *q = list_entry(node, struct question, node);
        answer(q, REDIS_BROKEN, NULL);
        free(q);
    }
}

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
    hang_up(l);
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
static void on_info(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                    uint64_t now_us)
{
    struct redis_link *l = context;
    (void)now_us;
    const char *info = outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_STRING ? reply->str : "";
    copy_fact(info, "run_id", l->server.run_id, sizeof(l->server.run_id));
    copy_fact(info, "role", l->server.role, sizeof(l->server.role));
    copy_fact(info, "maxmemory_policy", l->server.eviction, sizeof(l->server.eviction));
}

/* Of AUTH and SELECT. */
static void on_greeting(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                        uint64_t now_us)
{
    struct redis_link *l = context;
    (void)now_us;
    if (outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_ERROR)
        fail(l, reply->str);
}

/* Of PING, the last of them. */
static void on_greeted(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                       uint64_t now_us)
{
    struct redis_link *l = context;
    (void)now_us;
    if (outcome != REDIS_REPLIED)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        fail(l, reply->str);
        return;
    }
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
    char number[16];
    struct slice words[3] = {SLICE_LITERAL("AUTH")};
    int count = 1;
    if (t->user != NULL)
        words[count++] = slice_str(t->user);
    if (t->password != NULL) {
        words[count++] = slice_str(t->password);
        send_words(l, words, count, 0, on_greeting, l);
    }
    if (t->database != 0) {
        snprintf(number, sizeof(number), "%u", t->database);
        words[0] = SLICE_LITERAL("SELECT");
        words[1] = slice_str(number);
        send_words(l, words, 2, 0, on_greeting, l);
    }
    words[0] = SLICE_LITERAL("INFO");
    send_words(l, words, 1, 0, on_info, l);
    words[0] = SLICE_LITERAL("PING");
    send_words(l, words, 1, 0, on_greeted, l); /* one that could not be sent shows as no answer in time */
}

/* --- Sentinels --- */

/* The connection to a Sentinel has done its work, or failed at it: the next time another is asked first. */
static void on_master(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                      uint64_t now_us)
{
    struct redis_link *l = context;
    char host[256];
    (void)now_us;
    if (outcome != REDIS_REPLIED)
        return;
    bool is_known = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                    reply->element[0]->type == REDIS_REPLY_STRING &&
                    reply->element[1]->type == REDIS_REPLY_STRING &&
                    (size_t)reply->element[0]->len < sizeof(host);
    unsigned long port = is_known ? strtoul(reply->element[1]->str, NULL, 10) : 0;
    if (port == 0 || port > UINT16_MAX) {
        fail(l, reply->type == REDIS_REPLY_ERROR ? reply->str : "the Sentinel does not know this master");
        return;
    }
    snprintf(host, sizeof(host), "%s", reply->element[0]->str);
    l->is_asking = false;
    hang_up(l);
    dial(l, host, (unsigned)port);
}

/* --- the connection --- */

static void begin(struct redis_link *l)
{
    const struct slice words[] = {SLICE_LITERAL("SENTINEL"), SLICE_LITERAL("get-master-addr-by-name"),
                                  slice_str(l->target->master)};
    if (l->is_asking)
        send_words(l, words, 3, 0, on_master, l);
    else
        greet(l);
}

static void on_connected(void *owner)
{
    struct redis_link *l = owner;
    if (l->target->tls != NULL)
        conn_start_tls(l->conn, l->target->tls, l->host, SLICE_EMPTY);
    else
        begin(l);
}

static void on_secured(void *owner)
{
    begin(owner);
}

static void on_closed(void *owner, int error)
{
    struct redis_link *l = owner;
    fail(l, error != 0 ? conn_error_text(l->conn, error) : "the connection was closed");
}

/* The first question has its reply. */
static void take_reply(struct redis_link *l, const redisReply *reply)
{
    struct list_node *first = list_pop_front(&l->asked);
    if (first == NULL) {
        fail(l, "an answer that nobody has asked for");
        return;
    }
    struct question *q = list_entry(first, struct question, node);
    bool is_error = reply->type == REDIS_REPLY_ERROR;
    /* Before the callback, which may blame the link for this reply. */
    if (!is_error && !q->is_answered)
        l->failures = 0;
    answer(q, REDIS_REPLIED, reply);
    free(q);
    if (is_error && strncmp(reply->str, "READONLY", 8) == 0) /* it was the master once */
        fail(l, reply->str);
}

static size_t on_data(void *owner, struct slice data)
{
    struct redis_link *l = owner;
    struct conn *conn = l->conn;
    void *reply = NULL;
    bool is_good = redisReaderFeed(l->reader, (const char *)data.data, data.len) == REDIS_OK;
    while (is_good && l->conn == conn && (is_good = redisReaderGetReply(l->reader, &reply) == REDIS_OK) &&
           reply != NULL) {
        take_reply(l, reply);
        freeReplyObject(reply);
        reply = NULL;
    }
    if (!is_good)
        fail(l, l->reader->errstr);
    return data.len;
}

static const struct conn_handler handler = {
    .on_data = on_data, .on_connected = on_connected, .on_closed = on_closed, .on_secured = on_secured};

static void connect_to(struct redis_link *l, const struct address *address)
{
    static const struct socket_options options; /* nothing but what is always set */
    struct error error = ERROR_INIT;
    l->state = CONNECTING;
    l->reader = redisReaderCreate();
    l->conn = l->reader != NULL ? conn_connect(l->worker, address, &options, &handler, l, &error) : NULL;
    if (l->conn == NULL)
        fail(l, l->reader != NULL ? error.message : "out of memory");
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
    connect_to(l, &answer->addresses[0]);
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

static void connect_to_path(struct redis_link *l)
{
    struct address address = {.as.un.sun_family = AF_UNIX};
    size_t len = strlen(l->target->path);
    if (len >= sizeof(address.as.un.sun_path)) {
        fail(l, "the path of a socket cannot be as long as this");
        return;
    }
    memcpy(address.as.un.sun_path, l->target->path, len + 1);
    address.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    connect_to(l, &address);
}

static void connect_now(struct redis_link *l)
{
    l->state = CONNECTING;
    timer_start(l->loop, &l->timer, CONNECT_TIMEOUT_US, on_connect_timeout);
    if (l->target->path != NULL) {
        connect_to_path(l);
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
        connect_to(l, &literal);
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
    list_init(&l->asked);
    timer_start(l->loop, &l->timer, 1, on_retry); /* connects from the loop's thread */
    return l;
}

void redis_link_free(struct redis_link *l)
{
    if (l == NULL)
        return;
    l->is_closing = true;
    timer_stop(&l->timer);
    hang_up(l);
    if (l->inquiry != NULL)
        l->inquiry->link = NULL;
    resolver_free(l->resolver);
    free(l->host);
    free(l);
}

bool redis_link_is_up(const struct redis_link *l)
{
    return l->state == UP && l->asked.count < UNDER_WAY_MAX;
}

bool redis_link_has_failed(const struct redis_link *l)
{
    return l->state == DOWN && l->retry_us > RETRY_MIN_US;
}

size_t redis_link_unsent(const struct redis_link *l)
{
    return l->conn != NULL ? conn_output_pending(l->conn) : 0;
}

const struct redis_server *redis_link_server(const struct redis_link *l)
{
    return &l->server;
}

bool redis_link_ask(struct redis_link *l, const struct slice *words, int count, uint64_t timeout_us,
                    redis_replied replied, void *context)
{
    return redis_link_is_up(l) && send_words(l, words, count, timeout_us, replied, context);
}
