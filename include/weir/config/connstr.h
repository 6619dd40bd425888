/*
 * connstr: the `key=value key='it''s'` text that stands right of a name in [databases] and [users].
 *
 * A value is bare up to the next blank (and may be empty), or quoted with '...' where '' is one quote. Blanks
 * around
 * '=' are allowed if there is one on its left. Pure; any thread.
 */
#ifndef WEIR_CONFIG_CONNSTR_H
#define WEIR_CONFIG_CONNSTR_H

#include <stdbool.h>

#include "weir/util/buf.h"
#include "weir/util/error.h"
#include "weir/util/slice.h"

/*
 * Takes the next pair off the front of `*rest`. `key` points into the text; the value is written to `value`,
 * which is cleared first and belongs to the caller. Returns false at the end (error->message is "") and on
 * bad text (error->message says what and where).
 */
bool connstr_next(struct slice *rest, struct slice *key, struct buf *value, struct error *error);

#endif
