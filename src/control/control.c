/*
 * control: PQconnectStart … PQconnectPoll, then PQsendQueryParams, driven by one libevent event per socket.
 *
 * libpq may change the socket while it connects (several addresses), so the event is made anew for every step
 * until the connection is up. Everything that goes wrong ends in fail(), which is also the only way back to
 * waiting.
 */
#include "weir/control/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <libpq-fe.h>

#include "weir/net/loop.h"
#include "weir/util/clock.h"
#include "weir/util/list.h"

enum {
    QUEUE_MAX = 64,
    PARAMETERS_MAX = 16,
    STREAM_TURN = 512, /* messages of a stream that are taken before others get their turn */
};

struct query {
    struct list_node node;
    control_done done;
    control_taken taken; /* of what begins a stream */
    void *context;
    char *sql;
    char *parameters[PARAMETERS_MAX];
    int count;
};

struct control {
    struct loop *loop;
    char **keywords;
    char **values;
    struct control_options options;
    struct control_events events;
    enum control_state state;
    PGconn *connection;
    struct event *io;
    struct event *timer; /* of connecting, of the query, or of waiting: never two at once */
    struct list queue;   /* the first one is under way when is_busy */
    bool is_busy;
    PGresult *result;    /* first result of the query under way */
    control_taken taken; /* set while the connection is a stream */
    void *taken_context;
    uint64_t retry_us;
    uint64_t random;
    char error[256];
    char sqlstate[6]; /* of the answer being told */
};

static void on_io(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);
static void connect_now(struct control *c);

/* --- life --- */

static void free_texts(char **texts)
{
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++) {
        explicit_bzero(texts[i], strlen(texts[i])); /* one of them is a password */
        free(texts[i]);
    }
    free(texts);
}

/* Copies keywords and values, in front of them an application_name, which a later one overrides. */
static bool copy_options(struct control *c, const struct control_options *options)
{
    size_t count = 0;
    while (options->keywords[count] != NULL)
        count++;
    c->keywords = calloc(count + 3, sizeof(char *));
    c->values = calloc(count + 3, sizeof(char *));
    if (c->keywords == NULL || c->values == NULL)
        return false;
    c->keywords[0] = strdup("application_name");
    c->values[0] = strdup("weir control");
    bool is_good = c->keywords[0] != NULL && c->values[0] != NULL;
    for (size_t i = 0; is_good && i < count; i++) {
        c->keywords[i + 1] = strdup(options->keywords[i]);
        c->values[i + 1] = strdup(options->values[i] != NULL ? options->values[i] : "");
        is_good = c->keywords[i + 1] != NULL && c->values[i + 1] != NULL;
    }
    return is_good;
}

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value > 0 ? value : otherwise;
}

struct control *control_new(struct loop *loop, const struct control_options *options,
                            const struct control_events *events)
{
    struct control *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->loop = loop;
    c->events = *events;
    c->options = *options;
    c->options.connect_timeout_us = or_default(options->connect_timeout_us, 10 * US_PER_SECOND);
    c->options.query_timeout_us = or_default(options->query_timeout_us, 10 * US_PER_SECOND);
    c->options.retry_min_us = or_default(options->retry_min_us, 100 * US_PER_MS);
    c->options.retry_max_us = or_default(options->retry_max_us, 15 * US_PER_SECOND);
    c->retry_us = c->options.retry_min_us;
    c->random = options->seed | 1;
    list_init(&c->queue);
    c->timer = evtimer_new(loop_base(loop), on_timer, c);
    if (c->timer == NULL || !copy_options(c, options)) {
        control_free(c);
        return NULL;
    }
    return c;
}

static void free_query(struct query *q)
{
    free(q->sql);
    for (int i = 0; i < q->count; i++)
        free(q->parameters[i]);
    free(q);
}

