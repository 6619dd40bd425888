/* outbox: pieces arrive in order, neighbours become one, another receiver flushes, and what is dropped is not
 * sent. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "weir/session/outbox.h"

#include "../net/pump.h"

static struct worker *worker;
static struct conn *conns[2];
static int peers[2];
static struct outbox outbox;

static size_t take(void *owner, struct slice data)
{
    (void)owner;
    return data.len;
}

static int end; /* what the last connection to end was told */

static void closed(void *owner, int error)
{
    (void)owner;
    end = error;
}

static const struct conn_handler handler = {.on_data = take, .on_closed = closed};

static int set_up(void **state)
{
    (void)state;
    worker = worker_new(0);
    memset(&outbox, 0, sizeof(outbox));
    for (int i = 0; i < 2; i++) {
        int fds[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0)
            return 1;
        conns[i] = conn_new(worker, fds[0], &handler, NULL);
        peers[i] = fds[1];
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        conn_free(conns[i]);
        close(peers[i]);
    }
    buf_free(&outbox.made);
    worker_free(worker);
    return 0;
}

static void make(int to, const char *text)
{
    buf_append_str(outbox_make(&outbox, conns[to]), text);
    outbox_made(&outbox);
}

static void pass(int to, const char *text, size_t len)
{
    outbox_pass(&outbox, conns[to], (const uint8_t *)text, len);
}

/* What has come to a peer since the last time. */
static const char *got(int peer)
{
    static char text[1 << 20];
    ssize_t len = read(peers[peer], text, sizeof(text) - 1);
    text[len > 0 ? len : 0] = '\0';
    return text;
}

static void pieces_leave_in_order_with_the_flush(void **state)
{
    (void)state;
    make(0, "<");
    pass(0, "input", 5);
    make(0, "|");
    make(0, "|");
    pass(0, "more", 4);
    make(0, ">");
    assert_string_equal(got(0), "");
    outbox_flush(&outbox);
    assert_string_equal(got(0), "<input||more>");
    outbox_flush(&outbox); /* nothing left */
    assert_string_equal(got(0), "");
}

static void neighbouring_input_becomes_one_piece(void **state)
{
    (void)state;
    const char *input = "abcdefgh";
    for (size_t i = 0; i < 8; i++)
        pass(0, input + i, 1);
    assert_int_equal(outbox.count, 1);
    pass(0, input, 2); /* not a neighbour */
    assert_int_equal(outbox.count, 2);
    outbox_flush(&outbox);
    assert_string_equal(got(0), "abcdefghab");
}

static void another_receiver_flushes_first(void **state)
{
    (void)state;
    make(0, "to zero");
    make(1, "to one");
    assert_string_equal(got(0), "to zero");
    assert_string_equal(got(1), "");
    pass(0, "again", 5);
    assert_string_equal(got(1), "to one");
    outbox_flush(&outbox);
    assert_string_equal(got(0), "again");
}

static void more_pieces_than_fit_are_sent_on_the_way(void **state)
{
    (void)state;
    char expected[3 * OUTBOX_PIECES * 3 + 1] = "";
    for (int i = 0; i < 3 * OUTBOX_PIECES; i++) {
        make(0, "m");
        pass(0, "in", 2);
        strcat(expected, "min");
    }
    outbox_flush(&outbox);
    assert_string_equal(got(0), expected);
}

static void what_is_made_may_move_while_it_grows(void **state)
{
    (void)state;
    size_t len = 0;
    char *long_text = malloc(5001);
    memset(long_text, 'x', 5000);
    long_text[5000] = '\0';
    for (int i = 0; i < 20; i++) {
        make(0, long_text);
        pass(0, "-", 1);
        len += 5001;
    }
    outbox_flush(&outbox);
    const char *text = got(0);
    assert_int_equal(strlen(text), len);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(text[i], i % 5001 == 5000 ? '-' : 'x');
    assert_true(outbox.made.cap <= 64 * 1024); /* and is not kept when it has become large */
    free(long_text);
}

static void what_is_dropped_is_not_sent(void **state)
{
    (void)state;
    make(0, "never");
    outbox_drop(&outbox, conns[1]); /* somebody else's */
    assert_ptr_equal(outbox.to, conns[0]);
    outbox_drop(&outbox, conns[0]);
    make(0, "sent");
    outbox_flush(&outbox);
    assert_string_equal(got(0), "sent");
}

/* A request no memory can meet leaves a buf failed. */
static void run_out_of_memory(struct buf *buf)
{
    assert_false(buf_reserve(buf, SIZE_MAX / 2));
}

static void what_memory_ran_out_over_is_not_sent_in_part(void **state)
{
    (void)state;
    end = 0;
    make(0, "whole");
    outbox_flush(&outbox);
    pass(0, "input", 5);
    make(0, "be");
    run_out_of_memory(outbox_make(&outbox, conns[0]));
    make(0, "ginning");
    pass(0, "more input", 10);
    outbox_flush(&outbox);
    assert_string_equal(got(0), "whole");
    pump_until(worker_loop(worker), end == ENOMEM);
    make(0, "after the end");
    make(1, "another");
    outbox_flush(&outbox);
    assert_string_equal(got(0), "");
    assert_string_equal(got(1), "another");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pieces_leave_in_order_with_the_flush, set_up, tear_down),
        cmocka_unit_test_setup_teardown(neighbouring_input_becomes_one_piece, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_receiver_flushes_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_pieces_than_fit_are_sent_on_the_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_made_may_move_while_it_grows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_dropped_is_not_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_memory_ran_out_over_is_not_sent_in_part, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
