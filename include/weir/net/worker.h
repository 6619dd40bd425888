/*
 * worker: a thread with a loop, a mailbox and one read buffer that all its connections share.
 *
 * Everything that a worker's connections own is confined to its thread. worker_index gives 0 to count-1; the
 * control thread is a worker too, with index -1, whose loop the caller runs itself.
 */
#ifndef WEIR_NET_WORKER_H
#define WEIR_NET_WORKER_H

#include "weir/net/loop.h"
#include "weir/net/mailbox.h"

enum { WORKER_READ_BYTES = 64 * 1024 };

struct worker;

/* NULL when memory or descriptors are out. The thread does not run yet. */
struct worker *worker_new(int index);
/* Starts the thread; false when the system refuses one. */
bool worker_start(struct worker *worker);
/* Ends the loop after the mails posted so far, and joins the thread. From another thread; harmless when not
 * started. */
void worker_stop(struct worker *worker);
void worker_free(struct worker *worker);

int worker_index(const struct worker *worker);
struct loop *worker_loop(struct worker *worker);
/* WORKER_READ_BYTES, valid within one callback. */
uint8_t *worker_read_buffer(struct worker *worker);
void worker_post(struct worker *worker, struct mail *mail);

/* Kept by conn: connections that nobody owns any more and that have output to send. */
struct list *worker_lingering(struct worker *worker);
/* Runs the mails that are there, on the calling thread; false when there were none. For a worker that has
 * stopped. */
bool worker_drain(struct worker *worker);

/* What the layers above keep for this thread. */
void worker_set_context(struct worker *worker, void *context);
void *worker_context(const struct worker *worker);

#endif
