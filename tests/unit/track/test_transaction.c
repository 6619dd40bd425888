/* transaction: scripts of what the server said, and what the session's settings are after each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "weir/track/transaction.h"
#include "weir/util/buf.h"

static struct profile_table *table;
static struct transaction tx;

static int start(void **state)
{
    (void)state;
    table = profile_table_new();
    struct profile *startup = profile_empty(table);
    transaction_init(&tx, startup);
    profile_unref(startup);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    transaction_free(&tx);
    size_t left = profile_table_count(table);
    profile_table_free(table);
    return left == 1 ? 0 : -1; /* the empty profile: no reference was lost */
}

/* Starts again with a startup packet that set a.s and b.s. */
static void with_startup(void)
{
    struct profile *empty = profile_empty(table);
    struct profile *one = profile_set(empty, SLICE_LITERAL("a.s"), SLICE_LITERAL("start"));
    struct profile *two = profile_set(one, SLICE_LITERAL("b.s"), SLICE_LITERAL("start"));
    transaction_free(&tx);
    transaction_init(&tx, two);
    profile_unref(empty);
    profile_unref(one);
    profile_unref(two);
}

/* The statements of `text` are sent and complete, each with this tag. */
static void done_as(const char *text, const char *tag)
{
    struct sql_class *class = sql_classify(slice_str(text));
    transaction_sending(&tx, class, false);
    for (uint32_t i = 0; i < class->n_statements; i++)
        transaction_completed(&tx, &class->statements[i], slice_str(tag));
    sql_class_unref(class);
}

static void done(const char *text)
{
    done_as(text, "");
}

/* As a simple query alone: completes, and ReadyForQuery follows. */
static void query(const char *text)
{
    done(text);
    transaction_ready(&tx, transaction_block(&tx) == TRANSACTION_IDLE ? 'I' : 'T');
}

static void query_fails(void)
{
    transaction_errored(&tx);
    transaction_ready(&tx, transaction_block(&tx) == TRANSACTION_IDLE ? 'I' : 'E');
}

static void check(const struct profile *p, const char *expected)
{
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < profile_count(p); i++) {
        buf_append_slice(&out, profile_at(p, i).name);
        buf_append_str(&out, "=");
        buf_append_slice(&out, profile_at(p, i).value);
        buf_append_str(&out, i + 1 < profile_count(p) ? " " : "");
    }
    buf_append_u8(&out, 0);
    assert_string_equal((const char *)out.data, expected);
    buf_free(&out);
}

static void now(const char *expected)
{
    check(transaction_current(&tx), expected);
}

static void fits(void **state)
{
    (void)state;
    assert_true(sizeof(struct transaction) <= 48);
}

static void autocommit(void **state)
{
    (void)state;
    query("SET a.x = '1'");
    now("a.x=1");
    assert_ptr_equal(transaction_committed(&tx), transaction_current(&tx));
    query_fails();
    now("a.x=1");
    query("SET LOCAL a.x = '2'");
    now("a.x=1");
    query("SELECT set_config('a.x', '3', false), set_config('a.y', '4', true)");
    now("a.x=3");
    query("RESET a.x");
    now("");
}

static void implicit_transactions(void **state)
{
    (void)state;
    /* One simple query of several statements, or a pipeline: an error undoes all of it. */
    done("SET a.x = '1'; SET LOCAL a.y = '2'");
    now("a.x=1 a.y=2");
    assert_true(transaction_has_local(&tx));
    check(transaction_committed(&tx), "");
    query_fails();
    now("");
    /* COMMIT in the middle keeps what came before it. */
    done("SET a.x = '1'");
    done_as("COMMIT", "COMMIT");
    done("SET a.x = '2'");
    query_fails();
    now("a.x=1");
    /* BEGIN takes in what came before it. */
    done("SET a.x = '3'; BEGIN; SET a.y = '4'");
    transaction_ready(&tx, 'T');
    done_as("ROLLBACK", "ROLLBACK");
    transaction_ready(&tx, 'I');
    now("a.x=1");
}

