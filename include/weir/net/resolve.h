/*
 * resolve: host names to addresses, off the threads that serve queries.
 *
 * getaddrinfo knows everything the system's administrator has configured (files, DNS, mDNS), and blocks; so
 * it runs on a thread of its own, one name at a time, and the answer is posted to whoever asked.
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
    char error[128];
};

/* Runs on the asking worker's thread. */
typedef void (*resolve_fn)(void *context, const struct resolve_answer *answer);

/* The thread starts with the first question. NULL when memory is out. */
struct resolver *resolver_new(void);
/* Waits for the name at hand, answers the questions not yet begun with an error, and takes no more. Before
 * their workers are freed. */
void resolver_stop(struct resolver *resolver);
void resolver_free(struct resolver *resolver);

/* Asks; the answer comes as a mail, never before this returns. False (and no answer) when memory is out, or
 * stopped. Any thread. */
bool resolver_ask(struct resolver *resolver, const char *host, int port, struct worker *worker, resolve_fn fn,
                  void *context);

#endif
