/* loop, the sockets: arrivals are told once or as long as they last, ends along with the last bytes, and
 * nobody is told after having been stopped. Each alone, and as an event of libevent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "pump.h"

struct ear {
    struct io io;
    int told;
    unsigned what;
    struct ear *silences; /* stops this one when told */
    int asks_again;
};

static struct loop *loop;
static int pair[2];

static void on_io(struct io *io, unsigned what)
{
    struct ear *ear = list_entry(io, struct ear, io);
    ear->told++;
    ear->what = what;
    if (ear->silences != NULL)
        io_stop(&ear->silences->io);
    if (ear->asks_again > 0) {
        ear->asks_again--;
        io_again(io, IO_READ);
    }
}

static int set_up(void **state)
{
    loop = loop_new();
    if (loop == NULL || (*state != NULL && loop_base(loop) == NULL))
        return 1;
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair);
}

static int tear_down(void **state)
{
    (void)state;
    close(pair[0]);
    close(pair[1]);
    loop_free(loop);
    return 0;
}

static void say(int fd)
{
    assert_int_equal(write(fd, "x", 1), 1);
}

static void level_is_told_until_it_is_read_and_edge_once(void **state)
{
    (void)state;
    struct ear level = {0}, edge = {0};
    int copy = dup(pair[0]);
    assert_true(io_watch(loop, &level.io, pair[0], IO_READ, on_io));
    assert_true(io_watch(loop, &edge.io, copy, IO_READ | IO_EDGE, on_io));
    say(pair[1]);
    pump_until(loop, level.told >= 3);
    assert_int_equal(edge.told, 1);
    assert_int_equal(level.what, IO_READ);
    say(pair[1]);
    pump_until(loop, edge.told == 2);
    io_stop(&level.io);
    io_stop(&edge.io);
    close(copy);
}

static void asking_for_something_else_tells_what_is_there(void **state)
{
    (void)state;
    struct ear ear = {0};
    assert_true(io_watch(loop, &ear.io, pair[0], IO_READ | IO_EDGE, on_io));
    say(pair[1]);
    pump_until(loop, ear.told == 1);
    assert_true(io_watch(loop, &ear.io, pair[0], IO_EDGE, on_io));
    pump_rounds(loop);
    assert_int_equal(ear.told, 1);
    assert_true(io_watch(loop, &ear.io, pair[0], IO_READ | IO_WRITE | IO_EDGE, on_io));
    pump_until(loop, ear.told == 2);
    assert_int_equal(ear.what, IO_READ | IO_WRITE);
    io_stop(&ear.io);
}

static void again_is_one_more_turn(void **state)
{
    (void)state;
    struct ear ear = {.asks_again = 2};
    assert_true(io_watch(loop, &ear.io, pair[0], IO_READ | IO_EDGE, on_io));
    say(pair[1]);
    pump_until(loop, ear.told == 3);
    pump_rounds(loop);
    assert_int_equal(ear.told, 3);
    io_again(&ear.io, IO_READ);
    io_stop(&ear.io);
    io_again(&ear.io, IO_READ);
    pump_rounds(loop);
    assert_int_equal(ear.told, 3);
}

/* Both are ready in one turn; whoever comes first stops the other. */
static void who_was_stopped_in_this_turn_is_not_told(void **state)
{
    (void)state;
    struct ear one = {0}, two = {0};
    one.silences = &two;
    two.silences = &one;
    assert_true(io_watch(loop, &one.io, pair[0], IO_READ | IO_EDGE, on_io));
    assert_true(io_watch(loop, &two.io, pair[1], IO_READ | IO_EDGE, on_io));
    say(pair[0]);
    say(pair[1]);
    pump_rounds(loop);
    assert_int_equal(one.told + two.told, 1);
    io_stop(&one.io);
    io_stop(&two.io);
}

static void the_end_is_told_with_the_last_bytes(void **state)
{
    (void)state;
    struct ear ear = {0};
    say(pair[1]);
    assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
    assert_true(io_watch(loop, &ear.io, pair[0], IO_READ | IO_EDGE, on_io));
    pump_until(loop, ear.told == 1);
    assert_int_equal(ear.what, IO_READ | IO_END);
    io_stop(&ear.io);
}

static void a_reset_is_told_with_the_last_bytes(void **state)
{
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0), peer = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&at, sizeof(at)), 0);
    int fd = accept(listener, NULL, NULL);
    struct linger hard = {.l_onoff = 1};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    say(peer);
    close(peer);
    struct ear ear = {0};
    assert_true(io_watch(loop, &ear.io, fd, IO_READ | IO_EDGE, on_io));
    pump_until(loop, ear.told == 1);
    assert_int_equal(ear.what, IO_READ | IO_END);
    io_stop(&ear.io);
    close(fd);
    close(listener);
}

static void libevent_takes_over_what_was_begun(void **state)
{
    (void)state;
    struct ear ear = {0};
    assert_true(io_watch(loop, &ear.io, pair[0], IO_READ | IO_EDGE, on_io));
    io_again(&ear.io, IO_READ);
    assert_non_null(loop_base(loop));
    pump_until(loop, ear.told == 1);
    say(pair[1]);
    pump_until(loop, ear.told == 2);
    io_stop(&ear.io);
}

static void a_bad_descriptor_is_refused(void **state)
{
    (void)state;
    struct ear ear = {0};
    assert_false(io_watch(loop, &ear.io, -1, IO_READ, on_io));
    assert_null(ear.io.loop);
    io_stop(&ear.io);
}

#define ALONE(test)                                                                                          \
    {                                                                                                        \
#test, test, set_up, tear_down, NULL                                                                 \
    }
#define WITH_BASE(test)                                                                                      \
    {                                                                                                        \
#test " (libevent)", test, set_up, tear_down, &with_base                                             \
    }

int main(void)
{
    static int with_base;
    const struct CMUnitTest tests[] = {
        ALONE(level_is_told_until_it_is_read_and_edge_once),
        WITH_BASE(level_is_told_until_it_is_read_and_edge_once),
        ALONE(asking_for_something_else_tells_what_is_there),
        WITH_BASE(asking_for_something_else_tells_what_is_there),
        ALONE(again_is_one_more_turn),
        WITH_BASE(again_is_one_more_turn),
        ALONE(who_was_stopped_in_this_turn_is_not_told),
        WITH_BASE(who_was_stopped_in_this_turn_is_not_told),
        ALONE(the_end_is_told_with_the_last_bytes),
        WITH_BASE(the_end_is_told_with_the_last_bytes),
        ALONE(a_reset_is_told_with_the_last_bytes),
        WITH_BASE(a_reset_is_told_with_the_last_bytes),
        ALONE(libevent_takes_over_what_was_begun),
        ALONE(a_bad_descriptor_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
