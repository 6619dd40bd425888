/*
 * database: groups, catalogs coming and going, marks.
 *
 * Order of events that keeps the invariant: a write takes its place in `writes` with the version it saw
 * before its bytes leave; a new catalog makes the database usable only when no write of an older version is
 * left there. A write that ends under another version than it was marked under changes the epoch as well.
 */
#include "weir/cache/database.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/control/catalog.h"
#include "weir/control/control.h"
#include "weir/control/watch.h"
#include "weir/net/worker.h"
#include "weir/util/clock.h"
#include "weir/util/log.h"

/* A watch looks every second; after this long without a good look nothing is believed. */
enum { BELIEF_US = 3000000 };

/* Of a database that nobody watches, so that proofs would never come. */
enum { ORPHANS_UNWATCHED_MAX = 64 };

struct group {
    struct group *next;
    struct databases *all;
    char *name;
    pthread_mutex_t mutex;
    struct list members;
};

struct databases {
    struct worker *control;
    pthread_mutex_t mutex; /* of the list of groups; taken before a group's */
    struct group *groups;
    uint64_t next_id;
    _Atomic uint64_t epoch_changes;
};

struct databases *databases_new(struct worker *control)
{
    struct databases *all = calloc(1, sizeof(*all));
    if (all == NULL)
        return NULL;
    all->control = control;
    pthread_mutex_init(&all->mutex, NULL);
    return all;
}

static void change_epoch(struct cache_database *d)
{
    generation_bump(generations_epoch(d->generations));
    atomic_fetch_add_explicit(&d->group->all->epoch_changes, 1, memory_order_relaxed);
}

static void free_database(struct cache_database *d)
{
    catalog_unref(d->catalog);
    generations_free(d->generations);
    free(d->host);
    free(d);
}

void databases_free(struct databases *all)
{
    if (all == NULL)
        return;
    for (struct group *group = all->groups, *next; group != NULL; group = next) {
        next = group->next;
        list_for_each(&group->members, node)
        {
            struct cache_database *d = list_entry(node, struct cache_database, node);
            for (struct list_node *first; (first = list_first(&d->orphans)) != NULL;)
                database_write_end(list_entry(first, struct database_write, orphan_node), true);
        }
    }
    for (struct group *group = all->groups, *next; group != NULL; group = next) {
        next = group->next;
        for (struct list_node *node; (node = list_pop_front(&group->members)) != NULL;)
            free_database(list_entry(node, struct cache_database, node));
        pthread_mutex_destroy(&group->mutex);
        free(group->name);
        free(group);
    }
    pthread_mutex_destroy(&all->mutex);
    free(all);
}

static struct group *group_get(struct databases *all, const char *name)
{
    for (struct group *group = all->groups; group != NULL; group = group->next)
        if (strcmp(group->name, name) == 0)
            return group;
    struct group *group = calloc(1, sizeof(*group));
    char *copy = strdup(name);
    if (group == NULL || copy == NULL) {
        free(group);
        free(copy);
        return NULL;
    }
    *group = (struct group){.next = all->groups, .all = all, .name = copy};
    pthread_mutex_init(&group->mutex, NULL);
    list_init(&group->members);
    all->groups = group;
    return group;
}

static void on_reload(struct mail *mail);

static struct cache_database *database_new(struct databases *all, struct group *group, const char *host,
                                           unsigned port)
{
    struct cache_database *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return NULL;
    d->group = group;
    d->host = strdup(host);
    d->port = port;
    d->generations = generations_new();
    d->reload.run = on_reload;
    if (d->host == NULL || d->generations == NULL) {
        free_database(d);
        return NULL;
    }
    d->id = ++all->next_id;
    atomic_init(&d->version, 1);
    list_init(&d->writes);
    list_init(&d->orphans);
    snprintf(d->reason, sizeof(d->reason), "no identity on this database has a cache");
    list_push_back(&group->members, &d->node);
    return d;
}