static void blocks(void **state)
{
    (void)state;
    query("BEGIN");
    query("SET a.x = '1'");
    query("SET LOCAL a.y = '1'");
    now("a.x=1 a.y=1");
    done_as("COMMIT", "COMMIT");
    transaction_ready(&tx, 'I');
    now("a.x=1");
    query("BEGIN");
    query("SET a.x = '2'");
    query_fails();
    assert_int_equal(transaction_block(&tx), TRANSACTION_FAILED);
    done_as("COMMIT", "ROLLBACK");
    transaction_ready(&tx, 'I');
    now("a.x=1");
    query("BEGIN");
    query("RESET a.x");
    now("");
    done_as("ROLLBACK", "ROLLBACK");
    transaction_ready(&tx, 'I');
    now("a.x=1");
    query("BEGIN");
    query("SET LOCAL a.x = '5'");
    query("SET a.x = '6'");
    query("SET LOCAL a.x = '7'");
    now("a.x=7");
    done_as("PREPARE TRANSACTION 'p'", "PREPARE TRANSACTION");
    transaction_ready(&tx, 'I');
    now("a.x=6");
}

static void savepoints(void **state)
{
    (void)state;
    query("BEGIN; SET a.x = '1'; SAVEPOINT s; SET a.x = '2'; SAVEPOINT t; SET LOCAL a.y = '3'; SAVEPOINT s");
    query("SET a.x = '4'");
    query("ROLLBACK TO s");
    now("a.x=2 a.y=3");
    query("ROLLBACK TO s"); /* it is still there */
    query("RELEASE s");
    query("ROLLBACK TO s"); /* now the outer one */
    now("a.x=1");
    query("SET a.x = '5'");
    query_fails();
    query("ROLLBACK TO s");
    assert_int_equal(transaction_block(&tx), TRANSACTION_OPEN);
    now("a.x=1");
    query("SET a.x = '6'; RELEASE s");
    done_as("COMMIT", "COMMIT");
    transaction_ready(&tx, 'I');
    now("a.x=6");
    assert_null(tx.saves);
    assert_false(transaction_is_lost(&tx));
}

static void too_many_savepoints_are_lost(void **state)
{
    (void)state;
    query("BEGIN");
    struct sql_class *class = sql_classify(SLICE_LITERAL("SAVEPOINT s"));
    for (int i = 0; i < 10001; i++)
        transaction_completed(&tx, class->statements, SLICE_EMPTY);
    sql_class_unref(class);
    assert_true(transaction_is_lost(&tx));
    assert_false(transaction_may_hit(&tx, true));
    done_as("ROLLBACK", "ROLLBACK");
    transaction_ready(&tx, 'I');
    query("DISCARD ALL");
    assert_false(transaction_is_lost(&tx));
}

static void chains(void **state)
{
    (void)state;
    query("BEGIN ISOLATION LEVEL SERIALIZABLE; SET a.x = '1'; SET LOCAL a.y = '1'");
    done_as("COMMIT AND CHAIN", "COMMIT");
    transaction_ready(&tx, 'T');
    now("a.x=1");
    assert_int_equal(transaction_block(&tx), TRANSACTION_OPEN);
    assert_false(transaction_may_hit(&tx, true));
    query("SET a.x = '2'");
    done_as("ROLLBACK AND NO CHAIN", "ROLLBACK");
    transaction_ready(&tx, 'I');
    now("a.x=1");
    assert_true(transaction_may_hit(&tx, true));
}

static void roles(void **state)
{
    (void)state;
    query("SET ROLE joe");
    query("SET a.x = '1'");
    query("RESET ALL");
    now("role=joe");
    query("SET SESSION AUTHORIZATION ann");
    now("session_authorization=ann");
    query("SET ROLE joe");
    query("DISCARD ALL");
    now("");
    query("SET ROLE NONE");
    now("role=none");
}

static void startup_settings_are_what_reset_means(void **state)
{
    (void)state;
    with_startup();
    assert_false(transaction_has_gap(&tx));
    query("SET a.s = 'x'; SET c.c = 'y'; SET ROLE joe");
    query("RESET c.c");
    assert_false(transaction_has_gap(&tx));
    query("RESET a.s");
    now("a.s=start b.s=start role=joe");
    /* The server has its own default for a.s now, until it is told otherwise. */
    assert_true(transaction_has_gap(&tx));
    struct profile *floor = transaction_floor(&tx);
    check(floor, "role=joe");
    profile_unref(floor);
    transaction_gap_closed(&tx);
    query("SET a.s = 'x'");
    query("DISCARD ALL");
    now("a.s=start b.s=start");
    assert_true(transaction_has_gap(&tx));
    transaction_lost(&tx);
    assert_false(transaction_has_gap(&tx));
    query("SET b.s = 'z'; RESET ALL");
    now("a.s=start b.s=start");
    assert_true(transaction_has_gap(&tx));
}

