/*
 * database: groups, catalogs coming and going, marks.
 *
 * Order of events that keeps the invariant: a write takes its place in `writes` with the version it saw
 * before its bytes leave; a new catalog makes the database usable only when no write of an older version is
 * left there. A write that ends under another version than it was marked under changes the epoch as well.
 */
#include "database_group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/cache/analysis.h"
#include "weir/control/analyst.h"
#include "weir/control/catalog.h"
#include "weir/control/control.h"
#include "weir/control/watch.h"
#include "weir/net/worker.h"
#include "weir/util/clock.h"
#include "weir/util/log.h"

/* A watch looks every second; after this long without a good look nothing is believed. */
enum { BELIEF_US = 3000000, ANALYSES_PER_SECOND = 20 };

struct databases *databases_new(struct worker *control, struct share *share)
{
    struct databases *all = calloc(1, sizeof(*all));
    if (all == NULL)
        return NULL;
    all->control = control;
    all->share = share;
    pthread_mutex_init(&all->mutex, NULL);
    return all;
}

void database_change_epoch(struct cache_database *d)
{
    generation_bump(generations_epoch(d->generations));
    atomic_fetch_add_explicit(&d->group->all->epoch_changes, 1, memory_order_relaxed);
    share_want_epoch(d);
}

static void free_database(struct cache_database *d)
{
    share_database_free(d);
    catalog_unref(d->catalog);
    analyses_free(d->analyses);
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
    share_database_init(d);
    d->host = strdup(host);
    d->port = port;
    d->generations = generations_new();
    d->analyses = analyses_new();
    d->reload.run = on_reload;
    if (d->host == NULL || d->generations == NULL || d->analyses == NULL) {
        free_database(d);
        return NULL;
    }
    d->id = ++all->next_id;
    atomic_init(&d->version, 1);
    atomic_init(&d->is_switched_off, all->is_switched_off);
    atomic_init(&d->has_code, true);
    atomic_init(&d->has_temporary_code, true);
    list_init(&d->writes);
    list_init(&d->orphans);
    database_feed_init(d);
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

const char *database_name(const struct cache_database *d)
{
    return d->group->name;
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
        list_for_each(&group->members, node)
            database_change_epoch(list_entry(node, struct cache_database, node));
        pthread_mutex_unlock(&group->mutex);
    }
    pthread_mutex_unlock(&all->mutex);
}

void databases_switch_all(struct databases *all, bool is_on)
{
    pthread_mutex_lock(&all->mutex);
    all->is_switched_off = !is_on;
    for (struct group *group = all->groups; group != NULL; group = group->next) {
        pthread_mutex_lock(&group->mutex);
        list_for_each(&group->members, node)
            atomic_store(&list_entry(node, struct cache_database, node)->is_switched_off, !is_on);
        pthread_mutex_unlock(&group->mutex);
    }
    pthread_mutex_unlock(&all->mutex);
}

uint64_t databases_epoch_changes(struct databases *all)
{
    return atomic_load_explicit(&all->epoch_changes, memory_order_relaxed);
}

/* --- the catalog --- */

static void set_reason(struct cache_database *d, const char *reason)
{
    snprintf(d->reason, sizeof(d->reason), "%s", reason);
}

/* With the group locked. */
void database_judge_usable(struct cache_database *d)
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
    atomic_store(&d->has_code, true);
    atomic_store(&d->has_temporary_code, true);
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
        atomic_store(&d->has_code, catalog_has_code(catalog));
        atomic_store(&d->has_temporary_code, catalog_is_somewhere(catalog, CATALOG_CODE_TEMPORARY));
        atomic_fetch_add(&d->version, 1);
        database_change_epoch(d);
        if (list_is_empty(&d->writes))
            generations_prune(d->generations, is_known_relation, catalog);
        atomic_store(&d->confirmed_us, clock_now_us());
        database_judge_usable(d);
    }
    pthread_mutex_unlock(&d->group->mutex);
}

void database_unlearn(struct cache_database *d, const char *reason)
{
    pthread_mutex_lock(&d->group->mutex);
    forget_catalog(d, reason);
    d->has_lock = false;
    database_judge_exact(d);
    pthread_mutex_unlock(&d->group->mutex);
    database_feed_unready(d);
}

