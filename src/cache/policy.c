/* policy: a row of questions, each of which may end it. */
#include "weir/cache/policy.h"

#include <stdlib.h>
#include <string.h>

#include "weir/cache/row_key.h"
#include "weir/cache/search_path.h"
#include "weir/control/catalog.h"
#include "weir/sql/classify.h"
#include "weir/sql/template.h"

static const char *const functions[] = {
#include "functions.inc"
};

/* Types of casts; sorted. Dates and times stand apart, since text that is cast to them may say 'now'. */
static const char *const cast_types[] = {
    "bit",      "bool",    "bpchar", "bytea",    "char",     "cidr",      "circle",  "daterange",
    "float4",   "float8",  "inet",   "int2",     "int4",     "int4range", "int8",    "int8range",
    "interval", "json",    "jsonb",  "jsonpath", "macaddr",  "name",      "numeric", "numrange",
    "point",    "polygon", "text",   "tsquery",  "tsvector", "uuid",      "varbit",  "varchar",
};
static const char *const time_types[] = {"date", "time", "timestamp", "timestamptz"};

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_in(const char *name, const char *const *list, size_t count)
{
    return bsearch(&name, list, count, sizeof(*list), compare_text) != NULL;
}

#define IS_IN(name, list) is_in((name), (list), sizeof(list) / sizeof((list)[0]))

static bool is_system_schema(const char *schema)
{
    return strncmp(schema, "pg_", 3) == 0 || strcmp(schema, "information_schema") == 0;
}

/* --- functions, operators, casts --- */

/* Something of a user's, with this name, in a schema that an unqualified name may be found in. */
static bool is_shadowed(const struct catalog *catalog, const struct search_path *path, const char *name,
                        bool (*has)(const struct catalog *, const char *, const char *))
{
    if (has(catalog, "pg_catalog", name))
        return true;
    for (size_t i = 0; i < path->count; i++)
        if (has(catalog, path->schemas[i], name))
            return true;
    return false;
}

static enum cache_reason judge_function(const struct sql_function *f, const struct catalog *catalog,
                                        const struct search_path *path)
{
    bool is_operator = f->args == UINT16_MAX;
    if (f->schema != NULL && strcmp(f->schema, "pg_catalog") != 0)
        return CACHE_REASON_FUNCTION;
    if (!is_operator && !IS_IN(f->name, functions))
        return CACHE_REASON_FUNCTION;
    /* text search by configuration: its catalogs are not watched */
    if (is_operator && (strcmp(f->name, "@@") == 0 || strcmp(f->name, "@@@") == 0))
        return CACHE_REASON_FUNCTION;
    if (is_shadowed(catalog, path, f->name, is_operator ? catalog_has_operator : catalog_has_function))
        return CACHE_REASON_SHADOWED;
    return CACHE_REASON_NONE;
}

/* Text that becomes a date may say 'now'; of constants and parameters the caller has made sure that they do
 * not. */
static bool is_harmless_cast(const struct sql_statement *s, const char *type)
{
    return IS_IN(type, cast_types) || (IS_IN(type, time_types) && !s->has_computed_cast);
}

static enum cache_reason judge_type(const struct sql_statement *s, const struct sql_relation *type,
                                    const struct catalog *catalog)
{
    if (type->schema != NULL && strcmp(type->schema, "pg_catalog") != 0)
        return CACHE_REASON_CAST;
    if (!is_harmless_cast(s, type->name) || catalog_has_type(catalog, "pg_catalog", type->name))
        return CACHE_REASON_CAST;
    return CACHE_REASON_NONE;
}

/* Operators that IN, LIKE, CASE, USING and their like look for without naming them. */
static const char *const implied[] = {"=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~"};

static enum cache_reason judge_implied_operators(const struct catalog *catalog,
                                                 const struct search_path *path)
{
    for (size_t i = 0; i < sizeof(implied) / sizeof(implied[0]); i++)
        if (is_shadowed(catalog, path, implied[i], catalog_has_operator))
            return CACHE_REASON_SHADOWED;
    return CACHE_REASON_NONE;
}

