/* oid_policy: a row of questions, each of which may end it. */
#include "weir/cache/oid_policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/control/analyst.h"
#include "weir/control/catalog.h"
#include "weir/sql/classify.h"
#include "weir/track/profile.h"

enum { FIRST_OWN_OID = 16384 };

/* STABLE, but depending on the profile alone: settings, the role, the database. Sorted. Those with `is_any`
 * take any type, and would call what users have made for types of their own. */
static const struct stable_function {
    uint32_t oid;
    bool is_any;
} stable[] = {
#include "stable_functions.inc"
};

/* IMMUTABLE by name only: they look into catalogs. Sorted. */
static const uint32_t liars[] = {
    2316, /* postgresql_fdw_validator */
    3713, /* ts_token_type */
    3715, /* ts_parse */
    5028, /* satisfies_hash_partition */
};

/* Types that text is read as by itself alone: no date or time, nothing that may hold one, nothing looked up
 * in catalogs. Sorted. */
static const uint32_t plain_types[] = {
    16,  17,  18,  19,  20,  21,   23,   25,   26,   114,  600,  601,  602,  603,  604,  628,  650,  700,
    701, 718, 774, 829, 869, 1042, 1043, 1186, 1560, 1562, 1700, 2950, 3614, 3615, 3802, 3904, 3906, 3926,
};

static int compare_oids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a,
             y = *(const uint32_t *)b; /* of a stable_function too: it comes first */
    return (x > y) - (x < y);
}

#define FIND(oid, list)                                                                                      \
    bsearch(&(oid), (list), sizeof(list) / sizeof((list)[0]), sizeof((list)[0]), compare_oids)

bool oid_policy_may_help(const struct sql_class *class, enum cache_reason reason)
{
    if ((class->flags & SQL_CLASS_READ_CANDIDATE) == 0 || class->n_statements != 1)
        return false;
    switch (reason) {
    case CACHE_REASON_FUNCTION:
    case CACHE_REASON_SHADOWED:
    case CACHE_REASON_CAST:
    case CACHE_REASON_SEARCH_PATH:
    case CACHE_REASON_RELATION_KIND:
    case CACHE_REASON_ROW_SECURITY:
    case CACHE_REASON_COLUMN:
        return true;
    case CACHE_REASON_TIME: /* or CURRENT_USER */
        return (class->statements[0].flags & SQL_CURRENT_TIME) == 0;
    default:
        return false;
    }
}

static enum cache_reason because(char detail[OID_POLICY_DETAIL_MAX], enum cache_reason reason,
                                 const char *kind, const char *name)
{
    snprintf(detail, OID_POLICY_DETAIL_MAX, "%s%s", kind, name);
    return reason;
}

static enum cache_reason judge_function(const struct analyst_facts *facts, const struct analyst_function *f,
                                        char detail[OID_POLICY_DETAIL_MAX])
{
    const struct stable_function *known = FIND(f->oid, stable);
    bool is_good = false;
    if (f->volatility == 'i')
        is_good = f->is_builtin && FIND(f->oid, liars) == NULL;
    else if (f->volatility == 's' && known != NULL)
        is_good = !known->is_any || !facts->has_own_types;
    return is_good ? CACHE_REASON_NONE : because(detail, CACHE_REASON_FUNCTION, "function ", f->name);
}

static enum cache_reason judge_relation(const struct analyst_relation *r, char detail[OID_POLICY_DETAIL_MAX])
{
    if (r->oid < FIRST_OWN_OID)
        return because(detail, CACHE_REASON_SYSTEM_RELATION, "relation ", r->name);
    if (strchr("rpvm", r->kind) == NULL)
        return because(detail, CACHE_REASON_RELATION_KIND, "relation ", r->name);
    if (r->persistence != 'p')
        return because(detail, CACHE_REASON_UNLOGGED, "relation ", r->name);
    return CACHE_REASON_NONE;
}

