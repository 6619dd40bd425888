/*
 * console: the SQL-like language of the administrative database, PgBouncer's commands and Weir's own.
 *
 * Executes one query text and gives back complete backend messages without the final ReadyForQuery. Knows no
 * socket: the session hands the text over and sends what comes back. Control thread only.
 */
#ifndef WEIR_ADMIN_CONSOLE_H
#define WEIR_ADMIN_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/admin/gather.h"
#include "weir/util/buf.h"
#include "weir/util/slice.h"

struct console;

struct console_request {
    struct slice query; /* borrowed for the call */
    const char *user;   /* borrowed for the call */
    bool is_admin;      /* else SHOW only */
};

/* `answer` belongs to the receiver (buf_free); a failed buffer means that memory was out: close the client.
 */
typedef void console_answer_fn(void *arg, struct buf *answer);

/* `source` is copied. NULL when memory is out. */
struct console *console_new(const struct admin_source *source);
/* Answers still under way are given up: their `answer` is not called any more. */
void console_free(struct console *console);

/*
 * Answers exactly once, possibly before it returns; PAUSE and the like may take as long as they want. Whoever
 * asks sends nothing else for this client meanwhile.
 */
void console_execute(struct console *console, const struct console_request *request,
                     console_answer_fn *answer, void *arg);

/*
 * Called by app every stats_period: closes one period of the averages and, if `line` is not NULL, writes the
 * summary line for the log to it and calls `logged` (may be NULL).
 */
typedef void console_period_fn(void *arg, const char *line);
void console_period(struct console *console, console_period_fn *logged, void *arg);

/* True when `user` may use the console under this configuration, and as what. */
bool console_may_enter(const struct config *config, const char *user, bool *is_admin);

#endif
