/*
 * log: one line per event, to stderr, a file or syslog, with levels.
 *
 *   2026-03-01 12:00:00.123 UTC [4711] LOG C-0x55d0c8: shop/anna@10.0.0.7:51234 login attempt: ...
 *
 * A line is one write, so threads never mix. Repeated lines of one place are limited by log_gate. Settings
 * may change while threads log. No secret is ever given to this module.
 */
#ifndef WEIR_UTIL_LOG_H
#define WEIR_UTIL_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "weir/util/cold.h"

enum log_level {
    LOG_LEVEL_FATAL,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_LOG, /* what an operator wants to know in normal times */
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_NOISE,
};

struct log_settings {
    const char *logfile; /* appended to; NULL or "" for none */
    bool to_stderr;      /* false with -q, and after daemonising */
    bool to_syslog;
    const char *syslog_ident;    /* default "weir" */
    const char *syslog_facility; /* "daemon", "local0", ... */
    int verbose;                 /* 0: up to LOG, 1: DEBUG, 2: NOISE */
};

/*
 * Opens (or, called again, reopens) the destinations. The strings are copied. False, with the old
 * destinations kept and the reason on stderr, when the file cannot be opened.
 */
bool log_open(const struct log_settings *settings);
void log_close(void);

bool log_is_enabled(enum log_level level);

/* `prefix` may be NULL; it stands between level and message ("C-0x1f: db/user@addr:port"). */
COLD void log_write(enum log_level level, const char *prefix, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
COLD void log_vwrite(enum log_level level, const char *prefix, const char *format, va_list args);

#define log_fatal(...)   log_write(LOG_LEVEL_FATAL, NULL, __VA_ARGS__)
#define log_error(...)   log_write(LOG_LEVEL_ERROR, NULL, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, NULL, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_LOG, NULL, __VA_ARGS__)
#define log_debug(...)                                                                                       \
    do {                                                                                                     \
        if (log_is_enabled(LOG_LEVEL_DEBUG))                                                                 \
            log_write(LOG_LEVEL_DEBUG, NULL, __VA_ARGS__);                                                   \
    } while (0)

/* A gate for one place in the code: at most `burst` lines a second; says how many were left out when it
 * reopens. */
struct log_gate {
    _Atomic uint64_t second;
    _Atomic uint32_t used;
    _Atomic uint32_t dropped;
};

bool log_gate_pass(struct log_gate *gate, uint32_t burst, uint32_t *dropped);

#endif
