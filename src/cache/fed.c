/*
 * fed: what the feed tells, done to the versions of relations.
 *
 * A transaction marks what it wrote when it is decoded, as a write through this process does before its bytes
 * leave, and changes it once every snapshot shows it. In between nothing that depends on it hits or fills, so
 * no answer is stored that was read without it and is believed after it.
 *
 * One that wrote no rows may have changed definitions. The catalog is looked at for its sake, and what the
 * feed knows does not count as newer than it until that is done; a synchronous feed lets nothing hit
 * meanwhile.
 *
 * Names. A line names a table as it was called for the transaction, the catalog as it is called now. Where a
 * table has got its name since, by a transaction that the catalog shows, whoever wrote under the old name had
 * ended before that (writing and renaming lock each other out), hence before the catalog was read, and the
 * epoch has changed since. Where the catalog does not show the renaming yet, that is a definition that has
 * changed around Weir, and seen when the catalog is looked at.
 *
 * A gap, and what came before the feed: nothing is believed, so nothing is stored, from `lost` until `began`;
 * the epoch changes at both, so that what was on its way to be stored is not believed either.
 */
#include "database_group.h"

#include <stdio.h>
#include <stdlib.h>

#include "weir/cache/row_key.h"
#include "weir/control/catalog.h"
#include "weir/control/feed.h"
#include "weir/control/feed_needs.h"
#include "weir/control/watch.h"
#include "weir/net/worker.h"
#include "weir/util/clock.h"
#include "weir/wire/logical.h"

struct fed_transaction {
    struct list_node node; /* in unseen */
    struct cache_database *database;
    struct database_write *write;
    uint64_t number; /* in unseen */
    uint64_t check;  /* of the watch; 0: not asked for yet */
};

void database_feed_init(struct cache_database *d)
{
    list_init(&d->fed.unseen);
    atomic_init(&d->fed.until_us, UINT64_MAX);
}

static void set_reason(struct cache_database *d, const char *reason)
{
    pthread_mutex_lock(&d->group->mutex);
    snprintf(d->fed.reason, sizeof(d->fed.reason), "%s", reason);
    pthread_mutex_unlock(&d->group->mutex);
}

/* --- what is known, and how new --- */

bool database_feed_is_exact(const struct cache_database *d)
{
    const struct database_feed *fed = &d->fed;
    return fed->feed == NULL || !fed->is_synchronous || fed->is_waited_for;
}

/* The control connection and the feed each follow a name or an address of their own accord. */
static bool is_same_server(struct cache_database *d)
{
    pthread_mutex_lock(&d->group->mutex);
    const struct catalog_facts *facts = d->catalog != NULL ? catalog_get_facts(d->catalog) : NULL;
    bool is_same = facts == NULL || (facts->database_oid == d->fed.database_oid &&
                                     facts->server_start_us == d->fed.server_start_us);
    pthread_mutex_unlock(&d->group->mutex);
    return is_same;
}

static void believe(struct cache_database *d, uint64_t as_of_us)
{
    struct database_feed *fed = &d->fed;
    bool is_same = is_same_server(d);
    atomic_store(&fed->as_of_us, is_same ? as_of_us : 0);
    atomic_store(&fed->until_us, is_same ? as_of_us + fed->max_lag_us : 0);
    set_reason(d, is_same ? "" : "the feed has reached another server than the control connection");
}

/* After one has left `unseen`. */
static void believe_later(struct cache_database *d)
{
    struct database_feed *fed = &d->fed;
    struct list_node *first = list_first(&fed->unseen);
    if (fed->later_as_of_us == 0 ||
        (first != NULL && list_entry(first, struct fed_transaction, node)->number <= fed->later_number))
        return;
    uint64_t as_of = fed->later_as_of_us;
    fed->later_as_of_us = 0;
    believe(d, as_of);
}

static void on_current(void *context, uint64_t as_of_us, bool is_waited_for)
{
    struct cache_database *d = context;
    struct database_feed *fed = &d->fed;
    struct feed_stats stats;
    feed_get_stats(fed->feed, &stats);
    atomic_store(&fed->transactions, stats.transactions);
    atomic_store(&fed->lag_bytes, stats.lag_bytes);
    fed->is_waited_for = is_waited_for;
    database_judge_exact(d);
    if (list_is_empty(&fed->unseen)) {
        believe(d, as_of_us);
    } else if (fed->later_as_of_us == 0) {
        fed->later_as_of_us = as_of_us;
        fed->later_number = fed->next_number;
    }
}

static void disbelieve(struct cache_database *d)
{
    struct database_feed *fed = &d->fed;
    fed->database_oid = fed->server_start_us = 0;
    fed->later_as_of_us = 0;
    fed->is_waited_for = false;
    atomic_store(&fed->as_of_us, 0);
    atomic_store(&fed->until_us, 0);
    database_judge_exact(d);
    database_change_epoch(d);
}

