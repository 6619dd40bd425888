/* console: every SHOW's columns, every command's way to the process, rights, drivers, late and lost answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fake_source.h"
#include "weir/admin/console.h"

static struct fake fake;
static struct console *console;
static struct buf transcript;
static int answers;

static int set_up(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    struct admin_source source = fake_source(&fake);
    console = console_new(&source);
    answers = 0;
    return console != NULL ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    console_free(console);
    config_unref(fake.config);
    buf_free(&transcript);
    return 0;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void read_columns(const uint8_t *p, struct buf *out)
{
    unsigned count = (unsigned)p[0] << 8 | p[1];
    p += 2;
    for (unsigned i = 0; i < count; i++) {
        buf_printf(out, "%s%s:%u", i == 0 ? "" : ",", (const char *)p, be32(p + strlen((const char *)p) + 7));
        p += strlen((const char *)p) + 1 + 18;
    }
}

static void read_row(const uint8_t *p, struct buf *out)
{
    unsigned count = (unsigned)p[0] << 8 | p[1];
    p += 2;
    for (unsigned i = 0; i < count; i++) {
        uint32_t len = be32(p);
        p += 4;
        buf_append_str(out, i == 0 ? "" : "|");
        if (len == UINT32_MAX) {
            buf_append_str(out, "NULL");
            continue;
        }
        buf_append(out, p, len);
        p += len;
    }
}

static void read_report(const uint8_t *p, struct buf *out)
{
    for (; *p != 0; p += strlen((const char *)p) + 1)
        if (strchr("SCM", *p) != NULL)
            buf_printf(out, "%s%s", *p == 'S' ? "" : " ", (const char *)p + 1);
}

/* Messages as lines: "T columns", "D row", "C tag", "E ERROR 42601 text". */
static void read_answer(void *arg, struct buf *answer)
{
    (void)arg;
    answers++;
    assert_false(buf_failed(answer));
    buf_clear(&transcript);
    for (size_t at = 0; at < answer->len;) {
        assert_true(answer->len - at >= 5);
        uint32_t len = be32(answer->data + at + 1);
        assert_true(len >= 4 && at + 1 + len <= answer->len);
        const uint8_t *body = answer->data + at + 5;
        buf_printf(&transcript, "%s%c ", at == 0 ? "" : "\n", answer->data[at]);
        switch (answer->data[at]) {
        case 'T':
            read_columns(body, &transcript);
            break;
        case 'D':
            read_row(body, &transcript);
            break;
        case 'C':
            buf_append_str(&transcript, (const char *)body);
            break;
        case 'E':
        case 'N':
            read_report(body, &transcript);
            break;
        default:
            break;
        }
        at += 1 + len;
    }
    buf_free(answer);
}

static void start(const char *query, bool is_admin)
{
    struct console_request request = {.query = slice_str(query), .user = "root", .is_admin = is_admin};
    console_execute(console, &request, read_answer, NULL);
}

static const char *run(const char *query, bool is_admin)
{
    int before = answers;
    start(query, is_admin);
    assert_int_equal(answers, before + 1);
    return buf_text(&transcript);
}

static void assert_says(const char *query, const char *expected)
{
    const char *said = run(query, true);
    if (strstr(said, expected) == NULL)
        fail_msg("%s says\n%s\nwithout\n%s", query, said, expected);
}

