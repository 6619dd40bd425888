/* resolve: a thread, a queue of questions, getaddrinfo, and a table of what it said. */
#include "weir/net/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "weir/util/clock.h"

enum { NAMES_LIMIT = 4096 }; /* beyond that, names that are not believed any more are dropped */

struct name {
    char *host;
    uint64_t until_us;            /* the last answer is believed until then */
    struct resolve_answer answer; /* the last one */
    struct resolve_answer found;  /* the last one with addresses */
    UT_hash_handle hh;
};

struct question {
    struct mail mail; /* first: the answer travels as this mail */
    struct question *next;
    char *host;
    int port;
    struct worker *worker;
    resolve_fn fn;
    void *context;
    struct resolve_answer answer;
};

struct resolver {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t thread;
    bool is_started;
    bool is_ending;
    struct question *first;
    struct question **last;
    size_t waiting; /* questions, the one at hand among them */
    struct name *names;
    uint64_t found_us, failed_us;
    resolve_lookup lookup;
};

static void free_question(struct question *question)
{
    free(question->host);
    free(question);
}

static void deliver(struct mail *mail)
{
    struct question *question = (struct question *)(void *)mail;
    question->fn(question->context, &question->answer);
    free_question(question);
}

static void ask_system(const char *host, int port, struct resolve_answer *answer)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    char service[16];
    snprintf(service, sizeof(service), "%d", port);
    int rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0)
        snprintf(answer->error, sizeof(answer->error), "%s", gai_strerror(rc));
    for (struct addrinfo *ai = found; ai != NULL && answer->count < RESOLVE_MAX_ADDRESSES; ai = ai->ai_next) {
        struct address *to = &answer->addresses[answer->count];
        if (ai->ai_addrlen > sizeof(to->as))
            continue;
        memcpy(&to->as, ai->ai_addr, ai->ai_addrlen);
        to->len = ai->ai_addrlen;
        answer->count++;
    }
    if (found != NULL)
        freeaddrinfo(found);
}

/* ---- what is known ---- */

static struct name *find_name(struct resolver *resolver, const char *host)
{
    struct name *name;
    HASH_FIND_STR(resolver->names, host, name);
    return name;
}

static void drop_name(struct resolver *resolver, struct name *name)
{
    HASH_DEL(resolver->names, name);
    free(name->host);
    free(name);
}

static void make_room(struct resolver *resolver, uint64_t now)
{
    struct name *name, *next;
    HASH_ITER(hh, resolver->names, name, next)
    {
        if (name->until_us <= now)
            drop_name(resolver, name);
    }
}

static struct name *add_name(struct resolver *resolver, const char *host, uint64_t now)
{
    if (HASH_COUNT(resolver->names) >= NAMES_LIMIT)
        make_room(resolver, now);
    struct name *name = calloc(1, sizeof(*name));
    if (name == NULL || (name->host = strdup(host)) == NULL) {
        free(name);
        return NULL;
    }
    size_t len = strlen(host);
    HASH_ADD_KEYPTR(hh, resolver->names, name->host, len, name);
    if (name->hh.tbl != NULL)
        return name;
    free(name->host);
    free(name);
    return NULL;
}

static void set_port(struct address *address, int port)
{
    if (address->as.any.sa_family == AF_INET6)
        address->as.in6.sin6_port = htons((uint16_t)port);
    else
        address->as.in.sin_port = htons((uint16_t)port);
}

static bool has_address(const struct resolve_answer *answer, struct address address)
{
    bool is_found = false;
    for (int i = 0; i < answer->count && !is_found; i++) {
        set_port(&address, address_port(&answer->addresses[i]));
        is_found = address_equal(&answer->addresses[i], &address);
    }
    return is_found;
}

static bool is_same_set(const struct resolve_answer *a, const struct resolve_answer *b)
{
    bool is_same = true;
    for (int i = 0; i < a->count; i++)
        is_same = is_same && has_address(b, a->addresses[i]);
    for (int i = 0; i < b->count; i++)
        is_same = is_same && has_address(a, b->addresses[i]);
    return is_same;
}

/* Remembers a fresh answer, and says in it whether it is another one. */
static void keep(struct resolver *resolver, const char *host, struct resolve_answer *answer)
{
    uint64_t ttl = answer->count > 0 ? resolver->found_us : resolver->failed_us, now = clock_now_us();
    struct name *name = find_name(resolver, host);
    if (ttl == 0 || (name == NULL && (name = add_name(resolver, host, now)) == NULL))
        return;
    answer->turn = ++name->answer.turn;
    name->answer = *answer;
    name->until_us = now + ttl;
    if (answer->count == 0)
        return;
    answer->has_changed = name->found.count > 0 && !is_same_set(&name->found, answer);
    name->found = *answer;
}

/* Answers without asking anybody. */
static bool recall(struct resolver *resolver, const char *host, int port, struct resolve_answer *answer)
{
    struct name *name = find_name(resolver, host);
    if (name == NULL || name->until_us <= clock_now_us())
        return false;
    name->answer.turn++;
    *answer = name->answer;
    for (int i = 0; i < answer->count; i++)
        set_port(&answer->addresses[i], port);
    return true;
}

