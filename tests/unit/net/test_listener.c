/* listener: TCP and Unix sockets, left-over files, pausing, and running out of descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "pump.h"
#include "weir/net/listener.h"
#include "weir/util/log.h"

enum { SOME = 10 };

static struct loop *loop;
static char directory[] = "/tmp/weir-test-listener-XXXXXX";
static int accepted[1024], accepted_count;
static struct address last_peer, last_local;
static const struct listener_options options = {.backlog = 64, .unix_mode = 0700};

static int set_up(void **state)
{
    (void)state;
    loop = loop_new();
    return mkdtemp(directory) == NULL || loop == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    loop_free(loop);
    return rmdir(directory);
}

static void met(void *context, int fd, const struct address *peer, const struct address *local)
{
    assert_ptr_equal(context, &loop);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    last_peer = *peer;
    last_local = *local;
    accepted[accepted_count++] = fd;
}

static void close_accepted(void)
{
    while (accepted_count > 0)
        close(accepted[--accepted_count]);
}

static struct listener *open_unix(struct error *error)
{
    struct address at;
    assert_true(address_from_unix(&at, directory, 1, NULL));
    return listener_open(&at, &options, error);
}

static int dial(const struct listener *listener)
{
    const struct address *at = listener_address(listener);
    int fd = socket(at->as.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, &at->as.any, at->len), 0);
    return fd;
}

static void accepts_on_a_unix_socket(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct listener *listener = open_unix(&error);
    assert_non_null(listener);
    struct stat st;
    assert_int_equal(stat(listener_address(listener)->as.un.sun_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    listener_start(listener, loop, met, &loop);
    int fds[SOME];
    for (int i = 0; i < SOME; i++)
        fds[i] = dial(listener);
    pump_until(loop, accepted_count == SOME);
    assert_true(address_is_unix(&last_peer));
    assert_true(address_is_unix(&last_local));
    for (int i = 0; i < SOME; i++)
        close(fds[i]);
    close_accepted();
    char path[sizeof(last_local.as.un.sun_path)];
    memcpy(path, last_local.as.un.sun_path, sizeof(path));
    listener_free(listener);
    assert_int_not_equal(stat(path, &st), 0);
    listener_free(NULL);
}

static void accepts_on_tcp(void **state)
{
    (void)state;
    struct address at;
    struct error error = ERROR_INIT;
    struct listener *listener = NULL;
    for (int port = 21700; listener == NULL && port < 21800; port++) {
        assert_true(address_from_literal(&at, "127.0.0.1", port));
        listener = listener_open(&at, &options, &error);
    }
    assert_non_null(listener);
    assert_null(listener_open(&at, &options, &error));
    assert_non_null(strstr(error.message, "cannot listen on 127.0.0.1:"));
    listener_start(listener, loop, met, &loop);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, &at.as.any, at.len), 0);
    pump_until(loop, accepted_count == 1);
    char text[ADDRESS_TEXT_BYTES];
    address_host_text(&last_peer, text);
    assert_string_equal(text, "127.0.0.1");
    assert_int_not_equal(address_port(&last_peer), address_port(&at));
    assert_true(address_equal(&last_local, &at));
    close(fd);
    close_accepted();
    listener_free(listener);
}

static void a_socket_file_in_use_is_left_alone_and_a_left_over_one_is_not(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct listener *listener = open_unix(&error);
    assert_non_null(listener);
    assert_null(open_unix(&error));
    assert_non_null(strstr(error.message, "in use"));
    struct address at = *listener_address(listener);
    listener_free(listener);
    /* As a killed process leaves it: bound, and nobody there. */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, &at.as.any, at.len), 0);
    close(fd);
    listener = open_unix(&error);
    assert_non_null(listener);
    listener_free(listener);
}

static void a_paused_listener_keeps_its_callers_waiting(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct listener *listener = open_unix(&error);
    listener_start(listener, loop, met, &loop);
    listener_pause(listener);
    int fd = dial(listener);
    pump_rounds(loop);
    assert_int_equal(accepted_count, 0);
    listener_start(listener, loop, met, &loop);
    pump_until(loop, accepted_count == 1);
    close(fd);
    close_accepted();
    listener_free(listener);
}

static void p13_running_out_of_descriptors_pauses_instead_of_spinning(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct listener *listener = open_unix(&error);
    struct rlimit before, tight;
    log_open(&(struct log_settings){.logfile = "/dev/null"});
    listener_start(listener, loop, met, &loop);
    pump_rounds(loop);
    int fd = dial(listener);
    getrlimit(RLIMIT_NOFILE, &before);
    tight = before;
    tight.rlim_cur = (rlim_t)fd + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    uint64_t cpu = clock_thread_cpu_us(), begun = clock_now_us();
    for (; clock_now_us() - begun < 60 * US_PER_MS; usleep(2000))
        loop_turn(loop);
    assert_int_equal(accepted_count, 0);
    assert_true(clock_thread_cpu_us() - cpu < 50 * US_PER_MS);
    log_close();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(accepted_count, 0); /* not before the pause is over */
    pump_until(loop, accepted_count == 1);
    assert_true(clock_now_us() - begun >= 90 * US_PER_MS);
    close(fd);
    close_accepted();
    listener_free(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_on_a_unix_socket),
        cmocka_unit_test(accepts_on_tcp),
        cmocka_unit_test(a_socket_file_in_use_is_left_alone_and_a_left_over_one_is_not),
        cmocka_unit_test(a_paused_listener_keeps_its_callers_waiting),
        cmocka_unit_test(p13_running_out_of_descriptors_pauses_instead_of_spinning),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
