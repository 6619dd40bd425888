/*
 * marks: writes under way, from the mark before the bytes leave to the change after the answer; also those
 * whose outcome nobody knows.
 *
 * A mark is made on the relations that the write reaches, or on the epoch when that is not known, and on the
 * epoch of every watched database that might be the same under another address. Whoever makes a mark
 * remembers it, so that it ends exactly once: changed, or clear.
 */
#include "database_group.h"

#include <stdlib.h>

#include "weir/control/catalog.h"
#include "weir/control/watch.h"
#include "weir/net/worker.h"
#include "weir/util/log.h"

/* Of a database that nobody watches, so that proofs would never come. */
enum { ORPHANS_UNWATCHED_MAX = 64 };

/* A transaction that writes more rows than this, one by one, writes their whole tables. */
enum { ROWS_MAX = 64 };

/* --- marks --- */

bool database_is_other(const struct cache_database *a, const struct cache_database *b)
{
    if (a->catalog == NULL || b->catalog == NULL)
        return false;
    const struct catalog_facts *x = catalog_get_facts(a->catalog), *y = catalog_get_facts(b->catalog);
    return x->system_identifier != 0 && y->system_identifier != 0 &&
           (x->system_identifier != y->system_identifier || x->database_oid != y->database_oid);
}

void database_mark_peer(struct database_write *w, struct cache_database *peer)
{
    struct cache_database **peers = realloc(w->peers, (w->peer_count + 1) * sizeof(struct cache_database *));
    generation_mark(generations_epoch(peer->generations));
    if (peers == NULL) {
        /* The mark cannot be remembered, so it stays: that database will have no hits any more. */
        log_error("out of memory: the cache of a database at %s:%u stays off", peer->host, peer->port);
        return;
    }
    w->peers = peers;
    w->peers[w->peer_count++] = database_ref(peer);
}

static void mark_peers(struct database_write *w)
{
    list_for_each(&w->database->group->members, node)
    {
        struct cache_database *peer = list_entry(node, struct cache_database, node);
        if (peer != w->database && peer->is_watched && !database_is_other(peer, w->database))
            database_mark_peer(w, peer);
    }
}

/* Takes the reference over. */
static void add_slot(struct database_write *w, struct generation *slot)
{
    if (slot == NULL) {
        w->is_unknown = true;
        return;
    }
    for (size_t i = 0; i < w->slot_count; i++) {
        if (w->slots[i] == slot) {
            generation_unref(slot);
            return;
        }
    }
    if (w->slot_count == w->slot_capacity) {
        size_t capacity = w->slot_capacity > 0 ? 2 * w->slot_capacity : 4;
        struct generation **slots = realloc(w->slots, capacity * sizeof(struct generation *));
        if (slots == NULL) {
            generation_unref(slot);
            w->is_unknown = true;
            return;
        }
        w->slots = slots;
        w->slot_capacity = capacity;
    }
    w->slots[w->slot_count++] = slot;
}

static void add_kind(struct database_write *w, uint32_t relation, enum generation_kind kind)
{
    add_slot(w, generations_get(w->database->generations, relation, kind));
}

void database_write_add(struct database_write *w, uint32_t relation)
{
    add_kind(w, relation, GENERATION_ANY);
    add_kind(w, relation, GENERATION_WHOLE);
}

bool database_write_add_row(struct database_write *w, uint32_t relation, uint64_t key_hash)
{
    if (w->slot_count >= ROWS_MAX) {
        database_write_add(w, relation);
        return false;
    }
    add_kind(w, relation, GENERATION_ANY);
    add_slot(w, generations_key(w->database->generations, key_hash));
    return true;
}

void database_write_add_new_rows(struct database_write *w, uint32_t relation)
{
    add_kind(w, relation, GENERATION_ANY);
    add_kind(w, relation, GENERATION_NEW);
}

void database_write_mark(struct database_write *w)
{
    struct cache_database *d = w->database;
    pthread_mutex_lock(&d->group->mutex);
    uint64_t version = atomic_load(&d->version);
    if (d->catalog == NULL || (w->slot_count > 0 && w->version != version))
        w->is_unknown = true;
    if (!w->is_marked) {
        w->is_marked = true;
        w->marked_version = version;
        list_push_back(&d->writes, &w->node);
        mark_peers(w);
    }
    if (w->is_unknown && !w->is_epoch_marked) {
        w->is_epoch_marked = true;
        generation_mark(generations_epoch(d->generations));
    }
    for (; w->marked_count < w->slot_count; w->marked_count++)
        generation_mark(w->slots[w->marked_count]);
    pthread_mutex_unlock(&d->group->mutex);
}

