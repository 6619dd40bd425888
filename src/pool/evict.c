/*
 * evict: who is closed is the server that has been idle for longest among those of a worker that nobody
 * needs.
 *
 * A part asks one worker at a time, and the next one the next time: what a worker can do without is known to
 * itself alone, the others see no more than that something is idle there.
 */
#include "evict.h"

#include <stdlib.h>

#include "handover.h"
#include "weir/pool/registry.h"
#include "weir/pool/server.h"

struct evict_mail {
    struct mail mail;
    struct pool_part *asker;
    enum evict_limit limit;
    int worker;    /* who is asked */
    bool is_login; /* for newcomers, who are not seen from outside as waiters are */
};

static bool is_under(const struct pool *pool, const struct pool *asker, enum evict_limit limit)
{
    return pool != asker &&
           (limit == EVICT_OF_USER ? pool->user == asker->user : pool->database == asker->database);
}

/* On the thread of the worker. Idle servers of a part with waiters, and promised ones, are as good as leased.
 */
static bool can_spare(const struct pool_part *part)
{
    return part->servers[SERVER_IDLE].count > part->promised && list_is_empty(&part->waiters) &&
           list_is_empty(&part->newcomers);
}

/* Closes one for the asker; the worker's thread. */
static bool close_longest_idle(const struct pool *asker, enum evict_limit limit, int worker)
{
    struct server *victim = NULL;
    for (struct pool *pool = registry_pools(asker->registry); pool != NULL; pool = pool->next) {
        struct pool_part *part = pool->parts[worker];
        if (!is_under(pool, asker, limit) || part == NULL || !can_spare(part))
            continue;
        list_for_each(&part->servers[SERVER_IDLE], node)
        {
            struct server *server = list_entry(node, struct server, node);
            if (victim == NULL || server->idle_since_us < victim->idle_since_us)
                victim = server;
        }
    }
    if (victim == NULL)
        return false;
    server_close(victim, "evicted");
    return true;
}

static void answered(struct mail *mail)
{
    struct pool_part *part = ((struct evict_mail *)(void *)mail)->asker;
    free(mail);
    atomic_store(&part->has_asked_room, false);
    pool_serve(part);
}

static void asked(struct mail *mail)
{
    struct evict_mail *ask = (struct evict_mail *)(void *)mail;
    struct pool_part *asker = ask->asker;
    bool is_needed = ask->is_login || atomic_load(&asker->oldest_wait_us) != 0;
    if (is_needed && close_longest_idle(asker->pool, ask->limit, ask->worker)) {
        ask->mail.run = answered;
        worker_post(asker->worker, &ask->mail);
        return;
    }
    /* Nothing to serve: who still waits looks again by itself (watch_limits), and then asks somebody else. */
    free(ask);
    atomic_store(&asker->has_asked_room, false);
}

/* A worker other than the asker's that seems to have something to spare, beginning behind the one that was
 * asked last; NULL when there is none. */
static struct pool_part *part_to_ask(const struct pool_part *asker, enum evict_limit limit)
{
    int count = asker->pool->part_count, own = worker_index(asker->worker);
    for (int i = 1; i <= count; i++) {
        int worker = (asker->asked_worker + i) % count;
        for (struct pool *pool = registry_pools(asker->pool->registry); pool != NULL; pool = pool->next) {
            if (worker == own || !is_under(pool, asker->pool, limit))
                continue;
            struct pool_part *part = pool_part_at(pool, worker);
            if (part != NULL && atomic_load(&part->idle_count) > 0 && atomic_load(&part->oldest_wait_us) == 0)
                return part;
        }
    }
    return NULL;
}

bool evict_for(struct pool_part *part, enum evict_limit limit)
{
    if (close_longest_idle(part->pool, limit, worker_index(part->worker)))
        return true;
    if (part->pool->part_count == 1 || atomic_load(&part->has_asked_room))
        return false;
    struct pool_part *other = part_to_ask(part, limit);
    struct evict_mail *ask = other != NULL ? malloc(sizeof(*ask)) : NULL;
    if (ask == NULL)
        return false;
    part->asked_worker = worker_index(other->worker);
    *ask = (struct evict_mail){.mail = {.run = asked},
                               .asker = part,
                               .limit = limit,
                               .worker = part->asked_worker,
                               .is_login = list_is_empty(&part->waiters)};
    atomic_store(&part->has_asked_room, true);
    worker_post(other->worker, &ask->mail);
    return false;
}
