/* analyst_sql: for PostgreSQL 12 and newer. Every name is qualified, since the search_path is the session's.
 */
#include "analyst_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "catalog_types.h"
#include "weir/sql/template.h"

enum { FIRST_OWN_OID = 16384, TREES_BYTES_MAX = 4 * 1024 * 1024 };

#define TYPE_NAMES(from)                                                                                     \
    "(SELECT pg_catalog.string_agg(CASE WHEN u.oid = 0 THEN 'unknown' ELSE "                                 \
    "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname) END, E'\\n' ORDER BY "    \
    "u.place) FROM " from " WITH ORDINALITY u(oid, place) LEFT JOIN pg_catalog.pg_type t ON t.oid = u.oid "  \
    "LEFT JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace)"

/* Event triggers would be run by the view: they are code of users. */
const char analyst_setup[] =
    "SELECT pg_catalog.set_config('lock_timeout', '10ms', true), "
    "pg_catalog.set_config('statement_timeout', '1s', true), "
    "pg_catalog.set_config('standard_conforming_strings', 'on', true), "
    "CASE WHEN $3 <> '' THEN pg_catalog.set_config('client_encoding', $3, true) END, "
    "pg_catalog.set_config('search_path', $1, true), "
    "EXISTS (SELECT FROM pg_catalog.pg_event_trigger e WHERE e.evtenabled <> 'D'), " TYPE_NAMES(
        "pg_catalog.unnest($4::pg_catalog.oid[])") ", pg_catalog.set_config('role', $2, true)";

/* With all locks of this transaction: nothing was locked before the statement. */
const char analyst_prepared[] = "SELECT " TYPE_NAMES(
    "pg_catalog.unnest(s.parameter_types::pg_catalog.oid[])") ", (SELECT "
                                                              "pg_catalog.string_agg(l.relation::text, ' ') "
                                                              "FROM pg_catalog.pg_locks l WHERE l.pid = "
                                                              "pg_catalog.pg_backend_pid() AND l.locktype = "
                                                              "'relation' "
                                                              "AND l.relation >= 16384) "
                                                              "FROM pg_catalog.pg_prepared_statements s "
                                                              "WHERE s.name = "
                                                              "'weir_template'";

/* The trees of the statement, of every view in it, and of every policy that may apply to someone who reads;
 * and every relation that is named in one of them, once for each of its trees. */
/* clang-format off */
const char analyst_trees[] =
    "WITH RECURSIVE reached(oid) AS ("
    "SELECT 'pg_temp.weir_template'::pg_catalog.regclass::pg_catalog.oid UNION "
    "SELECT m.found[1]::pg_catalog.oid FROM reached, LATERAL ("
    "  SELECT w.ev_action::pg_catalog.text FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_class c ON c.oid = w.ev_class "
    "  WHERE w.ev_class = reached.oid AND w.ev_type = '1' AND c.relkind = 'v' UNION ALL "
    "  SELECT y.polqual::pg_catalog.text FROM pg_catalog.pg_policy y JOIN pg_catalog.pg_class c ON c.oid = y.polrelid "
    "  WHERE y.polrelid = reached.oid AND c.relrowsecurity AND y.polcmd IN ('r', '*')) t(tree), LATERAL "
    "  pg_catalog.regexp_matches(t.tree, ':relid ([0-9]+)', 'g') m(found)) "
    "SELECT r.oid, c.relkind, c.relpersistence, c.relrowsecurity, "
    "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), "
    "r.oid = 'pg_temp.weir_template'::pg_catalog.regclass, coalesce(w.ev_action::pg_catalog.text, y.polqual::pg_catalog.text) "
    "FROM reached r LEFT JOIN pg_catalog.pg_class c ON c.oid = r.oid "
    "LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid AND w.ev_type = '1' AND c.relkind = 'v' "
    "LEFT JOIN pg_catalog.pg_policy y ON y.polrelid = r.oid AND c.relrowsecurity AND y.polcmd IN ('r', '*') "
    "WHERE r.oid <> 0 LIMIT 256";