static void columns_are_pgbouncers(void **state)
{
    (void)state;
    assert_says(
        "SHOW POOLS;",
        "T database:25,user:25,cl_active:23,cl_waiting:23,cl_active_cancel_req:23,cl_waiting_cancel_req:23,"
        "sv_active:23,sv_active_cancel:23,sv_being_canceled:23,sv_idle:23,sv_used:23,sv_tested:23,"
        "sv_login:23,maxwait:23,maxwait_us:23,pool_mode:25,load_balance_hosts:25\n"
        "D shop|anna|8|2|0|0|4|0|0|2|0|0|0|2|500000|transaction|NULL\n"
        "D odd\"db\\\n|ben|4|1|0|0|2|0|0|1|0|0|0|2|500000|transaction|NULL\n"
        "D pgbouncer|pgbouncer|1|0|0|0|0|0|0|0|0|0|0|0|0|statement|NULL\n"
        "C SHOW");
    assert_says(
        "show clients",
        "T type:25,user:25,database:25,replication:25,state:25,addr:25,port:23,local_addr:25,local_port:23,"
        "connect_time:25,request_time:25,wait:23,wait_us:23,close_needed:23,ptr:25,link:25,remote_pid:23,"
        "tls:25,application_name:25,prepared_statements:23,id:23\n"
        "D C|anna|shop|none|active|10.0.0.7|51234||0|2023-11-14 22:13:20 UTC||1|2|0|0xabc||0|||0|17\n"
        "C SHOW");
    assert_says("SHOW SERVERS", "\nD S|anna|shop|none|idle|");
    assert_says("SHOW SOCKETS", "\nD C|anna|shop|none|active|");
    assert_non_null(strstr(run("SHOW ACTIVE_SOCKETS", true), "\nD C|"));
    assert_null(strstr(run("SHOW ACTIVE_SOCKETS", true), "\nD S|"));
    assert_says(
        "SHOW DATABASES",
        "T name:25,host:25,port:23,database:25,force_user:25,pool_size:23,min_pool_size:23,"
        "reserve_pool_size:23,server_lifetime:23,pool_mode:25,load_balance_hosts:25,max_connections:23,"
        "current_connections:23,max_client_connections:23,current_client_connections:23,paused:23,"
        "disabled:23\n"
        "D shop|10.0.0.1|5432|shop_live|NULL|3|0|0|3600|NULL|round-robin|0|3|0|0|0|0\n"
        "D auto|db|5432|auto|NULL|20|0|0|3600|NULL|round-robin|0|3|0|0|1|0\n"
        "D pgbouncer|NULL|6432|pgbouncer|pgbouncer|2|0|0|0|statement|NULL|0|0|0|1|0|0\n"
        "C SHOW");
    assert_says("SHOW USERS",
                "T name:25,pool_size:25,reserve_pool_size:25,pool_mode:25,max_user_connections:23,"
                "current_connections:23,max_user_client_connections:23,current_client_connections:23\n"
                "D ben|NULL|NULL|NULL|0|0|0|0\n"
                "D anna|NULL|NULL|transaction|0|0|0|0\n");
    assert_says("SHOW LISTS",
                "T list:25,items:23\nD databases|3\nD users|2\nD peers|0\nD pools|3\nD peer_pools|0\n"
                "D free_clients|0\nD used_clients|10\nD login_clients|0\nD free_servers|0\n"
                "D used_servers|0\nD dns_names|0\nD dns_zones|0\nD dns_queries|0\nD dns_pending|0\n");
    assert_says("SHOW MEM", "T name:25,size:23,used:23,free:23,memtotal:23\nD client|500|4|0|2000\n");
    assert_says("SHOW STATE", "D active|yes\nD paused|no\nD suspended|no");
    assert_says("SHOW VERSION", "D Weir ");
    assert_says("SHOW PEERS", "T peer_id:23,host:25,port:23,pool_size:23\nC SHOW");
    assert_says("SHOW PEER_POOLS", "T peer_id:23,cl_active_cancel_req:23,cl_waiting_cancel_req:23,"
                                   "sv_active_cancel:23,sv_login:23\nC SHOW");
    assert_says("SHOW DNS_HOSTS", "T hostname:25,ttl:20,addrs:25\nC SHOW");
    assert_says("SHOW DNS_ZONES", "T zonename:25,serial:20,count:23\nC SHOW");
    assert_says("SHOW FDS", "T fd:23,task:25,");
}