void database_judge_exact(struct cache_database *d)
{
    bool is_fed = database_feed_is_exact(d);
    atomic_store(&d->is_exact_allowed, d->has_lock && is_fed);
    atomic_store(&d->is_only_unfed, d->has_lock && !is_fed);
}

void database_confirm(struct cache_database *d, bool has_lock)
{
    d->has_lock = has_lock;
    database_judge_exact(d);
    atomic_store(&d->confirmed_us, clock_now_us());
}

static void on_ready(void *context, struct catalog *catalog)
{
    share_database_unready(context);
    database_learn(context, catalog);
    share_database_ready(context);
}

static void on_unready(void *context, const char *reason)
{
    share_database_unready(context);
    database_unlearn(context, reason);
}

static void on_confirmed(void *context, bool has_lock)
{
    database_confirm(context, has_lock);
}

static void on_checked(void *context, uint64_t check)
{
    database_feed_checked(context, check);
    share_database_checked(context, check);
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
void database_want_reload(struct cache_database *d)
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
bool database_is_same_server(struct cache_database *d, struct slice baseline, uint64_t *version)
{
    char prefix[64];
    int len = -1;
    pthread_mutex_lock(&d->group->mutex);
    *version = atomic_load(&d->version);
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
           !atomic_load_explicit(&d->is_switched_off, memory_order_relaxed) &&
           now_us < atomic_load_explicit(&d->confirmed_us, memory_order_relaxed) + BELIEF_US &&
           now_us < atomic_load_explicit(&d->fed.until_us, memory_order_relaxed) &&
           (d->group->all->share == NULL || share_is_believed(d, now_us));
}

bool database_is_told_at_once(const struct cache_database *d)
{
    return atomic_load_explicit(&d->fed.until_us, memory_order_relaxed) == UINT64_MAX ||
           atomic_load_explicit(&d->fed.is_synchronous, memory_order_relaxed);
}

void cache_database_reason(const struct cache_database *d, char *text, size_t size)
{
    struct cache_database *locked = (struct cache_database *)(uintptr_t)d;
    pthread_mutex_lock(&locked->group->mutex);
    uint64_t now = clock_now_us();
    const char *reason = d->reason;
    if (atomic_load(&d->is_switched_off))
        reason = "CACHE DISABLE has turned it off";
    if (reason[0] == '\0')
        reason = database_feed_reason(d, now);
    if (reason[0] == '\0' && d->group->all->share != NULL && !share_is_believed(d, now))
        reason =
            d->share.reason[0] != '\0' ? d->share.reason : "the ledger of the shared cache has fallen behind";
    if (reason[0] == '\0' && !database_is_believed(d, now))
        reason = "the control connection is silent";
    snprintf(text, size, "%s", reason);
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

/* --- analyses --- */

void databases_count_analyses(struct databases *all, uint64_t *asked, uint64_t *failed)
{
    *asked = atomic_load_explicit(&all->analyses_asked, memory_order_relaxed);
    *failed = atomic_load_explicit(&all->analyses_failed, memory_order_relaxed);
}

static void on_analysed(void *context, const struct analyst_facts *facts)
{
    struct analysis *a = context;
    struct cache_database *d = a->database;
    analysis_finish(a, facts, clock_now_us());
    atomic_fetch_add_explicit(&d->group->all->analyses_asked, 1, memory_order_relaxed);
    if (a->reason == CACHE_REASON_NOT_ANALYSED)
        atomic_fetch_add_explicit(&d->group->all->analyses_failed, 1, memory_order_relaxed);
    log_write(LOG_LEVEL_DEBUG, d->group->name, "analysed: %s%s%s: %.*s", cache_reason_label(a->reason),
              a->detail[0] != '\0' ? ", " : "", a->detail, (int)(a->text.len < 200 ? a->text.len : 200),
              (const char *)a->text.data);
    analysis_unref(a);
    cache_database_unref(d);
}

/* Mail: a template that no worker has met under this version of the catalog. */
static void on_analyse(struct mail *mail)
{
    struct analysis *a = list_entry(mail, struct analysis, mail);
    struct cache_database *d = a->database;
    const struct analysis_key *key = &a->key;
    const struct analyst_question question = {
        .text = (const char *)a->text.data,
        .has_params = a->has_params,
        .types = key->types,
        .type_count = key->type_count,
        .role = (const char *)key->role.data,
        .search_path = (const char *)key->search_path.data,
        .client_encoding = key->client_encoding.len > 0 ? (const char *)key->client_encoding.data : NULL,
    };
    if (d->analyst != NULL && analyst_ask(d->analyst, &question, on_analysed, a))
        return;
    struct analyst_facts nothing = {.failure = "too many analyses are waiting"};
    if (d->analyst == NULL)
        snprintf(nothing.failure, sizeof(nothing.failure), "the database is not watched");
    on_analysed(a, &nothing);
}

void database_analyse(struct cache_database *d, struct analysis *analysis)
{
    analysis->database = database_ref(d);
    analysis->mail.run = on_analyse;
    worker_post(d->group->all->control, &analysis_ref(analysis)->mail);
}

/* --- watching: control thread --- */

/* With the group locked: what is under way elsewhere might be a write to this database. */
static void mark_for(struct cache_database *d)
{
    list_for_each(&d->group->members, node)
    {
        struct cache_database *other = list_entry(node, struct cache_database, node);
        if (other == d || database_is_other(other, d))
            continue;
        list_for_each(&other->writes, write)
            database_mark_peer(list_entry(write, struct database_write, node), d);
    }
}

static void stop_watching(struct cache_database *d, const char *reason)
{
    analyst_free(d->analyst);
    d->analyst = NULL;
    database_feed_stop(d);
    share_database_stop(d);
    watch_free(d->watch);
    d->watch = NULL;
    d->has_lock = false;
    pthread_mutex_lock(&d->group->mutex);
    d->is_watched = false;
    list_for_each(&d->orphans, node) list_entry(node, struct database_write, orphan_node)->is_awaited = false;
    database_judge_exact(d);
    forget_catalog(d, reason);
    atomic_store(&d->fed.until_us, UINT64_MAX);
    pthread_mutex_unlock(&d->group->mutex);
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (const char *c = text;; c++) {
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001B3);
        if (*c == '\0')
            return hash;
    }
}

static uint64_t fingerprint(enum cache_mode strongest, const struct control_options *connection,
                            const struct cache_feed_options *feed)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325) ^ (uint64_t)strongest;
    for (size_t i = 0; connection->keywords[i] != NULL; i++) {
        hash = hash_text(hash, connection->keywords[i]);
        hash = hash_text(hash, connection->values[i] != NULL ? connection->values[i] : "");
    }
    if (feed == NULL || feed->mode == CACHE_FEED_OFF)
        return hash;
    hash = hash_text(hash ^ ((uint64_t)feed->mode << 56) ^ (feed->max_lag_us << 8), feed->slot);
    return hash;
}

