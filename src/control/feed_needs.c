/*
 * feed_needs: each complaint names the setting, its value and the statement that mends it.
 *
 * Columns of pg_replication_slots that not every version has are read through JSON, where absent is NULL.
 */
#include "weir/control/feed_needs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

static const char needs_query[] =
    "SELECT pg_catalog.pg_is_in_recovery(), "
    "(SELECT r.rolsuper OR r.rolreplication FROM pg_catalog.pg_roles r WHERE r.rolname = current_user), "
    "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots) < m.slots, "
    "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication) < m.senders, "
    "s.slot_name IS NOT NULL, "
    "s.plugin = 'test_decoding' AND s.database = pg_catalog.current_database(), "
    "NOT s.temporary, "
    "coalesce(pg_catalog.to_jsonb(s) ->> 'wal_status' = 'lost', false) "
    "OR pg_catalog.to_jsonb(s) ->> 'invalidation_reason' IS NOT NULL, "
    "pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'), "
    "s.active_pid, m.slots, m.senders, pg_catalog.current_setting('wal_level'), current_user, "
    "pg_catalog.current_setting('synchronous_standby_names') "
    "FROM (SELECT pg_catalog.current_setting('max_replication_slots')::pg_catalog.int4 AS slots, "
    "pg_catalog.current_setting('max_wal_senders')::pg_catalog.int4 AS senders) m "
    "LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = $1";

const char *feed_needs_query(void)
{
    return needs_query;
}

bool feed_needs_take(const struct pg_result *result, struct feed_needs *needs)
{
    *needs = (struct feed_needs){.is_standby = false};
    if (PQntuples(result) != 1 || PQnfields(result) != 15)
        return false;
    bool *const flags[] = {&needs->is_standby,      &needs->may_replicate, &needs->has_free_slot,
                           &needs->has_free_sender, &needs->has_slot,      &needs->is_slot_ours,
                           &needs->is_slot_lasting, &needs->is_slot_lost,  &needs->may_see_standbys};
    for (int i = 0; i < 9; i++)
        *flags[i] = PQgetvalue(result, 0, i)[0] == 't';
    needs->slot_pid = atoi(PQgetvalue(result, 0, 9));
    needs->max_slots = atoi(PQgetvalue(result, 0, 10));
    needs->max_senders = atoi(PQgetvalue(result, 0, 11));
    snprintf(needs->wal_level, sizeof(needs->wal_level), "%s", PQgetvalue(result, 0, 12));
    snprintf(needs->role, sizeof(needs->role), "%s", PQgetvalue(result, 0, 13));
    snprintf(needs->standby_names, sizeof(needs->standby_names), "%s", PQgetvalue(result, 0, 14));
    return true;
}

static bool judge_slot(const struct feed_needs *needs, const char *slot, bool is_lasting,
                       enum feed_slot_step *step, char *text, size_t size)
{
    *step = FEED_SLOT_CREATE;
    if (!needs->has_slot && !needs->has_free_slot) {
        snprintf(text, size,
                 "no replication slot is free: raise max_replication_slots (now %d) and restart PostgreSQL",
                 needs->max_slots);
        return false;
    }
    if (!needs->has_slot)
        return true;
    if (!needs->is_slot_ours) {
        snprintf(text, size,
                 "replication slot \"%s\" belongs to something else: set cache_feed_slot to another name",
                 slot);
        return false;
    }
    if (needs->slot_pid != 0) {
        snprintf(
            text, size,
            "replication slot \"%s\" is in use by process %d: if by another Weir, set cache_feed_slot to "
            "another name",
            slot, needs->slot_pid);
        return false;
    }
    *step = is_lasting && needs->is_slot_lasting && !needs->is_slot_lost ? FEED_SLOT_USE : FEED_SLOT_DROP;
    return true;
}

bool feed_needs_judge(const struct feed_needs *needs, const char *slot, bool is_synchronous,
                      enum feed_slot_step *step, char *text, size_t size)
{
    text[0] = '\0';
    if (needs->is_standby)
        snprintf(text, size, "the server is a standby");
    else if (strcmp(needs->wal_level, "logical") != 0)
        snprintf(text, size, "wal_level is %s: ALTER SYSTEM SET wal_level = logical, and restart PostgreSQL",
                 needs->wal_level);
    else if (!needs->may_replicate)
        snprintf(text, size, "role \"%s\" may not replicate: ALTER ROLE \"%s\" REPLICATION", needs->role,
                 needs->role);
    else if (is_synchronous && !needs->may_see_standbys)
        snprintf(text, size,
                 "role \"%s\" may not see whether commits wait for it: GRANT pg_read_all_stats TO \"%s\"",
                 needs->role, needs->role);
    else if (!needs->has_free_sender)
        snprintf(text, size, "no WAL sender is free: raise max_wal_senders (now %d) and restart PostgreSQL",
                 needs->max_senders);
    else
        return judge_slot(needs, slot, is_synchronous, step, text, size);
    return false;
}