static enum cache_reason judge_expressions(const struct sql_statement *s, const struct catalog *catalog,
                                           const struct search_path *path)
{
    enum cache_reason reason = judge_implied_operators(catalog, path);
    for (size_t i = 0; i < s->n_functions && reason == CACHE_REASON_NONE; i++)
        reason = judge_function(&s->functions[i], catalog, path);
    for (size_t i = 0; i < s->n_types && reason == CACHE_REASON_NONE; i++)
        reason = judge_type(s, &s->types[i], catalog);
    return reason;
}

/* --- relations --- */

/* The one relation that a name can mean; NULL, and why, when there is none or more than one. */
static const struct catalog_relation *resolve(const struct sql_relation *name, const struct catalog *catalog,
                                              const struct search_path *path, enum cache_reason *reason)
{
    const struct catalog_relation *found = NULL;
    *reason = CACHE_REASON_UNKNOWN_RELATION;
    if (name->schema != NULL) {
        if (is_system_schema(name->schema))
            *reason = CACHE_REASON_SYSTEM_RELATION;
        else
            found = catalog_find(catalog, name->schema, name->name);
        return found;
    }
    /* Every catalog of pg_catalog, which is searched first, is called pg_something. */
    if (strncmp(name->name, "pg_", 3) == 0 || catalog_find(catalog, "pg_catalog", name->name) != NULL) {
        *reason = CACHE_REASON_SYSTEM_RELATION;
        return NULL;
    }
    for (size_t i = 0; i < path->count; i++) {
        const struct catalog_relation *r = catalog_find(catalog, path->schemas[i], name->name);
        if (r == NULL)
            continue;
        /* Two candidates: without the right to use the first schema PostgreSQL takes the second. */
        if (found != NULL) {
            *reason = CACHE_REASON_SEARCH_PATH;
            return NULL;
        }
        found = r;
    }
    return found;
}

static enum cache_reason judge_relation(const struct catalog_relation *r)
{
    if (r->kind != 'r' && r->kind != 'p')
        return CACHE_REASON_RELATION_KIND;
    if (r->persistence != 'p')
        return CACHE_REASON_UNLOGGED;
    if ((r->flags & CATALOG_ROW_SECURITY) != 0)
        return CACHE_REASON_ROW_SECURITY;
    if ((r->flags & CATALOG_ODD_COLUMN) != 0)
        return CACHE_REASON_COLUMN;
    if ((r->flags & (CATALOG_HAS_RULE | CATALOG_ODD_RELATIVE)) != 0)
        return CACHE_REASON_RELATION_KIND;
    return CACHE_REASON_NONE;
}

static enum cache_reason judge_relations(const struct sql_statement *s, const struct catalog *catalog,
                                         const struct search_path *path, struct policy_relations *relations)
{
    relations->count = 0;
    for (size_t i = 0; i < s->n_reads; i++) {
        enum cache_reason reason;
        const struct catalog_relation *r = resolve(&s->reads[i], catalog, path, &reason);
        if (r != NULL)
            reason = judge_relation(r);
        if (reason != CACHE_REASON_NONE)
            return reason;
        if (relations->count == POLICY_RELATIONS_MAX)
            return CACHE_REASON_STATEMENT;
        relations->oids[relations->count++] = r->oid;
    }
    return relations->count > 0 ? CACHE_REASON_NONE : CACHE_REASON_NO_RELATION;
}

/* --- the whole --- */

