/*
 * The mixed load of the bench: many connections of one thread, each with one read or one write of a row on
 * its way, by prepared statements; which row is drawn by Zipf's law.
 *
 *   mix PORT CONNECTIONS KEYS THETA WRITES SECONDS READ WRITE apart|together [SEED]
 *
 * WRITES is their share, from 0 to 1. READ and WRITE are statements with the key as $1 that give one row
 * each: the key, and the row's version, which every write makes greater. `together`: they are of the same
 * table, so that a read that began after a version was seen, by anyone, must show it or a later one; an older
 * one ends the program.
 *
 * Prints how many reads and writes there were, in how many seconds, how long a read took (mean, median, 99
 * %), in µs, how much CPU time the asking took, and how many answers were compared with a version known
 * before.
 */
#include <math.h>
#include <sys/epoll.h>

#include "speak.h"

enum { SAMPLES_MAX = 4000000 };

struct asker {
    struct connection connection;
    bool is_write;
    unsigned long floor; /* the version known when it began */
    double since;
};

static struct {
    uint32_t keys;
    double writes;
    bool is_together;
    double *share;           /* of the keys up to this one */
    uint32_t *shuffled;      /* so that the popular ones are not neighbours */
    unsigned long *versions; /* the latest that anyone has seen */
    uint64_t state;
    uint64_t read_count, write_count, compared;
    float *took_us;
    size_t sample_count;
} mix;

/* xorshift64*: the same in every run of one seed. */
static double random_share(void)
{
    mix.state ^= mix.state >> 12;
    mix.state ^= mix.state << 25;
    mix.state ^= mix.state >> 27;
    return (double)((mix.state * UINT64_C(2685821657736338717)) >> 11) / (double)(UINT64_C(1) << 53);
}

static void make_keys(double theta)
{
    double sum = 0;
    mix.share = calloc(mix.keys, sizeof(double));
    mix.shuffled = calloc(mix.keys, sizeof(uint32_t));
    mix.versions = calloc((size_t)mix.keys + 1, sizeof(unsigned long));
    mix.took_us = calloc(SAMPLES_MAX, sizeof(float));
    if (mix.share == NULL || mix.shuffled == NULL || mix.versions == NULL || mix.took_us == NULL) {
        fail("out of memory");
    }
    for (uint32_t i = 0; i < mix.keys; i++) {
        mix.share[i] = sum += pow((double)i + 1, -theta);
        mix.shuffled[i] = i + 1;
    }
    for (uint32_t i = 0; i < mix.keys; i++) {
        mix.share[i] /= sum;
    }
    for (uint32_t i = mix.keys - 1; i > 0; i--) {
        uint32_t other = (uint32_t)(random_share() * (i + 1)), key = mix.shuffled[i];
        mix.shuffled[i] = mix.shuffled[other];
        mix.shuffled[other] = key;
    }
}

