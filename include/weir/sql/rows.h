/*
 * rows: a long INSERT ... VALUES without the rows that say nothing about it.
 *
 * A row of constants and parameters behind another one changes neither what a statement is nor what it
 * touches, but takes a parser most of a millisecond for each kilobyte. Pure.
 */
#ifndef WEIR_SQL_ROWS_H
#define WEIR_SQL_ROWS_H

#include <stdbool.h>

#include "weir/util/buf.h"
#include "weir/util/slice.h"

/*
 * Appends the text without such rows to `out`. False when it is no INSERT, holds something that the lexer
 * does not take apart, or has no such row. What PostgreSQL would refuse to read may become something it would
 * not: of such a text nothing runs.
 */
bool rows_leave_out(struct slice text, struct buf *out);

#endif
