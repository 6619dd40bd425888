/*
 * explain: EXPLAIN CACHE. Every worker is asked; the first that has a server of the pool, and so knows what
 * its sessions begin with, answers. While PostgreSQL is being asked about the statement, the round is made
 * again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "weir/cache/cache.h"
#include "weir/cache/reason.h"
#include "weir/pool/pool.h"
#include "weir/session/cached.h"
#include "weir/util/clock.h"

enum { AGAIN_US = 20000, PATIENCE_US = 5000000 };

struct explanation {
    bool is_known;
    enum cache_reason reason;
    char *user;
    char *reason_text;
    char *relations;
    char *generations;
    const char *found;
    bool is_stored;
    uint64_t ttl_us, calls, hits, misses, saved_us;
};

struct explain {
    struct app *app;
    struct list_node node; /* of those whose timer runs */
    struct timer timer;
    uint64_t until_us;
    char *database;
    char *user; /* NULL: any */
    struct buf text;
    admin_explained_fn *done;
    void *done_arg;
    struct explanation answers[]; /* of each worker */
};

static void forget(struct explanation *e)
{
    free(e->user);
    free(e->reason_text);
    free(e->relations);
    free(e->generations);
    *e = (struct explanation){.is_known = false};
}

static void explain_free(struct explain *x)
{
    for (int i = 0; i < x->app->worker_count; i++)
        forget(&x->answers[i]);
    free(x->database);
    free(x->user);
    buf_free(&x->text);
    free(x);
}

/* ---- on the workers ---- */

static void visit(struct session_worker *session, void *arg)
{
    struct explain *x = arg;
    int index = worker_index(session->worker);
    struct explanation *e = &x->answers[index];
    struct buf scratch = BUF_INIT;
    struct cache_template t;
    char reason[1024];
    forget(e);
    for (struct pool *pool = registry_pools(session->shared->registry); pool != NULL && !e->is_known;
         pool = pool->next) {
        struct pool_part *part = pool->parts[index];
        if (part == NULL || part->is_forgotten || strcmp(pool->database->name, x->database) != 0 ||
            (x->user != NULL && strcmp(pool->user->name, x->user) != 0) ||
            !cached_explain(part, buf_slice(&x->text), &t, &scratch))
            continue;
        cache_template_reason(&t, reason, sizeof(reason));
        *e = (struct explanation){.is_known = true,
                                  .reason = t.reason,
                                  .user = strdup(pool->user->name),
                                  .reason_text = strdup(reason),
                                  .relations = strdup(t.relations),
                                  .generations = strdup(t.generations),
                                  .found = t.found,
                                  .is_stored = t.is_stored,
                                  .ttl_us = t.ttl_us,
                                  .calls = t.calls,
                                  .hits = t.hits,
                                  .misses = t.misses,
                                  .saved_us = t.saved_us};
    }
    buf_free(&scratch);
}

/* ---- on the control thread ---- */

static void begin(struct explain *x);

static void refuse(struct explain *x, const char *sqlstate, const char *message)
{
    struct error error = ERROR_INIT;
    error_set_state(&error, sqlstate, "%s", message);
    x->done(x->done_arg, NULL, &error);
    explain_free(x);
}

static void on_timer(struct timer *timer)
{
    struct explain *x = list_entry(timer, struct explain, timer);
    list_remove(&x->app->explains, &x->node);
    begin(x);
}

/* What others have counted for the same user. */
static void add_others(const struct explain *x, const struct explanation *e, struct admin_explanation *sum)
{
    for (int i = 0; i < x->app->worker_count; i++) {
        const struct explanation *one = &x->answers[i];
        if (!one->is_known || one->user == NULL || strcmp(one->user, sum->user) != 0)
            continue;
        sum->calls += one->calls;
        sum->hits += one->hits;
        sum->misses += one->misses;
        sum->saved_us += one->saved_us;
    }
    sum->stored = e->is_stored ? "memory" : "no";
}

static void answer(struct explain *x, const struct explanation *e)
{
    struct admin_explanation explanation = {.database = x->database,
                                            .user = e->user != NULL ? e->user : "",
                                            .cacheable = e->reason == CACHE_REASON_NONE ? "yes" : "no",
                                            .reason = e->reason_text != NULL ? e->reason_text : "",
                                            .found = e->found,
                                            .relations = e->relations != NULL ? e->relations : "",
                                            .generations = e->generations != NULL ? e->generations : "",
                                            .ttl_us = e->ttl_us};
    add_others(x, e, &explanation);
    x->done(x->done_arg, &explanation, NULL);
    explain_free(x);
}

static void visited(struct app *app, void *arg, bool is_complete)
{
    struct explain *x = arg;
    const struct explanation *e = NULL;
    for (int i = 0; i < app->worker_count && e == NULL; i++)
        if (x->answers[i].is_known)
            e = &x->answers[i];
    if (!is_complete)
        refuse(x, "53200", "out of memory");
    else if (e == NULL)
        refuse(x, "55000",
               "no such user has had a server of this database yet: let it log in and ask something first");
    else if (e->reason == CACHE_REASON_PENDING && clock_now_us() < x->until_us && app->console != NULL) {
        list_push_back(&app->explains, &x->node);
        timer_start(worker_loop(app->control), &x->timer, AGAIN_US, on_timer);
    } else {
        answer(x, e);
    }
}

void app_end_explains(struct app *app)
{
    struct list_node *node;
    while ((node = list_pop_front(&app->explains)) != NULL) {
        struct explain *x = list_entry(node, struct explain, node);
        timer_stop(&x->timer);
        refuse(x, "57P01", "the process is stopping");
    }
}

static void begin(struct explain *x)
{
    app_round(x->app, visit, visited, x);
}

/* The one database that is cached; NULL when there is none, or more. */
static const char *only_database(const struct app *app)
{
    const char *found = NULL;
    for (size_t i = 0; i < config_database_count(app->config); i++) {
        const struct config_database *database = config_database_at(app->config, i);
        if (database->is_fallback || config_strongest_cache_mode(app->config, database) == CACHE_OFF)
            continue;
        if (found != NULL)
            return NULL;
        found = database->name;
    }
    return found;
}

void app_explain(void *arg, const struct admin_explain *question, admin_explained_fn *done, void *done_arg)
{
    struct app *app = arg;
    struct error error = ERROR_INIT;
    const char *database = question->database != NULL ? question->database : only_database(app);
    size_t size = sizeof(struct explain) + (size_t)app->worker_count * sizeof(struct explanation);
    struct explain *x = NULL;
    if (app->shared.cache == NULL)
        error_set(&error, "the cache is off");
    else if (database == NULL)
        error_set(&error, "say which database: EXPLAIN CACHE database SELECT ...");
    else if ((x = calloc(1, size)) == NULL)
        error_set(&error, "out of memory");
    if (x == NULL) {
        done(done_arg, NULL, &error);
        return;
    }
    x->app = app;
    x->until_us = clock_now_us() + PATIENCE_US;
    x->database = strdup(database);
    x->user = question->user != NULL ? strdup(question->user) : NULL;
    buf_append_slice(&x->text, question->text);
    x->done = done;
    x->done_arg = done_arg;
    if (x->database == NULL || (question->user != NULL && x->user == NULL) || buf_failed(&x->text))
        refuse(x, "53200", "out of memory");
    else
        begin(x);
}
