/*
 * begin: the held-back BEGIN on its way to a server.
 *
 * It goes in front of the message that needs the server, in the same write, as extended messages without a
 * Sync: should PostgreSQL refuse it (a cancel that hits it, memory), it skips that message as well, so that
 * nothing runs outside the block that the client believes to be in. What the client sends behind that message
 * waits until BEGIN is answered.
 */
#ifndef WEIR_SESSION_BEGIN_H
#define WEIR_SESSION_BEGIN_H

#include "weir/session/lease.h"

/*
 * Puts BEGIN into the outbox. False: the message at hand must not follow: the client has ended (memory), or
 * the block has failed while it was held, and the server is brought into such a block first; then it waits.
 */
bool begin_flush(struct lease *lease);

/*
 * The server has refused BEGIN: `owed` is brought to where PostgreSQL goes on, but for what the caller has to
 * skip up to a Sync. False when the lease has ended.
 */
bool begin_refused(struct lease *lease);

/* The ReadyForQuery after that: to the client the block is there, and failed. */
void begin_refused_ready(struct lease *lease);

/* The server was to be brought into a failed block; false when it is not in one, and the lease has ended. */
bool begin_is_failed(struct lease *lease);

#endif