/* Takes the connection down and tells every query; sends no event. */
static void close_connection(struct control *c, const char *reason)
{
    if (c->io != NULL)
        event_free(c->io);
    c->io = NULL;
    evtimer_del(c->timer);
    if (c->connection != NULL)
        PQfinish(c->connection);
    c->connection = NULL;
    PQclear(c->result);
    c->result = NULL;
    c->is_busy = false;
    c->sqlstate[0] = '\0';
    c->taken = NULL;
    struct list lost;
    list_init(&lost);
    while (!list_is_empty(&c->queue))
        list_push_back(&lost, list_pop_front(&c->queue));
    for (struct list_node *node; (node = list_pop_front(&lost)) != NULL;) {
        struct query *q = list_entry(node, struct query, node);
        q->done(q->context, NULL, reason);
        free_query(q);
    }
}

void control_free(struct control *c)
{
    if (c == NULL)
        return;
    c->state = CONTROL_IDLE;
    if (c->timer != NULL) {
        close_connection(c, "the control connection is being closed");
        event_free(c->timer);
    }
    free_texts(c->keywords);
    free_texts(c->values);
    free(c);
}

void control_stop(struct control *c)
{
    c->state = CONTROL_IDLE;
    close_connection(c, "the control connection is being closed");
}

static void start_timer(struct control *c, uint64_t duration_us)
{
    struct timeval tv = {(time_t)(duration_us / US_PER_SECOND), (suseconds_t)(duration_us % US_PER_SECOND)};
    evtimer_add(c->timer, &tv);
}

/* Up to a quarter more, so that many processes do not knock at once. */
static uint64_t with_jitter(struct control *c, uint64_t duration_us)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return duration_us + c->random % (duration_us / 4 + 1);
}