static uint32_t draw_key(void)
{
    double wanted = random_share();
    uint32_t low = 0, high = mix.keys - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (mix.share[middle] < wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return mix.shuffled[low];
}

static void ask(struct asker *a)
{
    struct connection *c = &a->connection;
    struct request r = {.len = 0};
    c->key = draw_key();
    c->len = 0;
    a->is_write = random_share() < mix.writes;
    a->floor = mix.versions[c->key];
    a->since = now();
    add_execution(&r, a->is_write ? "w" : "r", c->key);
    send_all(c, r.bytes, r.len);
}

/* The number in the column that begins at `*at`, which is moved past it. */
static unsigned long read_number(const uint8_t *body, size_t size, size_t *at)
{
    uint32_t len;
    char shown[24] = "";
    if (*at + 4 > size) {
        fail("the row has another shape");
    }
    memcpy(&len, body + *at, 4);
    len = ntohl(len);
    *at += 4;
    if (len >= sizeof shown || *at + len > size) {
        fail("the row has another shape");
    }
    memcpy(shown, body + *at, len);
    *at += len;
    return strtoul(shown, NULL, 10);
}

static void look_at_row(struct asker *a, const uint8_t *body, size_t size)
{
    uint32_t key = a->connection.key;
    size_t at = 2;
    unsigned long shown = read_number(body, size, &at), version = read_number(body, size, &at);
    if (shown != key) {
        fail("the answer is of another row");
    }
    if (a->is_write && !mix.is_together) {
        return; /* of another table, with versions of its own */
    }
    if (version < a->floor) {
        fprintf(stderr, "mix: row %u: version %lu was known, and then %lu was answered\n", key, a->floor,
                version);
        fail("a read was stale");
    }
    mix.compared += a->floor > 0;
    if (version > mix.versions[key]) {
        mix.versions[key] = version;
    }
}

/* Whether the answer is there whole; looks at its row when it is. */
static bool is_whole(struct asker *a)
{
    const struct connection *c = &a->connection;
    const uint8_t *row = NULL;
    size_t row_size = 0;
    for (size_t at = 0; c->len - at >= 5;) {
        uint32_t size;
        memcpy(&size, c->answer + at + 1, 4);
        size = ntohl(size);
        if (c->len - at < (size_t)size + 1) {
            return false;
        }
        if (c->answer[at] == 'E') {
            fprintf(stderr, "mix: %.*s\n", (int)size - 4, (const char *)c->answer + at + 5);
            fail("an error was answered");
        }
        if (c->answer[at] == 'D') {
            row = c->answer + at + 5;
            row_size = size - 4;
        }
        if (c->answer[at] == 'Z') {
            if (row == NULL) {
                fail("the answer has no row");
            }
            look_at_row(a, row, row_size);
            return true;
        }
        at += (size_t)size + 1;
    }
    return false;
}

static void account(const struct asker *a)
{
    if (a->is_write) {
        mix.write_count++;
        return;
    }
    mix.read_count++;
    if (mix.sample_count < SAMPLES_MAX) {
        mix.took_us[mix.sample_count++] = (float)((now() - a->since) * 1e6);
    }
}

static void run(struct asker *askers, int count, double ends)
{
    struct epoll_event ready[64];
    int poll = epoll_create1(0), open = count;
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &askers[i]};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, askers[i].connection.fd, &event) != 0) {
            fail("epoll_ctl");
        }
        ask(&askers[i]);
    }
    while (open > 0) {
        int n = epoll_wait(poll, ready, 64, 20000);
        if (n == 0) {
            fail("no answer for 20 seconds");
        }
        bool is_over = now() >= ends;
        for (int i = 0; i < n; i++) {
            struct asker *a = ready[i].data.ptr;
            receive(&a->connection);
            if (!is_whole(a)) {
                continue;
            }
            account(a);
            if (is_over) {
                open--;
            } else {
                ask(a);
            }
        }
    }
    close(poll);
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print(double took, double own)
{
    double sum = 0;
    size_t n = mix.sample_count;
    for (size_t i = 0; i < n; i++) {
        sum += (double)mix.took_us[i];
    }
    qsort(mix.took_us, n, sizeof(float), compare);
    printf("%llu reads, %llu writes in %.6f s; read mean %.1f, median %.1f, p99 %.1f us; %.6f s of CPU; %llu "
           "compared\n",
           (unsigned long long)mix.read_count, (unsigned long long)mix.write_count, took,
           n > 0 ? sum / (double)n : 0, n > 0 ? (double)mix.took_us[n / 2] : 0,
           n > 0 ? (double)mix.took_us[n * 99 / 100] : 0, own, (unsigned long long)mix.compared);
}

static void prepare(struct connection *c, const char *read, const char *write)
{
    struct request r = {.len = 0};
    add_parse(&r, "r", read);
    add_message(&r, 'S', NULL, 0);
    send_all(c, r.bytes, r.len);
    wait_until_ready(c);
    r.len = 0;
    add_parse(&r, "w", write);
    add_message(&r, 'S', NULL, 0);
    send_all(c, r.bytes, r.len);
    wait_until_ready(c);
}

int main(int argc, char **argv)
{
    if (argc < 10) {
        fail("mix PORT CONNECTIONS KEYS THETA WRITES SECONDS READ WRITE apart|together [SEED]");
    }
    int count = atoi(argv[2]);
    mix.keys = (uint32_t)strtoul(argv[3], NULL, 10);
    mix.writes = strtod(argv[5], NULL);
    mix.is_together = strcmp(argv[9], "together") == 0;
    mix.state = 88172645463325252u;
    struct asker *askers = calloc((size_t)count, sizeof *askers);
    if (count < 1 || mix.keys < 1 || askers == NULL) {
        fail("nothing to ask");
    }
    make_keys(strtod(argv[4], NULL));
    mix.state += argc > 10 ? strtoul(argv[10], NULL, 10) * 7919 : 0;
    for (int i = 0; i < count; i++) {
        connect_to(&askers[i].connection, (uint16_t)strtoul(argv[1], NULL, 10));
        prepare(&askers[i].connection, argv[7], argv[8]);
    }
    double began = now(), cpu_began = cpu();
    run(askers, count, began + strtod(argv[6], NULL));
    print(now() - began, cpu() - cpu_began);
    for (int i = 0; i < count; i++) {
        send_all(&askers[i].connection, "X\0\0\0\4", 5);
        close(askers[i].connection.fd);
    }
    return 0;
}