struct cache_database *databases_get(struct databases *all, const char *host, unsigned port,
                                     const char *dbname)
{
    struct cache_database *found = NULL;
    pthread_mutex_lock(&all->mutex);
    struct group *group = group_get(all, dbname);
    if (group != NULL) {
        pthread_mutex_lock(&group->mutex);
        list_for_each(&group->members, node)
        {
            struct cache_database *d = list_entry(node, struct cache_database, node);
            if (d->port == port && strcmp(d->host, host) == 0)
                found = d;
        }
        if (found == NULL)
            found = database_new(all, group, host, port);
        if (found != NULL)
            database_ref(found);
        pthread_mutex_unlock(&group->mutex);
    }
    pthread_mutex_unlock(&all->mutex);
    return found;
}

struct cache_database *database_ref(struct cache_database *d)
{
    atomic_fetch_add_explicit(&d->references, 1, memory_order_relaxed);
    return d;
}

/* Databases are few and outlive their references: whatever still has entries here must find the same
 * generations. */
void cache_database_unref(struct cache_database *d)
{
    if (d != NULL)
        atomic_fetch_sub_explicit(&d->references, 1, memory_order_release);
}

void databases_change_all(struct databases *all)
{
    pthread_mutex_lock(&all->mutex);
    for (struct group *group = all->groups; group != NULL; group = group->next) {
        pthread_mutex_lock(&group->mutex);
        list_for_each(&group->members, node) change_epoch(list_entry(node, struct cache_database, node));
        pthread_mutex_unlock(&group->mutex);
    }
    pthread_mutex_unlock(&all->mutex);
}

uint64_t databases_epoch_changes(struct databases *all)
{
    return atomic_load_explicit(&all->epoch_changes, memory_order_relaxed);
}

void database_change_epoch(struct cache_database *d)
{
    change_epoch(d);
}

/* --- the catalog --- */

static void set_reason(struct cache_database *d, const char *reason)
{
    snprintf(d->reason, sizeof(d->reason), "%s", reason);
}

/* With the group locked. */
static void judge_usable(struct cache_database *d)
{
    uint64_t version = atomic_load(&d->version);
    bool is_usable = d->catalog != NULL;
    list_for_each(&d->writes, node) is_usable &=
        list_entry(node, struct database_write, node)->marked_version == version;
    if (d->catalog != NULL)
        set_reason(d, is_usable ? "" : "a write that began under an older catalog has not ended");
    atomic_store(&d->is_usable, is_usable);
}

/* With the group locked. */
static void forget_catalog(struct cache_database *d, const char *reason)
{
    catalog_unref(d->catalog);
    d->catalog = NULL;
    atomic_fetch_add(&d->version, 1);
    atomic_store(&d->is_usable, false);
    set_reason(d, reason);
}

static bool is_known_relation(void *context, uint32_t relation)
{
    return catalog_find_oid(context, relation) != NULL;
}

void database_learn(struct cache_database *d, struct catalog *catalog)
{
    pthread_mutex_lock(&d->group->mutex);
    if (!d->is_reload_wanted) {
        catalog_unref(d->catalog);
        d->catalog = catalog_ref(catalog);
        atomic_fetch_add(&d->version, 1);
        change_epoch(d);
        if (list_is_empty(&d->writes))
            generations_prune(d->generations, is_known_relation, catalog);
        atomic_store(&d->confirmed_us, clock_now_us());
        judge_usable(d);
    }
    pthread_mutex_unlock(&d->group->mutex);
}

void database_unlearn(struct cache_database *d, const char *reason)
{
    pthread_mutex_lock(&d->group->mutex);
    forget_catalog(d, reason);
    atomic_store(&d->is_exact_allowed, false);
    pthread_mutex_unlock(&d->group->mutex);
}

void database_confirm(struct cache_database *d, bool is_exact_allowed)
{
    atomic_store(&d->is_exact_allowed, is_exact_allowed);
    atomic_store(&d->confirmed_us, clock_now_us());
}

static void on_ready(void *context, struct catalog *catalog)
{
    database_learn(context, catalog);
}

static void on_unready(void *context, const char *reason)
{
    database_unlearn(context, reason);
}

static void on_confirmed(void *context, bool is_exact_allowed)
{
    database_confirm(context, is_exact_allowed);
}