static enum cache_reason judge_statement(const struct sql_statement *s)
{
    const uint32_t refused = SQL_WRITES | SQL_WRITES_UNKNOWN | SQL_SCHEMA | SQL_UNKNOWN_CODE |
                             SQL_UNKNOWN_SETTING | SQL_READS_UNKNOWN | SQL_REFUSES_BLOCK | SQL_LOCKS |
                             SQL_UNKNOWN_LOCAL | SQL_TABLESAMPLE | SQL_SYSTEM_COLUMN | SQL_ADVISORY_LOCK |
                             SQL_ADVISORY_UNLOCK | SQL_ADVISORY_UNLOCK_ALL | SQL_SEQUENCE_STATE |
                             SQL_NEXTVAL | SQL_NOTIFIES;
    if (s->kind != SQL_KIND_READ)
        return CACHE_REASON_STATEMENT;
    if ((s->flags & (SQL_CURRENT_TIME | SQL_CURRENT_USER)) != 0)
        return CACHE_REASON_TIME;
    if ((s->flags & SQL_CATALOG) != 0)
        return CACHE_REASON_SYSTEM_RELATION;
    if ((s->flags & SQL_UNKNOWN_FUNCTION) != 0)
        return CACHE_REASON_FUNCTION;
    if (s->n_reads == 0)
        return CACHE_REASON_NO_RELATION;
    if ((s->flags & refused) != 0 || s->n_writes > 0 || s->n_settings > 0)
        return CACHE_REASON_STATEMENT;
    return CACHE_REASON_NONE;
}

enum cache_reason policy_judge(const struct sql_class *class, const struct catalog *catalog,
                               const struct search_path *path, struct policy_relations *relations)
{
    relations->count = 0;
    if (class->n_statements != 1)
        return CACHE_REASON_STATEMENT;
    const struct sql_statement *s = &class->statements[0];
    enum cache_reason reason = judge_statement(s);
    if (reason != CACHE_REASON_NONE)
        return reason;
    if ((class->flags & SQL_CLASS_READ_CANDIDATE) == 0)
        return CACHE_REASON_STATEMENT;
    if (path->is_odd)
        return CACHE_REASON_SEARCH_PATH;
    if (catalog_get_facts(catalog)->is_in_recovery)
        return CACHE_REASON_STANDBY;
    if (catalog_is_somewhere(catalog, CATALOG_ODD_CASTS))
        return CACHE_REASON_SHADOWED;
    reason = judge_expressions(s, catalog, path);
    if (reason == CACHE_REASON_NONE)
        reason = judge_relations(s, catalog, path, relations);
    return reason;
}

/* --- parameters --- */

/* OIDs of built-in types, which never change: the cast types, dates and times among them, and their arrays.
 */
static const uint16_t harmless_types[] = {
    16,   17,   18,   19,   20,   21,   23,   25,   26,   114,  199,  600,  603,  604,  650,
    651,  700,  701,  718,  719,  774,  775,  829,  869,  1000, 1001, 1002, 1003, 1005, 1007,
    1009, 1014, 1015, 1016, 1021, 1022, 1028, 1040, 1041, 1042, 1043, 1082, 1083, 1114, 1115,
    1182, 1183, 1184, 1185, 1186, 1187, 1231, 1560, 1561, 1562, 1563, 1700, 2950, 2951, 3614,
    3615, 3643, 3645, 3802, 3807, 3904, 3906, 3908, 3910, 3912, 3926,
};

