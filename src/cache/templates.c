/* templates: the verdicts of a worker, those of one text, user and database added up, for people to read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/cache/analysis.h"
#include "weir/cache/cache.h"
#include "weir/cache/database.h"
#include "weir/cache/scope.h"
#include "weir/cache/verdict.h"
#include "weir/cache/worker.h"
#include "weir/control/catalog.h"
#include "weir/sql/classify.h"

void cache_template_reason(const struct cache_template *t, char *text, size_t size)
{
    bool is_no = t->reason != CACHE_REASON_NONE;
    snprintf(text, size, "%s%s%s", is_no ? cache_reason_text(t->reason) : "",
             is_no && t->detail[0] != '\0' ? ": " : "", is_no ? t->detail : "");
}

struct gathered {
    const struct verdict *verdict; /* of several, the one most asked */
    uint64_t calls, hits, misses, saved_us, since_us;
};

struct gathering {
    struct gathered *rows;
    size_t count, capacity;
};

static void gather(void *context, const struct verdict *v)
{
    struct gathering *g = context;
    if (v->display == NULL || v->calls == 0)
        return;
    if (g->count == g->capacity) {
        size_t capacity = g->capacity > 0 ? 2 * g->capacity : 256;
        struct gathered *rows = realloc(g->rows, capacity * sizeof(*rows));
        if (rows == NULL)
            return;
        g->rows = rows;
        g->capacity = capacity;
    }
    g->rows[g->count++] = (struct gathered){v, v->calls, v->hits, v->misses, v->saved_us, v->since_us};
}

