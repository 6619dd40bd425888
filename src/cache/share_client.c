/* share_client: a thread's own link to Redis, and the process's part of the share. */
#include "share_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "weir/net/worker.h"

/* Another one for every call, and not to be met in any other process: a walk through all numbers. */
uint64_t share_token(struct share *s)
{
    uint64_t z =
        atomic_fetch_add_explicit(&s->next_token, UINT64_C(0x9E3779B97F4A7C15), memory_order_relaxed);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return z != 0 ? z : share_token(s);
}

struct share *share_new(struct worker *control, const struct redis_target *target, uint64_t lease_us)
{
    struct share *s = calloc(1, sizeof(*s));
    uint64_t random[2];
    if (s == NULL || getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        free(s);
        return NULL;
    }
    s->control = control;
    s->lease_us = lease_us;
    atomic_init(&s->owner, random[0]);
    atomic_init(&s->next_token, random[1]);
    list_init(&s->databases);
    s->client = share_client_new(s, control, target);
    if (s->client == NULL) {
        free(s);
        return NULL;
    }
    return s;
}

void share_free(struct share *s)
{
    if (s == NULL)
        return;
    share_client_free(s->client);
    free(s);
}

uint64_t share_lease_us(const struct share *s)
{
    return s->lease_us;
}

struct share_client *share_control_client(struct share *s)
{
    return s->client;
}

/* --- clients --- */

/* Redis may be another one now, or the same with nothing in it: the control thread's link asks at once. */
static void on_up(void *context, struct redis_link *link)
{
    struct share_client *c = context;
    ledger_teach(link);
    if (c != c->share->client)
        return;
    list_for_each(&c->share->databases, node) share_meet(list_entry(node, struct cache_database, share.node));
}

struct share_client *share_client_new(struct share *s, struct worker *worker,
                                      const struct redis_target *target)
{
    struct share_client *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->share = s;
    c->worker = worker;
    list_init(&c->waiting);
    const struct redis_nodes_events events = {.up = on_up, .context = c};
    c->nodes = redis_nodes_new(worker, target, &events);
    if (c->nodes == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

void share_client_stop(struct share_client *c)
{
    if (c == NULL || c->is_stopped)
        return;
    c->is_stopped = true;
    timer_stop(&c->timer);
    redis_nodes_free(c->nodes);
    c->nodes = NULL;
}

void share_client_free(struct share_client *c)
{
    share_client_stop(c);
    free(c);
}

/* All ledgers of a database are in one slot: that of the part in braces of their names. */
struct redis_link *share_client_node(const struct share_client *c, const struct cache_database *d)
{
    char tag[64];
    int len =
        snprintf(tag, sizeof(tag), "{%llu.%llu}", (unsigned long long)atomic_load(&d->share.database_oid),
                 (unsigned long long)atomic_load(&d->share.server_start_us));
    return c->is_stopped ? NULL : redis_nodes_link(c->nodes, slice_make(tag, (size_t)len));
}

/* Nobody goes on to where a slot is on its way: a ledger is asked for of its slot's owner alone. */
enum ledger_answer share_client_answer(struct share_client *c, const struct cache_database *d,
                                       enum redis_outcome outcome, const struct redisReply *reply)
{
    struct redis_link *link = share_client_node(c, d);
    struct redis_redirection to = {.port = 0};
    if (outcome == REDIS_REPLIED && link != NULL &&
        redis_nodes_heed(c->nodes, link, reply, &to) != REDIS_WORD_NONE)
        return LEDGER_ELSEWHERE;
    return ledger_answer(link, outcome, reply);
}

struct redis_link *share_client_link(struct share_client *c, const struct cache_database *d,
                                     struct share_place **place)
{
    *place = atomic_load(&d->share.place);
    struct redis_link *link = *place != NULL ? share_client_node(c, d) : NULL;
    if (link == NULL || !redis_link_is_up(link))
        return NULL;
    const struct redis_server *server = redis_link_server(link);
    bool is_there = strcmp(server->run_id, (*place)->run_id) == 0 && strcmp(server->role, "master") == 0;
    return is_there ? link : NULL;
}

bool share_client_is_up(const struct share_client *c)
{
    return !c->is_stopped && redis_nodes_is_up(c->nodes);
}

void share_client_describe(const struct share_client *c, struct buf *out)
{
    if (!c->is_stopped)
        redis_nodes_describe(c->nodes, out);
}