void resolver_keep(struct resolver *resolver, uint64_t found_us, uint64_t failed_us)
{
    pthread_mutex_lock(&resolver->mutex);
    resolver->found_us = found_us;
    resolver->failed_us = failed_us;
    pthread_mutex_unlock(&resolver->mutex);
}

bool resolver_has(struct resolver *resolver, const char *host, const struct address *address)
{
    pthread_mutex_lock(&resolver->mutex);
    const struct name *name = find_name(resolver, host);
    bool is_there = name == NULL || name->found.count == 0 || has_address(&name->found, *address);
    pthread_mutex_unlock(&resolver->mutex);
    return is_there;
}

size_t resolver_list(struct resolver *resolver, resolve_each fn, void *context)
{
    pthread_mutex_lock(&resolver->mutex);
    uint64_t now = clock_now_us();
    size_t waiting = resolver->waiting;
    for (const struct name *name = resolver->names; name != NULL; name = name->hh.next)
        fn(context, name->host, name->until_us > now ? name->until_us - now : 0, &name->answer);
    pthread_mutex_unlock(&resolver->mutex);
    return waiting;
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct resolver *resolver = arg;
    pthread_mutex_lock(&resolver->mutex);
    for (;;) {
        while (resolver->first == NULL && !resolver->is_ending)
            pthread_cond_wait(&resolver->wake, &resolver->mutex);
        if (resolver->is_ending)
            break;
        struct question *question = resolver->first;
        resolver->first = question->next;
        if (resolver->first == NULL)
            resolver->last = &resolver->first;
        bool is_known = recall(resolver, question->host, question->port, &question->answer);
        pthread_mutex_unlock(&resolver->mutex);
        if (!is_known)
            resolver->lookup(question->host, question->port, &question->answer);
        pthread_mutex_lock(&resolver->mutex);
        if (!is_known)
            keep(resolver, question->host, &question->answer);
        resolver->waiting--;
        pthread_mutex_unlock(&resolver->mutex);
        worker_post(question->worker, &question->mail);
        pthread_mutex_lock(&resolver->mutex);
    }
    pthread_mutex_unlock(&resolver->mutex);
    return NULL;
}

struct resolver *resolver_new(resolve_lookup lookup)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));
    if (resolver == NULL)
        return NULL;
    pthread_mutex_init(&resolver->mutex, NULL);
    pthread_cond_init(&resolver->wake, NULL);
    resolver->last = &resolver->first;
    resolver->lookup = lookup != NULL ? lookup : ask_system;
    return resolver;
}

void resolver_stop(struct resolver *resolver)
{
    pthread_mutex_lock(&resolver->mutex);
    resolver->is_ending = true;
    pthread_cond_signal(&resolver->wake);
    pthread_mutex_unlock(&resolver->mutex);
    if (resolver->is_started)
        pthread_join(resolver->thread, NULL);
    resolver->is_started = false;
    while (resolver->first != NULL) {
        struct question *question = resolver->first;
        resolver->first = question->next;
        snprintf(question->answer.error, sizeof(question->answer.error), "shutting down");
        worker_post(question->worker, &question->mail);
    }
    resolver->last = &resolver->first;
}

void resolver_free(struct resolver *resolver)
{
    if (resolver == NULL)
        return;
    resolver_stop(resolver);
    while (resolver->names != NULL)
        drop_name(resolver, resolver->names);
    pthread_cond_destroy(&resolver->wake);
    pthread_mutex_destroy(&resolver->mutex);
    free(resolver);
}

static bool ensure_thread(struct resolver *resolver)
{
    if (resolver->is_started || resolver->is_ending)
        return !resolver->is_ending;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    resolver->is_started = pthread_create(&resolver->thread, NULL, run, resolver) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return resolver->is_started;
}

bool resolver_ask(struct resolver *resolver, const char *host, int port, struct worker *worker, resolve_fn fn,
                  void *context)
{
    struct question *question = calloc(1, sizeof(*question));
    char *copy = strdup(host);
    if (question == NULL || copy == NULL) {
        free(question);
        free(copy);
        return false;
    }
    *question = (struct question){
        .mail = {.run = deliver}, .host = copy, .port = port, .worker = worker, .fn = fn, .context = context};
    pthread_mutex_lock(&resolver->mutex);
    if (!resolver->is_ending && recall(resolver, host, port, &question->answer)) {
        pthread_mutex_unlock(&resolver->mutex);
        worker_post(worker, &question->mail);
        return true;
    }
    bool is_accepted = ensure_thread(resolver);
    if (is_accepted) {
        resolver->waiting++;
        *resolver->last = question;
        resolver->last = &question->next;
        pthread_cond_signal(&resolver->wake);
    }
    pthread_mutex_unlock(&resolver->mutex);
    if (!is_accepted)
        free_question(question);
    return is_accepted;
}