static void statistics(void **state)
{
    (void)state;
    /* Ten seconds since the start, no period closed yet. */
    assert_says(
        "SHOW STATS",
        "T database:25,total_server_assignment_count:1700,total_xact_count:1700,total_query_count:1700,"
        "total_received:1700,total_sent:1700,total_xact_time:1700,total_query_time:1700,total_wait_time:1700,"
        "total_client_parse_count:1700,total_server_parse_count:1700,total_bind_count:1700,"
        "total_client_login_count:1700,avg_server_assignment_count:1700,avg_xact_count:1700,"
        "avg_query_count:1700,avg_recv:1700,avg_sent:1700,avg_xact_time:1700,avg_query_time:1700,"
        "avg_wait_time:1700,avg_client_parse_count:1700,avg_server_parse_count:1700,avg_bind_count:1700,"
        "avg_client_login_count:1700\n"
        "D shop|0|200|400|0|6000|0|400000|0|0|0|0|0|0|20|40|0|600|0|1000|0|0|0|0|0\n");
    assert_says("SHOW STATS", "\nD pgbouncer|0|0|0|");
    assert_says("SHOW STATS_TOTALS",
                "T database:25,server_assignment_count:1700,xact_count:1700,query_count:1700,"
                "bytes_received:1700,bytes_sent:1700,xact_time:1700,query_time:1700,"
                "wait_time:1700,client_parse_count:1700,server_parse_count:1700,"
                "bind_count:1700,client_login_count:1700\n"
                "D shop|0|200|400|0|6000|0|400000|0|0|0|0|0\n");
    assert_says("SHOW STATS_AVERAGES",
                "wait_time:1700,avg_client_parse_count:1700,avg_server_parse_count:1700,"
                "avg_bind_count:1700,avg_client_login_count:1700\n"
                "D shop|0|20|40|0|600|0|1000|0|0|0|0|0\n");
    assert_says("SHOW TOTALS",
                "T name:25,value:1700\nD total_server_assignment_count|0\nD total_xact_count|300\n");
    assert_says("SHOW TOTALS", "\nD avg_query_count|60\n");
}

static void take_line(void *arg, const char *line)
{
    snprintf(arg, 512, "%s", line);
}

static void averages_are_of_the_last_period(void **state)
{
    (void)state;
    char line[512] = "";
    console_period(console, take_line, line); /* 300 transactions in ten seconds */
    assert_non_null(strstr(line, "stats: 30 xacts/s, 60 queries/s"));
    fake.now_us += 2000000;
    fake.factor = 3; /* 600 more in two seconds, 400 of them of shop */
    console_period(console, take_line, line);
    assert_non_null(strstr(line, "stats: 300 xacts/s, 600 queries/s"));
    fake.now_us += 1000000;
    fake.factor = 4;
    assert_says("SHOW STATS_AVERAGES", "\nD shop|0|200|400|");
    assert_says("SHOW TOTALS", "\nD total_xact_count|1200\n");
    assert_says("SHOW TOTALS", "\nD avg_xact_count|300\n");
}

static void weirs_own(void **state)
{
    (void)state;
    assert_says("SHOW CACHE", "D shop|anna|ttl|60|20|0.7500|0|0|0|0|0|0|0|0|\n");
    assert_says("SHOW CACHE_STORE", "D memory_used_bytes|4096\n");
    assert_says("SHOW CACHE_STORE", "D redis|up\n");
    assert_says("SHOW CACHE_STORE", "D redis_nodes|r:1 up, 16384 slots\n");
    assert_says("SHOW PINS", "D ||" /* no database given */);
    assert_says("SHOW PINS", "|17|temp_table|");
    assert_says("SHOW TEMPLATES",
                "D shop|anna|15|0|0|0|yes||postgresql|public.t||SELECT * FROM t WHERE id = $1");
    assert_says(
        "SHOW FEEDS",
        "D shop|db1|5432|shop|on|1500000|64|7|2|\nD say \"x\"|db1|5432|say \"x\"|on|NULL|64|7|2|lost\n");
    assert_says("SHOW WORKERS", "D 0|0|0|1500000\nD 1|0|0|1500000\n");
}

