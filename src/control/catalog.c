/*
 * catalog: sorted arrays, searched by halves, over one arena of strings.
 *
 * The builder appends and remembers a failure; finishing sorts, marks relatives that must not be read, and
 * freezes.
 */
#include "weir/control/catalog.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "weir/sql/classify.h"
#include "weir/util/buf.h"

enum { ITEMS_MAX = 2 * 1000 * 1000 }; /* relations, names and edges together */

struct relation {
    uint32_t oid;
    char kind;
    char persistence;
    uint32_t flags;
    size_t schema; /* offsets into the arena while building */
    size_t name;
};

struct name {
    size_t schema;
    size_t name;
};

struct resolved_name {
    const char *schema;
    const char *name;
};

struct edge {
    uint32_t from;
    uint32_t to;
};

struct key {
    uint32_t oid;
    bool is_logged;
    enum catalog_key kind;
    size_t column;
};

enum name_kind {
    NAME_FUNCTION,
    NAME_ROW_FUNCTION,
    NAME_CODE,
    NAME_ROW_CODE,
    NAME_CODE_TYPE,
    NAME_OPERATOR,
    NAME_TYPE,
    NAME_KIND_COUNT
};

struct catalog_builder {
    struct catalog_facts facts;
    bool has_failed;
    size_t items;
    struct buf arena;
    struct buf relations; /* struct relation */
    struct buf names[NAME_KIND_COUNT];
    struct buf cascades;
    struct buf children; /* from = parent */
    struct buf runners;  /* struct runner: relations that run code */
    struct buf keys;     /* struct key */
    unsigned somewhere;
};

struct runner {
    uint32_t oid;
    uint32_t flag;
};

struct catalog {
    _Atomic uint32_t references;
    struct catalog_facts facts;
    char *arena;
    struct catalog_relation *relations; /* by schema and name */
    uint32_t *by_oid;                   /* indexes into relations */
    size_t relation_count;
    struct resolved_name *names[NAME_KIND_COUNT];
    size_t name_count[NAME_KIND_COUNT];
    bool has_code;
    unsigned somewhere;  /* enum catalog_somewhere */
    uint32_t *row_code;  /* hashes of the names in NAME_ROW_CODE */
    struct edge *writes; /* all ways in which a write spreads, by from */
    size_t write_count;
};

/* --- building --- */

struct catalog_builder *catalog_builder_new(const struct catalog_facts *facts)
{
    struct catalog_builder *b = calloc(1, sizeof(*b));
    if (b != NULL)
        b->facts = *facts;
    return b;
}

void catalog_builder_free(struct catalog_builder *b)
{
    if (b == NULL)
        return;
    buf_free(&b->arena);
    buf_free(&b->relations);
    for (int i = 0; i < NAME_KIND_COUNT; i++)
        buf_free(&b->names[i]);
    buf_free(&b->cascades);
    buf_free(&b->children);
    buf_free(&b->runners);
    buf_free(&b->keys);
    free(b);
}

static size_t keep(struct catalog_builder *b, const char *text)
{
    size_t offset = b->arena.len;
    buf_append(&b->arena, text, strlen(text) + 1);
    return offset;
}

static void add(struct catalog_builder *b, struct buf *list, const void *item, size_t size)
{
    if (++b->items > ITEMS_MAX)
        b->has_failed = true;
    if (!b->has_failed)
        buf_append(list, item, size);
    b->has_failed |= buf_failed(list) || buf_failed(&b->arena);
}

void catalog_builder_relation(struct catalog_builder *b, const struct catalog_relation *r)
{
    struct relation item = {.oid = r->oid, .kind = r->kind, .persistence = r->persistence, .flags = r->flags};
    item.schema = keep(b, r->schema);
    item.name = keep(b, r->name);
    add(b, &b->relations, &item, sizeof(item));
}

void catalog_builder_key(struct catalog_builder *b, uint32_t oid, const char *column, enum catalog_key kind,
                         bool is_logged)
{
    struct key item = {oid, is_logged, kind, keep(b, column)};
    add(b, &b->keys, &item, sizeof(item));
}

void catalog_builder_cascade(struct catalog_builder *b, uint32_t from, uint32_t to)
{
    add(b, &b->cascades, &(struct edge){from, to}, sizeof(struct edge));
}

