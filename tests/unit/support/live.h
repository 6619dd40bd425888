/*
 * live: throw-away servers for the tests that need a real one, in a temporary directory, on a Unix socket or
 * loopback.
 *
 * Header-only, since every test is one program. A test whose server cannot be had skips itself, loudly.
 */
#ifndef WEIR_TESTS_LIVE_H
#define WEIR_TESTS_LIVE_H

#include <glob.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct live {
    char directory[64];
    char binaries[256];
    pid_t redis;
};

static inline bool live_run(const char *command)
{
    int status = system(command);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* PostgreSQL refuses to run as root. */
static inline const char *live_user(void)
{
    return geteuid() == 0 ? "runuser -u postgres -- " : "";
}

static inline bool live_find_postgres(struct live *live)
{
    glob_t found;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) != 0)
        return false;
    snprintf(live->binaries, sizeof(live->binaries), "%s", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    *strrchr(live->binaries, '/') = '\0';
    return true;
}

static inline bool live_postgres_command(struct live *live, const char *verb)
{
    char command[1024];
    snprintf(command, sizeof(command),
             "%s%s/pg_ctl -D %s/data -l %s/log -w -o \"-c listen_addresses= -c unix_socket_directories=%s -c "
             "fsync=off "
             "-c max_connections=20 -c shared_buffers=16MB\" %s >/dev/null 2>&1",
             live_user(), live->binaries, live->directory, live->directory, live->directory, verb);
    return live_run(command);
}

/* PostgreSQL on the socket `directory`, port 5432, trusting "postgres". False when there is none to be had.
 */
static inline bool live_postgres_start(struct live *live)
{
    char command[1024];
    if (!live_find_postgres(live))
        return false;
    strcpy(live->directory, "/tmp/weir-test-XXXXXX");
    if (mkdtemp(live->directory) == NULL)
        return false;
    snprintf(command, sizeof(command),
             "%s chown postgres %s 2>/dev/null; %s%s/initdb -D %s/data -U postgres -A trust --no-sync "
             ">/dev/null 2>&1",
             geteuid() == 0 ? "" : "true ||", live->directory, live_user(), live->binaries, live->directory);
    return live_run(command) && live_postgres_command(live, "start");
}

static inline void live_remove(struct live *live)
{
    char command[256];
    snprintf(command, sizeof(command), "rm -rf %s", live->directory);
    live_run(command);
}

static inline void live_postgres_stop(struct live *live)
{
    live_postgres_command(live, "-m immediate stop");
    live_remove(live);
}

/* Runs SQL through psql, with one line of answer in `out` if wanted. */
static inline bool live_sql(struct live *live, const char *sql, char *out, size_t size)
{
    char command[2048];
    snprintf(command, sizeof(command), "psql -h %s -U postgres -XAtq -v ON_ERROR_STOP=1 -c \"%s\" postgres",
             live->directory, sql);
    FILE *f = popen(command, "r");
    if (f == NULL)
        return false;
    char line[512] = "";
    if (fgets(line, sizeof(line), f) != NULL && out != NULL) {
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, size, "%s", line);
    }
    while (fgets(line, sizeof(line), f) != NULL)
        ;
    return pclose(f) == 0;
}

/* Redis on the socket `directory`/redis.sock; `more` is further configuration. */
static inline bool live_redis_start(struct live *live, const char *more)
{
    char path[128], options[512];
    strcpy(live->directory, "/tmp/weir-test-XXXXXX");
    if (access("/usr/bin/redis-server", X_OK) != 0 || mkdtemp(live->directory) == NULL)
        return false;
    snprintf(options, sizeof(options),
             "cd %s && exec redis-server --port 0 --unixsocket %s/redis.sock --save '' --appendonly no %s "
             ">/dev/null 2>&1",
             live->directory, live->directory, more);
    live->redis = fork();
    if (live->redis == 0) {
        execl("/bin/sh", "sh", "-c", options, (char *)NULL);
        _exit(1);
    }
    snprintf(path, sizeof(path), "%s/redis.sock", live->directory);
    for (int i = 0; i < 200 && access(path, F_OK) != 0; i++)
        usleep(20000);
    return access(path, F_OK) == 0;
}

static inline void live_redis_stop(struct live *live)
{
    kill(live->redis, SIGCONT);
    kill(live->redis, SIGKILL);
    waitpid(live->redis, NULL, 0);
    live_remove(live);
}

#endif
