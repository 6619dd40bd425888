/*
 * generations: a hash table of slots under a mutex, and an array of those of rows; the numbers themselves are
 * atomics and need no lock.
 *
 * The lock is taken when a statement is judged or a write set is collected, never for a hit.
 */
#include "weir/cache/generations.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct bucket {
    struct bucket *next;
    struct generation *slot;
};

enum { BUCKETS = 1024, KEYS = 1 << 17 };

struct generations {
    pthread_mutex_t mutex;
    struct generation *epoch;
    struct bucket *buckets[BUCKETS];
    size_t count;
    struct generation *_Atomic keys; /* KEYS of them, from the first question on */
};

static struct generation *slot_new(uint32_t relation, enum generation_kind kind)
{
    struct generation *slot = calloc(1, sizeof(*slot));
    if (slot == NULL)
        return NULL;
    slot->relation = relation;
    slot->kind = kind;
    atomic_init(&slot->value, GENERATION_CHANGE);
    atomic_init(&slot->references, 1);
    return slot;
}

struct generations *generations_new(void)
{
    struct generations *g = calloc(1, sizeof(*g));
    if (g == NULL)
        return NULL;
    g->epoch = slot_new(0, GENERATION_ANY);
    if (g->epoch == NULL) {
        free(g);
        return NULL;
    }
    pthread_mutex_init(&g->mutex, NULL);
    return g;
}

void generations_free(struct generations *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct bucket *b = g->buckets[i], *next; b != NULL; b = next) {
            next = b->next;
            generation_unref(b->slot);
            free(b);
        }
    }
    generation_unref(g->epoch);
    free(atomic_load(&g->keys));
    pthread_mutex_destroy(&g->mutex);
    free(g);
}

struct generation *generations_epoch(struct generations *g)
{
    return g->epoch;
}

struct generation *generation_ref(struct generation *slot)
{
    if (slot->kind != GENERATION_KEY)
        atomic_fetch_add_explicit(&slot->references, 1, memory_order_relaxed);
    return slot;
}

void generation_unref(struct generation *slot)
{
    if (slot != NULL && slot->kind != GENERATION_KEY &&
        atomic_fetch_sub_explicit(&slot->references, 1, memory_order_acq_rel) == 1)
        free(slot);
}

static struct generation *insert(struct generations *g, struct bucket **head, uint32_t relation,
                                 enum generation_kind kind)
{
    struct bucket *b = malloc(sizeof(*b));
    if (b == NULL)
        return NULL;
    *b = (struct bucket){*head, slot_new(relation, kind)};
    if (b->slot == NULL) {
        free(b);
        return NULL;
    }
    *head = b;
    g->count++;
    return b->slot;
}

struct generation *generations_get(struct generations *g, uint32_t relation, enum generation_kind kind)
{
    if (relation == 0)
        return generation_ref(g->epoch);
    pthread_mutex_lock(&g->mutex);
    struct bucket **head = &g->buckets[relation % BUCKETS];
    struct generation *slot = NULL;
    for (struct bucket *b = *head; b != NULL && slot == NULL; b = b->next)
        if (b->slot->relation == relation && b->slot->kind == kind)
            slot = b->slot;
    if (slot == NULL)
        slot = insert(g, head, relation, kind);
    if (slot != NULL)
        generation_ref(slot);
    pthread_mutex_unlock(&g->mutex);
    return slot;
}

static struct generation *keys_new(void)
{
    struct generation *keys = calloc(KEYS, sizeof(*keys));
    for (uint32_t i = 0; keys != NULL && i < KEYS; i++) {
        keys[i].relation = i;
        keys[i].kind = GENERATION_KEY;
        atomic_init(&keys[i].value, GENERATION_CHANGE);
    }
    return keys;
}

struct generation *generations_key(struct generations *g, uint64_t hash)
{
    struct generation *keys = atomic_load_explicit(&g->keys, memory_order_acquire);
    if (keys == NULL) {
        struct generation *fresh = keys_new();
        if (fresh == NULL)
            return NULL;
        if (atomic_compare_exchange_strong(&g->keys, &keys, fresh))
            keys = fresh;
        else
            free(fresh);
    }
    return &keys[hash % KEYS];
}

void generations_prune(struct generations *g, bool (*is_known)(void *context, uint32_t relation),
                       void *context)
{
    pthread_mutex_lock(&g->mutex);
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct bucket **at = &g->buckets[i]; *at != NULL;) {
            struct bucket *b = *at;
            if (is_known(context, b->slot->relation)) {
                at = &b->next;
                continue;
            }
            *at = b->next;
            generation_unref(b->slot);
            free(b);
            g->count--;
        }
    }
    pthread_mutex_unlock(&g->mutex);
}

size_t generations_count(struct generations *g)
{
    pthread_mutex_lock(&g->mutex);
    size_t count = g->count;
    pthread_mutex_unlock(&g->mutex);
    return count;
}

struct slice generation_name(const struct generation *slot, char *text)
{
    static const char *const forms[] = {[GENERATION_ANY] = "%u",
                                        [GENERATION_WHOLE] = "%uw",
                                        [GENERATION_NEW] = "%un",
                                        [GENERATION_KEY] = "k%u"};
    int len = snprintf(text, GENERATION_NAME_SIZE, forms[slot->kind], slot->relation);
    return slice_make(text, (size_t)len);
}

bool vector_remember(struct vector_item *items, size_t count)
{
    bool is_clean = true;
    for (size_t i = 0; i < count; i++) {
        items[i].value = generation_read(items[i].slot);
        is_clean &= generation_is_clean(items[i].value);
    }
    return is_clean;
}
