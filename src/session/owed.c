/* owed: a ring of entries that doubles when full. */
#include "weir/session/owed.h"

#include <stdlib.h>

#include "weir/sql/classify.h"
#include "weir/track/statements.h"

void owed_release(struct owed *entry)
{
    if (entry->statement != NULL)
        statement_unref(entry->statement);
    if (entry->class != NULL)
        sql_class_unref(entry->class);
    free(entry->name);
}

bool owed_grow(struct owed_queue *queue, const struct owed *entry)
{
    uint32_t capacity = queue->capacity == 0 ? 8 : queue->capacity * 2;
    struct owed *entries = malloc(capacity * sizeof(*entries));
    if (entries == NULL) {
        struct owed copy = *entry;
        owed_release(&copy);
        return false;
    }
    for (uint32_t i = 0; i < queue->count; i++)
        entries[i] = *owed_at(queue, i);
    free(queue->entries);
    *queue = (struct owed_queue){entries, 0, queue->count, capacity, queue->popped};
    return true;
}

void owed_remove(struct owed_queue *queue, uint32_t index)
{
    owed_release(owed_at(queue, index));
    for (uint32_t i = index; i + 1 < queue->count; i++)
        *owed_at(queue, i) = *owed_at(queue, i + 1);
    queue->count--;
}

void owed_clear(struct owed_queue *queue)
{
    while (queue->count > 0)
        owed_pop(queue);
}

void owed_free(struct owed_queue *queue)
{
    owed_clear(queue);
    free(queue->entries);
    *queue = (struct owed_queue){NULL, 0, 0, 0, 0};
}