static void explanations(void **state)
{
    (void)state;
    assert_says(
        "EXPLAIN CACHE SELECT 1 FROM t;",
        "T database:25,user:25,cacheable:25,reason:25,found:25,relations:25,generations:25,ttl_us:1700,"
        "stored:25,calls:1700,hits:1700,misses:1700,saved_us:1700\n"
        "D (one)|(any)|no|SELECT 1 FROM t|names|public.t|epoch 1, public.t 2|10000000|memory|5|3|2|900\n"
        "C EXPLAIN");
    assert_says("explain cache 'SELECT ''x'' FROM t'", "D (one)|(any)|no|SELECT 'x' FROM t|");
    assert_says("EXPLAIN CACHE shop VALUES(1)", "D shop|(any)|no|VALUES(1)|");
    assert_says("EXPLAIN CACHE shop anna (SELECT 1)", "D shop|anna|no|(SELECT 1)|");
    assert_says("EXPLAIN CACHE shop anna 'TABLE t'", "D shop|anna|no|TABLE t|");
    assert_says("EXPLAIN CACHE \"shop\" \"select\" SELECT a, 'b c' = \"d\"",
                "D shop|select|no|SELECT a, 'b c' = \"d\"|");
    assert_non_null(strstr(run("EXPLAIN CACHE SELECT 1", false), "D (one)|"));
    const char *form = "E ERROR 42601 EXPLAIN CACHE takes a database and a user, if wanted, and a SELECT";
    assert_says("EXPLAIN CACHE", form);
    assert_says("EXPLAIN CACHE shop", form);
    assert_says("EXPLAIN CACHE shop anna UPDATE t", form);
    assert_says("EXPLAIN CACHE 'SELECT 1' 2", form);
    assert_says("EXPLAIN CACHE pgbouncer SELECT 1", "E ERROR 0A000 ");
    fake.fails = true;
    assert_says("EXPLAIN CACHE SELECT 1", "refused for the test");
    fake.fails = false;
}

static void configuration(void **state)
{
    (void)state;
    assert_says("SHOW CONFIG", "T key:25,value:25,default:25,changeable:25\n");
    assert_says("SHOW CONFIG", "\nD listen_port|6432|6432|no\n");
    assert_says("SHOW CONFIG", "\nD auth_file|NULL|NULL|yes\n");
    assert_says("SHOW CONFIG", "\nD query_wait_timeout|120|120|yes\n");
    assert_says("SHOW CONFIG", "\nD cache_redis|redis://***@r:1||no\n");
    assert_says("SHOW default_pool_size", "T default_pool_size:25\nD 20\nC SHOW");
    assert_says("SHOW Cache_Memory;", "T cache_memory:25\nD 64MB\nC SHOW");
    const char *help = run("SHOW HELP", false);
    assert_non_null(strstr(help, "N NOTICE 00000 Console usage"));
    assert_non_null(strstr(help, "|STATS_AVERAGES|"));
    assert_non_null(strstr(help, "\nC SHOW"));
}

static void assert_command(const char *query, enum admin_verb verb, const char *database, const char *tag)
{
    memset(&fake.last, 0, sizeof(fake.last));
    assert_string_equal(run(query, true), tag);
    assert_int_equal(fake.last.verb, verb);
    assert_string_equal(fake.database, database);
    assert_string_equal(fake.last.user, "root");
}

