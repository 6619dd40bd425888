/*
 * owed: what a server still has to answer, in order, and what to do with each answer.
 *
 * Every message that is sent to a server and will be answered adds an entry; every answer takes one off. So a
 * server is released by counting, never by guessing, replies to what Weir itself has sent are swallowed at
 * the right place, and answers that Weir gives itself (a Parse that the server need not see) appear in their
 * place. Pure but for memory; one thread.
 */
#ifndef WEIR_SESSION_OWED_H
#define WEIR_SESSION_OWED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sql_class;
struct statement;

enum owed_kind {
    OWED_PARSE,    /* 1 */
    OWED_BIND,     /* 2 */
    OWED_CLOSE,    /* 3 */
    OWED_DESCRIBE, /* [t] then T or n */
    OWED_EXECUTE,  /* rows, then C, I or s */
    OWED_SYNC,     /* Z */
    OWED_QUERY,    /* anything, then Z */
    OWED_FUNCTION, /* V, then Z */
    OWED_COPY_END, /* CopyDone or CopyFail: answered by nothing of its own */
};

enum {
    OWED_SWALLOW = 1,    /* Weir's own: the client sees nothing of it */
    OWED_SYNTH = 2,      /* never sent: Weir answers when its turn comes */
    OWED_IN_COPY = 4,    /* a Sync sent while a COPY was or might be under way */
    OWED_PROFILE = 8,    /* part of a change of settings */
    OWED_BEGIN = 16,     /* the held-back BEGIN */
    OWED_FILL = 32,      /* its answer may be stored in the cache */
    OWED_SEQUENCE = 128, /* DISCARD SEQUENCES in front of a statement */
    OWED_PROBE = 64,     /* asks whether an advisory lock is held; swallowed too */
};

struct owed {
    uint8_t kind;
    uint8_t flags;
    uint16_t completed;          /* statements of a query that have completed */
    struct statement *statement; /* PARSE: counted; what the server holds if it succeeds */
    struct sql_class *class;     /* QUERY and EXECUTE: counted */
    char *name;                  /* PARSE by the client under this name; owned */
    uint64_t sent_us;            /* QUERY, EXECUTE */
};

struct owed_queue {
    struct owed *entries;
    uint32_t first, count, capacity; /* capacity is 0 or a power of two */
};

/* A copy goes to the back; ownership of what it refers to goes with it, also on failure (memory), which is
 * false. */
bool owed_push(struct owed_queue *queue, const struct owed *entry);
/* NULL when empty. Valid until the next push. */
struct owed *owed_front(struct owed_queue *queue);
struct owed *owed_at(struct owed_queue *queue, uint32_t index);
/* Drops the first, and what it refers to. */
void owed_pop(struct owed_queue *queue);
/* Drops the entry at `index`. */
void owed_remove(struct owed_queue *queue, uint32_t index);
/* Drops all and gives the memory back. */
void owed_clear(struct owed_queue *queue);

static inline bool owed_is_empty(const struct owed_queue *queue)
{
    return queue->count == 0;
}

/* Entries that a ReadyForQuery will answer. */
static inline bool owed_ends_with_ready(const struct owed *entry)
{
    return entry->kind == OWED_SYNC || entry->kind == OWED_QUERY || entry->kind == OWED_FUNCTION;
}

#endif