static int compare_slices(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_identity(const void *a, const void *b)
{
    const struct verdict *x = ((const struct gathered *)a)->verdict,
                         *y = ((const struct gathered *)b)->verdict;
    int order = strcmp(x->display, y->display);
    if (order == 0)
        order = compare_slices(x->scope->user, y->scope->user);
    uint64_t i = x->scope->database->id, k = y->scope->database->id;
    return order != 0 ? order : (i > k) - (i < k);
}

static int compare_calls(const void *a, const void *b)
{
    uint64_t x = ((const struct gathered *)a)->calls, y = ((const struct gathered *)b)->calls;
    return (x < y) - (x > y);
}

/* Profiles and classes that differ are no matter here. */
static void add_up(struct gathering *g)
{
    if (g->count == 0)
        return;
    qsort(g->rows, g->count, sizeof(*g->rows), compare_identity);
    size_t last = 0;
    for (size_t i = 1; i < g->count; i++) {
        struct gathered *into = &g->rows[last], *from = &g->rows[i];
        if (compare_identity(into, from) != 0) {
            g->rows[++last] = *from;
            continue;
        }
        if (from->verdict->calls > into->verdict->calls)
            into->verdict = from->verdict;
        into->calls += from->calls;
        into->hits += from->hits;
        into->misses += from->misses;
        into->saved_us += from->saved_us;
        into->since_us = from->since_us < into->since_us ? from->since_us : into->since_us;
    }
    g->count = last + 1;
    qsort(g->rows, g->count, sizeof(*g->rows), compare_calls);
}

/* Names in the catalog in force; what it does not know any more is left out. */
static void put_relations(const struct verdict *v, struct buf *out)
{
    uint64_t version;
    struct catalog *catalog = database_catalog(v->scope->database, &version);
    for (uint32_t i = 1; catalog != NULL && i < v->slot_count; i++) { /* the first is the epoch */
        const struct catalog_relation *r = catalog_find_oid(catalog, v->slots[i]->relation);
        if (r != NULL)
            buf_printf(out, "%s%s.%s", out->len > 0 ? ", " : "", r->schema, r->name);
    }
    catalog_unref(catalog);
}

static void put_generations(const struct verdict *v, struct buf *out)
{
    uint64_t version;
    struct catalog *catalog = database_catalog(v->scope->database, &version);
    for (uint32_t i = 0; catalog != NULL && i < v->slot_count; i++) {
        uint64_t value = generation_read(v->slots[i]);
        const struct catalog_relation *r = catalog_find_oid(catalog, v->slots[i]->relation);
        if (i == 0)
            buf_append_str(out, "epoch");
        else if (r != NULL)
            buf_printf(out, ", %s.%s", r->schema, r->name);
        else
            continue;
        buf_printf(out, " %llu%s", (unsigned long long)generation_token(value),
                   generation_is_clean(value) ? "" : " (being written)");
    }
    catalog_unref(catalog);
}

/* The first function that is no built-in one, where names have decided. */
static void put_function(const struct verdict *v, struct buf *out)
{
    const struct sql_statement *s = &v->class->statements[0];
    for (size_t i = 0; v->reason == CACHE_REASON_FUNCTION && i < s->n_functions; i++)
        if (!s->functions[i].is_builtin) {
            bool is_operator = s->functions[i].args == UINT16_MAX;
            buf_printf(out, "%s %s", is_operator ? "operator" : "function", s->functions[i].name);
            return;
        }
}

void verdict_describe(const struct verdict *v, struct cache_template *t, struct buf *scratch)
{
    const struct analysis *a = v->analysis != NULL && analysis_is_done(v->analysis) ? v->analysis : NULL;
    buf_clear(scratch);
    if (a != NULL && a->names != NULL)
        buf_append_str(scratch, a->names);
    else
        put_relations(v, scratch);
    buf_append_u8(scratch, '\0');
    size_t detail = scratch->len;
    t->reason = v->reason;
    if (!v->is_read_judged)
        t->reason = CACHE_REASON_NOT_READY;
    else if (v->is_pending && a != NULL) /* answered since: the next asker will know */
        t->reason = a->reason != CACHE_REASON_NONE ||
                            oid_policy_has_settings(v->scope->profile, a->settings, a->settings_len)
                        ? a->reason
                        : CACHE_REASON_SETTING;
    if (t->reason == CACHE_REASON_NONE && v->payoff.is_off) {
        char figures[PAYOFF_TEXT_MAX];
        t->reason = CACHE_REASON_NOT_WORTH;
        payoff_describe(&v->payoff, figures);
        buf_append_str(scratch, figures);
    } else if (a != NULL && t->reason == a->reason)
        buf_append_str(scratch, a->detail);
    else if (a == NULL)
        put_function(v, scratch);
    buf_append_u8(scratch, '\0');
    size_t generations = scratch->len;
    if (t->reason == CACHE_REASON_NONE)
        put_generations(v, scratch);
    const char *text = buf_text(scratch);
    t->generations = text != NULL ? text + generations : "";
    t->found = v->analysis != NULL ? "postgresql" : "names";
    t->relations = text != NULL ? text : "";
    t->detail = text != NULL ? text + detail : "";
}

struct likeness {
    const struct verdict *verdict;
    struct cache_template *into;
};

static void add_likeness(void *context, const struct verdict *v)
{
    const struct likeness *l = context;
    const struct verdict *wanted = l->verdict;
    if (v->display == NULL || wanted->display == NULL || v->scope->database != wanted->scope->database ||
        strcmp(v->display, wanted->display) != 0 || !slice_equal(v->scope->user, wanted->scope->user))
        return;
    l->into->calls += v->calls;
    l->into->hits += v->hits;
    l->into->misses += v->misses;
    l->into->saved_us += v->saved_us;
}

void verdict_count(const struct verdicts *all, const struct verdict *v, struct cache_template *t)
{
    struct likeness likeness = {v, t};
    verdicts_each(all, add_likeness, &likeness);
}

void cache_templates(struct cache_worker *w, size_t limit,
                     void (*each)(void *context, const struct cache_template *t), void *context)
{
    struct gathering g = {NULL, 0, 0};
    struct buf scratch = BUF_INIT, user = BUF_INIT;
    verdicts_each(w->verdicts, gather, &g);
    add_up(&g);
    for (size_t i = 0; i < g.count && i < limit; i++) {
        const struct gathered *row = &g.rows[i];
        const struct cache_scope *scope = row->verdict->scope;
        buf_clear(&user);
        buf_append_slice(&user, scope->user);
        const char *name = buf_text(&user);
        struct cache_template t = {.database = database_name(scope->database),
                                   .user = name != NULL ? name : "",
                                   .text = row->verdict->display,
                                   .calls = row->calls,
                                   .hits = row->hits,
                                   .misses = row->misses,
                                   .saved_us = row->saved_us,
                                   .since_us = row->since_us};
        verdict_describe(row->verdict, &t, &scratch);
        each(context, &t);
    }
    buf_free(&scratch);
    buf_free(&user);
    free(g.rows);
}