static void on_began(void *context, const struct catalog_facts *facts)
{
    struct cache_database *d = context;
    database_change_epoch(d);
    d->fed.database_oid = facts->database_oid;
    d->fed.server_start_us = facts->server_start_us;
}

static void on_lost(void *context, const char *reason)
{
    struct cache_database *d = context;
    struct feed_stats stats;
    disbelieve(d);
    set_reason(d, reason);
    if (d->fed.feed == NULL)
        return;
    feed_get_stats(d->fed.feed, &stats);
    atomic_store(&d->fed.gaps, stats.gaps);
}

/* --- transactions --- */

static void *on_transaction(void *context)
{
    struct cache_database *d = context;
    struct fed_transaction *t = calloc(1, sizeof(*t));
    struct database_write *write = calloc(1, sizeof(*write));
    if (t == NULL || write == NULL) {
        free(t);
        free(write);
        return NULL;
    }
    write->database = database_ref(d);
    *t = (struct fed_transaction){.database = d, .write = write};
    return t;
}

static void add_relation(void *context, uint32_t oid)
{
    database_write_add(context, oid);
}

/*
 * Adds the row alone, where it can be told from the log which one it is. What cascades from it, and what
 * triggers do, is told on its own.
 */
static bool add_row(struct database_write *write, const struct catalog_relation *r,
                    const struct logical_change *change)
{
    struct slice key;
    uint64_t hash;
    if (r->kind != 'r' || (r->flags & CATALOG_INHERITS) != 0)
        return false;
    if (change->action == LOGICAL_INSERT) {
        database_write_add_new_rows(write, r->oid);
        return true;
    }
    return change->action != LOGICAL_TRUNCATE && (r->flags & CATALOG_KEY_LOGGED) != 0 &&
           logical_column(change->row, r->key, &key) && row_key_hash_text(r->oid, r->key_kind, key, &hash) &&
           database_write_add_row(write, r->oid, hash);
}

static bool on_wrote(void *context, void *transaction, const struct logical_name *name,
                     const struct logical_change *change)
{
    struct fed_transaction *t = transaction;
    struct database_write *write = t->write;
    uint64_t version;
    struct catalog *catalog = database_catalog(context, &version);
    const struct catalog_relation *relation = NULL;
    if (catalog != NULL && name != NULL)
        relation = catalog_find(catalog, name->schema, name->relation);
    if (write->version == 0)
        write->version = version;
    bool is_row = relation != NULL && write->version == version && add_row(write, relation, change);
    if (!is_row && (relation == NULL || write->version != version ||
                    !catalog_reach(catalog, relation->oid, add_relation, write)))
        write->is_unknown = true;
    catalog_unref(catalog);
    database_write_mark(write);
    return is_row;
}

static void on_wrote_nothing(void *context, void *transaction)
{
    struct cache_database *d = context;
    struct fed_transaction *t = transaction;
    t->number = ++d->fed.next_number;
    list_push_back(&d->fed.unseen, &t->node);
    if (!d->fed.is_synchronous)
        return;
    t->write->is_unknown = true;
    database_write_mark(t->write);
}

static void end(struct fed_transaction *t, bool has_changed)
{
    struct cache_database *d = t->database;
    bool was_unseen = list_node_is_linked(&t->node);
    if (was_unseen)
        list_remove(&d->fed.unseen, &t->node);
    database_write_end(t->write, has_changed);
    free(t);
    if (was_unseen)
        believe_later(d);
}

/* One without rows waits for a look that began after this; where the catalog is not known, the next one that
 * is will have been read after this, and starts a new epoch. */
static void on_visible(void *context, void *transaction)
{
    struct cache_database *d = context;
    struct fed_transaction *t = transaction;
    bool is_unseen = list_node_is_linked(&t->node);
    if (is_unseen && d->watch != NULL)
        t->check = watch_check(d->watch);
    if (t->check == 0)
        end(t, !is_unseen);
}

static void end_unseen(struct cache_database *d, uint64_t check)
{
    struct list_node *last = &d->fed.unseen.head;
    for (struct list_node *node = last->next, *next; node != last; node = next) {
        next = node->next;
        struct fed_transaction *t = list_entry(node, struct fed_transaction, node);
        if (t->check != 0 && t->check <= check)
            end(t, false);
    }
}

void database_feed_checked(struct cache_database *d, uint64_t check)
{
    end_unseen(d, check);
}

void database_feed_unready(struct cache_database *d)
{
    end_unseen(d, UINT64_MAX);
}

/* --- life --- */

