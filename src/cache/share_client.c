/* share_client: a thread's own link to Redis, and the process's part of the share. */
#include "share_parts.h"

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
static void on_up(void *context)
{
    struct share_client *c = context;
    ledger_teach(c->link);
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
    const struct redis_link_events events = {.up = on_up, .context = c};
    c->link = redis_link_new(worker, target, &events);
    if (c->link == NULL) {
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
    redis_link_free(c->link);
    c->link = NULL;
}

void share_client_free(struct share_client *c)
{
    share_client_stop(c);
    free(c);
}

struct redis_link *share_client_link(struct share_client *c, const struct cache_database *d,
                                     struct share_place **place)
{
    *place = atomic_load(&d->share.place);
    if (*place == NULL || c->is_stopped || !redis_link_is_up(c->link))
        return NULL;
    const struct redis_server *server = redis_link_server(c->link);
    bool is_there = strcmp(server->run_id, (*place)->run_id) == 0 && strcmp(server->role, "master") == 0;
    return is_there ? c->link : NULL;
}

bool share_client_is_up(const struct share_client *c)
{
    return !c->is_stopped && redis_link_is_up(c->link);
}
