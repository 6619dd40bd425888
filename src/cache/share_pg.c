/*
 * share_pg: the locks by which members of a share know of each other in PostgreSQL, and what is asked of it.
 *
 *   (1466263922, 2)     the fence: somebody writes without a mark
 *   (1466263923, N)     a member of the ledger whose incarnation begins with N
 *
 * All are shared locks of the control connection's session, so they end with it.
 */
#include "share_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "weir/control/watch.h"

#define LOCKS                                                                                                \
    "FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND "         \
    "l.database = d.oid AND "
#define OWN " AND l.pid = pg_catalog.pg_backend_pid()"

/* $1: the member's lock, 0 for none. */
static const char look_query[] =
    "SELECT d.oid, (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8, "
    "NOT pg_catalog.pg_is_in_recovery(), "
    "EXISTS (SELECT " LOCKS "l.classid = 1466263923 AND l.objid = $1::pg_catalog.int4" OWN "), "
    "EXISTS (SELECT " LOCKS "l.classid = 1466263922 AND l.objid = 2" OWN "), "
    "EXISTS (SELECT " LOCKS "l.classid = 1466263922 AND l.objid = 2), "
    "EXISTS (SELECT " LOCKS "l.classid = 1466263923 AND l.objid <> $1::pg_catalog.int4) "
    "FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

/* Other incarnations' locks of this session end in the same breath, after the new one is there. */
static const char lock_query[] =
    "SELECT CASE WHEN EXISTS (SELECT " LOCKS "l.classid = 1466263923 AND l.objid = $1::pg_catalog.int4" OWN
    ") THEN true ELSE pg_catalog.pg_try_advisory_lock_shared(1466263923, $1::pg_catalog.int4) END, "
    "(SELECT pg_catalog.count(pg_catalog.pg_advisory_unlock_shared(1466263923, "
    "l.objid::pg_catalog.int8::pg_catalog.int4)) " LOCKS
    "l.classid = 1466263923 AND l.objid <> $1::pg_catalog.int4" OWN ") "
    "FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

static const char raise_query[] =
    "SELECT CASE WHEN EXISTS (SELECT " LOCKS "l.classid = 1466263922 AND l.objid = $1::pg_catalog.int4" OWN
    ") THEN true ELSE pg_catalog.pg_try_advisory_lock_shared(1466263922, $1::pg_catalog.int4) END "
    "FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
static const char lower_query[] =
    "SELECT pg_catalog.pg_advisory_unlock_shared(1466263922, $1::pg_catalog.int4)";

/* Half the numbers, so that one is the same with and without a sign. */
static void name_lock(uint64_t incarnation, char text[16])
{
    snprintf(text, 16, "%u", (unsigned)(incarnation & 0x7fffffff));
}

static bool is_true(const PGresult *result, int column)
{
    return PQgetvalue(result, 0, column)[0] == 't';
}

struct asked {
    struct cache_database *database;
    share_looked looked;
    share_told told;
    char **older;
    uint32_t turn;
};

static struct asked *asked_new(struct cache_database *d, share_looked looked, share_told told)
{
    struct asked *asked = d->watch != NULL ? malloc(sizeof(*asked)) : NULL;
    if (asked != NULL)
        *asked = (struct asked){.database = d, .looked = looked, .told = told, .turn = d->share.turn};
    return asked;
}

static bool send(struct asked *asked, const char *sql, const char *parameter, control_done done)
{
    if (watch_ask(asked->database->watch, sql, parameter, done, asked))
        return true;
    free(asked);
    return false;
}

static void on_look(void *context, const struct pg_result *result, const char *error)
{
    struct asked asked = *(struct asked *)context;
    (void)error;
    free(context);
    if (result == NULL || PQntuples(result) != 1 || PQnfields(result) != 7) {
        asked.looked(asked.database, NULL);
        return;
    }
    const struct share_look look = {
        .database_oid = strtoull(PQgetvalue(result, 0, 0), NULL, 10),
        .server_start_us = strtoull(PQgetvalue(result, 0, 1), NULL, 10),
        .is_primary = is_true(result, 2),
        .has_lock = is_true(result, 3),
        .has_fence = is_true(result, 4),
        .is_fence_up = is_true(result, 5),
        .has_strangers = is_true(result, 6),
    };
    asked.looked(asked.database, &look);
}

bool share_ask_look(struct cache_database *d, uint64_t incarnation, share_looked done)
{
    char lock[16] = "0";
    struct asked *asked = asked_new(d, done, NULL);
    if (incarnation != 0)
        name_lock(incarnation, lock);
    return asked != NULL && send(asked, look_query, lock, on_look);
}

static void on_word(void *context, const struct pg_result *result, const char *error)
{
    struct asked asked = *(struct asked *)context;
    (void)error;
    free(context);
    asked.told(asked.database, result != NULL && PQntuples(result) == 1 && is_true(result, 0));
}

bool share_ask_lock(struct cache_database *d, uint64_t incarnation, share_told done)
{
    char lock[16];
    struct asked *asked = asked_new(d, NULL, done);
    name_lock(incarnation, lock);
    return asked != NULL && send(asked, lock_query, lock, on_word);
}

bool share_ask_fence(struct cache_database *d, bool is_up, share_told done)
{
    struct asked *asked = asked_new(d, NULL, done);
    return asked != NULL && send(asked, is_up ? raise_query : lower_query, "2", on_word);
}

static void on_older(void *context, const struct pg_result *result, const char *error)
{
    struct asked asked = *(struct asked *)context;
    (void)error;
    free(context);
    if (result != NULL && *asked.older == NULL && asked.turn == asked.database->share.turn)
        *asked.older = strdup(PQgetvalue(result, 0, 0));
    asked.told(asked.database, false);
}

static void on_left(void *context, const struct pg_result *result, const char *error)
{
    struct asked asked = *(struct asked *)context;
    (void)error;
    free(context);
    asked.told(asked.database, result != NULL && asked.turn == asked.database->share.turn &&
                                   strcmp(PQgetvalue(result, 0, 0), "0") == 0);
}

bool share_ask_quiet(struct cache_database *d, char **older, share_told done)
{
    struct asked *asked = asked_new(d, NULL, done);
    if (asked == NULL)
        return false;
    asked->older = older;
    return *older == NULL ? send(asked, watch_running_query(), NULL, on_older)
                          : send(asked, watch_left_query(), *older, on_left);
}
