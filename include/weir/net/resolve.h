/*
 * resolve: host names to addresses, off the threads that serve queries.
 *
 * getaddrinfo knows everything the system's administrator has configured (files, DNS, mDNS), and blocks; so
 * it runs on a thread of its own, one name at a time, and the answer is posted to whoever asked. Answers are
 * remembered for a while (resolver_keep), so that many connections to one host ask once, and a name that does
 * not answer holds up no other that is known.
 */
#ifndef WEIR_NET_RESOLVE_H
#define WEIR_NET_RESOLVE_H

#include "weir/net/address.h"
#include "weir/net/worker.h"

enum { RESOLVE_MAX_ADDRESSES = 16 };

struct resolver;

struct resolve_answer {
    int count; /* 0: failed, see `error` */
    struct address addresses[RESOLVE_MAX_ADDRESSES];
    unsigned turn;    /* counted up for each answer from one name: whose turn it is among several addresses */
    bool has_changed; /* the addresses are not those of the last look-up that found any; said once */
    char error[128];
};

/* What asks the system: fills count and addresses, or error. For tests; NULL: getaddrinfo. */
typedef void (*resolve_lookup)(const char *host, int port, struct resolve_answer *answer);

/* Runs on the asking worker's thread. */
typedef void (*resolve_fn)(void *context, const struct resolve_answer *answer);

/* The thread starts with the first question. NULL when memory is out. */
struct resolver *resolver_new(resolve_lookup lookup);
/* For how long addresses, and failures, are remembered from now on; 0, as at first: not at all. Any thread.
 */
void resolver_keep(struct resolver *resolver, uint64_t found_us, uint64_t failed_us);
/* Waits for the name at hand, answers the questions not yet begun with an error, and takes no more. Before
 * their workers are freed. */
void resolver_stop(struct resolver *resolver);
void resolver_free(struct resolver *resolver);

/* Asks; the answer comes as a mail, never before this returns. False (and no answer) when memory is out, or
 * stopped. Any thread. */
bool resolver_ask(struct resolver *resolver, const char *host, int port, struct worker *worker, resolve_fn fn,
                  void *context);

/* Is it among the addresses that `host` was last seen to have (ports do not count)? True where that is not
 * known. Any thread. */
bool resolver_has(struct resolver *resolver, const char *host, const struct address *address);

/* Every name that is remembered: how long it is still believed (0: no more), and its addresses; `count` 0
 * after a failure. Returns how many questions wait for the system. Any thread; `fn` may not call back. */
typedef void (*resolve_each)(void *context, const char *host, uint64_t left_us,
                             const struct resolve_answer *known);
size_t resolver_list(struct resolver *resolver, resolve_each fn, void *context);

#endif