/* Mail: definitions may have changed. */
static void on_reload(struct mail *mail)
{
    struct cache_database *d = list_entry(mail, struct cache_database, reload);
    pthread_mutex_lock(&d->group->mutex);
    d->is_reload_wanted = false;
    pthread_mutex_unlock(&d->group->mutex);
    if (d->watch != NULL)
        watch_invalidate(d->watch);
    cache_database_unref(d);
}

/* With the group locked. */
static void want_reload(struct cache_database *d)
{
    forget_catalog(d, "definitions have changed; the catalog is being loaded");
    if (d->is_reload_wanted || !d->is_watched)
        return;
    d->is_reload_wanted = true;
    worker_post(d->group->all->control, &database_ref(d)->reload);
}

struct catalog *database_catalog(struct cache_database *d, uint64_t *version)
{
    pthread_mutex_lock(&d->group->mutex);
    struct catalog *catalog = d->catalog != NULL ? catalog_ref(d->catalog) : NULL;
    *version = atomic_load(&d->version);
    pthread_mutex_unlock(&d->group->mutex);
    return catalog;
}

/* A standby, or another server behind the same name, must not fill under the tokens of this one. */
bool database_is_same_server(struct cache_database *d, struct slice baseline)
{
    char prefix[64];
    int len = -1;
    pthread_mutex_lock(&d->group->mutex);
    if (d->catalog != NULL) {
        const struct catalog_facts *facts = catalog_get_facts(d->catalog);
        len = snprintf(prefix, sizeof(prefix), "%u/%llu/", facts->database_oid,
                       (unsigned long long)facts->server_start_us);
    }
    pthread_mutex_unlock(&d->group->mutex);
    return len > 0 && baseline.len > (size_t)len && memcmp(baseline.data, prefix, (size_t)len) == 0;
}

bool database_is_believed(const struct cache_database *d, uint64_t now_us)
{
    return atomic_load_explicit(&d->is_usable, memory_order_acquire) &&
           now_us < atomic_load_explicit(&d->confirmed_us, memory_order_relaxed) + BELIEF_US;
}

void cache_database_reason(const struct cache_database *d, char *text, size_t size)
{
    struct cache_database *locked = (struct cache_database *)(uintptr_t)d;
    pthread_mutex_lock(&locked->group->mutex);
    bool is_silent = d->reason[0] == '\0' && !database_is_believed(d, clock_now_us());
    snprintf(text, size, "%s", is_silent ? "the control connection is silent" : d->reason);
    pthread_mutex_unlock(&locked->group->mutex);
}

bool cache_database_is_exact_allowed(const struct cache_database *d)
{
    return atomic_load(&d->is_exact_allowed) && database_is_believed(d, clock_now_us());
}

void cache_database_server_lost(struct cache_database *d)
{
    database_change_epoch(d);
}

/* --- marks; all with the group locked, and on databases of that group --- */

static bool is_other(const struct cache_database *a, const struct cache_database *b)
{
    if (a->catalog == NULL || b->catalog == NULL)
        return false;
    const struct catalog_facts *x = catalog_get_facts(a->catalog), *y = catalog_get_facts(b->catalog);
    return x->system_identifier != 0 && y->system_identifier != 0 &&
           (x->system_identifier != y->system_identifier || x->database_oid != y->database_oid);
}

static void mark_peer(struct database_write *w, struct cache_database *peer)
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
        if (peer != w->database && peer->is_watched && !is_other(peer, w->database))
            mark_peer(w, peer);
    }
}

