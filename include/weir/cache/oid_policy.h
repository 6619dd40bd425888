/*
 * oid_policy: may an answer be cached, judged by what PostgreSQL says its statement calls and reads. Pure.
 *
 * Refuses unless sure. What makes it sure: every function, those of operators and casts included, in the
 * statement and in all views and policies behind it, is PostgreSQL's own and IMMUTABLE, or on the list of
 * stable_functions.inc, which depend on settings of the session's profile alone; every expression has a type
 * whose output and comparison do too; no text becomes a date or a time, since it may say 'now'; every
 * relation is a permanent, logged, local table, a materialized view, or a view over these. Row security is no
 * objection: its policies were read too.
 */
#ifndef WEIR_CACHE_OID_POLICY_H
#define WEIR_CACHE_OID_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/reason.h"

struct analyst_facts;
struct catalog;
struct profile;
struct sql_class;

enum { OID_POLICY_DETAIL_MAX = 200 };

/* The statement was refused by its names: is PostgreSQL worth asking? */
bool oid_policy_may_help(const struct sql_class *class, enum cache_reason reason);

/* CACHE_REASON_NONE, or why not, with what stands in the way ("function public.f(integer)") in `detail`. */
enum cache_reason oid_policy_judge(const struct analyst_facts *facts, char detail[OID_POLICY_DETAIL_MAX]);

/* Are writes to the relation, a table or materialized view, seen: the catalog in force knows it and all below
 * it. */
enum cache_reason oid_policy_relation(const struct catalog *catalog, uint32_t relation);

/* Does the profile itself say what every one of these settings is? Names end with NUL. */
bool oid_policy_has_settings(const struct profile *profile, const char *settings, size_t len);

#endif