void catalog_builder_inherit(struct catalog_builder *b, uint32_t parent, uint32_t child)
{
    add(b, &b->children, &(struct edge){parent, child}, sizeof(struct edge));
}

static void add_name(struct catalog_builder *b, enum name_kind kind, const char *schema, const char *text)
{
    struct name item = {keep(b, schema), keep(b, text)};
    add(b, &b->names[kind], &item, sizeof(item));
}

void catalog_builder_function(struct catalog_builder *b, const char *schema, const char *name)
{
    add_name(b, NAME_FUNCTION, schema, name);
}

void catalog_builder_row_function(struct catalog_builder *b, const char *schema, const char *name)
{
    add_name(b, NAME_ROW_FUNCTION, schema, name);
}

void catalog_builder_code(struct catalog_builder *b, const char *schema, const char *name)
{
    add_name(b, NAME_CODE, schema, name);
}

void catalog_builder_row_code(struct catalog_builder *b, const char *schema, const char *name)
{
    add_name(b, NAME_ROW_CODE, schema, name);
}

void catalog_builder_code_type(struct catalog_builder *b, const char *schema, const char *name)
{
    add_name(b, NAME_CODE_TYPE, schema, name);
}

void catalog_builder_runs_code(struct catalog_builder *b, uint32_t oid)
{
    add(b, &b->runners, &(struct runner){oid, CATALOG_RUNS_CODE}, sizeof(struct runner));
}

void catalog_builder_write_runs_code(struct catalog_builder *b, uint32_t oid)
{
    add(b, &b->runners, &(struct runner){oid, CATALOG_WRITE_RUNS_CODE}, sizeof(struct runner));
}

void catalog_builder_somewhere(struct catalog_builder *b, unsigned what)
{
    b->somewhere |= what;
}

void catalog_builder_operator(struct catalog_builder *b, const char *schema, const char *name)
{
    add_name(b, NAME_OPERATOR, schema, name);
}

void catalog_builder_type(struct catalog_builder *b, const char *schema, const char *name)
{
    add_name(b, NAME_TYPE, schema, name);
}

static int compare_names(const char *schema_a, const char *name_a, const char *schema_b, const char *name_b)
{
    int order = strcmp(schema_a, schema_b);
    return order != 0 ? order : strcmp(name_a, name_b);
}

static int compare_relations(const void *a, const void *b)
{
    const struct catalog_relation *x = a, *y = b;
    return compare_names(x->schema, x->name, y->schema, y->name);
}

static int compare_resolved(const void *a, const void *b)
{
    const struct resolved_name *x = a, *y = b;
    return compare_names(x->schema, x->name, y->schema, y->name);
}

static int compare_edges(const void *a, const void *b)
{
    const struct edge *x = a, *y = b;
    return x->from != y->from ? (x->from < y->from ? -1 : 1) : (x->to > y->to) - (x->to < y->to);
}

static int compare_oids(const void *a, const void *b, void *relations)
{
    const struct catalog_relation *list = relations;
    uint32_t x = list[*(const uint32_t *)a].oid, y = list[*(const uint32_t *)b].oid;
    return (x > y) - (x < y);
}

/* calloc that gives something for nothing, so that NULL always means failure. */
static void *allocate(size_t count, size_t size)
{
    return calloc(count > 0 ? count : 1, size);
}

static bool freeze_relations(struct catalog *c, const struct catalog_builder *b)
{
    const struct relation *from = (const void *)b->relations.data;
    c->relation_count = b->relations.len / sizeof(*from);
    c->relations = allocate(c->relation_count, sizeof(*c->relations));
    c->by_oid = allocate(c->relation_count, sizeof(*c->by_oid));
    if (c->relations == NULL || c->by_oid == NULL)
        return false;
    for (size_t i = 0; i < c->relation_count; i++) {
        c->relations[i] = (struct catalog_relation){.oid = from[i].oid,
                                                    .kind = from[i].kind,
                                                    .persistence = from[i].persistence,
                                                    .flags = from[i].flags,
                                                    .schema = c->arena + from[i].schema,
                                                    .name = c->arena + from[i].name};
        c->by_oid[i] = (uint32_t)i;
    }
    qsort(c->relations, c->relation_count, sizeof(*c->relations), compare_relations);
    qsort_r(c->by_oid, c->relation_count, sizeof(*c->by_oid), compare_oids, c->relations);
    return true;
}

