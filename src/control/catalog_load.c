/*
 * catalog_load: SQL over pg_catalog, for PostgreSQL 12 and newer.
 *
 * Objects of users have OIDs from 16384 on. Temporary relations are left out: sessions that have some do not
 * use the cache, and they would make every look differ. xmin tells a changed row from an unchanged one; what
 * PostgreSQL updates in place (statistics, freezing) does not change it.
 */
#include "weir/control/catalog_load.h"

#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "catalog_types.h"
#include "weir/control/catalog_code.h"

#define IS_OURS(schema) schema ".nspname !~ '^pg_(temp|toast)'"

/* --- relations --- */

/* clang-format off */
static const char relations_query[] =
    "WITH RECURSIVE " HARMLESS " "
    "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relhasrules, "
    "  coalesce(a.is_odd, false) OR c.reloftype <> 0, "
    "  c.relhastriggers AND EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) "
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN (SELECT a.attrelid, pg_catalog.bool_or(a.atttypid NOT IN ("
    "    SELECT h.oid FROM harmless h WHERE NOT h.is_domain)) AS is_odd "
    "  FROM pg_catalog.pg_attribute a WHERE a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped "
    "  GROUP BY a.attrelid) a ON a.attrelid = c.oid "
    "WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND " IS_OURS("n");
/* clang-format on */

static uint32_t number(const PGresult *result, int row, int column)
{
    return (uint32_t)strtoul(PQgetvalue(result, row, column), NULL, 10);
}

static bool is_true(const PGresult *result, int row, int column)
{
    return PQgetvalue(result, row, column)[0] == 't';
}

static void take_relation(const PGresult *result, int row, struct catalog_builder *b)
{
    struct catalog_relation r = {.oid = number(result, row, 0),
                                 .schema = PQgetvalue(result, row, 1),
                                 .name = PQgetvalue(result, row, 2),
                                 .kind = PQgetvalue(result, row, 3)[0],
                                 .persistence = PQgetvalue(result, row, 4)[0]};
    r.flags |= is_true(result, row, 5) ? CATALOG_ROW_SECURITY : 0;
    r.flags |= is_true(result, row, 6) ? CATALOG_HAS_RULE : 0;
    r.flags |= is_true(result, row, 7) ? CATALOG_ODD_COLUMN : 0;
    r.flags |= is_true(result, row, 8) ? CATALOG_HAS_TRIGGER : 0;
    catalog_builder_relation(b, &r);
}

/*
 * Primary keys of one column, of the types whose values are known to be equal as PostgreSQL has it: those of
 * classes of operators that are built in, and of collations for which equal means the same bytes. Deferrable
 * ones are no replica identity: the log does not say what they were.
 */
static const char keys_query[] =
    "SELECT i.indrelid, a.attname, a.atttypid, c.relreplident = 'd' FROM pg_catalog.pg_index i "
    "JOIN pg_catalog.pg_class c ON c.oid = i.indrelid "
    "JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
    "LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation "
    "WHERE i.indisprimary AND i.indisvalid AND i.indimmediate AND i.indnkeyatts = 1 AND i.indrelid >= 16384 "
    "AND c.relpersistence <> 't' AND a.atttypid IN (20, 21, 23, 25, 1043, 2950) AND i.indclass[0] < 16384 "
    "AND coalesce(l.collisdeterministic, true)";

static void take_key(const PGresult *result, int row, struct catalog_builder *b)
{
    uint32_t type = number(result, row, 2);
    enum catalog_key kind = CATALOG_KEY_INTEGER;
    if (type == 2950)
        kind = CATALOG_KEY_UUID;
    else if (type == 25 || type == 1043)
        kind = CATALOG_KEY_TEXT;
    catalog_builder_key(b, number(result, row, 0), PQgetvalue(result, row, 1), kind, is_true(result, row, 3));
}

/* --- how writes spread --- */

static const char cascades_query[] =
    "SELECT confrelid, conrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' "
    "AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))";

static void take_cascade(const PGresult *result, int row, struct catalog_builder *b)
{
    catalog_builder_cascade(b, number(result, row, 0), number(result, row, 1));
}

static const char inherits_query[] = "SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits";

static void take_inherit(const PGresult *result, int row, struct catalog_builder *b)
{
    catalog_builder_inherit(b, number(result, row, 0), number(result, row, 1));
}

/* --- names that could stand in front of built-in ones --- */

static const char functions_query[] =
    "SELECT DISTINCT n.nspname, p.proname FROM pg_catalog.pg_proc p "
    "JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.oid >= 16384 AND " IS_OURS("n");

static void take_function(const PGresult *result, int row, struct catalog_builder *b)
{
    catalog_builder_function(b, PQgetvalue(result, row, 0), PQgetvalue(result, row, 1));
}

static const char row_functions_query[] = "SELECT DISTINCT n.nspname, p.proname FROM pg_catalog.pg_proc p "
                                          "JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN "
                                          "pg_catalog.pg_type t ON t.oid = p.proargtypes[0] "
                                          "WHERE p.oid >= 16384 AND p.pronargs >= 1 AND (p.pronargs - "
                                          "p.pronargdefaults <= 1 OR p.provariadic <> 0) "
                                          "AND t.typtype IN ('c', 'p') AND " IS_OURS("n");

static void take_row_function(const PGresult *result, int row, struct catalog_builder *b)
{
    catalog_builder_row_function(b, PQgetvalue(result, row, 0), PQgetvalue(result, row, 1));
}

static const char operators_query[] =
    "SELECT DISTINCT n.nspname, o.oprname FROM pg_catalog.pg_operator o "
    "JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace WHERE o.oid >= 16384 "
    "AND o.oprleft < 16384 AND o.oprright < 16384 AND " IS_OURS("n");

static void take_operator(const PGresult *result, int row, struct catalog_builder *b)
{
    catalog_builder_operator(b, PQgetvalue(result, row, 0), PQgetvalue(result, row, 1));
}

static const char types_query[] =
    "SELECT n.nspname, t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = "
    "t.typnamespace "
    "WHERE t.oid >= 16384 AND t.typrelid = 0 AND t.typcategory <> 'A' AND " IS_OURS("n");

static void take_type(const PGresult *result, int row, struct catalog_builder *b)
{
    catalog_builder_type(b, PQgetvalue(result, row, 0), PQgetvalue(result, row, 1));
}

static const struct step {
    const char *query;
    int columns;
    void (*take)(const PGresult *result, int row, struct catalog_builder *b);
} steps[] = {
    {relations_query, 9, take_relation},
    {keys_query, 4, take_key},
    {cascades_query, 2, take_cascade},
    {inherits_query, 2, take_inherit},
    {functions_query, 2, take_function},
    {row_functions_query, 2, take_row_function},
    {operators_query, 2, take_operator},
    {types_query, 2, take_type},
    {catalog_code_names, CATALOG_CODE_COLUMNS, catalog_code_take},
    {catalog_code_writers, CATALOG_CODE_COLUMNS, catalog_code_take},
    {catalog_code_readers, CATALOG_CODE_COLUMNS, catalog_code_take},
};

size_t catalog_load_steps(void)
{
    return sizeof(steps) / sizeof(steps[0]);
}

const char *catalog_load_query(size_t step)
{
    return steps[step].query;
}

bool catalog_load_take(size_t step, const struct pg_result *result, struct catalog_builder *b)
{
    if (PQnfields(result) != steps[step].columns)
        return false;
    for (int row = 0; row < PQntuples(result); row++)
        steps[step].take(result, row, b);
    return true;
}

/* --- the look --- */

/* Count and sum of hashes of the rows of each catalog: order does not matter, and nothing has to be sorted.
 */
/* clang-format off */
#define ROWS(number, id, from)   "SELECT " number ", x." id ", x.xmin FROM pg_catalog." from " "
#define MORE(number, id, from)   "UNION ALL " ROWS(number, id, from)
/* Temporary tables come and go all the time, and only matter where storing a row may run somebody's code. */
#define RUNS_CODE(class, object) \
    "EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog." class "'::pg_catalog.regclass " \
    "AND d.objid = x." object " AND d.refobjid >= 16384 AND d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, " \
    "'pg_catalog.pg_operator'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass))"
#define OF_LASTING_OR(column, from, or) \
    from " JOIN pg_catalog.pg_class c ON c.oid = x." column " WHERE (c.relpersistence <> 't' OR " or ") "

static const char look_query[] =
    "SELECT pg_catalog.concat_ws(' ', (SELECT pg_catalog.string_agg(pg_catalog.concat(g.k, ':', g.n, ':', g.h), ' ' "
    "ORDER BY g.k) FROM (SELECT k, pg_catalog.count(*) AS n, pg_catalog.sum(pg_catalog.hashint8extended("
    "id::pg_catalog.int8, version::pg_catalog.text::pg_catalog.int8) >> 8) AS h FROM ("
    ROWS("1", "oid", "pg_class x WHERE x.oid >= 16384 AND x.relpersistence <> 't' "
         "AND x.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')")
    MORE("2", "attrelid", OF_LASTING_OR("attrelid", "pg_attribute x", "x.atttypid >= 16384")
         "AND x.attrelid >= 16384 AND x.attnum > 0 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')")
    MORE("3", "oid", "pg_proc x WHERE x.oid >= 16384")
    MORE("4", "oid", "pg_operator x WHERE x.oid >= 16384")
    MORE("5", "oid", "pg_cast x WHERE x.oid >= 16384")
    MORE("6", "oid", "pg_type x WHERE x.oid >= 16384 AND x.typrelid = 0 AND x.typcategory <> 'A'")
    MORE("7", "oid", "pg_enum x")
    MORE("8", "oid", "pg_collation x WHERE x.oid >= 16384")
    MORE("9", "oid", "pg_trigger x WHERE NOT x.tgisinternal")
    MORE("10", "oid", "pg_constraint x LEFT JOIN pg_catalog.pg_class c ON c.oid = x.conrelid "
         "WHERE x.contype IN ('f', 'c') AND (c.relpersistence IS DISTINCT FROM 't' OR " RUNS_CODE("pg_constraint", "oid") ")")
    MORE("11", "oid", OF_LASTING_OR("adrelid", "pg_attrdef x", RUNS_CODE("pg_attrdef", "oid")))
    MORE("12", "indexrelid", OF_LASTING_OR("indexrelid", "pg_index x", RUNS_CODE("pg_class", "indexrelid"))
         "AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL OR x.indisprimary)")
    MORE("13", "inhrelid", "pg_inherits x")
    MORE("14", "oid", "pg_rewrite x WHERE x.ev_class >= 16384")
    MORE("15", "oid", "pg_policy x")
    MORE("16", "oid", "pg_namespace x WHERE x.nspname !~ '^pg_(temp|toast)'")
    MORE("17", "roleid", "pg_auth_members x")
    MORE("18", "setrole", "pg_db_role_setting x")
    MORE("19", "oid", "pg_amproc x WHERE x.oid >= 16384")
    ") r(k, id, version) GROUP BY k) g), "
    "(SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(',', r.rolname, r.rolsuper, "
    "r.rolinherit, r.rolbypassrls, r.rolcanlogin), r.oid::pg_catalog.int8) >> 8) FROM pg_catalog.pg_roles r))";
/* clang-format on */

const char *catalog_look_query(void)
{
    return look_query;
}

/* --- facts --- */

const char *catalog_facts_query(void)
{
    return "SELECT d.oid, (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * "
           "1000000)::pg_catalog.int8, "
           "pg_catalog.pg_is_in_recovery() "
           "FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
}

bool catalog_facts_take(const struct pg_result *result, struct catalog_facts *facts)
{
    if (PQnfields(result) != 3 || PQntuples(result) != 1)
        return false;
    facts->database_oid = number(result, 0, 0);
    facts->server_start_us = strtoull(PQgetvalue(result, 0, 1), NULL, 10);
    facts->is_in_recovery = is_true(result, 0, 2);
    return true;
}

const char *catalog_identifier_query(void)
{
    return "SELECT system_identifier FROM pg_catalog.pg_control_system()";
}
