/* worker: a thread that runs its mails, leaves signals alone, and ends after what was posted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <cmocka.h>

#include "weir/net/worker.h"

struct task {
    struct mail mail;
    struct worker *worker;
    _Atomic int *count;
    pthread_t ran_on;
    bool has_signals_blocked;
};

static void run_task(struct mail *mail)
{
    struct task *task = (struct task *)(void *)mail;
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    task->has_signals_blocked = sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGHUP) == 1;
    task->ran_on = pthread_self();
    atomic_fetch_add(task->count, 1);
}

static void runs_mails_on_a_thread_of_its_own(void **state)
{
    (void)state;
    struct worker *worker = worker_new(3);
    _Atomic int count = 0;
    struct task tasks[10];
    assert_int_equal(worker_index(worker), 3);
    assert_true(worker_start(worker));
    for (int i = 0; i < 10; i++) {
        tasks[i] = (struct task){.mail = {.run = run_task}, .worker = worker, .count = &count};
        worker_post(worker, &tasks[i].mail);
    }
    worker_stop(worker);
    assert_int_equal(count, 10);
    for (int i = 0; i < 10; i++) {
        assert_false(pthread_equal(tasks[i].ran_on, pthread_self()));
        assert_true(tasks[i].has_signals_blocked);
    }
    worker_stop(worker); /* harmless */
    worker_free(worker);
}

static void what_is_posted_to_a_stopped_worker_runs_when_it_is_drained_or_freed(void **state)
{
    (void)state;
    struct worker *worker = worker_new(0);
    _Atomic int count = 0;
    struct task first = {.mail = {.run = run_task}, .count = &count}, second = first;
    worker_post(worker, &first.mail);
    assert_true(worker_drain(worker));
    assert_int_equal(count, 1);
    assert_false(worker_drain(worker));
    worker_post(worker, &second.mail);
    worker_free(worker);
    assert_int_equal(count, 2);
}

struct ball {
    struct mail mail;
    struct worker *players[2];
    int passes;
    pthread_mutex_t mutex;
    pthread_cond_t landed;
};

static void bounce(struct mail *mail)
{
    struct ball *ball = (struct ball *)(void *)mail;
    if (++ball->passes < 10000) {
        worker_post(ball->players[ball->passes % 2], &ball->mail);
        return;
    }
    pthread_mutex_lock(&ball->mutex);
    ball->players[0] = NULL;
    pthread_cond_signal(&ball->landed);
    pthread_mutex_unlock(&ball->mutex);
}

static void two_workers_hand_an_object_back_and_forth(void **state)
{
    (void)state;
    struct worker *a = worker_new(0), *b = worker_new(1);
    struct ball ball = {.mail = {.run = bounce}, .players = {a, b}};
    pthread_mutex_init(&ball.mutex, NULL);
    pthread_cond_init(&ball.landed, NULL);
    assert_true(worker_start(a));
    assert_true(worker_start(b));
    pthread_mutex_lock(&ball.mutex);
    worker_post(a, &ball.mail);
    while (ball.players[0] != NULL)
        pthread_cond_wait(&ball.landed, &ball.mutex);
    pthread_mutex_unlock(&ball.mutex);
    assert_int_equal(ball.passes, 10000);
    worker_stop(a);
    worker_stop(b);
    worker_free(a);
    worker_free(b);
}

static void keeps_what_the_layers_above_give_it(void **state)
{
    (void)state;
    struct worker *worker = worker_new(0);
    assert_null(worker_context(worker));
    worker_set_context(worker, &worker);
    assert_ptr_equal(worker_context(worker), &worker);
    worker_read_buffer(worker)[WORKER_READ_BYTES - 1] = 1;
    worker_free(worker);
    worker_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_mails_on_a_thread_of_its_own),
        cmocka_unit_test(what_is_posted_to_a_stopped_worker_runs_when_it_is_drained_or_freed),
        cmocka_unit_test(two_workers_hand_an_object_back_and_forth),
        cmocka_unit_test(keeps_what_the_layers_above_give_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
