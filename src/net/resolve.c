/* resolve: a thread, a queue of questions, and getaddrinfo. */
#include "weir/net/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void look_up(struct question *question)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    char port[16];
    snprintf(port, sizeof(port), "%d", question->port);
    int rc = getaddrinfo(question->host, port, &hints, &found);
    struct resolve_answer *answer = &question->answer;
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
        pthread_mutex_unlock(&resolver->mutex);
        look_up(question);
        worker_post(question->worker, &question->mail);
        pthread_mutex_lock(&resolver->mutex);
    }
    pthread_mutex_unlock(&resolver->mutex);
    return NULL;
}

struct resolver *resolver_new(void)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));
    if (resolver == NULL)
        return NULL;
    pthread_mutex_init(&resolver->mutex, NULL);
    pthread_cond_init(&resolver->wake, NULL);
    resolver->last = &resolver->first;
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
    bool is_accepted = ensure_thread(resolver);
    if (is_accepted) {
        *resolver->last = question;
        resolver->last = &question->next;
        pthread_cond_signal(&resolver->wake);
    }
    pthread_mutex_unlock(&resolver->mutex);
    if (!is_accepted)
        free_question(question);
    return is_accepted;
}