/* Built-in functions in SQL (lpad with two arguments, say) that are immutable only call others of PostgreSQL. */
const char analyst_names[] =
    "WITH RECURSIVE " HARMLESS " SELECT 'f', u.oid, coalesce(p.provolatile, '?'), p.oid < 16384 AND (p.prolang = 12 OR "
    "(p.prolang = 14 AND p.provolatile = 'i')), coalesce(p.oid::pg_catalog.regprocedure::text, u.oid::text) FROM ("
    "  SELECT f.oid FROM pg_catalog.unnest($1::pg_catalog.oid[]) f(oid) UNION "
    "  SELECT coalesce(o.oprcode::pg_catalog.oid, 0) FROM pg_catalog.unnest($2::pg_catalog.oid[]) a(oid) "
    "  LEFT JOIN pg_catalog.pg_operator o ON o.oid = a.oid) u(oid) LEFT JOIN pg_catalog.pg_proc p ON p.oid = u.oid "
    "UNION ALL SELECT 'o', a.oid, '', a.oid < 16384, coalesce(o.oid::pg_catalog.regoperator::text, a.oid::text) "
    "FROM pg_catalog.unnest($2::pg_catalog.oid[]) a(oid) LEFT JOIN pg_catalog.pg_operator o ON o.oid = a.oid "
    "UNION ALL SELECT 't', a.oid, '', a.oid IN (SELECT h.oid FROM harmless h) OR a.oid IN (705, 2249, 4072), "
    "pg_catalog.format_type(a.oid, NULL) FROM pg_catalog.unnest($3::pg_catalog.oid[]) a(oid)";
/* clang-format on */

void findings_free(struct findings *f)
{
    buf_free(&f->types);
    node_tree_free(&f->query);
    node_tree_free(&f->inner);
    buf_free(&f->locks);
    buf_free(&f->functions);
    buf_free(&f->relations);
}

static bool fail(struct findings *f, const char *why)
{
    if (f->failure[0] == '\0')
        snprintf(f->failure, sizeof(f->failure), "%s", why);
    return false;
}

static uint32_t number(const PGresult *result, int row, int column)
{
    return (uint32_t)strtoul(PQgetvalue(result, row, column), NULL, 10);
}

static bool is_true(const PGresult *result, int row, int column)
{
    return PQgetvalue(result, row, column)[0] == 't';
}

/* Lines to texts, each ended by NUL. */
static bool take_types(struct findings *f, const char *lines)
{
    buf_clear(&f->types);
    if (lines[0] != '\0')
        buf_append(&f->types, lines, strlen(lines) + 1);
    for (size_t i = 0; i < f->types.len; i++)
        if (f->types.data[i] == '\n')
            f->types.data[i] = '\0';
    return !buf_failed(&f->types) || fail(f, "out of memory");
}

bool analyst_take_setup(struct findings *f, const struct pg_result *result)
{
    if (PQnfields(result) != 8 || PQntuples(result) != 1)
        return fail(f, "an answer of unexpected shape");
    if (is_true(result, 0, 5))
        return fail(f, "the database has event triggers, which an analysis would run");
    return take_types(f, PQgetvalue(result, 0, 6));
}

static size_t count_types(const struct findings *f)
{
    size_t count = 0;
    for (size_t i = 0; i < f->types.len; i++)
        count += f->types.data[i] == '\0';
    return count;
}

bool analyst_prepare(struct buf *sql, const struct analyst_question *q, const struct findings *f)
{
    if (q->type_count > 0 && count_types(f) != q->type_count)
        return false;
    buf_append_str(sql, "PREPARE weir_template ");
    const char *separator = "(";
    for (size_t at = 0; q->type_count > 0 && at < f->types.len;
         at += strlen((const char *)f->types.data + at) + 1) {
        buf_printf(sql, "%s%s", separator, (const char *)f->types.data + at);
        separator = ", ";
    }
    buf_printf(sql, "%s AS %s", q->type_count > 0 && f->types.len > 0 ? ")" : "", q->text);
    return buf_text(sql) != NULL;
}

