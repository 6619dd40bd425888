/*
 * backends: proves that a backend of PostgreSQL is gone, by looking until it is.
 *
 * What a connection was doing when it was lost may still be done, and committed, until its backend has ended.
 * Confined to the thread of the control connection.
 */
#ifndef WEIR_CONTROL_BACKENDS_H
#define WEIR_CONTROL_BACKENDS_H

#include <stdbool.h>
#include <stdint.h>

struct backends;
struct control;
struct loop;

/* `control` must outlive its questions: free it first. NULL when memory is out. */
struct backends *backends_new(struct loop *loop, struct control *control);
/* Those still waited for are never reported. */
void backends_free(struct backends *b);

/* See watch_await_backend. False when memory is out: then `gone` will not be called. */
bool backends_await(struct backends *b, uint32_t pid, void (*gone)(void *context), void *context);

#endif
