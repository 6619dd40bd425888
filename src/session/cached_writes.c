/*
 * cached_writes: the announcement of writes, to the cache here and through it to other Weirs, and their end.
 *
 * What may commit is held until it may leave; the client is paused meanwhile, and its message routed again.
 */
#include "cached_parts.h"

#include <stdlib.h>

#include "weir/cache/cache.h"
#include "weir/session/client.h"

static bool is_of_interest(const struct sql_class *class)
{
    return (class->flags &
            (SQL_CLASS_WRITES | SQL_CLASS_WRITES_UNKNOWN | SQL_CLASS_SCHEMA | SQL_CLASS_UNKNOWN_CODE)) != 0;
}

/* Names may mean temporary objects of this session, which no catalog tells apart from others'. */
static bool may_use_temporary_code(const struct client *client, const struct part_context *context)
{
    return (pin_has(&client->pins, PIN_TEMP_TABLE) || pin_has(&client->pins, PIN_CODE) ||
            pin_has(&client->pins, PIN_SETTING)) &&
           cache_has_temporary_code(context->database);
}

/* Is what is sent now sure to run in the block that is open, and not behind an end of it yet to be answered?
 */
static bool is_in_block(const struct lease *lease)
{
    return transaction_block(&lease->client->tx) != TRANSACTION_IDLE &&
           lease->end_place <= lease->owed.popped;
}

/* The others know, or cannot be told: the message that waits for it is looked at again. */
static void announced(void *context)
{
    struct lease *lease = context;
    struct session_worker *session = lease->session;
    session_enter(session);
    lease->is_announcing = false;
    lease_resume_client(lease);
    session_leave(session);
}

/* May it be sent, as far as other Weirs are concerned? */
static enum cached_send announce(struct lease *lease)
{
    switch (cache_write_may_go(lease->write, announced, lease)) {
    case CACHE_WRITE_GO:
        break;
    case CACHE_WRITE_WAIT:
        lease->is_announcing = true;
        return CACHED_HOLD;
    case CACHE_WRITE_REFUSED:
        client_fail(
            lease->client, "57P03",
            "the write was refused: neither Redis nor the control connection of this Weir can tell other "
            "Weirs of it");
        return CACHED_ENDED;
    }
    lease->is_write_sent = true;
    return CACHED_SEND;
}

struct cache_row cached_row_now(struct lease *lease, struct sql_class *class,
                                const struct cache_values *values)
{
    struct client *client = lease->client;
    return cache_row_of(client->session->cache, cached_scope(client), class, values);
}

enum cached_send cached_sending_now(struct lease *lease, struct sql_class *class, const struct cache_row *row)
{
    struct client *client = lease->client;
    const struct part_context *context = lease->server->part->context;
    bool stays_in_block = is_in_block(lease);
    if (class == NULL || class->flags & (SQL_CLASS_TRANSACTION | SQL_CLASS_UNKNOWN_CODE))
        lease->end_place = owed_next_place(&lease->owed) + 1;
    bool is_write = class != NULL && is_of_interest(class);
    bool is_unknown = class == NULL || may_use_temporary_code(client, context) ||
                      (!is_write && cache_may_run_code(client->session->cache, context->database,
                                                       cached_scope(client), class));
    if ((is_write || is_unknown) && lease->write == NULL) {
        lease->write = cache_write_new(client->session->cache, context->database);
        if (lease->write == NULL) {
            lease_break(lease, "out of memory");
            client_fail(client, "53200", "out of memory");
            return CACHED_ENDED;
        }
    }
    if (lease->write == NULL)
        return CACHED_SEND;
    if (is_unknown)
        cache_write_add_unknown(lease->write);
    if (is_write)
        cache_write_add(lease->write, cached_scope(client), class, row);
    if (is_unknown || is_write)
        lease->write_place = owed_next_place(&lease->owed);
    /* Inside a block nothing becomes visible before its end is asked for. */
    if (stays_in_block && class != NULL && !(class->flags & SQL_CLASS_TRANSACTION) &&
        class->n_statements <= 1) {
        lease->is_write_sent = true;
        return CACHED_SEND;
    }
    cache_write_mark(lease->write);
    return announce(lease);
}

void cached_moved(struct lease *lease, uint64_t place)
{
    if (lease->end_place > place)
        lease->end_place += owed_next_place(&lease->owed) - place;
}

/* In a pipeline, this ReadyForQuery may be about something in front of what writes, which has yet to run. */
static bool is_write_ahead(const struct lease *lease)
{
    return lease->write_place > lease->owed.popped && lease->owed.count > 1;
}

void cached_commit_now(struct lease *lease)
{
    struct cache_write *write = lease->write;
    if (is_write_ahead(lease))
        return; /* what has been written so far stays marked with it */
    lease->write = NULL;
    lease->is_write_sent = false;
    if (lease->is_announcing) /* what waits has not been sent, and begins anew */
        announced(lease);
    counter_bump(&lease->server->part->counters.cache_invalidations);
    cache_write_commit(write);
}

void cached_lost(struct lease *lease)
{
    lease->is_announcing = false;
    if (lease->write == NULL)
        return;
    if (lease->is_write_sent)
        cache_write_unknown(lease->write, server_process_id(lease->server));
    else
        cache_write_rollback(lease->write);
    lease->write = NULL;
}
