/* worker: thread = loop + mailbox + read buffer. Signals are blocked in it: they are the control thread's. */
#include "weir/net/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct worker {
    int index;
    struct loop *loop;
    struct mailbox *mailbox;
    void *context;
    struct list lingering;
    pthread_t thread;
    bool is_started;
    uint8_t read_buffer[WORKER_READ_BYTES];
};

struct stop_mail {
    struct mail mail;
    struct loop *loop;
};

struct worker *worker_new(int index)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL)
        return NULL;
    worker->index = index;
    list_init(&worker->lingering);
    worker->loop = loop_new();
    if (worker->loop != NULL)
        worker->mailbox = mailbox_new(worker->loop);
    if (worker->mailbox == NULL) {
        worker_free(worker);
        return NULL;
    }
    return worker;
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    loop_run(worker->loop);
    return NULL;
}

bool worker_start(struct worker *worker)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    worker->is_started = pthread_create(&worker->thread, NULL, run, worker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return worker->is_started;
}

static void stop_loop(struct mail *mail)
{
    loop_stop(((struct stop_mail *)mail)->loop);
}

void worker_stop(struct worker *worker)
{
    if (!worker->is_started)
        return;
    struct stop_mail stop = {.mail = {.run = stop_loop}, .loop = worker->loop};
    worker_post(worker, &stop.mail);
    pthread_join(worker->thread, NULL);
    worker->is_started = false;
}

void worker_free(struct worker *worker)
{
    if (worker == NULL)
        return;
    mailbox_free(worker->mailbox);
    loop_free(worker->loop);
    free(worker);
}

int worker_index(const struct worker *worker)
{
    return worker->index;
}

struct loop *worker_loop(struct worker *worker)
{
    return worker->loop;
}

uint8_t *worker_read_buffer(struct worker *worker)
{
    return worker->read_buffer;
}

void worker_post(struct worker *worker, struct mail *mail)
{
    mailbox_post(worker->mailbox, mail);
}

bool worker_drain(struct worker *worker)
{
    return mailbox_drain(worker->mailbox);
}

struct list *worker_lingering(struct worker *worker)
{
    return &worker->lingering;
}

void worker_set_context(struct worker *worker, void *context)
{
    worker->context = context;
}

void *worker_context(const struct worker *worker)
{
    return worker->context;
}