void database_write_add(struct database_write *w, uint32_t relation)
{
    for (size_t i = 0; i < w->slot_count; i++)
        if (w->slots[i]->relation == relation)
            return;
    if (w->slot_count == w->slot_capacity) {
        size_t capacity = w->slot_capacity > 0 ? 2 * w->slot_capacity : 4;
        struct generation **slots = realloc(w->slots, capacity * sizeof(struct generation *));
        if (slots == NULL) {
            w->is_unknown = true;
            return;
        }
        w->slots = slots;
        w->slot_capacity = capacity;
    }
    struct generation *slot = generations_get(w->database->generations, relation);
    if (slot == NULL)
        w->is_unknown = true;
    else
        w->slots[w->slot_count++] = slot;
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
        change_epoch(d);
    for (size_t i = 0; i < w->peer_count; i++)
        unmark(w->peers[i], generations_epoch(w->peers[i]->generations), has_changed);
    list_remove(&d->writes, &w->node);
    if (list_node_is_linked(&w->orphan_node))
        list_remove(&d->orphans, &w->orphan_node);
    if (w->is_schema && has_changed)
        want_reload(d);
    else if (d->catalog != NULL && !atomic_load(&d->is_usable))
        judge_usable(d);
}

void database_write_end(struct database_write *w, bool has_changed)
{
    struct cache_database *d = w->database;
    if (w->is_marked) {
        pthread_mutex_lock(&d->group->mutex);
        unmark_all(w, has_changed);
        pthread_mutex_unlock(&d->group->mutex);
    }
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

static void await(struct database_write *w)
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
        await(w);
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
    struct cache_database *d = w->database;
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

/* --- watching: control thread --- */

/* With the group locked: what is under way elsewhere might be a write to this database. */
static void mark_for(struct cache_database *d)
{
    list_for_each(&d->group->members, node)
    {
        struct cache_database *other = list_entry(node, struct cache_database, node);
        if (other == d || is_other(other, d))
            continue;
        list_for_each(&other->writes, write) mark_peer(list_entry(write, struct database_write, node), d);
    }
}

static void stop_watching(struct cache_database *d, const char *reason)
{
    watch_free(d->watch);
    d->watch = NULL;
    pthread_mutex_lock(&d->group->mutex);
    d->is_watched = false;
    list_for_each(&d->orphans, node) list_entry(node, struct database_write, orphan_node)->is_awaited = false;
    atomic_store(&d->is_exact_allowed, false);
    forget_catalog(d, reason);
    pthread_mutex_unlock(&d->group->mutex);
}

static uint64_t fingerprint(enum cache_mode strongest, const struct control_options *connection)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325) ^ (uint64_t)strongest;
    for (size_t i = 0; connection->keywords[i] != NULL; i++) {
        const char *texts[] = {connection->keywords[i],
                               connection->values[i] != NULL ? connection->values[i] : ""};
        for (size_t k = 0; k < 2; k++)
            for (const char *c = texts[k];; c++) {
                hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001B3);
                if (*c == '\0')
                    break;
            }
    }
    return hash;
}

bool database_watch(struct cache_database *d, enum cache_mode strongest,
                    const struct control_options *connection)
{
    uint64_t wanted = strongest != CACHE_MODE_OFF ? fingerprint(strongest, connection) : 0;
    if (d->watch != NULL && wanted == d->watch_fingerprint)
        return true;
    if (d->watch != NULL)
        stop_watching(d, "no identity on this database has a cache");
    if (strongest == CACHE_MODE_OFF)
        return true;
    const struct watch_events events = {
        .ready = on_ready, .unready = on_unready, .confirmed = on_confirmed, .context = d};
    const struct watch_options options = {.wants_exact = strongest == CACHE_MODE_EXACT};
    d->watch = watch_new(worker_loop(d->group->all->control), connection, &options, &events);
    if (d->watch == NULL)
        return false;
    d->watch_fingerprint = wanted;
    pthread_mutex_lock(&d->group->mutex);
    d->is_watched = true;
    set_reason(d, "the control connection is not up yet");
    mark_for(d);
    list_for_each(&d->orphans, node) await(list_entry(node, struct database_write, orphan_node));
    pthread_mutex_unlock(&d->group->mutex);
    watch_start(d->watch);
    return true;
}

void databases_stop(struct databases *all)
{
    pthread_mutex_lock(&all->mutex);
    for (struct group *group = all->groups; group != NULL; group = group->next) {
        list_for_each(&group->members, node)
        {
            struct cache_database *d = list_entry(node, struct cache_database, node);
            if (d->watch != NULL)
                stop_watching(d, "the process is stopping");
        }
    }
    pthread_mutex_unlock(&all->mutex);
}
