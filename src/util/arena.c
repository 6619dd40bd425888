#include "weir/util/arena.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE 4032 /* with header and malloc's own about a page */

struct arena_chunk {
    struct arena_chunk *next;
    size_t used;
    size_t size;
    max_align_t data[];
};

void *arena_alloc(struct arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        size_t want = size > CHUNK_SIZE / 2 ? size : CHUNK_SIZE;
        struct arena_chunk *fresh = calloc(1, sizeof(*fresh) + want);
        if (fresh == NULL)
            return NULL;
        fresh->size = want;
        if (chunk != NULL && want != CHUNK_SIZE) {
            /* A big piece gets a chunk of its own behind the one that still has room. */
            fresh->next = chunk->next;
            chunk->next = fresh;
        } else {
            fresh->next = chunk;
            arena->chunks = fresh;
        }
        chunk = fresh;
    }
    void *piece = (char *)chunk->data + chunk->used;
    chunk->used += size;
    return piece;
}

const char *arena_text(struct arena *arena, struct slice text)
{
    char *copy = arena_alloc(arena, text.len + 1);
    if (copy != NULL && text.len > 0)
        memcpy(copy, text.data, text.len);
    return copy;
}

void arena_join(struct arena *into, struct arena *from)
{
    if (from->chunks == NULL)
        return;
    struct arena_chunk *last = from->chunks;
    while (last->next != NULL)
        last = last->next;
    if (into->chunks == NULL) {
        into->chunks = from->chunks;
    } else {
        last->next = into->chunks->next;
        into->chunks->next = from->chunks;
    }
    from->chunks = NULL;
}

void arena_free(struct arena *arena)
{
    while (arena->chunks != NULL) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        free(chunk);
    }
}

void arena_wipe(struct arena *arena)
{
    for (struct arena_chunk *chunk = arena->chunks; chunk != NULL; chunk = chunk->next)
        explicit_bzero(chunk->data, chunk->used);
    arena_free(arena);
}
