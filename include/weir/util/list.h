/*
 * list: an intrusive, doubly linked, counted list.
 *
 * The node lives inside the object, so that adding and removing allocate nothing and cannot fail. A node that
 * is in no list has next == NULL. list_entry turns a node back into its object. One thread at a time.
 */
#ifndef WEIR_UTIL_LIST_H
#define WEIR_UTIL_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *next;
    struct list_node *prev;
};

struct list {
    struct list_node head;
    size_t count;
};

#define list_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* Walks the list; `node` may be removed (not its successor) in the body. */
#define list_for_each(list, node)                                                                            \
    for (struct list_node *node = (list)->head.next, *node##_next = node->next; node != &(list)->head;       \
         node = node##_next, node##_next = node->next)

static inline void list_init(struct list *l)
{
    l->head.next = l->head.prev = &l->head;
    l->count = 0;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->count == 0;
}

static inline bool list_node_is_linked(const struct list_node *n)
{
    return n->next != NULL;
}

static inline void list_insert_before(struct list *l, struct list_node *at, struct list_node *n)
{
    assert(!list_node_is_linked(n));
    n->next = at;
    n->prev = at->prev;
    at->prev->next = n;
    at->prev = n;
    l->count++;
}

static inline void list_push_back(struct list *l, struct list_node *n)
{
    list_insert_before(l, &l->head, n);
}

static inline void list_push_front(struct list *l, struct list_node *n)
{
    list_insert_before(l, l->head.next, n);
}

static inline void list_remove(struct list *l, struct list_node *n)
{
    assert(list_node_is_linked(n));
    assert(l->count > 0);
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = NULL;
    l->count--;
}

static inline struct list_node *list_first(const struct list *l)
{
    return l->count == 0 ? NULL : l->head.next;
}

static inline struct list_node *list_last(const struct list *l)
{
    return l->count == 0 ? NULL : l->head.prev;
}

static inline struct list_node *list_pop_front(struct list *l)
{
    struct list_node *n = list_first(l);
    if (n != NULL)
        list_remove(l, n);
    return n;
}

#endif