bool analyst_take_prepared(struct findings *f, const struct pg_result *result)
{
    if (PQnfields(result) != 2 || PQntuples(result) != 1)
        return fail(f, "an answer of unexpected shape");
    char *end = PQgetvalue(result, 0, 1);
    for (const char *at = end; *at != '\0'; at = *end == ' ' ? end + 1 : end) {
        uint32_t oid = (uint32_t)strtoul(at, &end, 10);
        buf_append(&f->locks, &oid, sizeof(oid));
    }
    if (buf_failed(&f->locks))
        return fail(f, "out of memory");
    return take_types(f, PQgetvalue(result, 0, 0));
}

bool analyst_create(struct buf *sql, const struct analyst_question *q, const struct findings *f)
{
    enum { PARAMETERS_MAX = 256 };
    const char *values[PARAMETERS_MAX];
    struct buf nulls = BUF_INIT;
    size_t count = count_types(f);
    bool is_good = count <= PARAMETERS_MAX;
    for (size_t i = 0, at = 0; is_good && i < count; i++) {
        const char *type = (const char *)f->types.data + at;
        buf_printf(&nulls, "NULL::%s", type);
        buf_append_u8(&nulls, '\0');
        at += strlen(type) + 1;
    }
    is_good = is_good && !buf_failed(&nulls);
    for (size_t i = 0, at = 0; is_good && i < count; i++) {
        values[i] = (const char *)nulls.data + at;
        at += strlen(values[i]) + 1;
    }
    buf_append_str(sql, "CREATE TEMP VIEW pg_temp.weir_template AS SELECT 1 AS one FROM (");
    is_good = is_good && template_put_values(slice_str(q->text), values, count, sql);
    buf_append_str(sql, ") AS q");
    buf_free(&nulls);
    return is_good && buf_text(sql) != NULL;
}

/* --- trees --- */

static void keep_relation(struct findings *f, const PGresult *result, int row)
{
    struct analyst_relation r = {.oid = number(result, row, 0),
                                 .kind = PQgetisnull(result, row, 1) ? '?' : PQgetvalue(result, row, 1)[0],
                                 .persistence =
                                     PQgetisnull(result, row, 2) ? '?' : PQgetvalue(result, row, 2)[0],
                                 .has_row_security = is_true(result, row, 3)};
    const struct analyst_relation *list = (const void *)f->relations.data;
    for (size_t i = 0; i < f->relations.len / sizeof(r); i++)
        if (list[i].oid == r.oid)
            return;
    snprintf(r.name, sizeof(r.name), "%s", PQgetvalue(result, row, 4));
    buf_append(&f->relations, &r, sizeof(r));
}

static bool is_relation(const struct findings *f, uint32_t oid)
{
    const struct analyst_relation *list = (const void *)f->relations.data;
    for (size_t i = 0; i < f->relations.len / sizeof(*list); i++)
        if (list[i].oid == oid)
            return true;
    return oid == f->view;
}

/* What the trees name, and what was locked, must be among the rows. */
static bool is_complete(const struct findings *f)
{
    const uint32_t *locks = (const void *)f->locks.data;
    bool is_good = f->view != 0;
    for (size_t i = 0; i < f->locks.len / sizeof(*locks); i++)
        is_good = is_good && is_relation(f, locks[i]);
    for (size_t i = 0; i < node_tree_count(&f->query, NODE_RELATIONS); i++)
        is_good = is_good && is_relation(f, node_tree_at(&f->query, NODE_RELATIONS, i));
    for (size_t i = 0; i < node_tree_count(&f->inner, NODE_RELATIONS); i++)
        is_good = is_good && is_relation(f, node_tree_at(&f->inner, NODE_RELATIONS, i));
    return is_good;
}

bool analyst_take_trees(struct findings *f, const struct pg_result *result)
{
    size_t bytes = 0;
    int rows = PQntuples(result);
    if (PQnfields(result) != 7)
        return fail(f, "an answer of unexpected shape");
    if (rows >= 256)
        return fail(f, "too many views and policies");
    for (int row = 0; row < rows; row++) {
        bool is_view = is_true(result, row, 5);
        struct slice text = slice_make(PQgetvalue(result, row, 6), (size_t)PQgetlength(result, row, 6));
        if (is_view)
            f->view = number(result, row, 0);
        else
            keep_relation(f, result, row);
        bytes += text.len;
        if (bytes > TREES_BYTES_MAX)
            return fail(f, "too many views and policies");
        if (text.len > 0) /* what is not understood is said in `unknown` */
            node_tree_read(is_view ? &f->query : &f->inner, text);
    }
    if (buf_failed(&f->relations))
        return fail(f, "out of memory");
    if (f->relations.len / sizeof(struct analyst_relation) > ANALYST_RELATIONS_MAX)
        return fail(f, "too many relations");
    bool is_read = f->query.unknown[0] == '\0' && f->inner.unknown[0] == '\0';
    return !is_read || is_complete(f) || fail(f, "a relation that is in no tree");
}