bool policy_is_type_harmless(uint32_t oid)
{
    if (oid == 0 || oid == 705) /* to be inferred; unknown */
        return true;
    size_t low = 0, high = sizeof(harmless_types) / sizeof(harmless_types[0]);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (harmless_types[middle] == oid)
            return true;
        if (harmless_types[middle] < oid)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static bool take(struct slice *rest, size_t n, const uint8_t **bytes)
{
    if (rest->len < n)
        return false;
    *bytes = rest->data;
    *rest = slice_make(rest->data + n, rest->len - n);
    return true;
}

/* Also true for what does not parse. */
bool policy_has_datetime_word(struct slice bind)
{
    const uint8_t *at;
    if (!take(&bind, 2, &at) || !take(&bind, 2 * (size_t)(at[0] << 8 | at[1]), &at) || !take(&bind, 2, &at))
        return true;
    for (size_t count = (size_t)(at[0] << 8 | at[1]); count > 0; count--) {
        if (!take(&bind, 4, &at))
            return true;
        uint32_t len = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
        if (len == UINT32_MAX)
            continue;
        if (!take(&bind, len, &at) || (len >= 3 && template_has_datetime_word(slice_make(at, len))))
            return true;
    }
    return false;
}

/* --- code behind what looks like reading --- */

static bool runs_code(const struct sql_relation *name, const struct catalog *catalog,
                      const struct search_path *path)
{
    if (name->schema != NULL ? is_system_schema(name->schema) : strncmp(name->name, "pg_", 3) == 0)
        return false;
    if (name->schema != NULL) {
        const struct catalog_relation *r = catalog_find(catalog, name->schema, name->name);
        return r == NULL || (r->flags & CATALOG_RUNS_CODE) != 0;
    }
    bool is_found = false;
    for (size_t i = 0; i < path->count; i++) {
        const struct catalog_relation *r = catalog_find(catalog, path->schemas[i], name->name);
        is_found |= r != NULL;
        if (r != NULL && (r->flags & CATALOG_RUNS_CODE) != 0)
            return true;
    }
    return !is_found || path->is_odd; /* a temporary view, perhaps */
}

/* Can a name mean somebody's code? */
static bool is_code(const char *schema, const char *name, const struct catalog *catalog,
                    const struct search_path *path,
                    bool (*has)(const struct catalog *, const char *, const char *))
{
    return schema != NULL ? has(catalog, schema, name) : is_shadowed(catalog, path, name, has);
}

/* Operators without a name, calls that look like columns, and what is not listed. */
static bool has_hidden_code(const struct sql_statement *s, const struct catalog *catalog,
                            const struct search_path *path)
{
    bool is_fetch = s->kind == SQL_KIND_FETCH || s->kind == SQL_KIND_MOVE; /* DECLARE has been looked at */
    if (((s->flags & SQL_READS_UNKNOWN) != 0 && !is_fetch) || s->kind == SQL_KIND_MAINTENANCE)
        return true;
    for (size_t i = 0; i < sizeof(implied) / sizeof(implied[0]) && s->n_reads + s->n_writes > 0; i++)
        if (is_shadowed(catalog, path, implied[i], catalog_is_code))
            return true;
    if (s->n_fields == SQL_FIELDS_UNKNOWN)
        return catalog_has_row_code(catalog);
    for (size_t i = 0; i < s->n_fields; i++)
        if (catalog_is_row_code(catalog, s->fields[i]))
            return true;
    return false;
}

/* Does the statement read what may call somebody's function, or use a name that may be one? */
static bool may_run_code(const struct sql_statement *s, const struct catalog *catalog,
                         const struct search_path *path)
{
    if (!catalog_has_code(catalog))
        return false;
    if (catalog_is_somewhere(catalog, CATALOG_CODE_ANYWHERE))
        return s->n_reads + s->n_writes + s->n_functions + s->n_types > 0;
    for (size_t i = 0; i < s->n_reads; i++)
        if (runs_code(&s->reads[i], catalog, path))
            return true;
    for (size_t i = 0; i < s->n_functions; i++)
        if (is_code(s->functions[i].schema, s->functions[i].name, catalog, path, catalog_is_code))
            return true;
    for (size_t i = 0; i < s->n_types; i++)
        if (is_code(s->types[i].schema, s->types[i].name, catalog, path, catalog_is_code_type))
            return true;
    return has_hidden_code(s, catalog, path);
}

/* --- writing --- */

/* Every relation a name may mean; false when there is none known. */
static bool write_targets(const struct sql_relation *name, const struct catalog *catalog,
                          const struct search_path *path, void (*add)(void *context, uint32_t oid),
                          void *context)
{
    if (name->schema != NULL) {
        const struct catalog_relation *r = catalog_find(catalog, name->schema, name->name);
        return r != NULL && catalog_closure(catalog, r->oid, add, context);
    }
    if (path->is_odd)
        return false;
    bool is_found = false;
    for (size_t i = 0; i < path->count; i++) {
        const struct catalog_relation *r = catalog_find(catalog, path->schemas[i], name->name);
        if (r == NULL)
            continue;
        is_found = true;
        if (!catalog_closure(catalog, r->oid, add, context))
            return false;
    }
    return is_found;
}

bool policy_write_set(const struct sql_class *class, const struct catalog *catalog,
                      const struct search_path *path, void (*add)(void *context, uint32_t oid), void *context)
{
    const uint32_t unknown = SQL_WRITES_UNKNOWN | SQL_UNKNOWN_CODE | SQL_UNKNOWN_FUNCTION | SQL_SCHEMA;
    for (uint32_t i = 0; i < class->n_statements; i++) {
        const struct sql_statement *s = &class->statements[i];
        bool is_cascade = s->kind == SQL_KIND_TRUNCATE && (s->flags & SQL_CASCADE) != 0;
        if ((s->flags & unknown) != 0 || is_cascade || may_run_code(s, catalog, path))
            return false;
        if ((s->flags & SQL_WRITES) != 0 && s->n_writes == 0)
            return false;
        for (size_t k = 0; k < s->n_writes; k++)
            if (!write_targets(&s->writes[k], catalog, path, add, context))
                return false;
    }
    return true;
}

/* --- rows --- */

/* An ordinary table without relatives that the name certainly means; NULL otherwise. */
static const struct catalog_relation *
lone_table(const struct sql_relation *name, const struct catalog *catalog, const struct search_path *path)
{
    enum cache_reason reason;
    const struct catalog_relation *r = path->is_odd ? NULL : resolve(name, catalog, path, &reason);
    return r != NULL && r->kind == 'r' && (r->flags & (CATALOG_INHERITS | CATALOG_HAS_RULE)) == 0 ? r : NULL;
}

/* Whether `=` between a key and a value is PostgreSQL's own. */
static bool is_equality_plain(const struct catalog *catalog, const struct search_path *path)
{
    return !is_shadowed(catalog, path, "=", catalog_has_operator) &&
           !catalog_is_somewhere(catalog, CATALOG_ODD_CASTS);
}

void policy_row_key(const struct sql_class *class, const struct catalog *catalog,
                    const struct search_path *path, struct row_key *key)
{
    const struct sql_statement *s = &class->statements[0];
    bool is_write = s->n_writes > 0;
    *key = (struct row_key){.relation = 0};
    if (class->n_statements != 1 || s->n_equalities == 0 || s->n_writes > 1 || s->n_reads + s->n_writes == 0)
        return;
    const struct catalog_relation *r = lone_table(is_write ? &s->writes[0] : &s->reads[0], catalog, path);
    if (r == NULL || r->key == NULL || !is_equality_plain(catalog, path) ||
        (is_write && catalog_comes_back(catalog, r->oid)))
        return;
    for (uint16_t i = 0; i < s->n_equalities; i++) {
        if (strcmp(s->equalities[i].column, r->key) != 0)
            continue;
        *key = (struct row_key){.relation = r->oid, .kind = r->key_kind, .equality = s->equalities[i]};
        return;
    }
}

uint32_t policy_adds_rows_to(const struct sql_class *class, const struct catalog *catalog,
                             const struct search_path *path)
{
    const struct sql_statement *s = &class->statements[0];
    if (class->n_statements != 1 || s->n_writes != 1 ||
        (s->kind != SQL_KIND_COPY_FROM && (s->kind != SQL_KIND_INSERT || !s->only_adds_rows)))
        return 0;
    const struct catalog_relation *r = lone_table(&s->writes[0], catalog, path);
    return r != NULL ? r->oid : 0;
}
