/*
 * arena: many small pieces of memory that are freed together.
 *
 * Pieces are zeroed, aligned for any type and never move. One owner, one thread at a time.
 */
#ifndef WEIR_UTIL_ARENA_H
#define WEIR_UTIL_ARENA_H

#include <stddef.h>

#include "weir/util/slice.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
};

#define ARENA_INIT ((struct arena){NULL})

/* NULL when memory is out. */
void *arena_alloc(struct arena *arena, size_t size);

/* A NUL-terminated copy; NULL when memory is out. */
const char *arena_text(struct arena *arena, struct slice text);

/* Everything of `from` belongs to `into` afterwards; `from` is empty. */
void arena_join(struct arena *into, struct arena *from);

void arena_free(struct arena *arena);

/* The same after overwriting everything; where there may be secrets. */
void arena_wipe(struct arena *arena);

#endif