static void a_lost_server_rolls_back(void **state)
{
    (void)state;
    query("SET a.x = '1'");
    query("BEGIN");
    query("SET a.x = '2'");
    query("INSERT INTO t VALUES (1)");
    transaction_lost(&tx);
    now("a.x=1");
    assert_int_equal(transaction_block(&tx), TRANSACTION_IDLE);
    assert_false(transaction_has_written(&tx));
}

static void blocks_unseen(void **state)
{
    (void)state;
    done("nonsense that opened a block");
    transaction_ready(&tx, 'T');
    assert_int_equal(transaction_block(&tx), TRANSACTION_OPEN);
    assert_false(transaction_may_hit(&tx, true));
    query("SET a.x = '1'");
    done("nonsense that closed it");
    transaction_ready(&tx, 'I');
    assert_int_equal(transaction_block(&tx), TRANSACTION_IDLE);
    assert_true(transaction_is_lost(&tx));
}

static void hits(void **state)
{
    (void)state;
    assert_true(transaction_may_hit(&tx, true));
    assert_false(transaction_may_hit(&tx, false));
    query("BEGIN");
    assert_true(transaction_may_hit(&tx, true));
    assert_false(transaction_may_hit(&tx, false));
    query("SELECT * FROM t");
    query("SET LOCAL a.x = '1'");
    assert_true(transaction_may_hit(&tx, true));
    query("SAVEPOINT s");
    query("INSERT INTO t VALUES (1)");
    assert_true(transaction_has_written(&tx));
    assert_false(transaction_may_hit(&tx, true));
    query("ROLLBACK TO s");
    assert_false(transaction_may_hit(&tx, true)); /* marked is marked */
    done_as("COMMIT", "COMMIT");
    transaction_ready(&tx, 'I');
    assert_true(transaction_may_hit(&tx, true));

    const char *const spoil[] = {"SELECT * FROM t FOR UPDATE",
                                 "LOCK TABLE t",
                                 "SELECT pg_advisory_xact_lock(1)",
                                 "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                                 "SET transaction_isolation = 'serializable'",
                                 "SELECT set_config('a.b', $1, true)",
                                 "SELECT mine()",
                                 "TRUNCATE t",
                                 "ALTER TABLE t ADD a int",
                                 "EXECUTE q"};
    for (size_t i = 0; i < sizeof(spoil) / sizeof(*spoil); i++) {
        query("BEGIN");
        query(spoil[i]);
        if (transaction_may_hit(&tx, true))
            fail_msg("%s", spoil[i]);
        done_as("ROLLBACK", "ROLLBACK");
        transaction_ready(&tx, 'I');
        assert_true(transaction_may_hit(&tx, true));
    }
    query("BEGIN ISOLATION LEVEL READ COMMITTED");
    assert_true(transaction_may_hit(&tx, false));
    query_fails();
    assert_false(transaction_may_hit(&tx, true));
    done_as("ROLLBACK", "ROLLBACK");
    transaction_ready(&tx, 'I');

    query("SET default_transaction_isolation = 'serializable'");
    assert_false(transaction_may_hit(&tx, true));
    query("BEGIN");
    assert_false(transaction_may_hit(&tx, true));
    query("SET TRANSACTION ISOLATION LEVEL READ COMMITTED");
    assert_true(transaction_may_hit(&tx, false));

    struct sql_class *class = sql_classify(SLICE_LITERAL("SELECT mine()"));
    transaction_sending(&tx, class, true);
    assert_false(transaction_has_written(&tx));
    sql_class_unref(class);
}

/* --- the held-back BEGIN --- */

static struct transaction_decision decide(const char *text, bool may_defer)
{
    struct sql_class *class = sql_classify(slice_str(text));
    struct transaction_decision d = transaction_decide(&tx, class, may_defer);
    if (d.move == TRANSACTION_ANSWER)
        transaction_answered(&tx, class);
    sql_class_unref(class);
    return d;
}

static void answered(const char *text, const char *tag, char status)
{
    struct transaction_decision d = decide(text, true);
    assert_int_equal(d.move, TRANSACTION_ANSWER);
    assert_string_equal(d.tag, tag);
    assert_int_equal(d.status, status);
    assert_int_equal(transaction_block(&tx), status == 'I'   ? TRANSACTION_IDLE
                                             : status == 'T' ? TRANSACTION_OPEN
                                                             : TRANSACTION_FAILED);
}

