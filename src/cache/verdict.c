/* verdict: a direct-mapped table of pointers. */
#include "weir/cache/verdict.h"

#include <stdlib.h>
#include <string.h>

#include "weir/cache/analysis.h"
#include "weir/cache/database.h"
#include "weir/cache/oid_policy.h"
#include "weir/cache/policy.h"
#include "weir/cache/scope.h"
#include "weir/control/catalog.h"
#include "weir/sql/classify.h"
#include "weir/sql/template.h"
#include "weir/track/profile.h"
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
    generation_unref(v->whole);
    generation_unref(v->new);
    analysis_unref(v->analysis);
    free(v->display);
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
        policy_row_key(v->class, catalog, &v->scope->path, &v->write_row);
        v->new_rows = policy_adds_rows_to(v->class, catalog, &v->scope->path);
        return;
    }
    buf_free(&oids);
}

/* --- what PostgreSQL says --- */

static struct slice setting_of(const struct cache_scope *scope, struct slice name, struct slice otherwise)
{
    struct slice value = otherwise;
    profile_get(scope->profile, name, &value);
    return value;
}

static bool is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] > 127)
            return false;
    return true;
}

/* Types at the end that are to be inferred say nothing. */
static size_t count_types(const struct verdict_question *q)
{
    size_t count = q->type_count;
    while (count > 0 && q->types[count - 1] == 0)
        count--;
    return count;
}

/* The analysis of this question, asked for if nobody has; NULL when it cannot be. */
static struct analysis *ask(const struct verdict *v, const struct verdict_question *q)
{
    struct buf scratch = BUF_INIT;
    struct template template;
    struct analysis *analysis = NULL;
    bool is_new = false;
    if (!template_make(q->text, &scratch, &template))
        return NULL;
    bool is_exact = (template.flags & TEMPLATE_SPECIAL) != 0 || (v->class->flags & SQL_CLASS_LITERALS) != 0;
    struct slice encoding =
        is_ascii(q->text) ? SLICE_EMPTY : setting_of(v->scope, SLICE_LITERAL("client_encoding"), SLICE_EMPTY);
    const struct analysis_key key = {
        .template = is_exact ? q->text : template.text,
        .is_exact = is_exact,
        .types = q->types,
        .type_count = count_types(q),
        .role = slice_str(v->scope->role),
        .search_path = setting_of(v->scope, SLICE_LITERAL("search_path"), v->scope->baseline_path),
        .client_encoding = encoding,
        .version = v->version,
    };
    if (encoding.len > 0 || is_ascii(q->text))
        analysis = analyses_get(v->scope->database->analyses, &key, q->text,
                                (v->class->statements[0].flags & SQL_HAS_PARAMS) != 0, q->now_us, &is_new);
    if (is_new)
        database_analyse(v->scope->database, analysis);
    buf_free(&scratch);
    return analysis;
}

/* Reading what the analysis names runs nobody's code; but which types later ones give is not known to who
 * announces writes. */
static enum cache_reason judge_analysis(struct verdict *v, const struct catalog *catalog)
{
    const struct analysis *a = v->analysis;
    v->is_pending = !analysis_is_done(a);
    if (v->is_pending)
        return CACHE_REASON_PENDING;
    if (a->reason != CACHE_REASON_NONE)
        return a->reason;
    if (!oid_policy_has_settings(v->scope->profile, a->settings, a->settings_len))
        return CACHE_REASON_SETTING;
    for (size_t i = 0; i < a->relation_count; i++) {
        enum cache_reason reason = oid_policy_relation(catalog, a->relations[i]);
        if (reason != CACHE_REASON_NONE)
            return reason;
    }
    if (!v->is_write_known && (v->class->statements[0].flags & SQL_HAS_PARAMS) != 0)
        return CACHE_REASON_SHADOWED;
    v->is_write_known = true;
    return CACHE_REASON_NONE;
}

static bool is_worth_asking(const struct verdict *v, const struct catalog *catalog)
{
    return oid_policy_may_help(v->class, v->reason) &&
           !catalog_is_somewhere(catalog, CATALOG_CODE_ANYWHERE) &&
           !catalog_get_facts(catalog)->is_in_recovery;
}

/* --- for people --- */

static char *display(struct slice text)
{
    struct buf scratch = BUF_INIT, shown = BUF_INIT;
    struct template template;
    if (!template_make(text, &scratch, &template))
        return NULL;
    if ((template.flags & TEMPLATE_SPECIAL) != 0)
        sql_display(text, &shown);
    else
        template_display(&template, &shown);
    if (shown.len > VERDICT_DISPLAY_MAX)
        shown.len = VERDICT_DISPLAY_MAX;
    const char *whole = buf_text(&shown);
    char *copy = whole != NULL ? strdup(whole) : NULL;
    buf_free(&scratch);
    buf_free(&shown);
    return copy;
}

/* What was counted under the verdict that this one replaces. */
static void inherit(struct verdict *fresh, struct verdict *old, uint64_t now_us)
{
    bool is_heir = old != NULL && old->scope == fresh->scope && old->class == fresh->class;
    fresh->since_us = is_heir && old->since_us != 0 ? old->since_us : now_us;
    if (!is_heir)
        return;
    fresh->calls = old->calls;
    fresh->hits = old->hits;
    fresh->misses = old->misses;
    fresh->saved_us = old->saved_us;
    fresh->payoff = old->payoff;
    if (fresh->display == NULL) {
        fresh->display = old->display;
        old->display = NULL;
    }
}

/* --- the whole --- */

