/* Tests of what a Redis Cluster says of itself. */
#include "weir/cache/redis_slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <hiredis/hiredis.h>

/* As Redis 7.0 answers CLUSTER KEYSLOT. */
static void test_c21_slots_are_those_of_redis(void **state)
{
    static const struct {
        const char *key;
        unsigned slot;
    } cases[] = {
        {"", 0},
        {"123456789", 12739},
        {"foo", 12182},
        {"bar", 5061},
        {"hello", 866},
        {"{user1000}.following", 3443},
        {"{user1000}.followers", 3443},
        {"user1000", 3443},
        {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015},
        {"foo{bar}{zap}", 5061},
        {"foo{bar", 15278},
        {"}foo{bar}", 5061},
        {"weir:g:{5.123}:abc", 11775},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(redis_slot(slice_str(cases[i].key)), cases[i].slot);
    assert_int_equal(redis_slot(SLICE_LITERAL("{a\0b}c")), redis_slot(SLICE_LITERAL("a\0b")));
}

/* --- the map --- */

static struct redisReply *read_reply(const char *text, size_t len)
{
    void *reply = NULL;
    redisReader *reader = redisReaderCreate();
    assert_int_equal(redisReaderFeed(reader, text, len), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    redisReaderFree(reader);
    return reply;
}

static struct redis_map *read_map(const char *text)
{
    struct redisReply *reply = read_reply(text, strlen(text));
    struct redis_map *map = redis_map_read(reply, "asked");
    freeReplyObject(reply);
    return map;
}

#define NODE(host, port) "*3\r\n" host ":" port "\r\n$2\r\nid\r\n"
#define ONE              NODE("$1\r\na\r\n", "7001")
#define TWO              NODE("$1\r\nb\r\n", "7001")
#define REPLICA          NODE("$1\r\nr\r\n", "7004")

static void test_c21_the_map_says_who_has_which_slot(void **state)
{
    (void)state;
    struct redis_map *map = read_map("*3\r\n"
                                     "*4\r\n:0\r\n:99\r\n" ONE REPLICA "*3\r\n:100\r\n:16382\r\n" TWO
                                     "*3\r\n:16383\r\n:16383\r\n" ONE);
    assert_non_null(map);
    assert_int_equal(map->node_count, 2);
    assert_string_equal(map->nodes[0].name, "a");
    assert_int_equal(map->nodes[0].port, 7001);
    assert_int_equal(map->node_of[0], 0);
    assert_int_equal(map->node_of[99], 0);
    assert_int_equal(map->node_of[100], 1);
    assert_int_equal(map->node_of[16382], 1);
    assert_int_equal(map->node_of[16383], 0);
    assert_int_equal(map->slot_count, 16384);
    redis_map_free(map);
}

static void test_c21_slots_that_nobody_has_have_no_node(void **state)
{
    (void)state;
    struct redis_map *map = read_map("*1\r\n*3\r\n:5\r\n:9\r\n" ONE);
    assert_int_equal(map->node_of[4], REDIS_NO_NODE);
    assert_int_equal(map->node_of[5], 0);
    assert_int_equal(map->node_of[10], REDIS_NO_NODE);
    assert_int_equal(map->slot_count, 5);
    redis_map_free(map);
    map = read_map("*0\r\n");
    assert_non_null(map);
    assert_int_equal(map->slot_count, 0);
    redis_map_free(map);
}

static void test_c21_a_node_without_a_name_is_the_one_that_was_asked(void **state)
{
    (void)state;
    struct redis_map *map =
        read_map("*3\r\n*3\r\n:0\r\n:1\r\n" NODE("$0\r\n\r\n", "7001") "*3\r\n:2\r\n:3\r\n" NODE(
            "$-1\r\n", "7002") "*3\r\n:4\r\n:5\r\n" NODE("$1\r\n?\r\n", "7003"));
    assert_int_equal(map->node_count, 2);
    assert_string_equal(map->nodes[map->node_of[0]].name, "asked");
    assert_int_equal(map->nodes[map->node_of[2]].port, 7002);
    assert_string_equal(map->nodes[map->node_of[2]].name, "asked");
    assert_int_equal(map->node_of[4], REDIS_NO_NODE);
    redis_map_free(map);
}

static void test_c21_what_is_no_map_is_refused(void **state)
{
    static const char *const bad[] = {
        "$2\r\nOK\r\n",
        "-ERR This instance has cluster support disabled\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:16384\r\n" ONE,
        "*1\r\n*3\r\n:-1\r\n:5\r\n" ONE,
        "*1\r\n*3\r\n:9\r\n:5\r\n" ONE,
        "*1\r\n*3\r\n$1\r\n0\r\n:5\r\n" ONE,
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_null(read_map(bad[i]));
    struct redis_map *map =
        read_map("*2\r\n*3\r\n:0\r\n:1\r\n*2\r\n:1\r\n:7001\r\n*3\r\n:2\r\n:3\r\n*2\r\n$1\r\na\r\n:0\r\n");
    assert_int_equal(map->slot_count, 0); /* these have none that can be asked */
    redis_map_free(map);
}

static void test_c21_more_nodes_than_there_is_room_for(void **state)
{
    static char text[REDIS_NODES_MAX * 80];
    int len = snprintf(text, sizeof(text), "*%d\r\n", REDIS_NODES_MAX + 1);
    (void)state;
    for (int i = 0; i <= REDIS_NODES_MAX; i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len,
                        "*3\r\n:%d\r\n:%d\r\n*2\r\n$1\r\na\r\n:%d\r\n", i, i, 7000 + i);
    struct redis_map *map = read_map(text);
    assert_int_equal(map->node_count, REDIS_NODES_MAX);
    assert_int_equal(map->node_of[REDIS_NODES_MAX - 1], REDIS_NODES_MAX - 1);
    assert_int_equal(map->node_of[REDIS_NODES_MAX], REDIS_NO_NODE);
    redis_map_free(map);
}

/* --- words --- */

static enum redis_word word_of(const char *text, struct redis_redirection *to)
{
    struct redisReply *reply = read_reply(text, strlen(text));
    enum redis_word word = redis_word_read(reply, to);
    freeReplyObject(reply);
    return word;
}

static void test_c21_where_to_ask_instead(void **state)
{
    struct redis_redirection to;
    (void)state;
    assert_int_equal(word_of("-MOVED 3999 127.0.0.1:6381\r\n", &to), REDIS_WORD_MOVED);
    assert_string_equal(to.host, "127.0.0.1");
    assert_int_equal(to.port, 6381);
    assert_int_equal(to.slot, 3999);
    assert_int_equal(word_of("-ASK 0 ::1:65535\r\n", &to), REDIS_WORD_ASK);
    assert_string_equal(to.host, "::1");
    assert_int_equal(to.port, 65535);
    assert_int_equal(word_of("-MOVED 16383 :7001\r\n", &to), REDIS_WORD_MOVED);
    assert_string_equal(to.host, "");
    assert_int_equal(word_of("-CLUSTERDOWN Hash slot not served\r\n", &to), REDIS_WORD_DOWN);
    assert_int_equal(word_of("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", &to),
                     REDIS_WORD_DOWN);
    assert_int_equal(word_of("-ERR MOVED 1 a:1\r\n", &to), REDIS_WORD_NONE);
    assert_int_equal(word_of("$14\r\nMOVED 1 a:7001\r\n", &to), REDIS_WORD_NONE);
    assert_int_equal(word_of("-MOVEDX\r\n", &to), REDIS_WORD_NONE);
}

/* Told so, but not where to: nobody can be asked. */
static void test_c21_a_place_that_is_none(void **state)
{
    static const char *const bad[] = {
        "-MOVED \r\n",           "-MOVED 16384 a:1\r\n", "-MOVED 1 a\r\n",    "-MOVED 1 a:\r\n",
        "-MOVED 1 a:0\r\n",      "-MOVED 1 a:65536\r\n", "-MOVED -1 a:1\r\n", "-MOVED a:1\r\n",
        "-MOVED 1 a:1 more\r\n", "-MOVED 1 ?:7001\r\n",
    };
    struct redis_redirection to;
    char text[REDIS_HOST_BYTES + 40];
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(word_of(bad[i], &to), REDIS_WORD_DOWN);
    snprintf(text, sizeof(text), "-MOVED 1 %0*d:7001\r\n", REDIS_HOST_BYTES, 0);
    assert_int_equal(word_of(text, &to), REDIS_WORD_DOWN);
    snprintf(text, sizeof(text), "-MOVED 1 %0*d:7001\r\n", REDIS_HOST_BYTES - 1, 0);
    assert_int_equal(word_of(text, &to), REDIS_WORD_MOVED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c21_slots_are_those_of_redis),
        cmocka_unit_test(test_c21_the_map_says_who_has_which_slot),
        cmocka_unit_test(test_c21_slots_that_nobody_has_have_no_node),
        cmocka_unit_test(test_c21_a_node_without_a_name_is_the_one_that_was_asked),
        cmocka_unit_test(test_c21_what_is_no_map_is_refused),
        cmocka_unit_test(test_c21_more_nodes_than_there_is_room_for),
        cmocka_unit_test(test_c21_where_to_ask_instead),
        cmocka_unit_test(test_c21_a_place_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
