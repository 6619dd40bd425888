/*
 * catalog_types: which types are harmless, as SQL. Private to this folder.
 */
#ifndef WEIR_CONTROL_CATALOG_TYPES_H
#define WEIR_CONTROL_CATALOG_TYPES_H

/* Built-in types whose output and comparison depend on nothing but settings; see cache/policy.h. */
#define HARMLESS_TYPES                                                                                       \
    "16,17,18,19,20,21,23,25,26,114,142,600,601,602,603,604,628,650,700,701,718,774,829,869,1042,1043,1082," \
    "1083,"                                                                                                  \
    "1114,1184,1186,1560,1562,1700,2950,3614,3615,3802,3904,3906,3908,3910,3912,3926,4451,4532,4533,4534,"   \
    "4535,4536"

/*
 * A name for WITH RECURSIVE: `harmless(oid)` are these, enums, whose labels are part of the look, arrays of
 * either, and domains over what is harmless. To read a value of a domain is to read one of its base type:
 * constraints are looked at where a value is made. That, the node tree shows and names do not, so by names no
 * domain is; and not where an array of domains is read from text, so these are not harmless at all.
 */
/* clang-format off */
#define HARMLESS \
    "harmless(oid, is_domain) AS (" \
    "SELECT t.oid, false FROM pg_catalog.pg_type t WHERE t.oid IN (" HARMLESS_TYPES ") OR t.typtype = 'e' " \
    "UNION SELECT t.oid, t.typtype = 'd' FROM harmless h JOIN pg_catalog.pg_type t " \
    "ON h.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype WHEN 'b' THEN t.typelem END " \
    "WHERE t.typtype = 'd' OR (t.typcategory = 'A' AND NOT h.is_domain))"
/* clang-format on */

#endif
