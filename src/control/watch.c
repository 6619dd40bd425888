/*
 * watch: a chain of questions, one under way at a time.
 *
 *   down --up--> facts --primary--> quiet --older transactions ended--> look --> load … --> ready --tick-->
 * look/confirm ^ standby: again          ^ some left: again                    ^             |
 *                                                                                  '--changed, --'
 *                                                                                     invalidated
 * A check is a look while ready, between two confirmations so that belief goes on.
 * Losing the connection leads to down from everywhere. `unready` is sent when ready is left, by whatever way.
 */
#include "weir/control/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "weir/control/backends.h"
#include "weir/control/catalog.h"
#include "weir/control/catalog_load.h"
#include "weir/control/control.h"
#include "weir/net/loop.h"
#include "weir/util/clock.h"
#include "weir/util/log.h"

enum {
    INTERVAL_US = 1000000,
    AGAIN_US = 200000,   /* between looks for a primary, or for older transactions */
    LOOK_GAP_US = 50000, /* between two looks that were asked for */
    LOOK_SHARE = 20,     /* a look may take this part of the time */
    CHECK_SHARE = 4,     /* and this one, while checks are asked for */
};

enum step { STEP_DOWN, STEP_FACTS, STEP_QUIET, STEP_LOOK, STEP_LOAD, STEP_READY };

struct watch {
    char name[128]; /* for the log: "shop@db1" */
    struct loop *loop;
    struct control *control;
    struct watch_events events;
    struct watch_options options;
    enum step step;
    struct timer timer; /* the next step */
    bool is_asking;     /* a question of the chain is under way */
    bool is_invalid;    /* asked to look again */
    bool is_down_logged;
    char reason[160];
    struct catalog_facts facts;
    char *older;    /* virtual transaction ids to wait for; NULL before they are known */
    bool is_quiet;  /* no older transaction is left */
    char *look;     /* the last answer */
    char *new_look; /* the answer that led to loading */
    uint64_t look_began_us;
    uint64_t look_took_us;
    uint64_t next_look_us;
    uint64_t checks;       /* how often a look was asked for by watch_check */
    uint64_t check_looked; /* all up to this one are covered by the look under way, or by the last one */
    uint64_t check_told;
    struct catalog *catalog;
    struct catalog_builder *builder;
    size_t load_step;
    struct backends *backends;
};

static void on_timer(struct timer *timer);
static void look(struct watch *w);

/* --- states --- */

static void set_reason(struct watch *w, const char *reason)
{
    snprintf(w->reason, sizeof(w->reason), "%s", reason);
}

static void leave_ready(struct watch *w, enum step to, const char *reason)
{
    bool was_ready = w->step == STEP_READY;
    w->step = to;
    set_reason(w, reason);
    if (was_ready)
        w->events.unready(w->events.context, reason);
}

static void again_in(struct watch *w, uint64_t duration_us)
{
    timer_start(w->loop, &w->timer, duration_us, on_timer);
}

static bool ask(struct watch *w, const char *sql, const char *const *parameters, int count, control_done done)
{
    w->is_asking = control_query(w->control, sql, parameters, count, done, w);
    if (!w->is_asking)
        control_restart(w->control, "a question could not be queued");
    return w->is_asking;
}

/* Every answer begins here: false when the chain does not go on with it. */
static bool is_answered(struct watch *w, const struct pg_result *result, const char *error)
{
    w->is_asking = false;
    if (w->step == STEP_DOWN || control_get_state(w->control) != CONTROL_UP)
        return false;
    if (result != NULL)
        return true;
    log_write(LOG_LEVEL_WARNING, w->name, "control connection: %s", error);
    char reason[160];
    snprintf(reason, sizeof(reason), "a question to the catalog failed: %s", error);
    leave_ready(w, STEP_DOWN, reason);
    control_restart(w->control, reason);
    return false;
}

/* --- ready --- */

static void become_ready(struct watch *w)
{
    if (w->is_invalid) {
        look(w);
        return;
    }
    w->step = STEP_READY;
    set_reason(w, "");
    w->events.ready(w->events.context, w->catalog);
    again_in(w, 1); /* to confirm, and to try for the lock */
}

