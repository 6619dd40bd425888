/* redis_events: the five hooks of hiredis, on one watched socket. */
#include "redis_events.h"

#include <stdlib.h>

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

struct redis_events {
    redisAsyncContext *context;
    struct loop *loop;
    struct io io;
    unsigned wanted;
    bool is_told; /* hiredis is being called, and may free its context */
    bool is_over;
};

static void told(struct io *io, unsigned what);

static void want(struct redis_events *events, unsigned what)
{
    if (what == events->wanted)
        return;
    events->wanted = what;
    /* A refusal shows as an answer that does not come: the question's own time limit ends it. */
    io_watch(events->loop, &events->io, events->context->c.fd, what, told);
}

static void told(struct io *io, unsigned what)
{
    struct redis_events *events = list_entry(io, struct redis_events, io);
    bool is_readable = what & (IO_READ | IO_END);
    events->is_told = true;
    if (is_readable && events->wanted & IO_READ)
        redisAsyncHandleRead(events->context);
    if (!events->is_over && what & IO_WRITE && events->wanted & IO_WRITE)
        redisAsyncHandleWrite(events->context);
    events->is_told = false;
    if (events->is_over)
        free(events);
}

static void add_read(void *data)
{
    struct redis_events *events = data;
    want(events, events->wanted | IO_READ);
}

static void del_read(void *data)
{
    struct redis_events *events = data;
    want(events, events->wanted & ~(unsigned)IO_READ);
}

static void add_write(void *data)
{
    struct redis_events *events = data;
    want(events, events->wanted | IO_WRITE);
}

static void del_write(void *data)
{
    struct redis_events *events = data;
    want(events, events->wanted & ~(unsigned)IO_WRITE);
}

static void cleanup(void *data)
{
    struct redis_events *events = data;
    io_stop(&events->io);
    events->wanted = 0;
    events->is_over = true;
    if (!events->is_told)
        free(events);
}

bool redis_events_attach(struct redisAsyncContext *context, struct loop *loop)
{
    if (context->ev.data != NULL)
        return false;
    struct redis_events *events = calloc(1, sizeof(*events));
    if (events == NULL)
        return false;
    *events = (struct redis_events){.context = context, .loop = loop};
    if (!io_watch(loop, &events->io, context->c.fd, IO_READ | IO_WRITE, told)) {
        free(events);
        return false;
    }
    events->wanted = IO_READ | IO_WRITE;
    context->ev.addRead = add_read;
    context->ev.delRead = del_read;
    context->ev.addWrite = add_write;
    context->ev.delWrite = del_write;
    context->ev.cleanup = cleanup;
    context->ev.data = events;
    return true;
}