static void commands_reach_the_process(void **state)
{
    (void)state;
    assert_command("RELOAD", ADMIN_RELOAD, "(all)", "C RELOAD");
    assert_command(" pause ;", ADMIN_PAUSE, "(all)", "C PAUSE");
    assert_command("PAUSE \"shop\"", ADMIN_PAUSE, "shop", "C PAUSE");
    assert_command("resume shop;", ADMIN_RESUME, "shop", "C RESUME");
    assert_command("DISABLE shop", ADMIN_DISABLE, "shop", "C DISABLE");
    assert_command("ENABLE 'we''ird'", ADMIN_ENABLE, "we'ird", "C ENABLE");
    assert_command("RECONNECT", ADMIN_RECONNECT, "(all)", "C RECONNECT");
    assert_command("KILL shop", ADMIN_KILL, "shop", "C KILL");
    assert_command("SUSPEND", ADMIN_SUSPEND, "(all)", "C SUSPEND");
    assert_command("WAIT_CLOSE -- all of them", ADMIN_WAIT_CLOSE, "(all)", "C WAIT_CLOSE");
    assert_command("SHUTDOWN", ADMIN_SHUTDOWN, "(all)", "C SHUTDOWN");
    assert_command("shutdown wait_for_servers", ADMIN_SHUTDOWN_WAIT_SERVERS, "(all)", "C SHUTDOWN");
    assert_command("SHUTDOWN WAIT_FOR_CLIENTS;", ADMIN_SHUTDOWN_WAIT_CLIENTS, "(all)", "C SHUTDOWN");
    assert_command("CACHE FLUSH", ADMIN_CACHE_FLUSH, "(all)", "C CACHE FLUSH");
    assert_command("/* now */ cache flush shop", ADMIN_CACHE_FLUSH, "shop", "C CACHE FLUSH");
    assert_string_equal(fake.relation, "(all)");
    assert_command("CACHE FLUSH shop Items ;", ADMIN_CACHE_FLUSH, "shop", "C CACHE FLUSH");
    assert_string_equal(fake.relation, "items");
    assert_command("CACHE FLUSH shop Public.\"Odd \"\"one\"", ADMIN_CACHE_FLUSH, "shop", "C CACHE FLUSH");
    assert_string_equal(fake.relation, "public.Odd \"one");
    assert_command("CACHE FLUSH shop '\"S\".items'", ADMIN_CACHE_FLUSH, "shop", "C CACHE FLUSH");
    assert_string_equal(fake.relation, "S.items");
    assert_command("CACHE DISABLE", ADMIN_CACHE_DISABLE, "(all)", "C CACHE DISABLE");
    assert_command("cache enable shop", ADMIN_CACHE_ENABLE, "shop", "C CACHE ENABLE");
    assert_command("KILL_CLIENT 17", ADMIN_KILL_CLIENT, "(all)", "C KILL_CLIENT");
    assert_int_equal(fake.last.client_id, 17);
    assert_command("KILL_CLIENT 0xABC", ADMIN_KILL_CLIENT, "(all)", "C KILL_CLIENT");
    assert_int_equal(fake.last.client_ptr, 0xabc);
    assert_command("SET query_timeout = 5", ADMIN_SET, "(all)", "C SET");
    assert_string_equal(fake.key, "query_timeout");
    assert_string_equal(fake.value, "5");
    assert_command("set admin_users='root, boss';", ADMIN_SET, "(all)", "C SET");
    assert_string_equal(fake.value, "root, boss");
    assert_command("SET admin_users TO root, boss ;", ADMIN_SET, "(all)", "C SET");
    assert_string_equal(fake.value, "root, boss");
    assert_command("SET server_reset_query = ''", ADMIN_SET, "(all)", "C SET");
    assert_string_equal(fake.value, "");
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    assert_says("PAUSE pgbouncer", "E ERROR 0A000 ");
    assert_says("DISABLE", "E ERROR 42601 DISABLE takes a database");
    assert_says("RELOAD now", "E ERROR 42601 RELOAD takes no argument");
    assert_says("PAUSE a b", "E ERROR 42601 PAUSE takes at most a database");
    assert_says("CACHE DISABLE shop items", "E ERROR 42601 CACHE DISABLE takes at most a database");
    assert_says("CACHE FLUSH pgbouncer", "E ERROR 0A000 ");
    const char *odd[] = {"a.b.c", "a.", ".a", "a b", "1a", "\"\"", "'a' b", "''", "a, b"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        char command[64];
        snprintf(command, sizeof(command), "CACHE FLUSH shop %s", odd[i]);
        assert_says(command, "E ERROR 42601 CACHE FLUSH takes one relation: [schema.]name");
    }
    assert_says("CACHE", "E ERROR 42601 invalid command");
    assert_says("KILL_CLIENT", "E ERROR 42601 ");
    assert_says("KILL_CLIENT zzz", "E ERROR 08P01 invalid client pointer supplied");
    assert_says("KILL_CLIENT -1", "E ERROR 08P01 invalid client pointer supplied");
    assert_says("KILL_CLIENT 99999999999999999999", "E ERROR 08P01 invalid client pointer supplied");
    assert_says("SHUTDOWN SOON", "E ERROR 42601 ");
    assert_says("SHOW NONSENSE", "E ERROR 42704 ");
    assert_says("SHOW POOLS CLIENTS", "E ERROR 42704 ");
    assert_says("SET nonsense = 1", "E ERROR 42704 unrecognized configuration parameter \"nonsense\"");
    assert_says("SET query_timeout", "E ERROR 42601 ");
    assert_says("DROP TABLE t", "E ERROR 42601 invalid command 'DROP TABLE t', use SHOW HELP;");
    assert_says("\"SHOW\" POOLS", "invalid command");
    assert_says("SHOW POOLS; SHOW STATS", "E ERROR 42601 one command at a time");
    assert_says("PAUSE \"shop", "E ERROR 42601 ");
    assert_says("/* open", "E ERROR 42601 ");
    assert_says("", "I ");
    assert_says(" ; ", "I ");
    fake.fails = true;
    assert_says("RELOAD", "E ERROR 22023 RELOAD failed, see logs for additional details");
    assert_says("KILL_CLIENT 5", "E ERROR 22023 client not found");
}

