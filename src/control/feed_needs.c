/*
 * feed_needs: each complaint names the setting, its value and the statement that mends it.
 *
 * Columns of pg_replication_slots that not every version has are read through JSON, where absent is NULL.
 */
#include "weir/control/feed_needs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

static const char waiting[] = "synchronous standby"; /* the one that can wait until it is up */

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
    "EXISTS (SELECT FROM pg_catalog.pg_stat_replication r WHERE r.application_name = $1 AND r.sync_state = "
    "'sync'), "
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
    if (PQntuples(result) != 1 || PQnfields(result) != 16)
        return false;
    bool *const flags[] = {&needs->is_standby,      &needs->may_replicate, &needs->has_free_slot,
                           &needs->has_free_sender, &needs->has_slot,      &needs->is_slot_ours,
                           &needs->is_slot_lasting, &needs->is_slot_lost,  &needs->may_see_standbys,
                           &needs->is_waited_for};
    for (int i = 0; i < 10; i++)
        *flags[i] = PQgetvalue(result, 0, i)[0] == 't';
    needs->slot_pid = atoi(PQgetvalue(result, 0, 10));
    needs->max_slots = atoi(PQgetvalue(result, 0, 11));
    needs->max_senders = atoi(PQgetvalue(result, 0, 12));
    snprintf(needs->wal_level, sizeof(needs->wal_level), "%s", PQgetvalue(result, 0, 13));
    snprintf(needs->role, sizeof(needs->role), "%s", PQgetvalue(result, 0, 14));
    snprintf(needs->standby_names, sizeof(needs->standby_names), "%s", PQgetvalue(result, 0, 15));
    return true;
}

/* --- in words --- */

/* So many slots or senders more where there are too few. */
enum { ROOM = 5 };

/* The next of the list; what is met has no remedy. */
static struct feed_need *add(struct feed_need list[FEED_NEEDS_MAX], size_t *count, const char *name,
                             bool is_met)
{
    struct feed_need *need = &list[(*count)++];
    *need = (struct feed_need){.name = name, .is_met = is_met};
    return need;
}

__attribute__((format(printf, 2, 3))) static void found(struct feed_need *need, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(need->found, sizeof(need->found), format, args);
    va_end(args);
}

__attribute__((format(printf, 2, 3))) static void mend(struct feed_need *need, const char *format, ...)
{
    va_list args;
    if (need->is_met)
        return;
    va_start(args, format);
    vsnprintf(need->remedy, sizeof(need->remedy), format, args);
    va_end(args);
}

/* What does it, where a statement can; nothing for what is met. */
__attribute__((format(printf, 2, 3))) static void mend_by(struct feed_need *need, const char *format, ...)
{
    va_list args;
    if (need->is_met)
        return;
    va_start(args, format);
    vsnprintf(need->sql, sizeof(need->sql), format, args);
    va_end(args);
}

/* Names come from configuration and catalogs. */
static void quote(char *out, size_t size, const char *name)
{
    size_t len = 0;
    for (const char *c = name; *c != '\0' && len + 3 < size; c++) {
        if (*c == '"')
            out[len++] = '"';
        out[len++] = *c;
    }
    out[len] = '\0';
}

static void add_server(const struct feed_needs *n, struct feed_need *list, size_t *count)
{
    struct feed_need *need = add(list, count, "server", !n->is_standby);
    found(need, "the server is a %s", n->is_standby ? "standby" : "primary");
    mend(need, "name the primary first in host");
    need = add(list, count, "wal_level", strcmp(n->wal_level, "logical") == 0);
    found(need, "wal_level is %s", n->wal_level);
    mend(need, "ALTER SYSTEM SET wal_level = logical, and restart PostgreSQL");
    mend_by(need, "ALTER SYSTEM SET wal_level = logical");
}

