/*
 * Private to ctl: rows as people and programs read them.
 */
#ifndef WEIR_CTL_PRINT_H
#define WEIR_CTL_PRINT_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "weir/util/buf.h"

/* Columns below each other, with a line of names on top; numbers to the right. */
void print_table(const PGresult *rows, struct buf *out);
/* One row, a line for each column that has something to say: "name: value". */
void print_row(const PGresult *rows, int row, struct buf *out);
/* An array of objects, or (`is_single`) the object of the first row. Numbers are numbers, NULL is null. */
void print_json(const PGresult *rows, bool is_single, struct buf *out);

#endif
