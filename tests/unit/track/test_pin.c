/* pin: each reason comes, stays while in doubt, and goes when it is certainly gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/track/pin.h"

static struct pins pins;

static void run_in(const char *text, bool in_block)
{
    struct sql_class *class = sql_classify(slice_str(text));
    for (uint32_t i = 0; i < class->n_statements; i++)
        pin_completed(&pins, &class->statements[i], in_block, false);
    sql_class_unref(class);
}

static void run(const char *text)
{
    run_in(text, false);
}

static void failed(const char *text)
{
    struct sql_class *class = sql_classify(slice_str(text));
    pin_failed(&pins, class->statements, false);
    sql_class_unref(class);
}

static void expect(const char *text)
{
    char now[256];
    pin_text(&pins, now, sizeof(now));
    assert_string_equal(now, text);
}

static int reset(void **state)
{
    (void)state;
    pins = (struct pins){0};
    return 0;
}

static void ordinary_statements_pin_nothing(void **state)
{
    (void)state;
    run("SELECT * FROM t; INSERT INTO t VALUES (1); SET a.b = 'c'; BEGIN; COMMIT; NOTIFY x; CREATE TABLE t "
        "(a int);"
        "SELECT nextval('s'), pg_advisory_xact_lock(1), set_config('a.b', 'c', false); CREATE TEMP TABLE x "
        "ON COMMIT "
        "DROP AS SELECT 1; DECLARE c CURSOR FOR SELECT 1; CLOSE c; DEALLOCATE p; SELECT "
        "pg_advisory_unlock(1);"
        "SELECT set_config('a.b', $1, true)");
    expect("");
    assert_false(pin_is_held(&pins));
}

static void each_reason_pins(void **state)
{
    (void)state;
    run("CREATE TEMP TABLE t (a int)");
    run("SELECT pg_advisory_lock(1)");
    run("DECLARE c CURSOR WITH HOLD FOR SELECT 1");
    run("PREPARE p AS SELECT 1");
    run("LISTEN a");
    run("LOAD 'x'");
    run("SELECT mine()");
    run("SET x FROM CURRENT");
    run("SELECT lastval()");
    expect("temp_table, advisory_lock, hold_cursor, sql_prepare, listen, load, code, setting, sequence");
    run("DISCARD ALL");
    expect("load");
}

static void locks_are_counted(void **state)
{
    (void)state;
    run("SELECT pg_advisory_lock(1)");
    run("SELECT pg_advisory_lock(1)");
    run("SELECT pg_advisory_unlock(1)");
    expect("advisory_lock");
    run("SELECT pg_advisory_unlock(1)");
    expect("");
    /* Another key, another kind: nothing given back that was taken. */
    run("SELECT pg_advisory_lock(1)");
    run("SELECT pg_advisory_unlock(2)");
    expect("advisory_lock");
    run("SELECT pg_advisory_unlock(1)");
    expect("advisory_lock");
    run("SELECT pg_advisory_unlock_all()");
    expect("");
    run("SELECT pg_advisory_lock_shared(1)");
    run("SELECT pg_advisory_unlock(1)");
    expect("advisory_lock");
}

static void unknown_keys_stay(void **state)
{
    (void)state;
    run("SELECT pg_advisory_lock($1)");
    run("SELECT pg_advisory_unlock($1)");
    expect("advisory_lock");
    run("SELECT pg_catalog.pg_advisory_unlock_all()");
    expect("");
    run("SELECT pg_try_advisory_lock(id) FROM t");
    run("SELECT pg_advisory_unlock(1)");
    expect("advisory_lock");
    pin_clear(&pins, PIN_ADVISORY_LOCK);
    run("SELECT pg_advisory_lock(1)");
    run("SELECT pg_advisory_unlock(1)");
    expect("");
    failed("SELECT pg_advisory_lock(1), 1/0");
    expect("advisory_lock");
}

static void cursors_and_statements_are_counted(void **state)
{
    (void)state;
    run("DECLARE a CURSOR WITH HOLD FOR SELECT 1; DECLARE b CURSOR WITH HOLD FOR SELECT 1; CLOSE a");
    expect("hold_cursor");
    run("CLOSE b");
    expect("");
    run("DECLARE a CURSOR WITH HOLD FOR SELECT 1");
    run_in("CLOSE other", true);
    run("CLOSE a");
    expect("hold_cursor"); /* in a block it might have been a plain cursor */
    run("CLOSE ALL");
    expect("");
    run("PREPARE a AS SELECT 1; PREPARE b AS SELECT 1; DEALLOCATE a");
    expect("sql_prepare");
    run("DEALLOCATE b");
    expect("");
    run("PREPARE a AS SELECT 1; DEALLOCATE ALL");
    expect("");
}

static void listen_and_code(void **state)
{
    (void)state;
    run("LISTEN a; UNLISTEN a");
    expect("listen");
    run_in("UNLISTEN *", true);
    expect("listen");
    run("UNLISTEN *");
    expect("");
    failed("DO $$ BEGIN END $$");
    expect("code");
    pin_clear(&pins, PIN_CODE);
    struct sql_class *class = sql_classify(SLICE_LITERAL("SELECT mine()"));
    pin_completed(&pins, class->statements, false, true);
    expect("");
    sql_class_unref(class);
    failed("CREATE TEMP TABLE t (a int)");
    expect("");
    run("SET search_path = pg_temp, public");
    expect("setting");
    pin_clear(&pins, PIN_SETTING);
    pin_set(&pins, PIN_COPY);
    expect("copy");
    pin_clear(&pins, PIN_COPY);
    run("nonsense");
    expect("code");
    char small[4];
    pin_text(&pins, small, sizeof(small));
    assert_string_equal(small, "cod");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(ordinary_statements_pin_nothing, reset),
        cmocka_unit_test_setup(each_reason_pins, reset),
        cmocka_unit_test_setup(locks_are_counted, reset),
        cmocka_unit_test_setup(unknown_keys_stay, reset),
        cmocka_unit_test_setup(cursors_and_statements_are_counted, reset),
        cmocka_unit_test_setup(listen_and_code, reset),
    };
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    sql_classify_thread_end();
    return result;
}