static void add_role(const struct feed_needs *n, bool is_synchronous, struct feed_need *list, size_t *count)
{
    char role[2 * sizeof(n->role)];
    quote(role, sizeof(role), n->role);
    struct feed_need *need = add(list, count, "right to replicate", n->may_replicate);
    found(need, "role \"%s\" %s replicate", n->role, n->may_replicate ? "may" : "may not");
    mend(need, "ALTER ROLE \"%s\" REPLICATION", role);
    mend_by(need, "ALTER ROLE \"%s\" REPLICATION", role);
    if (!is_synchronous)
        return;
    need = add(list, count, "right to see standbys", n->may_see_standbys);
    found(need, "role \"%s\" %s see whether commits wait for it", n->role,
          n->may_see_standbys ? "may" : "may not");
    mend(need, "GRANT pg_read_all_stats TO \"%s\"", role);
    mend_by(need, "GRANT pg_read_all_stats TO \"%s\"", role);
}

static void add_slot(const struct feed_needs *n, const char *slot, int own_pid, struct feed_need *list,
                     size_t *count)
{
    bool is_used = n->slot_pid != 0 && n->slot_pid != own_pid;
    bool is_there = n->has_slot || n->has_free_slot;
    struct feed_need *need =
        add(list, count, "replication slot", is_there && (!n->has_slot || (n->is_slot_ours && !is_used)));
    if (!is_there) {
        found(need, "no replication slot is free");
        mend(need, "raise max_replication_slots (now %d) and restart PostgreSQL", n->max_slots);
        mend_by(need, "ALTER SYSTEM SET max_replication_slots = %d", n->max_slots + ROOM);
    } else if (!n->has_slot) {
        found(need, "replication slot \"%s\" can be made", slot);
    } else if (!n->is_slot_ours) {
        found(need, "replication slot \"%s\" belongs to something else", slot);
        mend(need, "set cache_feed_slot to another name");
    } else if (is_used) {
        found(need, "replication slot \"%s\" is in use by process %d", slot, n->slot_pid);
        mend(need, "if by another Weir, set cache_feed_slot to another name");
    } else {
        found(need, "replication slot \"%s\" is %s", slot, n->slot_pid != 0 ? "in use by this feed" : "free");
    }
}

size_t feed_needs_list(const struct feed_needs *n, const char *slot, bool is_synchronous, int own_pid,
                       struct feed_need list[FEED_NEEDS_MAX])
{
    size_t count = 0;
    add_server(n, list, &count);
    add_role(n, is_synchronous, list, &count);
    bool has_sender = n->has_free_sender || (own_pid != 0 && own_pid == n->slot_pid);
    struct feed_need *need = add(list, &count, "WAL sender", has_sender);
    found(need, has_sender ? "a WAL sender is free" : "no WAL sender is free");
    mend(need, "raise max_wal_senders (now %d) and restart PostgreSQL", n->max_senders);
    mend_by(need, "ALTER SYSTEM SET max_wal_senders = %d", n->max_senders + ROOM);
    add_slot(n, slot, own_pid, list, &count);
    if (!is_synchronous)
        return count;
    need = add(list, &count, waiting, n->is_waited_for);
    found(need, "commits %s for \"%s\" (synchronous_standby_names is '%.100s')",
          n->is_waited_for ? "wait" : "do not wait", slot, n->standby_names);
    mend(
        need,
        /* No statement to be run unseen: before the feed is up every commit would wait for it. */
        "once it is up: ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (%s)'; SELECT pg_reload_conf()",
        slot);
    return count;
}

/* --- judging --- */

bool feed_needs_judge(const struct feed_needs *needs, const char *slot, bool is_synchronous,
                      enum feed_slot_step *step, char *text, size_t size)
{
    struct feed_need list[FEED_NEEDS_MAX];
    size_t count = feed_needs_list(needs, slot, is_synchronous, 0, list);
    for (size_t i = 0; i < count; i++) {
        if (list[i].is_met || list[i].name == waiting)
            continue;
        snprintf(text, size, "%s: %s", list[i].found, list[i].remedy);
        return false;
    }
    bool is_usable = is_synchronous && needs->is_slot_lasting && !needs->is_slot_lost;
    *step = !needs->has_slot ? FEED_SLOT_CREATE : is_usable ? FEED_SLOT_USE : FEED_SLOT_DROP;
    return true;
}
