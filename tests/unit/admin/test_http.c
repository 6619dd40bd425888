/* http: pages, tokens, methods, answers that come late, clients that leave, stopping in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <event2/event.h>
#include <cmocka.h>

#include "fake_source.h"
#include "weir/admin/http.h"

static struct fake fake;
static struct admin_source source;
static struct event_base *base;
static struct http_server *server;

static void start(const char *token)
{
    struct http_settings settings = {.addr = "127.0.0.1", .port = 0, .token = token};
    struct error error = ERROR_INIT;
    server = http_start(base, &settings, &source, &error);
    assert_non_null(server);
    assert_int_not_equal(http_port(server), 0);
}

static int set_up(void **state)
{
    (void)state;
    source = fake_source(&fake);
    base = event_base_new();
    server = NULL;
    return base != NULL ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    http_stop(server);
    event_base_free(base);
    config_unref(fake.config);
    return 0;
}

static int ask(const char *request)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_port(server))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    connect(fd, (struct sockaddr *)&address, sizeof(address));
    for (int i = 0; i < 1000 && write(fd, request, strlen(request)) < 0; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
    return fd;
}

static void turn(int times)
{
    for (int i = 0; i < times; i++) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        usleep(500);
    }
}

/* Everything the server says until it closes, or a second has passed. The caller frees. */
static char *hear(int fd)
{
    struct buf said = BUF_INIT;
    char piece[65536];
    for (int i = 0; i < 2000; i++) {
        ssize_t got = read(fd, piece, sizeof(piece));
        if (got > 0)
            buf_append(&said, piece, (size_t)got);
        else if (got == 0)
            break;
        turn(1);
    }
    close(fd);
    char *text = slice_dup(buf_slice(&said));
    buf_free(&said);
    return text;
}

static char *get_with(const char *path, const char *header)
{
    char request[512];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: h\r\n%sConnection: close\r\n\r\n", path,
             header);
    return hear(ask(request));
}

static void assert_page(const char *path, const char *header, const char *status, const char *phrase)
{
    char *said = get_with(path, header);
    if (strncmp(said + strlen("HTTP/1.1 "), status, 3) != 0 || strstr(said, phrase) == NULL)
        fail_msg("%s says\n%.2000s\nand not %s and %s", path, said, status, phrase);
    free(said);
}

static void pages(void **state)
{
    (void)state;
    start("");
    assert_page("/", "", "200", "<title>Weir");
    assert_page("/", "", "200", "Content-Security-Policy:");
    assert_page("/stats", "", "200", "\"totals\":{");
    assert_page("/stats?x=1", "", "200", "Content-Type: application/json");
    assert_page("/metrics", "", "200", "weir_cache_hits_total{database=\"shop\",user=\"anna\"} 60");
    assert_page("/metrics", "", "200", "text/plain; version=0.0.4");
    assert_page("/healthz", "", "200", "ok");
    assert_page("/readyz", "", "200", "ready");
    assert_page("/nothing", "", "404", "/metrics");
    fake.is_ready = false;
    assert_page("/readyz", "", "503", "shutting down");
    assert_page("/healthz", "", "200", "ok");
    free(hear(ask("POST /stats HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")));
    assert_page("/stats", "", "200", "\"ready\":false");
}

static void other_methods_change_nothing(void **state)
{
    (void)state;
    start("");
    int before = fake.gathers;
    char *said = hear(ask("DELETE /stats HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    assert_null(strstr(said, "200 OK"));
    free(said);
    assert_int_equal(fake.gathers, before);
    said = hear(ask("HEAD /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    assert_non_null(strstr(said, "200 OK"));
    free(said);
}

static void tokens(void **state)
{
    (void)state;
    start(" s3same\n");
    assert_page("/stats", "", "401", "WWW-Authenticate: Bearer");
    assert_page("/metrics", "Authorization: Bearer wrong1\r\n", "401", "http_token_file");
    assert_page("/metrics", "Authorization: Bearer s3same2\r\n", "401", "http_token_file");
    assert_page("/metrics", "Authorization: Basic s3same\r\n", "401", "http_token_file");
    assert_page("/metrics", "Authorization: Bearer s3same\r\n", "200", "weir_info");
    assert_page("/healthz", "", "200", "ok");
    assert_page("/", "", "200", "<title>Weir");
}

static void off_loopback_needs_a_token(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct http_settings settings = {.addr = "0.0.0.0", .port = 0, .token = "\n"};
    assert_null(http_start(base, &settings, &source, &error));
    assert_non_null(strstr(error.message, "http_token_file is needed"));
    settings.addr = "256.1.1.1";
    assert_null(http_start(base, &settings, &source, &error));
    assert_non_null(strstr(error.message, "cannot listen for HTTP on 256.1.1.1"));
}

static void answers_may_be_late(void **state)
{
    (void)state;
    start("");
    fake.holds_back = true;
    int fd = ask("GET /stats HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    turn(50);
    assert_int_equal(fake.gathers, 1);
    fake_release(&fake);
    char *said = hear(fd);
    assert_non_null(strstr(said, "\"totals\""));
    free(said);
}

static void the_client_may_leave_first(void **state)
{
    (void)state;
    start("");
    fake.holds_back = true;
    int fd = ask("GET /stats HTTP/1.1\r\nHost: h\r\n\r\n");
    turn(50);
    assert_int_equal(fake.gathers, 1);
    close(fd);
    turn(50);
    fake_release(&fake);
    turn(20);
    fake.holds_back = false;
    assert_page("/healthz", "", "200", "ok");
}

static void stopping_in_between(void **state)
{
    (void)state;
    start("");
    fake.holds_back = true;
    int fd = ask("GET /stats HTTP/1.1\r\nHost: h\r\n\r\n");
    turn(50);
    assert_int_equal(fake.gathers, 1);
    http_stop(server);
    server = NULL;
    fake_release(&fake);
    close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages),
        TEST(other_methods_change_nothing),
        TEST(tokens),
        TEST(off_loopback_needs_a_token),
        TEST(answers_may_be_late),
        TEST(the_client_may_leave_first),
        TEST(stopping_in_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
