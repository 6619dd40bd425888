/*
 * The login storm of the bench: many clients of one thread who all log in at once, by libpq, and stay until
 * the last one is in.
 *
 *   logins CONNINFO CLIENTS
 *
 * Prints how many logged in, in how many seconds, and how much CPU time that took here. Any failure ends it.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

struct storm {
    PGconn **clients;
    struct pollfd *polled; /* by client; fd -1: is in */
    size_t count;
};

static void fail(const char *what)
{
    fprintf(stderr, "logins: %s\n", what);
    exit(1);
}

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void begin(struct storm *storm, const char *conninfo)
{
    for (size_t i = 0; i < storm->count; i++) {
        storm->clients[i] = PQconnectStart(conninfo);
        if (storm->clients[i] == NULL || PQstatus(storm->clients[i]) == CONNECTION_BAD)
            fail(PQerrorMessage(storm->clients[i]));
        storm->polled[i] = (struct pollfd){.fd = PQsocket(storm->clients[i]), .events = POLLOUT};
    }
}

/* Whether this client is in now. */
static int go_on(struct storm *storm, size_t i)
{
    PostgresPollingStatusType wanted = PQconnectPoll(storm->clients[i]);
    if (wanted == PGRES_POLLING_FAILED)
        fail(PQerrorMessage(storm->clients[i]));
    /* libpq may go on with another socket, where it tries once more. */
    storm->polled[i] = (struct pollfd){.fd = wanted == PGRES_POLLING_OK ? -1 : PQsocket(storm->clients[i]),
                                       .events = wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT};
    return wanted == PGRES_POLLING_OK;
}

static void all_log_in(struct storm *storm)
{
    for (size_t in = 0; in < storm->count;) {
        if (poll(storm->polled, (nfds_t)storm->count, 60000) <= 0)
            fail("nothing has happened for a minute");
        for (size_t i = 0; i < storm->count; i++)
            if (storm->polled[i].fd >= 0 && storm->polled[i].revents != 0)
                in += (size_t)go_on(storm, i);
    }
}

int main(int argc, char **argv)
{
    struct storm storm = {.count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0};
    if (storm.count == 0)
        fail("usage: logins CONNINFO CLIENTS");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    storm.clients = calloc(storm.count, sizeof(*storm.clients));
    storm.polled = calloc(storm.count, sizeof(*storm.polled));
    if (storm.clients == NULL || storm.polled == NULL)
        fail("out of memory");
    double began = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    begin(&storm, argv[1]);
    all_log_in(&storm);
    printf("%zu logins in %.6f s, %.6f s of CPU\n", storm.count, seconds_of(CLOCK_MONOTONIC) - began,
           seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    for (size_t i = 0; i < storm.count; i++)
        PQfinish(storm.clients[i]);
    free(storm.clients);
    free(storm.polled);
    return 0;
}