static void holds_plain_begins_only(void **state)
{
    (void)state;
    const char *const relayed[] = {"BEGIN ISOLATION LEVEL SERIALIZABLE",
                                   "BEGIN READ ONLY",
                                   "BEGIN READ WRITE",
                                   "BEGIN; SELECT 1",
                                   "SELECT 1",
                                   "COMMIT",
                                   "SAVEPOINT s"};
    for (size_t i = 0; i < sizeof(relayed) / sizeof(*relayed); i++)
        assert_int_equal(decide(relayed[i], true).move, TRANSACTION_RELAY);
    assert_int_equal(decide("BEGIN", false).move, TRANSACTION_RELAY);
    assert_false(transaction_is_held(&tx));
    answered("BEGIN", "BEGIN", 'T');
    assert_true(transaction_is_held(&tx));
    assert_string_equal(transaction_begin_text(&tx), "BEGIN");
    answered("COMMIT", "COMMIT", 'I');
    assert_false(transaction_is_held(&tx));
    answered("START TRANSACTION NOT DEFERRABLE, ISOLATION LEVEL READ COMMITTED", "START TRANSACTION", 'T');
    assert_string_equal(transaction_begin_text(&tx), "BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE");
    assert_true(transaction_may_hit(&tx, false));
    answered("", "", 'T');
    answered("ABORT", "ROLLBACK", 'I');
    /* A block the server knows is none of this. */
    query("BEGIN");
    assert_int_equal(decide("BEGIN", true).move, TRANSACTION_RELAY);
    assert_int_equal(decide("COMMIT", true).move, TRANSACTION_RELAY);
}

static void everything_else_flushes(void **state)
{
    (void)state;
    const char *const flushing[] = {"BEGIN",
                                    "SELECT 1",
                                    "SAVEPOINT s",
                                    "COMMIT AND CHAIN",
                                    "SELECT 1; COMMIT",
                                    "PREPARE TRANSACTION 'x'",
                                    "SET LOCAL a.b = 'c'",
                                    "nonsense",
                                    "ROLLBACK TO s"};
    for (size_t i = 0; i < sizeof(flushing) / sizeof(*flushing); i++) {
        answered("BEGIN", "BEGIN", 'T');
        assert_int_equal(decide(flushing[i], true).move, TRANSACTION_FLUSH);
        assert_true(transaction_is_held(&tx));
        answered("ROLLBACK", "ROLLBACK", 'I');
    }
    answered("BEGIN", "BEGIN", 'T');
    transaction_flushed(&tx);
    assert_int_equal(transaction_block(&tx), TRANSACTION_OPEN);
    assert_int_equal(decide("SELECT 1", true).move, TRANSACTION_RELAY);
    query_fails();
    assert_int_equal(transaction_block(&tx), TRANSACTION_FAILED);
    assert_int_equal(decide("SELECT 1", true).move, TRANSACTION_RELAY);
}

static void failed_while_held(void **state)
{
    (void)state;
    answered("BEGIN", "BEGIN", 'T');
    transaction_failed_while_held(&tx);
    struct transaction_decision d = decide("SELECT 1", true);
    assert_int_equal(d.move, TRANSACTION_REFUSE);
    assert_string_equal(d.sqlstate, "25P02");
    assert_int_equal(d.status, 'E');
    d = decide("ROLLBACK TO s", true);
    assert_string_equal(d.sqlstate, "3B001");
    assert_string_equal(d.message, "savepoint \"s\" does not exist");
    assert_int_equal(decide("COMMIT; SELECT 1", true).move, TRANSACTION_REFUSE);
    answered("", "", 'E');
    answered("ROLLBACK AND CHAIN", "ROLLBACK", 'T');
    assert_true(transaction_is_held(&tx));
    transaction_failed_while_held(&tx);
    answered("COMMIT", "ROLLBACK", 'I');
    assert_false(transaction_is_held(&tx));
    answered("BEGIN", "BEGIN", 'T');
    transaction_lost(&tx);
    assert_false(transaction_is_held(&tx));
}

#define T(test) cmocka_unit_test_setup_teardown(test, start, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(fits),
        T(autocommit),
        T(implicit_transactions),
        T(blocks),
        T(savepoints),
        T(too_many_savepoints_are_lost),
        T(chains),
        T(roles),
        T(startup_settings_are_what_reset_means),
        T(a_lost_server_rolls_back),
        T(blocks_unseen),
        T(hits),
        T(holds_plain_begins_only),
        T(everything_else_flushes),
        T(failed_while_held),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sql_classify_thread_end();
    return failed;
}