/* CASE keeps the order: the lock is tried for only while it is not held, or each try would count. */
static const char confirm_query[] =
    "SELECT pg_catalog.pg_is_in_recovery(), CASE WHEN $1 <> 't' THEN false "
    "WHEN EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND "
    "l.objsubid = 2 "
    "AND l.pid = pg_catalog.pg_backend_pid() AND l.classid = 1466263922 AND l.objid = 1) THEN true "
    "WHEN $2 = 't' THEN pg_catalog.pg_try_advisory_lock_shared(1466263922, 1) "
    "ELSE pg_catalog.pg_try_advisory_lock(1466263922, 1) END";

static void on_confirmed(void *context, const struct pg_result *result, const char *error)
{
    struct watch *w = context;
    if (!is_answered(w, result, error))
        return;
    if (w->is_invalid) {
        look(w);
        return;
    }
    if (PQntuples(result) != 1 || PQgetvalue(result, 0, 0)[0] != 'f') {
        leave_ready(w, STEP_DOWN, "the server has become a standby");
        control_restart(w->control, w->reason);
        return;
    }
    w->events.confirmed(w->events.context, PQgetvalue(result, 0, 1)[0] == 't');
    again_in(w, w->checks > w->check_looked ? 1 : w->options.interval_us);
}

static void confirm(struct watch *w)
{
    const char *const parameters[] = {w->options.wants_exact ? "t" : "f", w->options.is_shared ? "t" : "f"};
    ask(w, confirm_query, parameters, 2, on_confirmed);
}

/* --- loading --- */

static void on_loaded(void *context, const struct pg_result *result, const char *error);

static void abandon_load(struct watch *w)
{
    catalog_builder_free(w->builder);
    w->builder = NULL;
    free(w->new_look);
    w->new_look = NULL;
}

static void on_finished(void *context, const struct pg_result *result, const char *error)
{
    struct watch *w = context;
    if (!is_answered(w, result, error)) {
        abandon_load(w);
        return;
    }
    struct catalog *catalog = catalog_builder_finish(w->builder);
    w->builder = NULL;
    if (catalog == NULL) {
        abandon_load(w);
        leave_ready(w, STEP_DOWN, "the catalog is too large");
        control_restart(w->control, w->reason);
        return;
    }
    catalog_unref(w->catalog);
    w->catalog = catalog;
    free(w->look);
    w->look = w->new_look;
    w->new_look = NULL;
    log_write(LOG_LEVEL_DEBUG, w->name, "catalog loaded: %zu relations", catalog_relation_count(catalog));
    become_ready(w);
}

static void load_next(struct watch *w)
{
    if (w->load_step < catalog_load_steps())
        ask(w, catalog_load_query(w->load_step), NULL, 0, on_loaded);
    else
        ask(w, "COMMIT", NULL, 0, on_finished);
}

static void on_loaded(void *context, const struct pg_result *result, const char *error)
{
    struct watch *w = context;
    if (!is_answered(w, result, error)) {
        abandon_load(w);
        return;
    }
    if (!catalog_load_take(w->load_step++, result, w->builder)) {
        abandon_load(w);
        leave_ready(w, STEP_DOWN, "the catalog has an unexpected shape");
        control_restart(w->control, w->reason);
        return;
    }
    load_next(w);
}

/* The look inside the transaction is what the catalog read there is known by. */
static void on_load_looked(void *context, const struct pg_result *result, const char *error)
{
    struct watch *w = context;
    if (!is_answered(w, result, error))
        return;
    abandon_load(w);
    w->builder = catalog_builder_new(&w->facts);
    w->new_look = strdup(PQgetvalue(result, 0, 0));
    w->load_step = 0;
    if (w->builder != NULL && w->new_look != NULL) {
        load_next(w);
        return;
    }
    abandon_load(w);
    leave_ready(w, STEP_DOWN, "out of memory");
    control_restart(w->control, w->reason);
}

static void on_load_begun(void *context, const struct pg_result *result, const char *error)
{
    struct watch *w = context;
    if (is_answered(w, result, error))
        ask(w, catalog_look_query(), NULL, 0, on_load_looked);
}

static void load(struct watch *w)
{
    leave_ready(w, STEP_LOAD, "the catalog is being loaded");
    ask(w, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, 0, on_load_begun);
}

