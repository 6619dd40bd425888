/*
 * analyst: a queue of questions; the first is under way.
 *
 *   begin --> setup --> prepare --> prepared --> create --> trees --> names --> rollback --> deallocate -->
 * told
 *               '----------'------------'----------'---------'---------' what fails goes to rollback at once
 *
 * The last two are always sent: a prepared statement outlives its transaction.
 */
#include "weir/control/analyst.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "analyst_sql.h"
#include "weir/control/control.h"
#include "weir/net/loop.h"
#include "weir/util/clock.h"
#include "weir/util/list.h"

enum { IDLE_US = 60000000 }; /* without a question for so long the connection is closed */

enum step {
    STEP_BEGIN,
    STEP_SETUP,
    STEP_PREPARE,
    STEP_PREPARED,
    STEP_CREATE,
    STEP_TREES,
    STEP_NAMES,
    STEP_ROLLBACK,
    STEP_DEALLOCATE,
};

struct job {
    struct list_node node;
    struct analyst_question question; /* of own copies */
    char *texts;                      /* behind the question's pointers */
    uint32_t *types;
    analyst_done done;
    void *context;
};

struct analyst {
    struct loop *loop;
    struct control *control;
    struct list jobs;
    bool is_busy; /* the first job is under way */
    enum step step;
    struct findings findings;
    uint64_t gap_us;  /* between the beginnings of two questions */
    uint64_t next_us; /* not before */
    struct timer pace;
    struct timer idle;
};

static void go_on(struct analyst *a);

/* --- jobs --- */

static void job_free(struct job *job)
{
    free(job->texts);
    free(job->types);
    free(job);
}

static const char *keep(char **at, const char *text)
{
    if (text == NULL)
        return NULL;
    size_t size = strlen(text) + 1;
    const char *copy = memcpy(*at, text, size);
    *at += size;
    return copy;
}

