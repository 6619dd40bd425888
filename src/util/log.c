/*
 * log: formats a line on the stack and hands it to each destination with one write.
 *
 * The destinations are guarded by a mutex; logging is not on the path of a query. The level is atomic, so
 * that a disabled line costs a load.
 */
#include "weir/util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "weir/util/clock.h"

enum { LINE_MAX_BYTES = 4096 };

static struct {
    pthread_mutex_t mutex;
    int file;
    bool to_stderr;
    bool to_syslog;
    char ident[64];
    _Atomic int verbose;
} log_state = {.mutex = PTHREAD_MUTEX_INITIALIZER, .file = -1, .to_stderr = true};

static const struct {
    const char *name;
    int priority;
} levels[] = {
    [LOG_LEVEL_FATAL] = {"FATAL", LOG_CRIT},        [LOG_LEVEL_ERROR] = {"ERROR", LOG_ERR},
    [LOG_LEVEL_WARNING] = {"WARNING", LOG_WARNING}, [LOG_LEVEL_LOG] = {"LOG", LOG_INFO},
    [LOG_LEVEL_DEBUG] = {"DEBUG", LOG_DEBUG},       [LOG_LEVEL_NOISE] = {"NOISE", LOG_DEBUG},
};

static const struct {
    const char *name;
    int code;
} facilities[] = {
    {"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"daemon", LOG_DAEMON}, {"user", LOG_USER},
    {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1},     {"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3},
    {"local4", LOG_LOCAL4}, {"local5", LOG_LOCAL5},     {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7},
};

static int facility_code(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof(facilities) / sizeof(facilities[0]); i++)
        if (strcmp(facilities[i].name, name) == 0)
            return facilities[i].code;
    return LOG_DAEMON;
}

bool log_open(const struct log_settings *settings)
{
    int file = -1;
    if (settings->logfile != NULL && settings->logfile[0] != '\0') {
        file = open(settings->logfile, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
        if (file < 0) {
            fprintf(stderr, "weir: cannot open logfile \"%s\": %s\n", settings->logfile, strerror(errno));
            return false;
        }
    }
    pthread_mutex_lock(&log_state.mutex);
    if (log_state.file >= 0)
        close(log_state.file);
    if (log_state.to_syslog)
        closelog();
    log_state.file = file;
    log_state.to_stderr = settings->to_stderr;
    log_state.to_syslog = settings->to_syslog;
    if (settings->to_syslog) {
        const char *ident = settings->syslog_ident;
        snprintf(log_state.ident, sizeof(log_state.ident), "%s",
                 ident != NULL && *ident != '\0' ? ident : "weir");
        openlog(log_state.ident, LOG_PID | LOG_NDELAY, facility_code(settings->syslog_facility));
    }
    atomic_store(&log_state.verbose, settings->verbose);
    pthread_mutex_unlock(&log_state.mutex);
    return true;
}

void log_close(void)
{
    pthread_mutex_lock(&log_state.mutex);
    if (log_state.file >= 0)
        close(log_state.file);
    log_state.file = -1;
    if (log_state.to_syslog)
        closelog();
    log_state.to_syslog = false;
    pthread_mutex_unlock(&log_state.mutex);
}

bool log_is_enabled(enum log_level level)
{
    return (int)level <= LOG_LEVEL_LOG + atomic_load_explicit(&log_state.verbose, memory_order_relaxed);
}

static void put_line(int fd, const char *line, size_t len)
{
    /* A log that cannot be written has nowhere to complain. */
    ssize_t ignored = write(fd, line, len);
    (void)ignored;
}

void log_vwrite(enum log_level level, const char *prefix, const char *format, va_list args)
{
    if (!log_is_enabled(level))
        return;
    char line[LINE_MAX_BYTES];
    uint64_t now = clock_wall_us();
    time_t seconds = (time_t)(now / US_PER_SECOND);
    struct tm local;
    localtime_r(&seconds, &local);
    char stamp[40], zone[16];
    strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &local);
    strftime(zone, sizeof(zone), "%Z", &local);
    int head = snprintf(line, sizeof(line), "%s.%03u %s [%d] %s ", stamp,
                        (unsigned)(now % US_PER_SECOND / 1000), zone, (int)getpid(), levels[level].name);
    size_t body = (size_t)head, used = body;
    if (prefix != NULL)
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%s ", prefix);
    if (used < sizeof(line) - 1) {
        int wrote = vsnprintf(line + used, sizeof(line) - used, format, args);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    if (used > sizeof(line) - 2)
        used = sizeof(line) - 2;
    for (size_t i = body; i < used; i++) /* a line stays a line, whatever a client put into its name */
        if (line[i] == '\n' || line[i] == '\r')
            line[i] = ' ';
    line[used] = '\n';
    line[used + 1] = '\0';

    pthread_mutex_lock(&log_state.mutex);
    if (log_state.file >= 0)
        put_line(log_state.file, line, used + 1);
    if (log_state.to_stderr)
        put_line(STDERR_FILENO, line, used + 1);
    if (log_state.to_syslog)
        syslog(levels[level].priority, "%.*s", (int)(used - body), line + body);
    pthread_mutex_unlock(&log_state.mutex);
}

void log_write(enum log_level level, const char *prefix, const char *format, ...)
{
    if (!log_is_enabled(level))
        return;
    va_list args;
    va_start(args, format);
    log_vwrite(level, prefix, format, args);
    va_end(args);
}

bool log_gate_pass(struct log_gate *gate, uint32_t burst, uint32_t *dropped)
{
    uint64_t second = clock_now_us() / US_PER_SECOND + 1;
    uint64_t seen = atomic_load(&gate->second);
    *dropped = 0;
    if (seen != second && atomic_compare_exchange_strong(&gate->second, &seen, second)) {
        atomic_store(&gate->used, 0);
        *dropped = atomic_exchange(&gate->dropped, 0);
    }
    if (atomic_fetch_add(&gate->used, 1) < burst)
        return true;
    atomic_fetch_add(&gate->dropped, 1);
    return false;
}