/* --- looking --- */

static void tell_checked(struct watch *w)
{
    if (w->step != STEP_READY || w->check_told == w->check_looked)
        return;
    w->check_told = w->check_looked;
    w->events.checked(w->events.context, w->check_told);
}

static void on_looked(void *context, const struct pg_result *result, const char *error)
{
    struct watch *w = context;
    if (!is_answered(w, result, error))
        return;
    uint64_t now = clock_now_us();
    w->look_took_us = now - w->look_began_us;
    w->next_look_us = now + w->look_took_us * LOOK_SHARE;
    bool is_changed = w->look == NULL || strcmp(w->look, PQgetvalue(result, 0, 0)) != 0;
    if (!is_changed)
        tell_checked(w);
    if (is_changed)
        load(w);
    else if (w->is_invalid)
        look(w);
    else if (w->step == STEP_READY)
        confirm(w);
    else
        become_ready(w);
}

/* At most so often; in between the watch is simply not ready. */
static void look(struct watch *w)
{
    uint64_t now = clock_now_us();
    bool is_asked_for = w->is_invalid || w->checks > w->check_looked;
    uint64_t gap = !w->is_invalid && w->look_took_us * CHECK_SHARE > LOOK_GAP_US
                       ? w->look_took_us * CHECK_SHARE
                       : LOOK_GAP_US;
    if (is_asked_for && now < w->look_began_us + gap) {
        again_in(w, gap);
        return;
    }
    w->is_invalid = false;
    w->check_looked = w->checks;
    w->look_began_us = now;
    ask(w, catalog_look_query(), NULL, 0, on_looked);
}

void watch_invalidate(struct watch *w)
{
    w->is_invalid = true;
    if (w->step != STEP_READY)
        return;
    leave_ready(w, STEP_LOOK, "definitions may have changed; the catalog is being looked at");
    if (!w->is_asking)
        look(w);
}

uint64_t watch_check(struct watch *w)
{
    if (w->step != STEP_READY) {
        w->is_invalid = true;
        return 0;
    }
    w->checks++;
    if (!w->is_asking)
        look(w);
    return w->checks;
}

/* --- older transactions --- */

#define RUNNING                                                                                              \
    "FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid "                        \
    "WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted "                            \
    "AND l.pid <> pg_catalog.pg_backend_pid() AND a.backend_type IS DISTINCT FROM 'autovacuum worker' "      \
    "AND a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = "                           \
    "pg_catalog.current_database())"

const char *watch_running_query(void)
{
    return "SELECT coalesce(pg_catalog.string_agg(l.virtualtransaction, ','), '') " RUNNING;
}

const char *watch_left_query(void)
{
    return "SELECT pg_catalog.count(*) " RUNNING
           " AND l.virtualtransaction = ANY (pg_catalog.string_to_array($1, ','))";
}

static void on_quiet(void *context, const struct pg_result *result, const char *error)
{
    struct watch *w = context;
    if (!is_answered(w, result, error))
        return;
    if (w->older == NULL) {
        w->older = strdup(PQgetvalue(result, 0, 0));
        again_in(w, 1);
    } else if (strcmp(PQgetvalue(result, 0, 0), "0") != 0) {
        again_in(w, AGAIN_US);
    } else {
        w->is_quiet = true;
        w->step = STEP_LOOK;
        look(w);
    }
}

static void wait_for_quiet(struct watch *w)
{
    w->step = STEP_QUIET;
    if (w->is_quiet) {
        w->step = STEP_LOOK;
        look(w);
        return;
    }
    set_reason(w, "transactions older than this process have not ended");
    const char *older = w->older;
    if (older == NULL)
        ask(w, watch_running_query(), NULL, 0, on_quiet);
    else
        ask(w, watch_left_query(), &older, 1, on_quiet);
}

/* --- the beginning --- */

static void on_identifier(void *context, const struct pg_result *result, const char *error)
{
    struct watch *w = context;
    (void)error;
    w->is_asking = false;
    if (w->step == STEP_DOWN || control_get_state(w->control) != CONTROL_UP)
        return;
    if (result != NULL && PQntuples(result) == 1)
        w->facts.system_identifier = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
    wait_for_quiet(w);
}

