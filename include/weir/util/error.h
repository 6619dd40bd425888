/*
 * error: what went wrong, in words for a person and a SQLSTATE for a program.
 *
 * Functions that can fail with something to say take a `struct error *`, which may be NULL. Truncates, never
 * allocates.
 */
#ifndef WEIR_UTIL_ERROR_H
#define WEIR_UTIL_ERROR_H

#include <stdbool.h>

struct error {
    char sqlstate[6]; /* five characters, e.g. "08P01"; "XX000" unless set */
    char message[506];
};

#define ERROR_INIT ((struct error){"XX000", ""})

/* Always returns false, so that `return error_set(...)` reads well. */
bool error_set(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool error_set_state(struct error *e, const char *sqlstate, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
