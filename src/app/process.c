/* process: what a daemon owes to its system: user, limits, pid file, log, files. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app.h"
#include "weir/util/log.h"

bool process_change_user(const struct app_options *options, const struct config *config, struct error *error)
{
    const char *name = options->user != NULL ? options->user : config_settings(config)->user;
    if (getuid() != 0)
        return true;
    if (name[0] == '\0')
        return error_set(error, "Weir should not run as root: set \"user\" in %s, or start it with -u USER",
                         options->path);
    const struct passwd *entry = getpwnam(name);
    if (entry == NULL)
        return error_set(error, "user \"%s\" does not exist on this system; set \"user\" to one that does",
                         name);
    if (entry->pw_uid == 0)
        return error_set(error, "user \"%s\" is root; set \"user\" to an unprivileged one", name);
    if (initgroups(name, entry->pw_gid) != 0 || setgid(entry->pw_gid) != 0 || setuid(entry->pw_uid) != 0)
        return error_set(error, "cannot become user \"%s\": %s", name, strerror(errno));
    return true;
}

void process_raise_file_limit(const struct config *config)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warning("cannot raise the limit of open files: %s", strerror(errno));
    const struct config_settings *settings = config_settings(config);
    unsigned long long servers = 0;
    for (size_t i = 0; i < config_database_count(config); i++) {
        const struct config_database *database = config_database_at(config, i);
        servers += (unsigned)config_pool_size(config, database, NULL);
    }
    unsigned long long need = (unsigned)settings->max_client_conn + servers + 64;
    if (need > limit.rlim_cur)
        log_warning("open files: %llu allowed, %llu may be needed (max_client_conn %d, servers of one user "
                    "%llu); raise the limit",
                    (unsigned long long)limit.rlim_cur, need, settings->max_client_conn, servers);
    else
        log_info("open files: %llu allowed, about %llu needed at most for one user",
                 (unsigned long long)limit.rlim_cur, need);
}

/* The one who was called waits for the daemon to say that it serves: its end without a word is a failure. */
static void report_daemon(int fd)
{
    char word;
    if (read(fd, &word, 1) == 1)
        _exit(EXIT_SUCCESS);
    fprintf(stderr, "weir: cannot start: the log says why\n");
    _exit(EXIT_FAILURE);
}

void process_daemon_serves(int fd)
{
    if (write(fd, "+", 1) != 1)
        log_debug("nobody waits for the daemon to start");
    close(fd);
}

bool process_go_daemon(int *ready_fd, struct error *error)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(error, "pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        return error_set(error, "fork: %s", strerror(errno));
    if (pid > 0) {
        close(ends[1]);
        report_daemon(ends[0]);
    }
    close(ends[0]);
    *ready_fd = ends[1];
    if (setsid() < 0)
        return error_set(error, "setsid: %s", strerror(errno));
    pid = fork();
    if (pid < 0)
        return error_set(error, "fork: %s", strerror(errno));
    if (pid > 0)
        _exit(0);
    int null = open("/dev/null", O_RDWR);
    if (null < 0)
        return error_set(error, "/dev/null: %s", strerror(errno));
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
    return true;
}

static bool is_running(const char *path)
{
    FILE *file = fopen(path, "r");
    int pid = 0;
    if (file == NULL)
        return false;
    int count = fscanf(file, "%d", &pid);
    fclose(file);
    return count == 1 && pid > 0 && pid != getpid() && (kill(pid, 0) == 0 || errno == EPERM);
}

char *process_write_pidfile(const char *path, struct error *error)
{
    if (path[0] == '\0')
        return NULL;
    if (is_running(path)) {
        error_set(error, "pidfile \"%s\" belongs to a running process: stop that one, or use another pidfile",
                  path);
        return NULL;
    }
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        error_set(error, "cannot write pidfile \"%s\": %s", path, strerror(errno));
        return NULL;
    }
    fprintf(file, "%d\n", (int)getpid());
    fclose(file);
    return strdup(path);
}

bool process_read_file(void *arg, const char *path, struct buf *out, struct error *error)
{
    (void)arg;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return error_set(error, "%s", strerror(errno));
    char chunk[8192];
    size_t got;
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
        buf_append(out, chunk, got);
    bool is_good = !ferror(file) && !buf_failed(out);
    fclose(file);
    explicit_bzero(chunk, sizeof(chunk));
    return is_good || error_set(error, "cannot be read");
}

bool process_open_log(const struct app_options *options, const struct config *config)
{
    const struct config_settings *settings = config_settings(config);
    const struct log_settings log = {
        .logfile = settings->logfile,
        .to_stderr = !options->is_quiet && !options->is_daemon,
        .to_syslog = settings->syslog != 0,
        .syslog_ident = settings->syslog_ident,
        .syslog_facility = settings->syslog_facility,
        .verbose = options->verbose > settings->verbose ? options->verbose : settings->verbose,
    };
    return log_open(&log);
}
