/*
 * cached: where session meets the cache. Reads are looked up before a server is asked for, answers on their
 * way are copied into a fill, and everything that may write is announced before it is sent and confirmed
 * before its end is told.
 *
 * Nothing here decides whether an answer is right: that is the cache's. Confined to the client's worker.
 */
#ifndef WEIR_SESSION_CACHED_H
#define WEIR_SESSION_CACHED_H

#include "weir/cache/cache.h"
#include "weir/pool/pool.h"
#include "weir/session/client.h"
#include "weir/sql/memo.h"
#include "weir/util/slice.h"
#include "weir/util/cold.h"

struct buf;
struct cache_template;
struct server_baseline;

enum cached_step {
    CACHED_RELAY,    /* PostgreSQL is to be asked */
    CACHED_ANSWERED, /* done */
    CACHED_WAIT,     /* the answer to the question comes later, and then the kept input is looked at again */
};

/* --- the pool's part: what the cache calls its database --- */

/* Nothing below costs more than a look where it has nothing to do: what is inline here decides that, and what
 * has `now` in its name does the rest. */
static inline bool cached_has_database(const struct lease *lease)
{
    return lease->server->part->context != NULL;
}

/* At login, after a reload, and with every server that has logged in (`baseline` may be NULL: not asked, or
 * not known). */
void cached_part_configure(struct pool_part *part);
void cached_part_baseline(struct pool_part *part, const struct server_baseline *baseline);
void cached_part_free(struct pool_part *part);
/* A server connection ended that should not have. */
void cached_part_crashed(struct pool_part *part);

/* Why nothing can be cached now, "" when it can; written to `text`. */
const char *cached_state(const struct pool_part *part, char *text, size_t size);

/*
 * What the cache thinks of a text for a session of this pool that has set nothing. False when no server of
 * the pool has logged in yet: then nothing is known. `out` and `scratch` as for cache_explain.
 */
bool cached_explain(struct pool_part *part, struct slice text, struct cache_template *out,
                    struct buf *scratch);

/* --- reads --- */

/* A simple query of one statement. */
APART enum cached_step cached_query(struct client *client, const struct memo_answer *known,
                                    struct slice text);

/* A batch of the extended protocol, if all of it is at the front of `data`; `used` is its length when
 * answered. */
APART enum cached_step cached_batch(struct client *client, struct slice data, size_t *used);

/* A Close of a portal by a client that has no server, hence none that is open: answered at once, its length
 * in `used`. False for anything else. */
bool cached_close(struct client *client, struct slice data, size_t *used);

/* The answer to its question comes later. */
bool cached_is_waiting(const struct client *client);

/* The client gives up what it asked (it ends, or was cancelled). */
void cached_forget(struct client *client);

/* --- fills --- */

/* The message that was looked up and missed is about to be sent: OWED_FILL for its entry if the answer may be
 * stored, else 0. */
uint8_t cached_begin_fill_now(struct lease *lease);
static inline uint8_t cached_begin_fill(struct lease *lease)
{
    bool is_asked = lease->fill != NULL || lease->client->ask != NULL;
    return is_asked ? cached_begin_fill_now(lease) : 0;
}

/* A message of `type`, or a piece of one, that answers an entry with OWED_FILL; `is_end`: its last piece. */
APART void cached_tee(struct lease *lease, uint8_t type, struct slice bytes, bool is_end);
void cached_end_fill_now(struct lease *lease, bool is_complete);
static inline void cached_end_fill(struct lease *lease, bool is_complete)
{
    if (lease->fill != NULL)
        cached_end_fill_now(lease, is_complete);
}

/* --- writes --- */

/* The one row that a statement writes, for cached_sending: by the literals of a simple query, or by what was
 * bound (Bind's body after the names) to parameters of these types. */
struct cache_row cached_row_now(struct lease *lease, struct sql_class *class,
                                const struct cache_values *values);
static inline struct cache_row cached_row(struct lease *lease, struct sql_class *class,
                                          const struct cache_values *values)
{
    const struct sql_statement *s = &class->statements[0];
    if (!cached_has_database(lease) || s->n_equalities == 0 || s->n_writes == 0)
        return (struct cache_row){.relation = 0};
    return cached_row_now(lease, class, values);
}

/*
 * A message of this class is about to be sent; NULL: nobody knows what it does; `row` may be NULL. Before
 * anything else of it is done. CACHED_HOLD: not yet, other Weirs have to be told first; the client's input is
 * looked at again then.
 */
enum cached_send {
    CACHED_SEND,
    CACHED_HOLD,
    CACHED_ENDED, /* memory is out, or the others cannot be told: the client has ended */
};
enum cached_send cached_sending_now(struct lease *lease, struct sql_class *class,
                                    const struct cache_row *row);
static inline enum cached_send cached_sending(struct lease *lease, struct sql_class *class,
                                              const struct cache_row *row)
{
    return cached_has_database(lease) ? cached_sending_now(lease, class, row) : CACHED_SEND;
}
/* What it is answered behind has grown since cached_sending, when the next place in `owed` was this. */
void cached_moved(struct lease *lease, uint64_t place);
/* ReadyForQuery outside a block, before it is passed on: what was written is visible. */
APART void cached_commit_now(struct lease *lease);
static inline void cached_commit(struct lease *lease)
{
    if (lease->write != NULL)
        cached_commit_now(lease);
}
/* The lease ends: if a write is still open, nobody knows whether it took place. */
void cached_lost(struct lease *lease);

#endif