bool database_feed_start(struct cache_database *d, const struct control_options *connection,
                         const struct cache_feed_options *options)
{
    struct database_feed *fed = &d->fed;
    if (options == NULL || options->mode == CACHE_FEED_OFF)
        return true;
    const struct feed_events events = {.began = on_began,
                                       .transaction = on_transaction,
                                       .wrote = on_wrote,
                                       .wrote_nothing = on_wrote_nothing,
                                       .visible = on_visible,
                                       .current = on_current,
                                       .lost = on_lost,
                                       .context = d};
    fed->is_synchronous = options->mode == CACHE_FEED_SYNCHRONOUS;
    fed->max_lag_us = options->max_lag_us;
    pthread_mutex_lock(&d->group->mutex);
    snprintf(fed->slot, sizeof(fed->slot), "%s", options->slot);
    pthread_mutex_unlock(&d->group->mutex);
    disbelieve(d);
    set_reason(d, "the feed has not begun yet");
    const struct feed_options feed = {
        .slot = fed->slot, .is_synchronous = fed->is_synchronous, .max_lag_us = fed->max_lag_us};
    fed->feed = feed_new(worker_loop(d->group->all->control), connection, &feed, &events);
    if (fed->feed != NULL)
        feed_start(fed->feed);
    return fed->feed != NULL;
}

/* Nothing is believed any more, until there is no feed wanted, or a new one has begun. */
void database_feed_stop(struct cache_database *d)
{
    struct feed *feed = d->fed.feed;
    if (feed == NULL)
        return;
    disbelieve(d);
    d->fed.feed = NULL;
    feed_free(feed);
    end_unseen(d, UINT64_MAX);
}

/* --- what is missing --- */

struct check {
    cache_feed_checked done;
    void *context;
    bool is_synchronous;
    int own_pid;
    char slot[64];
};

static void on_needs(void *context, const struct pg_result *result, const char *error)
{
    struct check *check = context;
    struct feed_needs needs;
    struct feed_need list[FEED_NEEDS_MAX];
    if (result == NULL)
        check->done(check->context, NULL, 0, error);
    else if (!feed_needs_take(result, &needs))
        check->done(check->context, NULL, 0, "the answer has an unexpected shape");
    else
        check->done(check->context, list,
                    feed_needs_list(&needs, check->slot, check->is_synchronous, check->own_pid, list), NULL);
    free(check);
}

bool cache_database_check_feed(struct cache_database *d, const struct cache_feed_options *options,
                               cache_feed_checked done, void *context)
{
    struct check *check = d->watch != NULL ? calloc(1, sizeof(*check)) : NULL;
    if (check == NULL)
        return false;
    *check = (struct check){
        .done = done, .context = context, .is_synchronous = options->mode == CACHE_FEED_SYNCHRONOUS};
    snprintf(check->slot, sizeof(check->slot), "%s", options->slot);
    if (d->fed.feed != NULL)
        check->own_pid = (int)feed_backend_pid(d->fed.feed);
    if (watch_ask(d->watch, feed_needs_query(), check->slot, on_needs, check))
        return true;
    free(check);
    return false;
}

/* --- words and figures --- */

void cache_database_exact_reason(const struct cache_database *d, char *text, size_t size)
{
    struct cache_database *locked = (struct cache_database *)(uintptr_t)d;
    text[0] = '\0';
    if (cache_database_is_exact_allowed(d))
        return;
    if (!atomic_load(&d->is_only_unfed)) {
        snprintf(text, size, "%s", cache_reason_text(CACHE_REASON_NOT_EXACT));
        return;
    }
    pthread_mutex_lock(&locked->group->mutex);
    snprintf(
        text, size,
        "commits do not wait for this feed: synchronous_standby_names has to name %s among those that it "
        "takes FIRST",
        d->fed.slot);
    pthread_mutex_unlock(&locked->group->mutex);
}

const char *database_feed_reason(const struct cache_database *d, uint64_t now_us)
{
    if (now_us < atomic_load(&d->fed.until_us))
        return "";
    return d->fed.reason[0] != '\0' ? d->fed.reason : "the feed is behind by more than cache_max_lag";
}

void cache_database_feed_stats(const struct cache_database *d, struct cache_feed_stats *stats)
{
    struct cache_database *locked = (struct cache_database *)(uintptr_t)d;
    const struct database_feed *fed = &d->fed;
    *stats = (struct cache_feed_stats){.is_wanted = atomic_load(&fed->until_us) != UINT64_MAX};
    if (!stats->is_wanted)
        return;
    uint64_t now = clock_now_us(), as_of = atomic_load(&fed->as_of_us);
    stats->is_synchronous = atomic_load(&fed->is_synchronous);
    stats->dbname = d->group->name;
    stats->host = d->host;
    stats->port = d->port;
    stats->transactions = atomic_load(&fed->transactions);
    stats->gaps = atomic_load(&fed->gaps);
    stats->lag_bytes = atomic_load(&fed->lag_bytes);
    stats->lag_us = as_of == 0 ? UINT64_MAX : now > as_of ? now - as_of : 0;
    pthread_mutex_lock(&locked->group->mutex);
    snprintf(stats->slot, sizeof(stats->slot), "%s", fed->slot);
    snprintf(stats->reason, sizeof(stats->reason), "%s", database_feed_reason(d, now));
    pthread_mutex_unlock(&locked->group->mutex);
}