static void databases_must_exist(void **state)
{
    (void)state;
    struct config_source source = {
        .path = "f", .read = fake_read, .read_arg = (void *)(uintptr_t) "[databases]\nonly = host=h\n"};
    config_unref(fake.config);
    fake.config = config_load(&source, NULL);
    assert_says("PAUSE other", "E ERROR 08P01 no such database: other");
    assert_says("PAUSE only", "C PAUSE");
}

static void only_admins_may_change_things(void **state)
{
    (void)state;
    const char *commands[] = {"RELOAD",
                              "PAUSE",
                              "KILL shop",
                              "SHUTDOWN",
                              "SHUTDOWN WAIT_FOR_CLIENTS",
                              "KILL_CLIENT 1",
                              "SET query_timeout = 1",
                              "CACHE FLUSH",
                              "CACHE DISABLE shop",
                              "CACHE ENABLE",
                              "SHOW FDS"};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        assert_string_equal(run(commands[i], false), "E ERROR 42501 admin access needed");
    assert_non_null(strstr(run("SHOW POOLS", false), "C SHOW"));
    assert_non_null(strstr(run("SHOW CONFIG", false), "C SHOW"));
    bool is_admin;
    assert_true(console_may_enter(fake.config, "boss", &is_admin));
    assert_true(is_admin);
    assert_true(console_may_enter(fake.config, "watcher", &is_admin));
    assert_false(is_admin);
    assert_false(console_may_enter(fake.config, "anna", &is_admin));
}

static void drivers_are_kept_going(void **state)
{
    (void)state;
    assert_string_equal(run("SET extra_float_digits = 3", false), "C SET");
    assert_string_equal(run("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", false), "C SET");
    assert_string_equal(run("SET client_encoding TO 'UTF8'", false), "C SET");
    assert_string_equal(run("SET datestyle='ISO'; ", false), "C SET");
    assert_string_equal(run("SELECT 1", false), "T ?column?:25\nD 1\nC SELECT 1");
    assert_non_null(strstr(run("select version()", false), "D PostgreSQL 15"));
    assert_non_null(
        strstr(run("SELECT t.oid, t.typname, a, b, c, d, e, f FROM pg_type t", false), "C SELECT 0"));
    assert_string_equal(run("SHOW standard_conforming_strings", false),
                        "T standard_conforming_strings:25\nD on\nC SHOW");
    assert_string_equal(run("SHOW TRANSACTION ISOLATION LEVEL", false),
                        "T transaction_isolation:25\nD read committed\nC SHOW");
}

static void answers_may_be_late(void **state)
{
    (void)state;
    fake.holds_back = true;
    start("PAUSE", true);
    assert_int_equal(answers, 0);
    fake_release(&fake);
    assert_int_equal(answers, 1);
    start("SHOW POOLS", true);
    assert_int_equal(answers, 1);
    fake_release(&fake);
    assert_int_equal(answers, 2);
    assert_non_null(strstr(buf_text(&transcript), "C SHOW"));
}

static void an_answer_after_the_end_is_dropped(void **state)
{
    (void)state;
    fake.holds_back = true;
    start("SHOW STATS", true);
    console_free(console);
    console = NULL;
    fake_release(&fake);
    assert_int_equal(answers, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(columns_are_pgbouncers),
        TEST(statistics),
        TEST(averages_are_of_the_last_period),
        TEST(weirs_own),
        TEST(explanations),
        TEST(configuration),
        TEST(commands_reach_the_process),
        TEST(what_is_wrong_is_said),
        TEST(databases_must_exist),
        TEST(only_admins_may_change_things),
        TEST(drivers_are_kept_going),
        TEST(answers_may_be_late),
        TEST(an_answer_after_the_end_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