static void on_facts(void *context, const struct pg_result *result, const char *error)
{
    struct watch *w = context;
    if (!is_answered(w, result, error))
        return;
    w->facts = (struct catalog_facts){.system_identifier = 0};
    if (!catalog_facts_take(result, &w->facts) || w->facts.is_in_recovery) {
        set_reason(w, "the server is a standby");
        again_in(w, AGAIN_US);
        return;
    }
    ask(w, catalog_identifier_query(), NULL, 0, on_identifier);
}

static void on_up(void *context)
{
    struct watch *w = context;
    log_write(LOG_LEVEL_LOG, w->name, "control connection: up");
    w->is_down_logged = false;
    w->step = STEP_FACTS;
    set_reason(w, "the catalog has not been loaded yet");
    /* Another server may stand there now: nothing that was known counts. */
    free(w->look);
    w->look = NULL;
    w->is_invalid = false;
    ask(w, catalog_facts_query(), NULL, 0, on_facts);
}

static void on_down(void *context, const char *reason)
{
    struct watch *w = context;
    if (!w->is_down_logged)
        log_write(LOG_LEVEL_WARNING, w->name, "control connection: %s; nothing is cached without it", reason);
    w->is_down_logged = true;
    timer_stop(&w->timer);
    w->is_asking = false;
    leave_ready(w, STEP_DOWN, reason);
    abandon_load(w);
}

static void on_timer(struct timer *timer)
{
    struct watch *w = list_entry(timer, struct watch, timer);
    if (w->is_asking)
        return;
    switch (w->step) {
    case STEP_FACTS:
        ask(w, catalog_facts_query(), NULL, 0, on_facts);
        break;
    case STEP_QUIET:
        wait_for_quiet(w);
        break;
    case STEP_LOOK:
        look(w);
        break;
    case STEP_READY:
        if (clock_now_us() >= w->next_look_us || w->checks > w->check_looked)
            look(w);
        else
            confirm(w);
        break;
    case STEP_LOAD:
        look(w);
        break;
    case STEP_DOWN:
        break;
    }
}

void watch_await_backend(struct watch *w, uint32_t pid, void (*gone)(void *context), void *context)
{
    if (!backends_await(w->backends, pid, gone, context))
        log_write(LOG_LEVEL_ERROR, w->name, "out of memory: a write of unknown outcome stays marked");
}

bool watch_ask(struct watch *w, const char *sql, const char *parameter, control_done done, void *context)
{
    return control_query(w->control, sql, &parameter, parameter != NULL ? 1 : 0, done, context);
}

/* --- life --- */

static const char *option(const struct control_options *connection, const char *keyword)
{
    for (size_t i = 0; connection->keywords[i] != NULL; i++)
        if (strcmp(connection->keywords[i], keyword) == 0 && connection->values[i] != NULL)
            return connection->values[i];
    return "";
}

struct watch *watch_new(struct loop *loop, const struct control_options *connection,
                        const struct watch_options *options, const struct watch_events *events)
{
    struct watch *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    w->loop = loop;
    w->events = *events;
    w->options = *options;
    if (w->options.interval_us == 0)
        w->options.interval_us = INTERVAL_US;
    set_reason(w, "the control connection is not up yet");
    snprintf(w->name, sizeof(w->name), "%s@%s", option(connection, "dbname"), option(connection, "host"));
    const struct control_events control_events = {.up = on_up, .down = on_down, .context = w};
    w->control = control_new(loop, connection, &control_events);
    w->backends = w->control != NULL ? backends_new(loop, w->control) : NULL;
    if (w->backends == NULL) {
        control_free(w->control);
        free(w);
        return NULL;
    }
    return w;
}

void watch_free(struct watch *w)
{
    if (w == NULL)
        return;
    w->step = STEP_DOWN;
    timer_stop(&w->timer);
    control_free(w->control); /* answers what is under way */
    timer_stop(&w->timer);
    backends_free(w->backends);
    abandon_load(w);
    catalog_unref(w->catalog);
    free(w->older);
    free(w->look);
    free(w);
}

void watch_start(struct watch *w)
{
    control_start(w->control);
}

const char *watch_reason(const struct watch *w)
{
    return w->reason;
}
