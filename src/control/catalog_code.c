/*
 * catalog_code: follows pg_depend from functions that are not trusted to whatever runs them.
 *
 * `code` is everything that runs one when it is used by name or for a value: other functions and aggregates,
 * operators, casts, classes of operators, domains, and types and tables with a member of such a type. Then:
 * `writers`, tables where storing a row runs some (a default, a generated column, a constraint, an index, a
 * key of partitions, a member), and `readers`, where looking does (views, policies, members, foreign tables,
 * and views over these).
 */
#include "weir/control/catalog_code.h"

#include <stdlib.h>

#include <libpq-fe.h>

/* clang-format off */
#define CLASS(name)    "'pg_catalog." name "'::pg_catalog.regclass"
#define IS_OURS(space) space ".nspname !~ '^pg_(temp|toast)'"
#define IS_MEMBER(p) \
    "FROM pg_catalog.pg_depend m JOIN pg_catalog.pg_extension e ON e.oid = m.refobjid " \
    "WHERE m.classid = " CLASS("pg_proc") " AND m.objid = " p ".oid AND m.refclassid = " CLASS("pg_extension") " " \
    "AND m.deptype = 'e'"

/*
 * Functions of users that may do more than compute. Trusted are those that say so (not VOLATILE) and are
 * written in C or belong to an extension, since what says so in PL/pgSQL may still call others; and those in
 * C of extensions that are known to make nothing but values.
 */
#define IS_CODE(p) \
    p ".oid >= 16384 AND CASE WHEN " p ".prolang IN (12, 13) THEN " p ".provolatile = 'v' " \
    "AND NOT EXISTS (SELECT " IS_MEMBER(p) " AND e.extname IN ('uuid-ossp', 'pgcrypto')) " \
    "ELSE " p ".provolatile = 'v' OR NOT EXISTS (SELECT " IS_MEMBER(p) ") END"

/* Functions of input and output are in C, and trusted: among types only domains depend on what a function
 * does. */
#define CODE \
    "code(class, object) AS (" \
    "SELECT " CLASS("pg_proc") "::pg_catalog.oid, p.oid FROM pg_catalog.pg_proc p WHERE " IS_CODE("p") \
    " UNION SELECT x.class, x.object FROM code, LATERAL (" \
    "  SELECT d.classid, d.objid FROM pg_catalog.pg_depend d " \
    "  WHERE d.refclassid = code.class AND d.refobjid = code.object AND d.deptype IN ('n', 'a', 'i') AND (" \
    "    d.classid IN (" CLASS("pg_proc") ", " CLASS("pg_operator") ", " CLASS("pg_constraint") ") " \
    "    OR (d.classid IN (" CLASS("pg_cast") ", " CLASS("pg_amproc") ", " CLASS("pg_amop") ") " \
    "        AND code.class IN (" CLASS("pg_proc") ", " CLASS("pg_operator") ")) " \
    "    OR (d.classid = " CLASS("pg_type") " AND (code.class <> " CLASS("pg_proc") " OR EXISTS " \
    "        (SELECT FROM pg_catalog.pg_type t WHERE t.oid = d.objid AND t.typtype = 'd'))) " \
    "    OR (d.classid = " CLASS("pg_class") " AND d.objsubid > 0 AND code.class = " CLASS("pg_type") ")) " \
    "  UNION ALL SELECT " CLASS("pg_type") ", k.contypid FROM pg_catalog.pg_constraint k " \
    "  WHERE code.class = " CLASS("pg_constraint") " AND k.oid = code.object AND k.contypid <> 0 " \
    "  UNION ALL SELECT " CLASS("pg_type") ", r.reltype FROM pg_catalog.pg_class r " \
    "  WHERE code.class = " CLASS("pg_class") " AND r.oid = code.object AND r.reltype <> 0" \
    ") x(class, object))"

/* What of these depends on `code`. */
#define USES(catalog) \
    "(SELECT d.objid FROM pg_catalog.pg_depend d JOIN code ON code.class = d.refclassid " \
    "AND code.object = d.refobjid WHERE d.classid = " CLASS(catalog) " AND d.deptype IN ('n', 'a', 'i')) u"

/* The one argument of a row function is a row, or anything. */
#define TAKES_ROW(p) \
    p ".pronargs >= 1 AND (" p ".pronargs - " p ".pronargdefaults <= 1 OR " p ".provariadic <> 0) " \
    "AND EXISTS (SELECT FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type s ON s.oid = t.typbasetype " \
    "WHERE t.oid = " p ".proargtypes[0] AND (t.typtype IN ('c', 'p') OR s.typtype IN ('c', 'd')))"

