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
    OWED_SWALLOW = 1,   /* Weir's own: the client sees nothing of it */
    OWED_SYNTH = 2,     /* never sent: Weir answers when its turn comes */
    OWED_PROFILE = 4,   /* part of a change of settings */
    OWED_BEGIN = 8,     /* the held-back BEGIN */
    OWED_FILL = 16,     /* its answer may be stored in the cache */
    OWED_PROBE = 32,    /* asks whether an advisory lock is held; swallowed too */
    OWED_SEQUENCE = 64, /* DISCARD SEQUENCES in front of a statement */
    OWED_GAP = 128,     /* behind it the server's settings are not the session's: see lease_close_gap */
};

struct owed {
    uint8_t kind;
    uint8_t flags;
    uint16_t completed;          /* statements of a query that have completed */
    struct statement *statement; /* PARSE: counted; what the server holds if it succeeds */
    struct sql_class *class;     /* QUERY and EXECUTE: counted */
    char *name;                  /* PARSE by the client under this name; owned */
};

struct owed_queue {
    struct owed *entries;
    uint32_t first, count, capacity; /* capacity is 0 or a power of two */
    uint64_t popped;                 /* how many have been taken off the front, ever */
};

/* A copy goes to the back; ownership of what it refers to goes with it, also on failure (memory), which is
 * false. */
static inline bool owed_push(struct owed_queue *queue, const struct owed *entry);
/* Makes room for one more; false when memory is out, and then what `entry` refers to is dropped. */
bool owed_grow(struct owed_queue *queue, const struct owed *entry);
/* Drops the first, and what it refers to. */
static inline void owed_pop(struct owed_queue *queue);
/* Drops what an entry refers to. */
void owed_release(struct owed *entry);
/* Drops the entry at `index`. */
void owed_remove(struct owed_queue *queue, uint32_t index);
/* Drops all; the ring stays for the next use. */
void owed_clear(struct owed_queue *queue);
/* Drops all and gives the memory back. */
void owed_free(struct owed_queue *queue);

static inline bool owed_is_empty(const struct owed_queue *queue)
{
    return queue->count == 0;
}

static inline struct owed *owed_at(struct owed_queue *queue, uint32_t index)
{
    return &queue->entries[(queue->first + index) & (queue->capacity - 1)];
}

/* NULL when empty. Valid until the next push. */
static inline struct owed *owed_front(struct owed_queue *queue)
{
    return queue->count == 0 ? NULL : owed_at(queue, 0);
}

static inline bool owed_push(struct owed_queue *queue, const struct owed *entry)
{
    if (queue->count == queue->capacity && !owed_grow(queue, entry))
        return false;
    *owed_at(queue, queue->count++) = *entry;
    return true;
}

static inline void owed_pop(struct owed_queue *queue)
{
    struct owed *front = owed_at(queue, 0);
    if (front->statement != NULL || front->class != NULL || front->name != NULL)
        owed_release(front);
    queue->first = (queue->first + 1) & (queue->capacity - 1);
    queue->count--;
    queue->popped++;
}

/*
 * The place, counted from the first entry there ever was, that the next entry will have; the front's is
 * `popped`. An entry never comes to stand behind the place it was given, but owed_remove and owed_clear may
 * move it ahead.
 */
static inline uint64_t owed_next_place(const struct owed_queue *queue)
{
    return queue->popped + queue->count;
}

/* Entries that a ReadyForQuery will answer. */
static inline bool owed_ends_with_ready(const struct owed *entry)
{
    return entry->kind == OWED_SYNC || entry->kind == OWED_QUERY || entry->kind == OWED_FUNCTION;
}

#endif
