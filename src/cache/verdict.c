/* verdict: a direct-mapped table of pointers. */
#include "weir/cache/verdict.h"

#include <stdlib.h>

#include "weir/cache/database.h"
#include "weir/cache/policy.h"
#include "weir/cache/scope.h"
#include "weir/control/catalog.h"
#include "weir/sql/classify.h"
#include "weir/util/buf.h"

enum { PLACES = 8192 };

struct verdicts {
    struct verdict *places[PLACES];
};

struct verdicts *verdicts_new(void)
{
    return calloc(1, sizeof(struct verdicts));
}

static void free_verdict(struct verdict *v)
{
    if (v == NULL)
        return;
    for (uint32_t i = 0; i < v->slot_count; i++)
        generation_unref(v->slots[i]);
    free(v->slots);
    free(v->writes);
    sql_class_unref(v->class);
    cache_scope_unref(v->scope);
    free(v);
}

void verdicts_free(struct verdicts *v)
{
    for (size_t i = 0; v != NULL && i < PLACES; i++)
        free_verdict(v->places[i]);
    free(v);
}

static struct verdict **place_for(struct verdicts *v, const struct cache_scope *scope,
                                  const struct sql_class *class)
{
    uint64_t mixed = (uint64_t)(uintptr_t) class ^ scope->id * UINT64_C(0x9E3779B97F4A7C15);
    return &v->places[(mixed * UINT64_C(0x9E3779B97F4A7C15)) >> 51];
}

static void add_write(void *context, uint32_t oid)
{
    struct buf *oids = context;
    const uint32_t *list = (const void *)oids->data;
    for (size_t i = 0; i < oids->len / sizeof(oid); i++)
        if (list[i] == oid)
            return;
    buf_append(oids, &oid, sizeof(oid));
}

static void judge_write(struct verdict *v, const struct catalog *catalog)
{
    struct buf oids = BUF_INIT;
    v->is_write_known =
        policy_write_set(v->class, catalog, &v->scope->path, add_write, &oids) && !buf_failed(&oids);
    if (v->is_write_known) {
        v->write_count = (uint32_t)(oids.len / sizeof(uint32_t));
        v->writes = (void *)oids.data;
        return;
    }
    buf_free(&oids);
}

static void judge_read(struct verdict *v, const struct catalog *catalog, struct slice text)
{
    struct policy_relations relations;
    v->is_read_judged = true;
    v->reason = policy_judge(v->class, catalog, &v->scope->path, &relations);
    if (v->reason == CACHE_REASON_NONE && catalog_mentions_row_function(catalog, text))
        v->reason = CACHE_REASON_FUNCTION;
    if (v->reason != CACHE_REASON_NONE)
        return;
    struct generations *generations = v->scope->database->generations;
    v->slots = calloc(relations.count + 1, sizeof(struct generation *));
    if (v->slots == NULL) {
        v->reason = CACHE_REASON_MEMORY;
        return;
    }
    v->slots[v->slot_count++] = generation_ref(generations_epoch(generations));
    for (size_t i = 0; i < relations.count; i++) {
        struct generation *slot = generations_get(generations, relations.oids[i]);
        if (slot == NULL) {
            v->reason = CACHE_REASON_MEMORY;
            return;
        }
        v->slots[v->slot_count++] = slot;
    }
}

static struct verdict *verdict_new(struct cache_scope *scope, struct sql_class *class, struct slice text)
{
    struct verdict *v = calloc(1, sizeof(*v));
    if (v == NULL)
        return NULL;
    v->scope = cache_scope_ref(scope);
    v->class = sql_class_ref(class);
    struct catalog *catalog = database_catalog(scope->database, &v->version);
    if (catalog == NULL) {
        v->reason = CACHE_REASON_NOT_READY;
        v->is_read_judged = true;
        /* What certainly writes nothing need not wait for a catalog; without one, what is read may be a view,
         * and what is called, anything. */
        v->is_write_known = (class->flags & (SQL_CLASS_WRITES | SQL_CLASS_WRITES_UNKNOWN | SQL_CLASS_SCHEMA |
                                             SQL_CLASS_UNKNOWN_CODE)) == 0;
        for (uint32_t i = 0; i < class->n_statements; i++)
            v->is_write_known &= class->statements[i].n_reads == 0 && class->statements[i].n_functions == 0 &&
                                 class->statements[i].n_types == 0;
    } else {
        v->reason = CACHE_REASON_STATEMENT;
        if (text.len > 0)
            judge_read(v, catalog, text);
        judge_write(v, catalog);
    }
    catalog_unref(catalog);
    return v;
}

const struct verdict *verdicts_get(struct verdicts *v, struct cache_scope *scope, struct sql_class *class,
                                   struct slice text)
{
    struct verdict **place = place_for(v, scope, class);
    struct verdict *present = *place;
    uint64_t version = atomic_load_explicit(&scope->database->version, memory_order_acquire);
    if (present != NULL && present->scope == scope && present->class == class &&
        present->version == version && (present->is_read_judged || text.len == 0))
        return present;
    struct verdict *fresh = verdict_new(scope, class, text);
    if (fresh == NULL)
        return NULL;
    free_verdict(present);
    *place = fresh;
    return fresh;
}