static size_t size_of(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

static struct job *job_new(const struct analyst_question *q)
{
    struct job *job = calloc(1, sizeof(*job));
    if (job == NULL)
        return NULL;
    job->question = *q;
    job->texts =
        malloc(size_of(q->text) + size_of(q->role) + size_of(q->search_path) + size_of(q->client_encoding));
    job->types = calloc(q->type_count + 1, sizeof(*q->types));
    if (job->texts == NULL || job->types == NULL) {
        job_free(job);
        return NULL;
    }
    char *at = job->texts;
    job->question.text = keep(&at, q->text);
    job->question.role = keep(&at, q->role);
    job->question.search_path = keep(&at, q->search_path);
    job->question.client_encoding = keep(&at, q->client_encoding);
    if (q->type_count > 0)
        memcpy(job->types, q->types, q->type_count * sizeof(*q->types));
    job->question.types = job->types;
    return job;
}

static struct job *current(const struct analyst *a)
{
    return list_entry(list_first(&a->jobs), struct job, node);
}

static void fail(struct analyst *a, const char *step, const char *why)
{
    if (a->findings.failure[0] != '\0')
        return;
    int len = snprintf(a->findings.failure, sizeof(a->findings.failure), "%s%s", step, why);
    size_t end = len < (int)sizeof(a->findings.failure) ? (size_t)len : sizeof(a->findings.failure) - 1;
    for (; end > 0 && a->findings.failure[end - 1] == '\n'; end--)
        a->findings.failure[end - 1] = '\0';
    for (char *at = a->findings.failure; *at != '\0';
         at++) /* one line: DETAIL and LINE are of no use to a reader */
        if (*at == '\n')
            *at = '\0';
}

static void finish(struct analyst *a)
{
    struct job *job = list_entry(list_pop_front(&a->jobs), struct job, node);
    a->is_busy = false;
    job->done(job->context, analyst_conclude(&a->findings));
    findings_free(&a->findings);
    a->findings = (struct findings){.view = 0};
    job_free(job);
}

/* --- the conversation --- */

/* What an error in a step means, in front of PostgreSQL's own words. */
static const char *const step_words[] = {
    [STEP_BEGIN] = "no transaction for an analysis: ",
    [STEP_SETUP] = "the control user cannot act as the session's role: ",
    [STEP_PREPARE] = "PostgreSQL does not take the statement: ",
    [STEP_PREPARED] = "",
    [STEP_CREATE] = "no temporary view for an analysis: ",
    [STEP_TREES] = "",
    [STEP_NAMES] = "",
    [STEP_ROLLBACK] = "",
    [STEP_DEALLOCATE] = "",
};

static bool take(struct analyst *a, const struct pg_result *result)
{
    switch (a->step) {
    case STEP_SETUP:
        return analyst_take_setup(&a->findings, result);
    case STEP_PREPARED:
        return analyst_take_prepared(&a->findings, result);
    case STEP_TREES:
        return analyst_take_trees(&a->findings, result);
    case STEP_NAMES:
        return analyst_take_names(&a->findings, result);
    default:
        return true;
    }
}

static void on_answer(void *context, const struct pg_result *result, const char *error)
{
    struct analyst *a = context;
    if (result == NULL)
        fail(a, control_sqlstate(a->control)[0] != '\0' ? step_words[a->step] : "", error);
    if (control_get_state(a->control) !=
        CONTROL_UP) { /* the connection is gone, and the transaction with it */
        finish(a);
        return;
    }
    bool is_good = result != NULL && take(a, result);
    if (a->step >= STEP_ROLLBACK || is_good)
        a->step++;
    else
        a->step = STEP_ROLLBACK;
    if (a->step > STEP_DEALLOCATE)
        finish(a);
    go_on(a);
}

static bool send(struct analyst *a, const char *sql, const char *const *parameters, int count)
{
    return sql != NULL && control_query(a->control, sql, parameters, count, on_answer, a);
}

static bool send_setup(struct analyst *a, const struct analyst_question *q)
{
    struct buf types = BUF_INIT;
    const char *separator = "{";
    for (size_t i = 0; i < q->type_count; i++, separator = ",")
        buf_printf(&types, "%s%u", separator, q->types[i]);
    buf_append_str(&types, q->type_count > 0 ? "}" : "{}");
    const char *parameters[] = {q->search_path, q->role, q->client_encoding != NULL ? q->client_encoding : "",
                                buf_text(&types)};
    bool is_sent = parameters[3] != NULL && send(a, analyst_setup, parameters, 4);
    buf_free(&types);
    return is_sent;
}

static bool send_built(struct analyst *a,
                       bool (*build)(struct buf *, const struct analyst_question *, const struct findings *))
{
    struct buf sql = BUF_INIT;
    bool is_sent = build(&sql, &current(a)->question, &a->findings) && send(a, buf_text(&sql), NULL, 0);
    buf_free(&sql);
    return is_sent;
}

static bool send_names(struct analyst *a)
{
    struct buf arrays[3] = {BUF_INIT, BUF_INIT, BUF_INIT};
    static const enum node_list lists[] = {NODE_FUNCTIONS, NODE_OPERATORS, NODE_TYPES};
    const char *parameters[3];
    bool is_sent = true;
    for (size_t i = 0; i < 3; i++) {
        is_sent = is_sent && analyst_oids(&arrays[i], &a->findings, lists[i]);
        parameters[i] = buf_text(&arrays[i]);
    }
    is_sent = is_sent && send(a, analyst_names, parameters, 3);
    for (size_t i = 0; i < 3; i++)
        buf_free(&arrays[i]);
    return is_sent;
}

static bool send_step(struct analyst *a)
{
    switch (a->step) {
    case STEP_BEGIN:
        return send(a, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", NULL, 0);
    case STEP_SETUP:
        return send_setup(a, &current(a)->question);
    case STEP_PREPARE:
        return send_built(a, analyst_prepare);
    case STEP_PREPARED:
        return send(a, analyst_prepared, NULL, 0);
    case STEP_CREATE:
        return send_built(a, analyst_create);
    case STEP_TREES:
        return send(a, analyst_trees, NULL, 0);
    case STEP_NAMES:
        return send_names(a);
    case STEP_ROLLBACK:
        return send(a, "ROLLBACK", NULL, 0);
    default:
        return send(a, "DEALLOCATE ALL", NULL, 0);
    }
}

static void on_pace(struct timer *timer)
{
    go_on(list_entry(timer, struct analyst, pace));
}

static void on_idle(struct timer *timer)
{
    struct analyst *a = list_entry(timer, struct analyst, idle);
    if (list_is_empty(&a->jobs))
        control_stop(a->control);
}

/* The next thing to be done, if it can be done now; a step that cannot be sent gives the question up. */
static void go_on(struct analyst *a)
{
    if (list_is_empty(&a->jobs)) {
        timer_start(a->loop, &a->idle, IDLE_US, on_idle);
        return;
    }
    timer_stop(&a->idle);
    control_start(a->control);
    if (control_get_state(a->control) != CONTROL_UP || timer_is_running(&a->pace))
        return;
    uint64_t now = clock_now_us();
    if (!a->is_busy && now < a->next_us) {
        timer_start(a->loop, &a->pace, a->gap_us, on_pace);
        return;
    }
    if (!a->is_busy) {
        a->is_busy = true;
        a->step = STEP_BEGIN;
        a->next_us = now + a->gap_us;
    }
    while (!send_step(a)) {
        fail(a, "", "the statement cannot be put into a view");
        if (a->step >= STEP_ROLLBACK) {
            control_restart(a->control, "an analysis could not be ended");
            return;
        }
        a->step = STEP_ROLLBACK;
    }
}

static void on_up(void *context)
{
    go_on(context);
}

/* The one under way has been told by its query. */
static void on_down(void *context, const char *reason)
{
    struct analyst *a = context;
    while (!list_is_empty(&a->jobs)) {
        fail(a, "no connection for analyses: ", reason);
        finish(a);
    }
    control_stop(a->control); /* until there is something to ask again */
}

/* --- life --- */

/* The connection as given, under a name of its own. */
static struct control *connect_as(struct loop *loop, const struct control_options *connection,
                                  const struct control_events *events)
{
    enum { KEYWORDS_MAX = 30 };
    const char *keywords[KEYWORDS_MAX + 2] = {"application_name"},
                                        *values[KEYWORDS_MAX + 2] = {"weir analysis"};
    for (size_t i = 0; i < KEYWORDS_MAX && connection->keywords[i] != NULL; i++) {
        keywords[i + 1] = connection->keywords[i];
        values[i + 1] = connection->values[i];
    }
    struct control_options options = *connection;
    options.keywords = keywords;
    options.values = values;
    return control_new(loop, &options, events);
}

struct analyst *analyst_new(struct loop *loop, const struct control_options *connection, unsigned per_second)
{
    struct analyst *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return NULL;
    a->loop = loop;
    a->gap_us = US_PER_SECOND / (per_second > 0 ? per_second : 1);
    list_init(&a->jobs);
    const struct control_events events = {.up = on_up, .down = on_down, .context = a};
    a->control = connect_as(loop, connection, &events);
    if (a->control == NULL) {
        free(a);
        return NULL;
    }
    return a;
}

void analyst_free(struct analyst *a)
{
    if (a == NULL)
        return;
    control_stop(a->control); /* tells the one under way */
    on_down(a, "it is being closed");
    timer_stop(&a->pace);
    timer_stop(&a->idle);
    control_free(a->control);
    findings_free(&a->findings);
    free(a);
}

bool analyst_ask(struct analyst *a, const struct analyst_question *question, analyst_done done, void *context)
{
    struct job *job = a->jobs.count < ANALYST_QUEUE_MAX ? job_new(question) : NULL;
    if (job == NULL)
        return false;
    job->done = done;
    job->context = context;
    list_push_back(&a->jobs, &job->node);
    if (a->jobs.count == 1)
        timer_start(a->loop, &a->pace, 1, on_pace);
    return true;
}
