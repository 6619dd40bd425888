/* error: fixed-size error values; formatting only. */
#include "weir/util/error.h"

#include <stdarg.h>
#include <stdio.h>

static void fill(struct error *e, const char *sqlstate, const char *format, va_list args)
{
    if (e == NULL)
        return;
    snprintf(e->sqlstate, sizeof(e->sqlstate), "%s", sqlstate);
    vsnprintf(e->message, sizeof(e->message), format, args);
}

bool error_set(struct error *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(e, "XX000", format, args);
    va_end(args);
    return false;
}

bool error_set_state(struct error *e, const char *sqlstate, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(e, sqlstate, format, args);
    va_end(args);
    return false;
}