const char catalog_code_names[] =
    "WITH RECURSIVE " CODE " "
    "SELECT 'f', n.nspname, p.proname, 0 FROM code JOIN pg_catalog.pg_proc p ON p.oid = code.object "
    "  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace "
    "  WHERE code.class = " CLASS("pg_proc") " AND " IS_OURS("n") " "
    "UNION SELECT 'a', n.nspname, p.proname, 0 FROM code JOIN pg_catalog.pg_proc p ON p.oid = code.object "
    "  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace "
    "  WHERE code.class = " CLASS("pg_proc") " AND " IS_OURS("n") " AND " TAKES_ROW("p") " "
    "UNION SELECT 'f', n.nspname, o.oprname, 0 FROM code JOIN pg_catalog.pg_operator o ON o.oid = code.object "
    "  JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace "
    "  WHERE code.class = " CLASS("pg_operator") " AND " IS_OURS("n") " "
    "UNION SELECT CASE WHEN " IS_OURS("n") " THEN 't' ELSE 'p' END, n.nspname, y.typname, 0 "
    "  FROM code JOIN pg_catalog.pg_type y ON y.oid = code.object "
    "  JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace WHERE code.class = " CLASS("pg_type") " "
    "UNION SELECT 'x', '', '', 0 FROM code "
    "  WHERE code.class IN (" CLASS("pg_cast") ", " CLASS("pg_amproc") ", " CLASS("pg_amop") ") "
    "UNION SELECT 'o', '', '', 0 FROM pg_catalog.pg_cast c "
    "  WHERE c.oid >= 16384 AND c.castsource < 16384 AND c.casttarget < 16384";

const char catalog_code_writers[] =
    "WITH RECURSIVE " CODE ", writers(oid) AS ("
    "SELECT a.adrelid FROM pg_catalog.pg_attrdef a JOIN " USES("pg_attrdef") " ON u.objid = a.oid "
    "UNION SELECT k.conrelid FROM pg_catalog.pg_constraint k JOIN code ON code.object = k.oid "
    "  AND code.class = " CLASS("pg_constraint") " WHERE k.conrelid <> 0 "
    "UNION SELECT coalesce(i.indrelid, u.objid) FROM " USES("pg_class") " "
    "  LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = u.objid) "
    "SELECT CASE WHEN c.relpersistence = 't' THEN 'p' ELSE 'w' END, '', '', c.oid "
    "FROM writers JOIN pg_catalog.pg_class c USING (oid)";

const char catalog_code_readers[] =
    "WITH RECURSIVE " CODE ", readers(oid) AS ("
    "SELECT r.ev_class FROM pg_catalog.pg_rewrite r JOIN " USES("pg_rewrite") " ON u.objid = r.oid "
    "  WHERE r.ev_type = '1' "
    "UNION SELECT y.polrelid FROM pg_catalog.pg_policy y JOIN " USES("pg_policy") " ON u.objid = y.oid "
    "UNION SELECT code.object FROM code WHERE code.class = " CLASS("pg_class") " "
    "UNION SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'f' "
    "UNION SELECT x.oid FROM readers, LATERAL ("
    "  SELECT r.ev_class FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid "
    "  WHERE d.classid = " CLASS("pg_rewrite") " AND d.refclassid = " CLASS("pg_class") " "
    "  AND d.refobjid = readers.oid AND r.ev_type = '1' "
    "  UNION ALL SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = readers.oid) x(oid)) "
    "SELECT CASE WHEN c.relpersistence = 't' THEN 'p' ELSE 'r' END, '', '', c.oid "
    "FROM readers JOIN pg_catalog.pg_class c USING (oid) WHERE c.relkind <> 'm'";
/* clang-format on */

void catalog_code_take(const struct pg_result *result, int row, struct catalog_builder *b)
{
    const char *schema = PQgetvalue(result, row, 1), *name = PQgetvalue(result, row, 2);
    uint32_t oid = (uint32_t)strtoul(PQgetvalue(result, row, 3), NULL, 10);
    switch (PQgetvalue(result, row, 0)[0]) {
    case 'f':
        catalog_builder_code(b, schema, name);
        return;
    case 'a':
        catalog_builder_row_code(b, schema, name);
        return;
    case 't':
        catalog_builder_code_type(b, schema, name);
        return;
    case 'w':
        catalog_builder_write_runs_code(b, oid);
        return;
    case 'r':
        catalog_builder_runs_code(b, oid);
        return;
    case 'o':
        catalog_builder_somewhere(b, CATALOG_ODD_CASTS);
        return;
    case 'p':
        catalog_builder_somewhere(b, CATALOG_CODE_TEMPORARY);
        return;
    default:
        catalog_builder_somewhere(b, CATALOG_CODE_ANYWHERE);
    }
}