static void add_slots(struct verdict *v, const uint32_t *relations, size_t count)
{
    struct generations *generations = v->scope->database->generations;
    v->slots = calloc(count + 1, sizeof(struct generation *));
    if (v->slots == NULL) {
        v->reason = CACHE_REASON_MEMORY;
        return;
    }
    v->slots[v->slot_count++] = generation_ref(generations_epoch(generations));
    for (size_t i = 0; i < count; i++) {
        struct generation *slot = generations_get(generations, relations[i], GENERATION_ANY);
        if (slot == NULL) {
            v->reason = CACHE_REASON_MEMORY;
            return;
        }
        v->slots[v->slot_count++] = slot;
    }
}

/* The relation is the first of those that add_slots has added. */
static void add_row_slots(struct verdict *v, const struct catalog *catalog)
{
    struct generations *generations = v->scope->database->generations;
    policy_row_key(v->class, catalog, &v->scope->path, &v->read_row);
    uint32_t relation = v->read_row.relation;
    if (relation == 0 || v->slot_count < 2 || v->slots[1]->relation != relation) {
        v->read_row.relation = 0;
        return;
    }
    v->whole = generations_get(generations, relation, GENERATION_WHOLE);
    v->new = generations_get(generations, relation, GENERATION_NEW);
    if (v->whole == NULL || v->new == NULL)
        v->read_row.relation = 0;
}

struct generation *verdict_row(const struct verdict *v, const struct cache_values *values)
{
    uint64_t hash;
    if (v->read_row.relation == 0 || !row_key_hash(&v->read_row, values, &hash))
        return NULL;
    return generations_key(v->scope->database->generations, hash);
}

void verdict_note_row(struct verdict *v, struct generation *row)
{
    if (row == NULL)
        return;
    uint64_t number = generation_read(row);
    v->outdated += row == v->asked_row && number != v->asked_number;
    v->asked_row = row;
    v->asked_number = number;
}

size_t verdict_vector(const struct verdict *v, struct generation *row, struct vector_item *items,
                      size_t *found_count)
{
    size_t count = 0;
    for (uint32_t i = 0; i < v->slot_count; i++)
        items[count++] =
            (struct vector_item){.slot = generation_ref(row != NULL && i == 1 ? v->whole : v->slots[i])};
    if (row != NULL)
        items[count++] = (struct vector_item){.slot = generation_ref(row)};
    *found_count = count;
    if (row != NULL)
        items[count++] = (struct vector_item){.slot = generation_ref(v->new)};
    if (!v->class->statements[0].is_row_for_row)
        *found_count = count;
    return count;
}

static void judge_read(struct verdict *v, const struct catalog *catalog, const struct verdict_question *q)
{
    struct policy_relations relations;
    v->is_read_judged = true;
    v->reason = policy_judge(v->class, catalog, &v->scope->path, &relations);
    if (v->reason == CACHE_REASON_NONE && catalog_mentions_row_function(catalog, q->text))
        v->reason = CACHE_REASON_FUNCTION;
    if (v->reason == CACHE_REASON_NONE) {
        add_slots(v, relations.oids, relations.count);
        if (v->reason == CACHE_REASON_NONE)
            add_row_slots(v, catalog);
        return;
    }
    v->analysis = is_worth_asking(v, catalog) ? ask(v, q) : NULL;
    if (v->analysis == NULL)
        return;
    v->reason = judge_analysis(v, catalog);
    if (v->reason == CACHE_REASON_NONE)
        add_slots(v, v->analysis->relations, v->analysis->relation_count);
}

static struct verdict *verdict_new(const struct verdict_question *q)
{
    struct verdict *v = calloc(1, sizeof(*v));
    struct sql_class *class = q->class;
    if (v == NULL)
        return NULL;
    if (q->text.len > 0)
        v->display = display(q->text);
    v->scope = cache_scope_ref(q->scope);
    v->class = sql_class_ref(class);
    struct catalog *catalog = database_catalog(v->scope->database, &v->version);
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
        judge_write(v, catalog);
        if (q->text.len > 0)
            judge_read(v, catalog, q);
    }
    catalog_unref(catalog);
    return v;
}

/* An analysis is of one list of types, and may have come, or be over, since. */
static bool is_current(const struct verdict *v, const struct verdict_question *q)
{
    const struct analysis *a = v->analysis;
    if (a == NULL || q->text.len == 0)
        return true;
    size_t count = count_types(q);
    return a->key.type_count == count &&
           (count == 0 || memcmp(a->key.types, q->types, count * sizeof(*q->types)) == 0) &&
           v->is_pending == !analysis_is_done(a) && !analysis_is_over(a, q->now_us);
}

struct verdict *verdicts_get(struct verdicts *v, const struct verdict_question *q)
{
    struct verdict **place = place_for(v, q->scope, q->class);
    struct verdict *present = *place;
    uint64_t version = atomic_load_explicit(&q->scope->database->version, memory_order_acquire);
    if (present != NULL && present->scope == q->scope && present->class == q->class &&
        present->version == version && (present->is_read_judged || q->text.len == 0) &&
        is_current(present, q))
        return present;
    struct verdict *fresh = verdict_new(q);
    if (fresh == NULL)
        return NULL;
    inherit(fresh, present, q->now_us);
    free_verdict(present);
    *place = fresh;
    return fresh;
}

uint64_t verdict_versions(const struct verdict *v)
{
    bool is_row = v->read_row.relation != 0;
    uint64_t sum = is_row ? v->outdated : 0;
    for (uint32_t i = 0; i < v->slot_count; i++)
        sum += generation_read(is_row && i == 1 ? v->whole : v->slots[i]);
    return sum;
}

void verdicts_each(const struct verdicts *v, void (*fn)(void *context, const struct verdict *verdict),
                   void *context)
{
    for (size_t i = 0; i < PLACES; i++)
        if (v->places[i] != NULL)
            fn(context, v->places[i]);
}
