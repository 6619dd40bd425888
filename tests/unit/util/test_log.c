/* log: the form of a line, that a line stays one line, levels, reopening, and the gate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "weir/util/clock.h"
#include "weir/util/log.h"

static char path[] = "/tmp/weir-test-log-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    close(fd);
    return fd < 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_close();
    unlink(path);
    return 0;
}

static void open_file(int verbose)
{
    assert_int_equal(truncate(path, 0), 0);
    assert_true(log_open(&(struct log_settings){.logfile = path, .verbose = verbose}));
}

static const char *contents(void)
{
    static char text[1 << 20];
    FILE *f = fopen(path, "r");
    size_t len = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[len] = '\0';
    return text;
}

static void a_line_has_time_process_level_and_prefix(void **state)
{
    (void)state;
    open_file(0);
    log_write(LOG_LEVEL_LOG, "C-0x1: shop/anna@unix:6432", "login attempt: db=%s", "shop");
    int year, month, day, hour, minute, second, ms, pid;
    char zone[16], level[16], rest[100];
    int got = sscanf(contents(), "%4d-%2d-%2d %2d:%2d:%2d.%3d %15s [%d] %15s %99[^\n]", &year, &month, &day,
                     &hour, &minute, &second, &ms, zone, &pid, level, rest);
    assert_int_equal(got, 11);
    assert_int_equal(pid, getpid());
    assert_string_equal(level, "LOG");
    assert_string_equal(rest, "C-0x1: shop/anna@unix:6432 login attempt: db=shop");
    assert_non_null(strchr(contents(), '\n'));
    assert_true(strchr(contents(), '\n')[1] == '\0');
}

static size_t lines(void)
{
    size_t count = 0;
    for (const char *c = contents(); *c != '\0'; c++)
        count += *c == '\n';
    return count;
}

static void a_line_stays_a_line(void **state)
{
    (void)state;
    open_file(0);
    log_write(LOG_LEVEL_WARNING, "C-0x1: x\n2026-01-01 LOG forged/u@h:1", "name \"a\r\nb\"");
    assert_int_equal(lines(), 1);
    assert_non_null(strstr(contents(), "WARNING C-0x1: x 2026-01-01 LOG forged/u@h:1 name \"a  b\"\n"));
}

static void a_long_line_is_cut_and_ended(void **state)
{
    (void)state;
    open_file(0);
    char *longest = malloc(10000);
    memset(longest, 'x', 9999);
    longest[9999] = '\0';
    log_error("%s", longest);
    log_write(LOG_LEVEL_ERROR, longest, "tail");
    assert_int_equal(lines(), 2);
    assert_true(strlen(contents()) < 9000);
    free(longest);
}

static void levels_are_left_out(void **state)
{
    (void)state;
    open_file(0);
    assert_true(log_is_enabled(LOG_LEVEL_LOG));
    assert_false(log_is_enabled(LOG_LEVEL_DEBUG));
    log_debug("nothing");
    assert_int_equal(lines(), 0);
    open_file(1);
    log_debug("something");
    assert_false(log_is_enabled(LOG_LEVEL_NOISE));
    assert_non_null(strstr(contents(), "DEBUG something\n"));
    open_file(2);
    assert_true(log_is_enabled(LOG_LEVEL_NOISE));
}

static void what_cannot_be_opened_changes_nothing(void **state)
{
    (void)state;
    open_file(0);
    assert_false(log_open(&(struct log_settings){.logfile = "/nonexistent/weir.log"}));
    log_info("still here");
    assert_non_null(strstr(contents(), "still here"));
}

static void reopening_follows_a_rotation(void **state)
{
    (void)state;
    open_file(0);
    assert_int_equal(unlink(path), 0);
    log_info("into the old file");
    assert_true(log_open(&(struct log_settings){.logfile = path}));
    log_info("into the new one");
    assert_null(strstr(contents(), "old file"));
    assert_non_null(strstr(contents(), "new one"));
}

static void *many_lines(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info("thread %s says %s", (const char *)arg, "what it has to say");
    return NULL;
}

static void threads_do_not_mix_lines(void **state)
{
    (void)state;
    open_file(0);
    pthread_t threads[4];
    static char *const names[] = {"one", "two", "three", "four"};
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, many_lines, names[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(lines(), 800);
    const char *line = contents();
    for (int i = 0; i < 800; i++) {
        const char *end = strchr(line, '\n');
        assert_memory_equal(end - 18, "what it has to say", 18);
        line = end + 1;
    }
}

static uint64_t pretended;

static uint64_t pretend(void)
{
    return pretended;
}

static void the_gate_lets_a_burst_pass_each_second(void **state)
{
    (void)state;
    struct log_gate gate = {0};
    uint32_t dropped;
    clock_replace(pretend);
    pretended = 0; /* the very first second counts too */
    for (int i = 0; i < 10; i++) {
        assert_int_equal(log_gate_pass(&gate, 3, &dropped), i < 3);
        assert_int_equal(dropped, 0);
    }
    pretended = US_PER_SECOND;
    assert_true(log_gate_pass(&gate, 3, &dropped));
    assert_int_equal(dropped, 7);
    assert_true(log_gate_pass(&gate, 3, &dropped));
    assert_int_equal(dropped, 0);
    clock_replace(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_process_level_and_prefix),
        cmocka_unit_test(a_line_stays_a_line),
        cmocka_unit_test(a_long_line_is_cut_and_ended),
        cmocka_unit_test(levels_are_left_out),
        cmocka_unit_test(what_cannot_be_opened_changes_nothing),
        cmocka_unit_test(reopening_follows_a_rotation),
        cmocka_unit_test(threads_do_not_mix_lines),
        cmocka_unit_test(the_gate_lets_a_burst_pass_each_second),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
