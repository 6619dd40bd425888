/*
 * backends: one question for all that are waited for, a fifth of a second apart, while there are any.
 *
 * A process id may be used again: where the role may see when a backend began, another beginning means
 * another backend; where it may not, the new one is waited for as well.
 */
#include "weir/control/backends.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "weir/control/control.h"
#include "weir/net/loop.h"
#include "weir/util/buf.h"
#include "weir/util/list.h"

enum { AGAIN_US = 200000 };

struct awaited {
    struct list_node node;
    uint32_t pid;
    bool is_asked;  /* about, in the question under way */
    char start[40]; /* of the backend as first seen; "" before, or where it may not be seen */
    void (*gone)(void *context);
    void *context;
};

struct backends {
    struct loop *loop;
    struct control *control;
    struct timer timer;
    struct list awaited;
    bool is_asking;
};

static void on_timer(struct timer *timer);

struct backends *backends_new(struct loop *loop, struct control *control)
{
    struct backends *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return NULL;
    b->loop = loop;
    b->control = control;
    list_init(&b->awaited);
    return b;
}

void backends_free(struct backends *b)
{
    if (b == NULL)
        return;
    timer_stop(&b->timer);
    for (struct list_node *node; (node = list_pop_front(&b->awaited)) != NULL;)
        free(list_entry(node, struct awaited, node));
    free(b);
}

/* Of the backend with this process id; NULL when there is none, "" when it may not be seen. */
static const char *find_start(const PGresult *result, uint32_t pid)
{
    for (int row = 0; row < PQntuples(result); row++)
        if ((uint32_t)strtoul(PQgetvalue(result, row, 0), NULL, 10) == pid)
            return PQgetvalue(result, row, 1);
    return NULL;
}

static void settle(struct backends *b, struct awaited *a, const PGresult *result)
{
    const char *start = find_start(result, a->pid);
    bool is_same = start != NULL && (a->start[0] == '\0' || start[0] == '\0' || strcmp(a->start, start) == 0);
    if (is_same) {
        snprintf(a->start, sizeof(a->start), "%s", start);
        return;
    }
    list_remove(&b->awaited, &a->node);
    a->gone(a->context);
    free(a);
}

static void on_answer(void *context, const struct pg_result *result, const char *error)
{
    struct backends *b = context;
    (void)error;
    b->is_asking = false;
    if (result != NULL) {
        list_for_each(&b->awaited, node)
        {
            struct awaited *a = list_entry(node, struct awaited, node);
            if (a->is_asked)
                settle(b, a, result);
        }
    }
    if (!list_is_empty(&b->awaited))
        timer_start(b->loop, &b->timer, AGAIN_US, on_timer);
}

static bool ask(struct backends *b)
{
    struct buf pids = BUF_INIT;
    bool is_asked = false;
    buf_append_str(&pids, "{");
    list_for_each(&b->awaited, node)
    {
        struct awaited *a = list_entry(node, struct awaited, node);
        buf_printf(&pids, "%s%u", pids.len > 1 ? "," : "", a->pid);
        a->is_asked = true;
    }
    buf_append_str(&pids, "}");
    const char *parameter = buf_text(&pids);
    if (parameter != NULL)
        is_asked =
            control_query(b->control,
                          "SELECT pid, backend_start::pg_catalog.text FROM pg_catalog.pg_stat_activity "
                          "WHERE pid = ANY ($1::pg_catalog.int4[])",
                          &parameter, 1, on_answer, b);
    buf_free(&pids);
    return is_asked;
}

static void on_timer(struct timer *timer)
{
    struct backends *b = list_entry(timer, struct backends, timer);
    if (list_is_empty(&b->awaited) || b->is_asking)
        return;
    b->is_asking = ask(b);
    if (!b->is_asking)
        timer_start(b->loop, &b->timer, AGAIN_US, on_timer);
}

bool backends_await(struct backends *b, uint32_t pid, void (*gone)(void *context), void *context)
{
    struct awaited *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return false;
    *a = (struct awaited){.pid = pid, .gone = gone, .context = context};
    list_push_back(&b->awaited, &a->node);
    if (!b->is_asking && !timer_is_running(&b->timer))
        timer_start(b->loop, &b->timer, 1, on_timer);
    return true;
}
