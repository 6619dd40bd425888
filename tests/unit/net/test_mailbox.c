/* mailbox: order, several posting threads, mails that post mails, and what is left at the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pump.h"
#include "weir/net/mailbox.h"

enum { THREADS = 4, EACH = 20000 };

struct letter {
    struct mail mail;
    int sender, number;
};

static struct loop *loop;
static struct mailbox *box;
static int received, next[THREADS];
static bool is_in_order;

static int set_up(void **state)
{
    (void)state;
    received = 0;
    is_in_order = true;
    for (int i = 0; i < THREADS; i++)
        next[i] = 0;
    loop = loop_new();
    box = mailbox_new(loop);
    return box == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    mailbox_free(box);
    loop_free(loop);
    return 0;
}

static void read_letter(struct mail *mail)
{
    struct letter *letter = (struct letter *)(void *)mail;
    is_in_order = is_in_order && letter->number == next[letter->sender]++;
    received++;
    free(letter);
}

static void post(int sender, int number, void (*run)(struct mail *))
{
    struct letter *letter = calloc(1, sizeof(*letter));
    *letter = (struct letter){.mail = {.run = run}, .sender = sender, .number = number};
    mailbox_post(box, &letter->mail);
}

static void mails_arrive_in_order_and_not_before_the_loop_runs(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        post(0, i, read_letter);
    assert_int_equal(received, 0);
    pump_until(loop, received == 100);
    assert_true(is_in_order);
}

static void *send_many(void *arg)
{
    int sender = *(int *)arg;
    for (int i = 0; i < EACH; i++)
        post(sender, i, read_letter);
    return NULL;
}

static void several_threads_post_and_nothing_is_lost(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, send_many, &numbers[i]), 0);
    }
    pump_until(loop, received == THREADS * EACH);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(is_in_order);
}

static void answer(struct mail *mail)
{
    int number = ((struct letter *)(void *)mail)->number;
    read_letter(mail);
    if (number < 9)
        post(0, number + 1, answer);
}

static void a_mail_may_post_the_next(void **state)
{
    (void)state;
    post(0, 0, answer);
    pump_until(loop, received == 10);
    assert_true(is_in_order);
}

static void what_is_left_is_run_at_the_end(void **state)
{
    (void)state;
    post(0, 5, answer); /* and these post more while the box is being emptied */
    for (int i = 0; i < 10; i++)
        post(1, i, read_letter);
    mailbox_free(box);
    assert_int_equal(received, 15);
    box = mailbox_new(loop);
}

static void draining_tells_whether_there_was_anything(void **state)
{
    (void)state;
    assert_false(mailbox_drain(box));
    post(0, 0, read_letter);
    assert_true(mailbox_drain(box));
    assert_int_equal(received, 1);
    assert_false(mailbox_drain(box));
    pump_rounds(loop); /* the wake-up that is now for nothing */
    assert_int_equal(received, 1);
    post(0, 1, read_letter);
    pump_until(loop, received == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mails_arrive_in_order_and_not_before_the_loop_runs, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(several_threads_post_and_nothing_is_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mail_may_post_the_next, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_left_is_run_at_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(draining_tells_whether_there_was_anything, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
