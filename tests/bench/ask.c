/*
 * The light load of the bench: many connections of one thread, each with one lookup of pgbench -S on its way,
 * of keys at random. Every answer is checked: there it must be one row, with seven times the key as its
 * balance. It costs far less CPU than pgbench, so that what answers is what is measured.
 *
 *   ask PORT simple|extended|prepared CONNECTIONS KEYS SECONDS      (0 seconds: every key once, in order)
 *
 * Prints how many answers came, in how many seconds, and how much CPU time the asking took.
 */
#include <sys/epoll.h>

#include "speak.h"

enum mode { SIMPLE, EXTENDED, PREPARED };

static struct request *requests; /* by key, from 1 on */
static uint32_t keys;
static uint32_t next_key; /* of a sweep; 0 when keys are taken at random */
static uint64_t answers;

static void make_requests(enum mode mode)
{
    static const char text[] = "SELECT abalance FROM pgbench_accounts WHERE aid = ";
    char sql[sizeof text + 16];
    requests = calloc((size_t)keys + 1, sizeof *requests);
    if (requests == NULL) {
        fail("out of memory");
    }
    /* What stands at 0 prepares the statement. */
    snprintf(sql, sizeof sql, "%s$1;", text);
    add_parse(&requests[0], "lookup", sql);
    add_message(&requests[0], 'S', NULL, 0);
    for (uint32_t key = 1; key <= keys; key++) {
        struct request *r = &requests[key];
        if (mode == SIMPLE) {
            int len = snprintf(sql, sizeof sql, "%s%u;", text, key);
            add_message(r, 'Q', sql, (size_t)len + 1);
            continue;
        }
        if (mode == EXTENDED) {
            add_parse(r, "", sql);
        }
        add_execution(r, mode == PREPARED ? "lookup" : "", key);
    }
}

/* Whether the answer is there whole; looks at its rows when it is. */
static bool is_whole(const struct connection *c)
{
    size_t rows = 0;
    for (size_t at = 0; c->len - at >= 5;) {
        uint32_t size;
        memcpy(&size, c->answer + at + 1, 4);
        size = ntohl(size);
        uint8_t type = c->answer[at];
        const uint8_t *body = c->answer + at + 5;
        if (c->len - at < (size_t)size + 1) {
            return false;
        }
        if (type == 'E') {
            fprintf(stderr, "ask: %.*s\n", (int)size - 4, (const char *)body);
            fail("an error was answered");
        }
        if (type == 'D') {
            char shown[16] = "";
            uint32_t len = size - 4 - 6; /* one column, after the count and its own length */
            if (body[1] != 1 || len >= sizeof shown) {
                fail("the row has another shape");
            }
            memcpy(shown, body + 6, len);
            rows += strtoul(shown, NULL, 10) == (unsigned long)c->key * 7;
        }
        at += (size_t)size + 1;
        if (type == 'Z') {
            if (at != c->len || rows != 1) {
                fail("the answer is wrong");
            }
            return true;
        }
    }
    return false;
}

/* xorshift: the same keys in every run. */
static uint32_t random_key(void)
{
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return 1 + state % keys;
}

/* False when a sweep has no more keys. */
static bool ask(struct connection *c)
{
    if (next_key > keys) {
        return false;
    }
    c->key = next_key > 0 ? next_key++ : random_key();
    c->len = 0;
    send_all(c, requests[c->key].bytes, requests[c->key].len);
    return true;
}

/* Asks until the time is over, or the sweep; then waits for the last answers. */
static void run(struct connection *connections, int count, double ends)
{
    struct epoll_event ready[64];
    int poll = epoll_create1(0), open = 0;
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].fd, &event) != 0) {
            fail("epoll_ctl");
        }
        open += ask(&connections[i]);
    }
    while (open > 0) {
        int n = epoll_wait(poll, ready, 64, 20000);
        if (n == 0) {
            fail("no answer for 20 seconds");
        }
        bool is_over = next_key == 0 && now() >= ends;
        for (int i = 0; i < n; i++) {
            struct connection *c = ready[i].data.ptr;
            receive(c);
            if (!is_whole(c)) {
                continue;
            }
            answers++;
            if (is_over || !ask(c)) {
                open--;
            }
        }
    }
    close(poll);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fail("ask PORT simple|extended|prepared CONNECTIONS KEYS SECONDS");
    }
    enum mode mode = argv[2][0] == 's' ? SIMPLE : argv[2][0] == 'e' ? EXTENDED : PREPARED;
    int count = atoi(argv[3]);
    keys = (uint32_t)strtoul(argv[4], NULL, 10);
    double span = strtod(argv[5], NULL);
    next_key = span > 0 ? 0 : 1;
    struct connection *connections = calloc((size_t)count, sizeof *connections);
    if (count < 1 || keys < 1 || connections == NULL) {
        fail("nothing to ask");
    }
    make_requests(mode);
    for (int i = 0; i < count; i++) {
        connect_to(&connections[i], (uint16_t)strtoul(argv[1], NULL, 10));
        if (mode == PREPARED) {
            send_all(&connections[i], requests[0].bytes, requests[0].len);
            wait_until_ready(&connections[i]);
        }
    }
    double began = now(), cpu_began = cpu();
    run(connections, count, began + span);
    double took = now() - began;
    printf("%llu answers in %.6f s, %.6f s of CPU\n", (unsigned long long)answers, took, cpu() - cpu_began);
    for (int i = 0; i < count; i++) {
        send_all(&connections[i], "X\0\0\0\4", 5);
        close(connections[i].fd);
    }
    free(connections);
    free(requests);
    return 0;
}