bool database_watch(struct cache_database *d, enum cache_mode strongest,
                    const struct control_options *connection, const struct cache_feed_options *feed)
{
    uint64_t wanted = strongest != CACHE_OFF ? fingerprint(strongest, connection, feed) : 0;
    if (d->watch != NULL && wanted == d->watch_fingerprint)
        return true;
    if (d->watch != NULL)
        stop_watching(d, "no identity on this database has a cache");
    if (strongest == CACHE_OFF)
        return true;
    const struct watch_events events = {.ready = on_ready,
                                        .unready = on_unready,
                                        .confirmed = on_confirmed,
                                        .checked = on_checked,
                                        .context = d};
    const struct watch_options options = {.wants_exact = strongest == CACHE_EXACT,
                                          .is_shared = d->group->all->share != NULL};
    d->watch = watch_new(worker_loop(d->group->all->control), connection, &options, &events);
    if (d->watch == NULL || !database_feed_start(d, connection, feed)) {
        stop_watching(d, "out of memory");
        return false;
    }
    /* Without one what PostgreSQL would have to be asked about is refused. */
    d->analyst = analyst_new(worker_loop(d->group->all->control), connection, ANALYSES_PER_SECOND);
    d->watch_fingerprint = wanted;
    pthread_mutex_lock(&d->group->mutex);
    d->is_watched = true;
    set_reason(d, "the control connection is not up yet");
    mark_for(d);
    list_for_each(&d->orphans, node)
        database_write_await(list_entry(node, struct database_write, orphan_node));
    pthread_mutex_unlock(&d->group->mutex);
    share_database_start(d, strongest == CACHE_EXACT);
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