static void fail(struct control *c, const char *reason)
{
    char text[sizeof(c->error)];
    strncpy(text, reason, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (size_t len = strlen(text); len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '); len--)
        text[len - 1] = '\0';
    memcpy(c->error, text, sizeof(text));
    c->state = CONTROL_WAITING;
    close_connection(c, c->error);
    start_timer(c, with_jitter(c, c->retry_us));
    c->retry_us = c->retry_us * 2 < c->options.retry_max_us ? c->retry_us * 2 : c->options.retry_max_us;
    if (c->events.down != NULL)
        c->events.down(c->events.context, c->error);
}

static bool watch_socket(struct control *c, short what)
{
    if (c->io != NULL)
        event_free(c->io);
    c->io = event_new(loop_base(c->loop), PQsocket(c->connection), (short)(what | EV_PERSIST), on_io, c);
    return c->io != NULL && event_add(c->io, NULL) == 0;
}

/* --- connecting --- */

bool control_knows(const char *keyword)
{
    bool is_known = false;
    PQconninfoOption *options = PQconndefaults();
    for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
        is_known = is_known || strcmp(o->keyword, keyword) == 0;
    PQconninfoFree(options);
    return is_known;
}

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg, (void)result;
}

static void connect_now(struct control *c)
{
    c->state = CONTROL_CONNECTING;
    c->connection = PQconnectStartParams((const char *const *)c->keywords, (const char *const *)c->values, 0);
    if (c->connection == NULL) {
        fail(c, "out of memory");
        return;
    }
    if (PQstatus(c->connection) == CONNECTION_BAD) {
        fail(c, PQerrorMessage(c->connection));
        return;
    }
    PQsetNoticeReceiver(c->connection, ignore_notice, NULL);
    start_timer(c, c->options.connect_timeout_us);
    if (!watch_socket(c, EV_WRITE))
        fail(c, "no event for the control connection");
}

static void connected(struct control *c)
{
    evtimer_del(c->timer);
    c->state = CONTROL_UP;
    c->retry_us = c->options.retry_min_us;
    c->error[0] = '\0';
    PQsetnonblocking(c->connection, 1);
    if (!watch_socket(c, EV_READ))
        fail(c, "no event for the control connection");
    else if (c->events.up != NULL)
        c->events.up(c->events.context);
}

static void go_on_connecting(struct control *c)
{
    bool is_watched = true;
    switch (PQconnectPoll(c->connection)) {
    case PGRES_POLLING_OK:
        connected(c);
        return;
    case PGRES_POLLING_READING:
        is_watched = watch_socket(c, EV_READ);
        break;
    case PGRES_POLLING_WRITING:
        is_watched = watch_socket(c, EV_WRITE);
        break;
    default:
        fail(c, PQerrorMessage(c->connection));
        return;
    }
    if (!is_watched)
        fail(c, "no event for the control connection");
}

void control_start(struct control *c)
{
    if (c->state == CONTROL_IDLE)
        connect_now(c);
}

void control_restart(struct control *c, const char *reason)
{
    if (c->state == CONTROL_CONNECTING || c->state == CONTROL_UP) {
        c->retry_us = c->options.retry_min_us;
        fail(c, reason);
    }
}

/* --- queries --- */

static struct query *query_new(const char *sql, const char *const *parameters, int count)
{
    struct query *q = calloc(1, sizeof(*q));
    if (q == NULL)
        return NULL;
    q->count = count;
    q->sql = strdup(sql);
    bool is_good = q->sql != NULL;
    for (int i = 0; is_good && i < count; i++) {
        q->parameters[i] = parameters[i] != NULL ? strdup(parameters[i]) : NULL;
        is_good = q->parameters[i] != NULL || parameters[i] == NULL;
    }
    if (!is_good) {
        free_query(q);
        return NULL;
    }
    return q;
}

/* True unless the connection had to be given up. */
static bool flush(struct control *c)
{
    int left = PQflush(c->connection);
    if (left < 0) {
        fail(c, PQerrorMessage(c->connection));
        return false;
    }
    if (!watch_socket(c, (short)(left > 0 ? EV_READ | EV_WRITE : EV_READ))) {
        fail(c, "no event for the control connection");
        return false;
    }
    return true;
}

static bool send_query(struct control *c, const struct query *q)
{
    if (c->options.is_replication)
        return PQsendQuery(c->connection, q->sql) == 1;
    return PQsendQueryParams(c->connection, q->sql, q->count, NULL, (const char *const *)q->parameters, NULL,
                             NULL, 0) == 1;
}

static void send_next(struct control *c)
{
    if (c->is_busy || c->state != CONTROL_UP || list_is_empty(&c->queue))
        return;
    struct query *q = list_entry(list_first(&c->queue), struct query, node);
    c->is_busy = true;
    if (!send_query(c, q)) {
        fail(c, PQerrorMessage(c->connection));
        return;
    }
    start_timer(c, c->options.query_timeout_us);
    flush(c);
}

static bool enqueue(struct control *c, struct query *q)
{
    list_push_back(&c->queue, &q->node);
    if (!c->is_busy) {
        /* From the loop, not from here: a failure must not call back into the caller. */
        start_timer(c, 0);
    }
    return true;
}

bool control_query(struct control *c, const char *sql, const char *const *parameters, int count,
                   control_done done, void *context)
{
    if (c->state != CONTROL_UP || c->taken != NULL || c->queue.count >= QUEUE_MAX || count > PARAMETERS_MAX)
        return false;
    struct query *q = query_new(sql, parameters, count);
    if (q == NULL)
        return false;
    q->done = done;
    q->context = context;
    return enqueue(c, q);
}

bool control_stream(struct control *c, const char *sql, control_done done, control_taken taken, void *context)
{
    if (c->state != CONTROL_UP || c->taken != NULL || !list_is_empty(&c->queue))
        return false;
    struct query *q = query_new(sql, NULL, 0);
    if (q == NULL)
        return false;
    q->done = done;
    q->taken = taken;
    q->context = context;
    return enqueue(c, q);
}

static void finish_query(struct control *c)
{
    struct query *q = list_entry(list_pop_front(&c->queue), struct query, node);
    PGresult *result = c->result;
    c->result = NULL;
    c->is_busy = false;
    evtimer_del(c->timer);
    ExecStatusType status = PQresultStatus(result);
    const char *sqlstate = result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    snprintf(c->sqlstate, sizeof(c->sqlstate), "%s", sqlstate != NULL ? sqlstate : "");
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
        q->done(q->context, result, NULL);
    else
        q->done(q->context, NULL, result != NULL ? PQresultErrorMessage(result) : "no result");
    PQclear(result);
    free_query(q);
    send_next(c);
}

/* --- a stream --- */

/* What the server says last, or libpq. */
static void fail_stream(struct control *c)
{
    PGresult *result = PQgetResult(c->connection);
    const char *said = result != NULL ? PQresultErrorMessage(result) : "";
    fail(c, said[0] != '\0' ? said : "the server has ended the stream");
    PQclear(result);
}

static void read_stream(struct control *c)
{
    char *bytes;
    int len = 1;
    for (int turn = 0; turn < STREAM_TURN && c->taken != NULL; turn++) {
        len = PQgetCopyData(c->connection, &bytes, 1);
        if (len <= 0)
            break;
        c->taken(c->taken_context, slice_make(bytes, (size_t)len));
        PQfreemem(bytes);
    }
    if (c->taken == NULL)
        return;
    if (len < 0) {
        fail_stream(c);
        return;
    }
    c->taken(c->taken_context, SLICE_EMPTY);
    /* The socket may be empty while libpq still has messages. */
    if (len > 0 && c->taken != NULL)
        event_active(c->io, EV_READ, 0);
}

static void begin_stream(struct control *c, PGresult *result)
{
    struct query *q = list_entry(list_pop_front(&c->queue), struct query, node);
    c->is_busy = false;
    evtimer_del(c->timer);
    c->taken = q->taken;
    c->taken_context = q->context;
    q->done(q->context, result, NULL);
    free_query(q);
    if (c->taken != NULL)
        read_stream(c);
}

bool control_stream_send(struct control *c, struct slice message)
{
    if (c->taken == NULL)
        return false;
    if (PQputCopyData(c->connection, (const char *)message.data, (int)message.len) < 0) {
        fail(c, PQerrorMessage(c->connection));
        return false;
    }
    return flush(c);
}

/* --- answers --- */

static bool begins_stream(const struct control *c, const PGresult *result)
{
    const struct query *q = list_entry(list_first(&c->queue), struct query, node);
    return q->taken != NULL && PQresultStatus(result) == PGRES_COPY_BOTH;
}

static void read_results(struct control *c)
{
    if (PQconsumeInput(c->connection) != 1) {
        fail(c, PQerrorMessage(c->connection));
        return;
    }
    if (c->taken != NULL) {
        read_stream(c);
        return;
    }
    for (PGnotify *n; (n = PQnotifies(c->connection)) != NULL;)
        PQfreemem(n);
    while (c->is_busy && PQisBusy(c->connection) == 0) {
        PGresult *result = PQgetResult(c->connection);
        if (result == NULL) {
            finish_query(c);
            return;
        }
        if (begins_stream(c, result)) {
            begin_stream(c, result);
            PQclear(result);
            return;
        }
        if (c->result == NULL)
            c->result = result;
        else
            PQclear(result);
        if (PQstatus(c->connection) == CONNECTION_BAD) {
            fail(c, PQerrorMessage(c->connection));
            return;
        }
    }
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct control *c = arg;
    if (c->state == CONTROL_CONNECTING) {
        go_on_connecting(c);
        return;
    }
    if (c->state == CONTROL_UP && (what & EV_WRITE) != 0 && !flush(c))
        return;
    if (c->state == CONTROL_UP && (what & EV_READ) != 0)
        read_results(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct control *c = arg;
    if (c->state == CONTROL_WAITING)
        connect_now(c);
    else if (c->state == CONTROL_CONNECTING)
        fail(c, "connecting took too long");
    else if (c->state == CONTROL_UP && c->is_busy)
        fail(c, "a query took too long");
    else if (c->state == CONTROL_UP)
        send_next(c);
}

/* --- facts --- */

enum control_state control_get_state(const struct control *c)
{
    return c->state;
}

const char *control_sqlstate(const struct control *c)
{
    return c->sqlstate;
}

const char *control_last_error(const struct control *c)
{
    return c->error;
}

uint32_t control_backend_pid(const struct control *c)
{
    return c->state == CONTROL_UP ? (uint32_t)PQbackendPID(c->connection) : 0;
}

const char *control_parameter(const struct control *c, const char *name)
{
    return c->state == CONTROL_UP ? PQparameterStatus(c->connection, name) : NULL;
}