static void unmark(struct cache_database *d, struct generation *slot, bool has_changed)
{
    if (!has_changed) {
        generation_clear(slot);
        return;
    }
    generation_change(slot);
    if (slot == generations_epoch(d->generations))
        atomic_fetch_add_explicit(&d->group->all->epoch_changes, 1, memory_order_relaxed);
}

static void unmark_all(struct database_write *w, bool has_changed)
{
    struct cache_database *d = w->database;
    for (size_t i = 0; i < w->marked_count; i++)
        unmark(d, w->slots[i], has_changed);
    if (w->is_epoch_marked)
        unmark(d, generations_epoch(d->generations), has_changed);
    else if (has_changed && w->marked_version != atomic_load(&d->version))
        database_change_epoch(d);
    for (size_t i = 0; i < w->peer_count; i++)
        unmark(w->peers[i], generations_epoch(w->peers[i]->generations), has_changed);
    list_remove(&d->writes, &w->node);
    if (w->legacy_round != 0 && w->legacy_round == d->share.legacy_round && --d->share.legacy_left == 0)
        share_poke(d, false);
    if (list_node_is_linked(&w->orphan_node))
        list_remove(&d->orphans, &w->orphan_node);
    if (w->is_schema && has_changed)
        database_want_reload(d);
    else if (d->catalog != NULL && !atomic_load(&d->is_usable))
        database_judge_usable(d);
}

void database_write_end(struct database_write *w, bool has_changed)
{
    struct cache_database *d = w->database;
    if (w->is_marked) {
        pthread_mutex_lock(&d->group->mutex);
        unmark_all(w, has_changed);
        pthread_mutex_unlock(&d->group->mutex);
    }
    share_write_ended(w, has_changed);
    for (size_t i = 0; i < w->slot_count; i++)
        generation_unref(w->slots[i]);
    for (size_t i = 0; i < w->peer_count; i++)
        cache_database_unref(w->peers[i]);
    free(w->slots);
    free(w->peers);
    free(w);
    cache_database_unref(d);
}

/* --- writes of unknown outcome --- */

static void on_gone(void *context)
{
    database_write_end(context, true);
}

void database_write_await(struct database_write *w)
{
    if (!w->is_awaited)
        watch_await_backend(w->database->watch, w->backend_pid, on_gone, w);
    w->is_awaited = true;
}

/* Mail: the write is in `orphans`; control thread. Mails come in the order of that list. */
static void on_orphan(struct mail *mail)
{
    struct database_write *w = list_entry(mail, struct database_write, mail);
    struct cache_database *d = w->database;
    if (d->watch != NULL) {
        database_write_await(w);
        return;
    }
    pthread_mutex_lock(&d->group->mutex);
    struct database_write *oldest = NULL;
    if (d->orphans.count > ORPHANS_UNWATCHED_MAX)
        oldest = list_entry(list_first(&d->orphans), struct database_write, orphan_node);
    pthread_mutex_unlock(&d->group->mutex);
    if (oldest != NULL)
        database_write_end(oldest, true);
}

/* With the group locked: the mark on a peer gets a life of its own, since only the peer's watch can prove
 * anything. */
static struct database_write *split_peer(struct cache_database *peer, uint32_t pid)
{
    struct database_write *part = calloc(1, sizeof(*part));
    if (part == NULL) {
        log_error("out of memory: the cache of a database at %s:%u stays off", peer->host, peer->port);
        return NULL;
    }
    *part = (struct database_write){.database = peer,
                                    .is_unknown = true,
                                    .is_marked = true,
                                    .is_epoch_marked = true,
                                    .marked_version = atomic_load(&peer->version),
                                    .backend_pid = pid,
                                    .mail = {.run = on_orphan}};
    list_push_back(&peer->writes, &part->node);
    list_push_back(&peer->orphans, &part->orphan_node);
    return part;
}

void database_write_orphan(struct database_write *w, uint32_t pid)
{
    database_write_mark(w);
    share_forget_waiter(w);
    struct cache_database *d = w->database;
    if (w->client != NULL) /* it ends there */
        w->client = share_control_client(d->group->all->share);
    struct worker *control = d->group->all->control;
    pthread_mutex_lock(&d->group->mutex);
    for (size_t i = 0; i < w->peer_count; i++) {
        struct database_write *part = split_peer(w->peers[i], pid);
        if (part != NULL)
            worker_post(control, &part->mail);
        else
            cache_database_unref(w->peers[i]);
    }
    w->peer_count = 0;
    w->backend_pid = pid;
    w->mail.run = on_orphan;
    list_push_back(&d->orphans, &w->orphan_node);
    worker_post(control, &w->mail);
    pthread_mutex_unlock(&d->group->mutex);
}