static bool freeze_names(struct catalog *c, const struct catalog_builder *b, int kind)
{
    const struct name *from = (const void *)b->names[kind].data;
    size_t count = b->names[kind].len / sizeof(*from);
    c->names[kind] = allocate(count, sizeof(*c->names[kind]));
    if (c->names[kind] == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        c->names[kind][i] = (struct resolved_name){c->arena + from[i].schema, c->arena + from[i].name};
    c->name_count[kind] = count;
    qsort(c->names[kind], count, sizeof(*c->names[kind]), compare_resolved);
    return true;
}

/* A write spreads down the cascades, and between parent and child in both directions. */
static bool freeze_edges(struct catalog *c, const struct catalog_builder *b)
{
    size_t cascades = b->cascades.len / sizeof(struct edge), children = b->children.len / sizeof(struct edge);
    c->writes = allocate(cascades + 2 * children, sizeof(*c->writes));
    if (c->writes == NULL)
        return false;
    if (cascades > 0)
        memcpy(c->writes, b->cascades.data, b->cascades.len);
    c->write_count = cascades;
    const struct edge *child = (const void *)b->children.data;
    for (size_t i = 0; i < children; i++) {
        c->writes[c->write_count++] = child[i];
        c->writes[c->write_count++] = (struct edge){child[i].to, child[i].from};
    }
    qsort(c->writes, c->write_count, sizeof(*c->writes), compare_edges);
    return true;
}

static struct catalog_relation *find_oid(const struct catalog *c, uint32_t oid)
{
    size_t low = 0, high = c->relation_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct catalog_relation *r = &c->relations[c->by_oid[middle]];
        if (r->oid == oid)
            return r;
        if (r->oid < oid)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool is_plain_descendant(const struct catalog_relation *r)
{
    return r != NULL && (r->kind == 'r' || r->kind == 'p') && r->persistence == 'p' &&
           (r->flags & (CATALOG_ODD_COLUMN | CATALOG_ODD_RELATIVE | CATALOG_HAS_RULE)) == 0;
}

static bool is_near_descendant(const struct catalog_relation *r)
{
    return r != NULL && (r->kind == 'r' || r->kind == 'p') && r->persistence == 'p' &&
           (r->flags & CATALOG_FAR_RELATIVE) == 0;
}

/* Carries "may not be read", and "runs code", from children to parents until nothing changes; the depth of
 * real hierarchies is small. */
static void mark_odd_relatives(struct catalog *c, const struct catalog_builder *b)
{
    const struct edge *edges = (const void *)b->children.data;
    size_t count = b->children.len / sizeof(*edges);
    for (bool has_changed = true; has_changed;) {
        has_changed = false;
        for (size_t i = 0; i < count; i++) {
            struct catalog_relation *parent = find_oid(c, edges[i].from);
            struct catalog_relation *child = find_oid(c, edges[i].to);
            if (child != NULL)
                child->flags |= CATALOG_INHERITS;
            if (parent == NULL)
                continue;
            parent->flags |= CATALOG_INHERITS;
            if (!is_plain_descendant(child) && (parent->flags & CATALOG_ODD_RELATIVE) == 0) {
                parent->flags |= CATALOG_ODD_RELATIVE;
                has_changed = true;
            }
            if (!is_near_descendant(child) && (parent->flags & CATALOG_FAR_RELATIVE) == 0) {
                parent->flags |= CATALOG_FAR_RELATIVE;
                has_changed = true;
            }
            if (child != NULL && (child->flags & ~parent->flags & CATALOG_RUNS_CODE) != 0) {
                parent->flags |= CATALOG_RUNS_CODE;
                has_changed = true;
            }
        }
    }
}

/* Before mark_odd_relatives, which carries it to the parents. */
static void mark_runners(struct catalog *c, const struct catalog_builder *b)
{
    const struct runner *runners = (const void *)b->runners.data;
    for (size_t i = 0; i < b->runners.len / sizeof(*runners); i++) {
        struct catalog_relation *r = find_oid(c, runners[i].oid);
        if (r != NULL)
            r->flags |= runners[i].flag;
        c->has_code = true;
    }
    c->somewhere = b->somewhere;
    c->has_code = c->has_code || c->name_count[NAME_CODE] > 0 || c->name_count[NAME_CODE_TYPE] > 0 ||
                  (c->somewhere & ~(unsigned)CATALOG_ODD_CASTS) != 0;
}

static void give_keys(struct catalog *c, const struct catalog_builder *b)
{
    const struct key *keys = (const void *)b->keys.data;
    for (size_t i = 0; i < b->keys.len / sizeof(*keys); i++) {
        struct catalog_relation *r = find_oid(c, keys[i].oid);
        if (r == NULL)
            continue;
        r->key_kind = keys[i].kind;
        r->key = c->arena + keys[i].column;
        r->flags |= keys[i].is_logged ? CATALOG_KEY_LOGGED : 0;
    }
}

static int compare_hashes(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static bool hash_row_code(struct catalog *c)
{
    size_t count = c->name_count[NAME_ROW_CODE];
    c->row_code = allocate(count, sizeof(*c->row_code));
    for (size_t i = 0; c->row_code != NULL && i < count; i++)
        c->row_code[i] = sql_name_hash(c->names[NAME_ROW_CODE][i].name);
    if (c->row_code != NULL)
        qsort(c->row_code, count, sizeof(*c->row_code), compare_hashes);
    return c->row_code != NULL;
}

struct catalog *catalog_builder_finish(struct catalog_builder *b)
{
    struct catalog *c = b->has_failed ? NULL : calloc(1, sizeof(*c));
    bool is_good = false;
    if (c == NULL)
        goto done;
    atomic_init(&c->references, 1);
    c->facts = b->facts;
    c->arena = (char *)b->arena.data;
    b->arena = BUF_INIT;
    is_good = freeze_relations(c, b) && freeze_edges(c, b);
    for (int kind = 0; is_good && kind < NAME_KIND_COUNT; kind++)
        is_good = freeze_names(c, b, kind);
    is_good = is_good && hash_row_code(c);
    if (is_good) {
        mark_runners(c, b);
        mark_odd_relatives(c, b);
        give_keys(c, b);
    }
done:
    catalog_builder_free(b);
    if (!is_good && c != NULL) {
        catalog_unref(c);
        c = NULL;
    }
    return c;
}

/* --- asking --- */

struct catalog *catalog_ref(struct catalog *c)
{
    atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
    return c;
}

void catalog_unref(struct catalog *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) != 1)
        return;
    free(c->arena);
    free(c->relations);
    free(c->by_oid);
    for (int i = 0; i < NAME_KIND_COUNT; i++)
        free(c->names[i]);
    free(c->row_code);
    free(c->writes);
    free(c);
}

const struct catalog_facts *catalog_get_facts(const struct catalog *c)
{
    return &c->facts;
}

const struct catalog_relation *catalog_find(const struct catalog *c, const char *schema, const char *name)
{
    struct catalog_relation wanted = {.schema = schema, .name = name};
    return bsearch(&wanted, c->relations, c->relation_count, sizeof(*c->relations), compare_relations);
}

const struct catalog_relation *catalog_find_name(const struct catalog *c, const char *name, size_t *count)
{
    const struct catalog_relation *found = NULL;
    *count = 0;
    for (size_t i = 0; i < c->relation_count; i++)
        if (strcmp(c->relations[i].name, name) == 0) {
            found = &c->relations[i];
            ++*count;
        }
    return *count == 1 ? found : NULL;
}

const struct catalog_relation *catalog_find_oid(const struct catalog *c, uint32_t oid)
{
    return find_oid(c, oid);
}

static bool has_name(const struct catalog *c, enum name_kind kind, const char *schema, const char *name)
{
    struct resolved_name wanted = {schema, name};
    return bsearch(&wanted, c->names[kind], c->name_count[kind], sizeof(wanted), compare_resolved) != NULL;
}

bool catalog_has_function(const struct catalog *c, const char *schema, const char *name)
{
    return has_name(c, NAME_FUNCTION, schema, name);
}

bool catalog_is_code(const struct catalog *c, const char *schema, const char *name)
{
    return has_name(c, NAME_CODE, schema, name);
}

bool catalog_is_code_type(const struct catalog *c, const char *schema, const char *name)
{
    return has_name(c, NAME_CODE_TYPE, schema, name);
}

bool catalog_is_row_code(const struct catalog *c, uint32_t name_hash)
{
    size_t count = c->name_count[NAME_ROW_CODE];
    return bsearch(&name_hash, c->row_code, count, sizeof(name_hash), compare_hashes) != NULL;
}

bool catalog_has_row_code(const struct catalog *c)
{
    return c->name_count[NAME_ROW_CODE] > 0;
}

bool catalog_is_somewhere(const struct catalog *c, enum catalog_somewhere what)
{
    return (c->somewhere & (unsigned)what) != 0;
}

bool catalog_has_code(const struct catalog *c)
{
    return c->has_code;
}

bool catalog_has_operator(const struct catalog *c, const char *schema, const char *name)
{
    return has_name(c, NAME_OPERATOR, schema, name);
}

bool catalog_has_type(const struct catalog *c, const char *schema, const char *name)
{
    return has_name(c, NAME_TYPE, schema, name);
}

static bool contains_nocase(struct slice text, struct slice word)
{
    for (size_t i = 0; i + word.len <= text.len; i++)
        if (slice_equal_nocase(slice_make(text.data + i, word.len), word))
            return true;
    return false;
}

bool catalog_mentions_row_function(const struct catalog *c, struct slice text)
{
    size_t count = c->name_count[NAME_ROW_FUNCTION];
    /* U&"..." can spell any name. */
    if (count > 0 && contains_nocase(text, SLICE_LITERAL("u&")))
        return true;
    for (size_t i = 0; i < count; i++)
        if (contains_nocase(text, slice_str(c->names[NAME_ROW_FUNCTION][i].name)))
            return true;
    return false;
}

size_t catalog_relation_count(const struct catalog *c)
{
    return c->relation_count;
}

/* --- what a write writes --- */

struct reach {
    uint32_t *oids;
    size_t count;
    size_t capacity;
};

static bool reach_add(struct reach *r, uint32_t oid)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->oids[i] == oid)
            return true;
    if (r->count == r->capacity) {
        size_t capacity = r->capacity > 0 ? 2 * r->capacity : 16;
        uint32_t *oids = realloc(r->oids, capacity * sizeof(*oids));
        if (oids == NULL)
            return false;
        r->oids = oids;
        r->capacity = capacity;
    }
    r->oids[r->count++] = oid;
    return true;
}