/* --- names --- */

bool analyst_oids(struct buf *array, const struct findings *f, enum node_list list)
{
    const struct node_tree *trees[] = {&f->query, &f->inner};
    const char *separator = "{";
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < node_tree_count(trees[k], list); i++) {
            buf_printf(array, "%s%u", separator, node_tree_at(trees[k], list, i));
            separator = ",";
        }
    buf_append_str(array, separator[0] == '{' ? "{}" : "}");
    return buf_text(array) != NULL;
}

bool analyst_take_names(struct findings *f, const struct pg_result *result)
{
    if (PQnfields(result) != 5)
        return fail(f, "an answer of unexpected shape");
    for (int row = 0; row < PQntuples(result); row++) {
        struct analyst_function function = {.oid = number(result, row, 1),
                                            .volatility = PQgetvalue(result, row, 2)[0],
                                            .is_builtin = is_true(result, row, 3)};
        const char *name = PQgetvalue(result, row, 4);
        switch (PQgetvalue(result, row, 0)[0]) {
        case 'f':
            snprintf(function.name, sizeof(function.name), "%s", name);
            buf_append(&f->functions, &function, sizeof(function));
            break;
        case 'o':
            if (!function.is_builtin)
                snprintf(f->facts.operator, sizeof(f->facts.operator), "%s", name);
            break;
        default:
            f->facts.has_own_types |= function.oid >= FIRST_OWN_OID;
            if (!function.is_builtin)
                snprintf(f->facts.type, sizeof(f->facts.type), "%s", name);
        }
    }
    return !buf_failed(&f->functions) || fail(f, "out of memory");
}

/* --- facts --- */

static void add_values(struct analyst_facts *facts, const struct node_tree *tree)
{
    for (size_t i = 0; i < node_tree_count(tree, NODE_VALUES); i++) {
        uint32_t value = node_tree_at(tree, NODE_VALUES, i);
        facts->values |= UINT64_C(1) << (value < 63 ? value : 63);
    }
}

const struct analyst_facts *analyst_conclude(struct findings *f)
{
    struct analyst_facts *facts = &f->facts;
    const char *unknown = f->query.unknown[0] != '\0' ? f->query.unknown : f->inner.unknown;
    snprintf(facts->failure, sizeof(facts->failure), "%s", f->failure);
    snprintf(facts->unknown, sizeof(facts->unknown), "%s", unknown);
    facts->has_system_column = f->query.has_system_column || f->inner.has_system_column;
    facts->has_row_lock = f->query.has_row_lock || f->inner.has_row_lock;
    facts->has_own_settings = f->query.settings.len > 0;
    add_values(facts, &f->query);
    add_values(facts, &f->inner);
    for (size_t i = 0; i < node_tree_count(&f->inner, NODE_CASTS); i++) {
        uint32_t type = node_tree_at(&f->inner, NODE_CASTS, i);
        if (!node_tree_has(&f->query, NODE_CASTS, type))
            buf_append(&f->query.oids[NODE_CASTS], &type, sizeof(type));
    }
    if (buf_failed(&f->query.oids[NODE_CASTS]))
        snprintf(facts->failure, sizeof(facts->failure), "out of memory");
    facts->casts = (const void *)f->query.oids[NODE_CASTS].data;
    facts->cast_count = node_tree_count(&f->query, NODE_CASTS);
    facts->functions = (const void *)f->functions.data;
    facts->function_count = f->functions.len / sizeof(struct analyst_function);
    facts->relations = (const void *)f->relations.data;
    facts->relation_count = f->relations.len / sizeof(struct analyst_relation);
    facts->settings = (const void *)f->inner.settings.data;
    facts->settings_len = f->inner.settings.len;
    return facts;
}
