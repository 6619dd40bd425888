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

/* Built-in types whose output and comparison depend on nothing but settings; see cache/policy.h. */
#define HARMLESS_TYPES                                                                                       \
    "16,17,18,19,20,21,23,25,26,114,142,600,601,602,603,604,628,650,700,701,718,774,829,869,1042,1043,1082," \
    "1083,"                                                                                                  \
    "1114,1184,1186,1560,1562,1700,2950,3614,3615,3802,3904,3906,3908,3910,3912,3926,4451,4532,4533,4534,"   \
    "4535,4536"

#define IS_HARMLESS(type, elem)                                                                              \
    "(" type ".oid IN (" HARMLESS_TYPES ") OR " type ".typtype = 'e' OR (" type                              \
    ".typcategory = 'A' AND (" elem ".oid IN (" HARMLESS_TYPES ") OR " elem ".typtype = 'e')))"

#define IS_OURS(schema) schema ".nspname !~ '^pg_(temp|toast)'"

/* --- relations --- */

static const char relations_query[] =
    "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relhasrules, "
    "  coalesce(a.is_odd, false) OR c.reloftype <> 0, "
    "  c.relhastriggers AND EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT "
    "t.tgisinternal) "
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN (SELECT a.attrelid, pg_catalog.bool_or(NOT " IS_HARMLESS(
        "t", "e") ") AS is_odd "
                  "  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
                  "  LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem "
                  "  WHERE a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid) "
                  "a ON a.attrelid = c.oid "
                  "WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND " IS_OURS("n");

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

/* --- code behind what looks like reading --- */

/*
 * Functions of users that may do more than compute. Trusted are those that say so (not VOLATILE) and are
 * written in C or belong to an extension; what says so in PL/pgSQL may still call others.
 */
#define IS_CODE(p)                                                                                           \
    p ".oid >= 16384 AND (" p ".provolatile = 'v' OR (" p ".prolang NOT IN (12, 13) AND NOT EXISTS "         \
      "(SELECT FROM pg_catalog.pg_depend m WHERE m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass "     \
      "AND m.objid = " p ".oid AND m.deptype = 'e')))"

static const char code_query[] =
    "SELECT n.nspname, p.proname FROM pg_catalog.pg_proc p "
    "JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE " IS_CODE("p") " AND " IS_OURS(
        "n") " UNION SELECT n.nspname, o.oprname FROM pg_catalog.pg_operator o "
             "JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace JOIN pg_catalog.pg_proc p ON p.oid = "
             "o.oprcode "
             "WHERE o.oid >= 16384 AND " IS_CODE("p") " AND " IS_OURS("n");

static void take_code(const PGresult *result, int row, struct catalog_builder *b)
{
    catalog_builder_code(b, PQgetvalue(result, row, 0), PQgetvalue(result, row, 1));
}

/* Views and policies that call such functions, or operators made of them, foreign tables, and views over any
 * of these. */
static const char runners_query[] =
    "WITH RECURSIVE calls(classid, objid) AS ("
    "  SELECT d.classid, d.objid FROM pg_catalog.pg_depend d "
    "  LEFT JOIN pg_catalog.pg_operator o ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass "
    "    AND o.oid = d.refobjid "
    "  JOIN pg_catalog.pg_proc p ON p.oid = coalesce(o.oprcode::pg_catalog.oid, d.refobjid) "
    "  WHERE d.classid IN ('pg_catalog.pg_rewrite'::pg_catalog.regclass, "
    "'pg_catalog.pg_policy'::pg_catalog.regclass) "
    "  AND d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, "
    "'pg_catalog.pg_operator'::pg_catalog.regclass) "
    "  AND d.refobjid >= 16384 AND " IS_CODE(
        "p") "), runners(oid) AS ("
             "  SELECT r.ev_class FROM calls JOIN pg_catalog.pg_rewrite r ON r.oid = calls.objid "
             "    AND calls.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass WHERE r.ev_type = '1' "
             "  UNION SELECT y.polrelid FROM calls JOIN pg_catalog.pg_policy y ON y.oid = calls.objid "
             "    AND calls.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass "
             "  UNION SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'f' "
             "  UNION SELECT x.oid FROM runners, LATERAL ("
             "    SELECT r.ev_class FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = "
             "d.objid AND r.ev_type = '1' "
             "    WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass "
             "    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = runners.oid "
             "    UNION ALL SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = runners.oid) "
             "x(oid)) "
             "SELECT oid FROM runners JOIN pg_catalog.pg_class c USING (oid) WHERE c.relkind <> 'm'";

static void take_runner(const PGresult *result, int row, struct catalog_builder *b)
{
    catalog_builder_runs_code(b, number(result, row, 0));
}

static const struct step {
    const char *query;
    int columns;
    void (*take)(const PGresult *result, int row, struct catalog_builder *b);
} steps[] = {
    {relations_query, 9, take_relation},
    {cascades_query, 2, take_cascade},
    {inherits_query, 2, take_inherit},
    {functions_query, 2, take_function},
    {row_functions_query, 2, take_row_function},
    {operators_query, 2, take_operator},
    {types_query, 2, take_type},
    {code_query, 2, take_code},
    {runners_query, 1, take_runner},
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

/* Count and sum of hashes of the rows of one catalog: order does not matter, and nothing has to be sorted. */
#define ROWS_HASH(id, from)                                                                                  \
    "(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(pg_catalog.hashint8extended(x." id   \
    "::pg_catalog.int8, x.xmin::pg_catalog.text::pg_catalog.int8) >> 8)) FROM pg_catalog." from ")"

static const char look_query
    [] = "SELECT pg_catalog.concat_ws(' ', " ROWS_HASH("oid",
                                                       "pg_class x WHERE x.oid >= 16384 AND x.relpersistence "
                                                       "<> 't' "
                                                       "AND x.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')") ","
                                                                                                          " " ROWS_HASH("attrelid", "pg_attribute x JOIN "
                                                                                                                                    "pg_catalog.pg_class c ON c.oid = "
                                                                                                                                    "x.attrelid "
                                                                                                                                    "WHERE x.attrelid >= 16384 AND "
                                                                                                                                    "x.attnum > 0 AND c.relpersistence <> "
                                                                                                                                    "'t' "
                                                                                                                                    "AND c.relkind IN ('r', 'p', 'v', 'm', "
                                                                                                                                    "'f')") ", " ROWS_HASH("oid", "pg_proc x "
                                                                                                                                                                  "WHERE x.oid >= "
                                                                                                                                                                  "16384") ","
                                                                                                                                                                           " " ROWS_HASH("oid",
                                                                                                                                                                                         "pg_operator x WHERE x.oid >= 16384") ", " ROWS_HASH("oid", "pg_cast x WHERE x.oid >= 16384") ", " ROWS_HASH("oid", "pg_type x WHERE x.oid >= 16384 AND x.typrelid = 0 AND x.typcategory <> 'A'") ", " ROWS_HASH("oid",
                                                                                                                                                                                                                                                                                                                                                                                                          "pg_enum x") ", " ROWS_HASH("oid",
                                                                                                                                                                                                                                                                                                                                                                                                                                      "pg_collation x WHERE x.oid >= 16384") ", " ROWS_HASH("oid",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            "pg_trigger x WHERE NOT x.tgisinternal") ", " ROWS_HASH("oid",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                    "pg_constraint x WHERE x.contype = 'f'") ", " ROWS_HASH("inhrelid", "pg_inherits x") ", " ROWS_HASH("oid",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                        "pg_rewrite x WHERE x.ev_class >= 16384") ", " ROWS_HASH("oid",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                 "pg_policy x") ", " ROWS_HASH("oid", "pg_namespace x WHERE x.nspname !~ '^pg_(temp|toast)'") ", " ROWS_HASH("roleid", "pg_auth_members x") ", " ROWS_HASH("setrole",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                           "pg_db_role_setting x") ", "
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   "(SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(',', r.rolname, r.rolsuper, r.rolinherit, "
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   "  r.rolbypassrls, r.rolcanlogin), r.oid::pg_catalog.int8) >> 8) FROM pg_catalog.pg_roles r))";

const char *catalog_look_query(void)
{
    return look_query;
}

/* --- facts --- */

const char *catalog_facts_query(void)
{
    return "SELECT d.oid, (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * "
           "1000000)::pg_catalog.int8, "
           "pg_catalog.pg_is_in_recovery(), EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.oid >= 16384 "
           "AND c.castsource < 16384 AND c.casttarget < 16384) "
           "FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
}

bool catalog_facts_take(const struct pg_result *result, struct catalog_facts *facts)
{
    if (PQnfields(result) != 4 || PQntuples(result) != 1)
        return false;
    facts->database_oid = number(result, 0, 0);
    facts->server_start_us = strtoull(PQgetvalue(result, 0, 1), NULL, 10);
    facts->is_in_recovery = is_true(result, 0, 2);
    facts->has_odd_casts = is_true(result, 0, 3);
    return true;
}

const char *catalog_identifier_query(void)
{
    return "SELECT system_identifier FROM pg_catalog.pg_control_system()";
}