static enum cache_reason judge_relations(const struct analyst_facts *facts,
                                         char detail[OID_POLICY_DETAIL_MAX])
{
    bool has_rows = false;
    for (size_t i = 0; i < facts->relation_count; i++) {
        enum cache_reason reason = judge_relation(&facts->relations[i], detail);
        if (reason != CACHE_REASON_NONE)
            return reason;
        has_rows |= facts->relations[i].kind != 'v';
    }
    return has_rows ? CACHE_REASON_NONE : CACHE_REASON_NO_RELATION;
}

static enum cache_reason judge_values(const struct analyst_facts *facts, char detail[OID_POLICY_DETAIL_MAX])
{
    /* CURRENT_ROLE, CURRENT_USER, USER, SESSION_USER, CURRENT_CATALOG: who asks is in the key */
    const uint64_t who =
        UINT64_C(1) << 9 | UINT64_C(1) << 10 | UINT64_C(1) << 11 | UINT64_C(1) << 12 | UINT64_C(1) << 13;
    if ((facts->values & ~who) != 0)
        return because(detail, CACHE_REASON_TIME, "",
                       "CURRENT_DATE, CURRENT_TIME, CURRENT_SCHEMA or the like");
    /* Another text of the same template may ask for another one. */
    if (facts->has_own_settings)
        return because(detail, CACHE_REASON_FUNCTION, "", "function current_setting in the statement itself");
    return CACHE_REASON_NONE;
}

enum cache_reason oid_policy_judge(const struct analyst_facts *facts, char detail[OID_POLICY_DETAIL_MAX])
{
    detail[0] = '\0';
    if (facts->failure[0] != '\0')
        return because(detail, CACHE_REASON_NOT_ANALYSED, "", facts->failure);
    if (facts->unknown[0] != '\0')
        return because(detail, CACHE_REASON_EXPRESSION, "", facts->unknown);
    if (facts->has_system_column)
        return because(detail, CACHE_REASON_EXPRESSION, "", "a system column");
    if (facts->has_row_lock)
        return because(detail, CACHE_REASON_STATEMENT, "", "a view with FOR UPDATE or the like");
    enum cache_reason reason = judge_values(facts, detail);
    for (size_t i = 0; i < facts->function_count && reason == CACHE_REASON_NONE; i++)
        reason = judge_function(facts, &facts->functions[i], detail);
    if (reason != CACHE_REASON_NONE)
        return reason;
    if (facts->operator[0] != '\0')
        return because(detail, CACHE_REASON_FUNCTION, "operator ", facts->operator);
    if (facts->type[0] != '\0')
        return because(detail, CACHE_REASON_COLUMN, "type ", facts->type);
    for (size_t i = 0; i < facts->cast_count; i++)
        if (FIND(facts->casts[i], plain_types) == NULL)
            return because(detail, CACHE_REASON_CAST, "",
                           "a cast of text to a date or time, or to an array, a range or an enum");
    return judge_relations(facts, detail);
}

enum cache_reason oid_policy_relation(const struct catalog *catalog, uint32_t relation)
{
    const struct catalog_relation *r = catalog_find_oid(catalog, relation);
    if (r == NULL)
        return CACHE_REASON_UNKNOWN_RELATION;
    if (strchr("rpm", r->kind) == NULL || (r->flags & CATALOG_FAR_RELATIVE) != 0)
        return CACHE_REASON_RELATION_KIND;
    return r->persistence == 'p' ? CACHE_REASON_NONE : CACHE_REASON_UNLOGGED;
}

bool oid_policy_has_settings(const struct profile *profile, const char *settings, size_t len)
{
    struct slice value;
    for (size_t at = 0; at < len; at += strlen(settings + at) + 1) {
        const char *name = settings + at;
        /* What a transaction is like is in no profile, whatever was set. */
        if (strncmp(name, "transaction_", 12) == 0 || !profile_get(profile, slice_str(name), &value))
            return false;
    }
    return true;
}