static size_t first_edge(const struct catalog *c, uint32_t from)
{
    size_t low = 0, high = c->write_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->writes[middle].from < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Over this many relations (a table of a thousand partitions, say) it is cheaper to say "everything". */
enum { CLOSURE_MAX = 256 };

static bool is_write_known(const struct catalog *c, uint32_t oid)
{
    const struct catalog_relation *r = find_oid(c, oid);
    return r != NULL && (r->kind == 'r' || r->kind == 'p') &&
           (r->flags &
            (CATALOG_HAS_TRIGGER | CATALOG_HAS_RULE | CATALOG_RUNS_CODE | CATALOG_WRITE_RUNS_CODE)) == 0;
}

static bool reach_from(const struct catalog *c, uint32_t oid, bool needs_known,
                       void (*report)(void *context, uint32_t oid), void *context)
{
    struct reach reach = {NULL, 0, 0};
    bool is_known = reach_add(&reach, oid);
    for (size_t i = 0; is_known && i < reach.count; i++) {
        uint32_t from = reach.oids[i];
        is_known = (!needs_known || is_write_known(c, from)) && reach.count <= CLOSURE_MAX;
        for (size_t e = first_edge(c, from); is_known && e < c->write_count && c->writes[e].from == from; e++)
            is_known = reach_add(&reach, c->writes[e].to);
    }
    for (size_t i = 0; is_known && i < reach.count; i++)
        report(context, reach.oids[i]);
    free(reach.oids);
    return is_known;
}

bool catalog_closure(const struct catalog *c, uint32_t oid, void (*report)(void *context, uint32_t oid),
                     void *context)
{
    return reach_from(c, oid, true, report, context);
}

bool catalog_reach(const struct catalog *c, uint32_t oid, void (*report)(void *context, uint32_t oid),
                   void *context)
{
    return reach_from(c, oid, false, report, context);
}

struct search {
    uint32_t oid;
    bool is_found;
};

static void look_for(void *context, uint32_t oid)
{
    struct search *search = context;
    search->is_found |= oid == search->oid;
}

bool catalog_comes_back(const struct catalog *c, uint32_t oid)
{
    for (size_t e = first_edge(c, oid); e < c->write_count && c->writes[e].from == oid; e++) {
        struct search search = {oid, false};
        if (!catalog_reach(c, c->writes[e].to, look_for, &search) || search.is_found)
            return true;
    }
    return false;
}
