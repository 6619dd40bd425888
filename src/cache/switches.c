/*
 * switches: what a person tells the cache: to forget, to rest, to go on.
 *
 * Forgetting a relation is a write to it that changes nothing: marked and ended in one go, it makes old what
 * a write would make old, wherever versions are kept.
 */
#include <stdlib.h>

#include "weir/cache/cache.h"
#include "weir/cache/check.h"
#include "weir/cache/database.h"
#include "weir/cache/store_memory.h"
#include "weir/cache/worker.h"
#include "weir/control/catalog.h"
#include "weir/util/clock.h"

static void count_flush(struct cache *c)
{
    atomic_fetch_add_explicit(&c->flushes, 1, memory_order_relaxed);
}

void cache_clear(struct cache *c)
{
    distrust_clear(c->distrust);
    databases_change_all(c->databases);
    store_memory_clear(c->memory);
    count_flush(c);
}

void cache_clear_database(struct cache *c, struct cache_database *d)
{
    distrust_forgive(c->distrust, d->id);
    database_change_epoch(d);
    store_memory_sweep(c->memory, clock_now_us());
    count_flush(c);
}

static const char *word_for(const struct catalog_relation *r)
{
    switch (r->kind) {
    case 'v':
        return "a view";
    case 'f':
        return "a foreign table";
    default:
        return "no table";
    }
}

static const struct catalog_relation *find(const struct catalog *catalog, const char *schema,
                                           const char *name, struct error *error)
{
    size_t count = 0;
    const struct catalog_relation *r =
        schema != NULL ? catalog_find(catalog, schema, name) : catalog_find_name(catalog, name, &count);
    if (r == NULL && count > 1)
        error_set_state(error, "42P09", "there are %zu relations of the name %s: say which schema", count,
                        name);
    else if (r == NULL)
        error_set_state(error, "42P01", "there is no relation %s%s%s in this database",
                        schema != NULL ? schema : "", schema != NULL ? "." : "", name);
    else if (r->kind != 'r' && r->kind != 'p' && r->kind != 'm')
        error_set_state(error, "42809",
                        "%s.%s is %s: answers depend on tables and materialized views, not on it", r->schema,
                        r->name, word_for(r));
    else
        return r;
    return NULL;
}

static void add_relation(void *context, uint32_t oid)
{
    database_write_add(context, oid);
}

bool cache_clear_relation(struct cache *c, struct cache_database *d, const char *schema, const char *name,
                          struct error *error)
{
    uint64_t version;
    struct catalog *catalog = database_catalog(d, &version);
    if (catalog == NULL) {
        char reason[200];
        cache_database_reason(d, reason, sizeof(reason));
        return error_set_state(error, "55000", "the catalog of the database is not known at the moment: %s",
                               reason);
    }
    const struct catalog_relation *r = find(catalog, schema, name, error);
    struct database_write *write = r != NULL ? calloc(1, sizeof(*write)) : NULL;
    bool is_done = write != NULL;
    if (r != NULL && write == NULL)
        error_set_state(error, "53200", "out of memory");
    if (is_done) {
        write->database = database_ref(d);
        write->version = version;
        write->is_unknown = !catalog_reach(catalog, r->oid, add_relation, write);
        database_write_mark(write);
        database_write_end(write, true);
        store_memory_sweep(c->memory, clock_now_us());
        count_flush(c);
    }
    catalog_unref(catalog);
    return is_done;
}

void cache_switch(struct cache *c, struct cache_database *d, bool is_on)
{
    if (d != NULL)
        atomic_store(&d->is_switched_off, !is_on);
    else
        databases_switch_all(c->databases, is_on);
}

bool cache_database_is_switched_off(const struct cache_database *d)
{
    return atomic_load(&d->is_switched_off);
}
