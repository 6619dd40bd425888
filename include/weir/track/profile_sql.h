/*
 * profile_sql: the difference of two profiles as messages to a server.
 *
 * The batch is for sending in front of a query in the same write: extended protocol, no Sync, so that a
 * setting that is refused makes PostgreSQL skip the query as well. It uses a statement and a portal named
 * "weir profile" (a blank in it: no driver makes such a name, and Weir's own are weir_<number>), closes the
 * statement before and both after, so the client's unnamed statement and portal are untouched and nothing
 * stays. Pure.
 */
#ifndef WEIR_TRACK_PROFILE_SQL_H
#define WEIR_TRACK_PROFILE_SQL_H

#include <stdbool.h>
#include <stddef.h>

#include "weir/track/profile.h"
#include "weir/util/buf.h"

/*
 * The replies of one round, in order: CloseComplete '3', ParseComplete '1', BindComplete '2', DataRow 'D',
 * CommandComplete 'C', CloseComplete '3', CloseComplete '3'. ParameterStatus and notices may come in between,
 * and ErrorResponse instead of what remains (then all is skipped up to the client's Sync).
 */
#define PROFILE_BATCH_REPLIES                                                                                \
    "3"                                                                                                      \
    "1"                                                                                                      \
    "2"                                                                                                      \
    "D"                                                                                                      \
    "C"                                                                                                      \
    "3"                                                                                                      \
    "3"

/*
 * Appends the batch to `out`. Returns the number of rounds: 0 (equal profiles, nothing appended), nearly
 * always 1; more than 500 changes, or a change of client_encoding together with values that are not ASCII,
 * take more. Each round is answered by PROFILE_BATCH_REPLIES. For the awaited form (before BEGIN, before
 * VACUUM) append a Sync: one ReadyForQuery more.
 */
size_t profile_diff_batch(struct buf *out, const struct profile *from, const struct profile *to);

/*
 * The same as one simple Query message. Replies: RowDescription, DataRow, CommandComplete, ReadyForQuery. It
 * destroys the unnamed statement and portal. False, and nothing appended, when the profiles are equal, a
 * value is not ASCII, or there are more than 500 changes: use the batch.
 */
bool profile_diff_query(struct buf *out, const struct profile *from, const struct profile *to);

#endif
