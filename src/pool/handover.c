/*
 * handover: the order of waiters is kept across workers by looking at the other parts' oldest_wait_us when a
 * server becomes free.
 *
 * A server promised to another part stays idle here until the mail that takes it over runs: not from inside
 * its own callback, since its new thread would meet it there.
 */
#include "handover.h"

#include "forget.h"

#include <stdlib.h>

#include "weir/pool/registry.h"
#include "weir/pool/server.h"
#include "weir/util/cold.h"

enum {
    FOREIGN_ADVANTAGE_US =
        1000, /* how much longer another worker's waiter must have waited to be served first */
};

struct parts_mail {
    struct mail mail;
    struct pool_part *from, *to;
    struct server *server;
};

/* False when memory is out. */
static bool post_parts(struct pool_part *at, void (*run)(struct mail *), struct pool_part *from,
                       struct pool_part *to)
{
    struct parts_mail *mail = malloc(sizeof(*mail));
    if (mail == NULL)
        return false;
    *mail = (struct parts_mail){.mail = {.run = run}, .from = from, .to = to};
    worker_post(at->worker, &mail->mail);
    return true;
}

COLD static void receive_server(struct mail *mail)
{
    struct parts_mail parts = *(struct parts_mail *)(void *)mail;
    free(mail);
    struct pool_part *part = parts.to;
    struct server *server = parts.server;
    server->part = part;
    atomic_store(&part->has_asked, false);
    atomic_fetch_add_explicit(&part->server_count, 1, memory_order_relaxed);
    list_push_back(&part->servers[SERVER_IDLE], &server->node);
    atomic_store(&part->idle_count, (int)part->servers[SERVER_IDLE].count);
    server_adopt(server);
    pool_serve(part);
    handover_offer(part); /* whoever it was for may have left, while others wait where it came from */
}

/* Takes an idle server from `from` (whose thread this is) to `to`, if there still is one to spare and a need.
 */
static bool hand_over(struct pool_part *from, struct pool_part *to)
{
    struct list_node *node = list_first(&from->servers[SERVER_IDLE]);
    if (node == NULL || atomic_load(&to->oldest_wait_us) == 0)
        return false;
    struct parts_mail *mail = malloc(sizeof(*mail));
    if (mail == NULL)
        return false;
    struct server *server = list_entry(node, struct server, node);
    *mail = (struct parts_mail){.mail = {.run = receive_server}, .from = from, .to = to, .server = server};
    list_remove(&from->servers[SERVER_IDLE], node);
    atomic_store(&from->idle_count, (int)from->servers[SERVER_IDLE].count);
    atomic_fetch_sub_explicit(&from->server_count, 1, memory_order_relaxed);
    server_orphan(server);
    forget_later(from);
    worker_post(to->worker, &mail->mail);
    return true;
}

static void keep_promise(struct mail *mail)
{
    struct parts_mail parts = *(struct parts_mail *)(void *)mail;
    free(mail);
    parts.from->promised--;
    hand_over(parts.from, parts.to);
    pool_serve(parts.from);
}

COLD static void asked_for_idle(struct mail *mail)
{
    struct parts_mail parts = *(struct parts_mail *)(void *)mail;
    free(mail);
    if (!list_is_empty(&parts.from->waiters) ||
        parts.from->servers[SERVER_IDLE].count <= parts.from->promised || !hand_over(parts.from, parts.to))
        atomic_store(&parts.to->has_asked, false);
}

bool handover_ask(struct pool_part *part)
{
    struct pool *pool = part->pool;
    if (pool->part_count == 1 || list_is_empty(&part->waiters))
        return false;
    if (atomic_load(&part->has_asked))
        return true;
    for (int i = 0; i < pool->part_count; i++) {
        struct pool_part *other = pool_part_at(pool, i);
        if (other == NULL || other == part || atomic_load(&other->idle_count) == 0)
            continue;
        atomic_store(&part->has_asked, true);
        if (post_parts(other, asked_for_idle, other, part))
            return true;
        atomic_store(&part->has_asked, false);
        return false;
    }
    return false;
}

/* The part whose oldest waiter has waited so much longer that a free server should go there; NULL for our
 * own. */
static struct pool_part *more_patient(struct pool_part *part)
{
    struct pool *pool = part->pool;
    uint64_t own = atomic_load_explicit(&part->oldest_wait_us, memory_order_relaxed);
    struct pool_part *best = NULL;
    uint64_t oldest = own == 0 ? UINT64_MAX : own - FOREIGN_ADVANTAGE_US;
    for (int i = 0; i < pool->part_count; i++) {
        struct pool_part *other = pool_part_at(pool, i);
        if (other == NULL || other == part)
            continue;
        uint64_t since = atomic_load(&other->oldest_wait_us);
        bool is_stranded = own != 0 && atomic_load_explicit(&other->server_count, memory_order_relaxed) == 0;
        if (since != 0 && (since < oldest || (is_stranded && best == NULL))) {
            oldest = since < oldest ? since : oldest;
            best = other;
        }
    }
    return best;
}

void handover_offer(struct pool_part *part)
{
    if (part->pool->part_count == 1 || part->servers[SERVER_IDLE].count <= part->promised ||
        registry_is_paused(part->pool->registry, part->pool->database))
        return;
    struct pool_part *other = more_patient(part);
    if (other != NULL && post_parts(part, keep_promise, part, other))
        part->promised++;
}
