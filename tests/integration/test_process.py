"""The process: starting, refusing to start, reloading, ending; console and HTTP."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from harness import system
from harness.crowd import Crowd
from harness.wait import seconds, until
from harness.wire import Closed, ServerError, query


def run(pooler, *arguments, as_root=False):
    """Runs the program to its end with the configuration written; returns its exit code and all it said."""
    pooler.write_config()
    if not pooler.binary.exists():
        shutil.copy(pooler.source, pooler.binary)
    more = {} if as_root else system.as_account()
    ended = subprocess.run([pooler.binary, *arguments], capture_output=True, text=True, cwd=pooler.directory,
                           timeout=seconds(10), **more)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def idle(new_pooler, database):
    """A pooler that is configured but not started."""
    return new_pooler({"test": {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}})


def test_version_and_help(idle):
    for argument in ("-V", "--version"):
        code, shown = run(idle, argument)
        assert code == 0 and re.search(r"\d+\.\d+", shown)
    code, shown = run(idle, "-h")
    assert code == 0 and "-d" in shown


@pytest.mark.parametrize("line", ["no_such_key = 1", "default_pool_size = many", "pool_mode = sometimes",
                                  pytest.param("listen_port = 70000", marks=pytest.mark.needs("check"))])
def test_wrong_configuration_is_refused_and_named(idle, line):
    key, _, value = line.partition(" = ")
    idle.options[key] = value
    code, shown = run(idle, "-v", idle.ini)
    assert code != 0
    assert key in shown


@pytest.mark.needs("check")
def test_check_names_file_line_and_key(idle):
    code, shown = run(idle, "--check", idle.ini)
    assert code == 0, shown
    idle.options["cache_ttl"] = "soon"
    code, shown = run(idle, "--check", idle.ini)
    line = next(n for n, text in enumerate(idle.ini.read_text().splitlines(), 1) if "cache_ttl" in text)
    assert code != 0 and "cache_ttl" in shown and f"{line}" in shown and "soon" in shown and idle.ini.name in shown


NOT_BUILT = {"auth_type": "ldap", "auth_ldap_options": "ldapserver=localhost", "pool_adaptive": 1,
             "cache_hints": "allow"}


@pytest.mark.needs("check")
@pytest.mark.parametrize("key", NOT_BUILT)
def test_keys_whose_work_is_not_built_are_refused_by_name(idle, key):
    idle.options[key] = NOT_BUILT[key]
    code, shown = run(idle, "--check", idle.ini)
    assert code != 0 and re.search(rf"{key}( = {NOT_BUILT[key]})? is not built yet", shown)


NO_EFFECT = {"job_name": "bouncer", "service_name": "bouncer", "conffile": "/nowhere/pgbouncer.ini", "pkt_buf": "8192",
             "dns_zone_check_period": "7", "resolv_conf": "/nowhere/resolv.conf", "sbuf_loopcnt": "9"}


@pytest.mark.parametrize("key", NO_EFFECT)
def test_keys_without_effect_are_accepted_and_shown(start, key):
    pooler = start(**{key: NO_EFFECT[key]})
    assert {row["key"]: row["value"] for row in pooler.show("CONFIG")}[key] == NO_EFFECT[key]


@pytest.mark.needs("workers")
def test_workers_are_threads(start):
    threads = {count: len(list(Path(f"/proc/{start(workers=count).pid}/task").iterdir())) for count in (2, 3, 5)}
    assert threads[3] - threads[2] == 1 and threads[5] - threads[3] == 2


@pytest.mark.needs("check")
def test_check_looks_at_certificates(idle):
    idle.options.update(client_tls_sslmode="require", client_tls_cert_file="/nowhere/crt", client_tls_key_file="/nowhere/key")
    code, shown = run(idle, "--check", idle.ini)
    assert code != 0 and 'client_tls_cert_file = "/nowhere/crt": not a certificate in PEM that can be read' in shown
    idle.options["client_tls_sslmode"] = "disable"
    assert run(idle, "--check", idle.ini)[0] == 0


@pytest.mark.skipif(not system.IS_ROOT, reason="machine: only root can be refused")
def test_root_is_refused_unless_told_whom_to_become(idle):
    code, shown = run(idle, idle.ini, as_root=True)
    assert code != 0 and "root" in shown
    with open(idle.log_path, "wb") as log:
        idle.process = subprocess.Popen([idle.binary, "-u", system.ACCOUNT, idle.ini], stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=log, cwd=idle.directory)
    until("it answers", idle._answers)
    assert os.stat(f"/proc/{idle.pid}").st_uid != 0
    assert idle.wire().value("SELECT 1") == "1"


def test_daemon_with_logfile_and_pidfile(idle):
    pidfile, logfile = idle.directory / "pid", idle.directory / "logfile"
    idle.options.update(pidfile=pidfile, logfile=logfile)
    code, shown = run(idle, "-d", "-q", idle.ini)
    assert code == 0, shown
    pid = int(until("the pid file", lambda: pidfile.exists() and pidfile.read_text().strip()))
    try:
        until("it answers", lambda: answers(idle))
        line = logfile.read_text().splitlines()[0]
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[\d+\] [A-Z]+ ", line), line
        assert run(idle, "-d", "-q", idle.ini)[0] != 0, "a second one must not start"
    finally:
        os.kill(pid, signal.SIGINT)
    until("it ends and takes its pid file along", lambda: not pidfile.exists() and not os.path.exists(f"/proc/{pid}"))


def answers(pooler):
    try:
        with pooler.admin() as console:
            return console.run("SHOW VERSION")
    except (OSError, Closed, ServerError):
        return None


def test_a_port_in_use_is_said(idle, start):
    idle.options["listen_port"] = start().port
    code, shown = run(idle, idle.ini)
    assert code != 0 and str(idle.options["listen_port"]) in shown


@pytest.mark.needs("exact_errors")
@pytest.mark.parametrize("way", [["-q"], ["-d"]])
def test_why_it_does_not_start_is_in_the_log(idle, start, way):
    logfile = idle.directory / "logfile"
    idle.options.update(listen_port=start().port, logfile=logfile)
    code, shown = run(idle, *way, idle.ini)
    assert code != 0 and "cannot start" in shown
    said = [line for line in logfile.read_text().splitlines() if "cannot start" in line]
    assert len(said) == 1 and "FATAL" in said[0] and str(idle.options["listen_port"]) in said[0], logfile.read_text()


@pytest.mark.parametrize("way", ["console", "signal"])
def test_p18_reload_under_load_drops_nobody(start, way):
    pooler = start(default_pool_size=2)
    everyone, state = Crowd(), {"on": True}

    def work(number):
        with pooler.wire() as client:
            turn = 0
            while state["on"]:
                turn += 1
                assert client.value(f"SELECT '{number}.{turn}'") == f"{number}.{turn}"

    for number in range(6):
        everyone.add(work, number)
    for size in (5, 1, 3):
        if way == "console":
            pooler.reload({"default_pool_size": size})
        else:
            pooler.options["default_pool_size"] = size
            pooler.write_config()
            pooler.process.send_signal(signal.SIGHUP)
        until("the new size", lambda: {r["key"]: r["value"] for r in pooler.show("CONFIG")}["default_pool_size"] == str(size))
        time.sleep(0.2)
    state["on"] = False
    everyone.join()


@pytest.mark.needs("exact_errors")
def test_a_wrong_reload_keeps_the_old_configuration(start):
    pooler = start(default_pool_size=2)
    pooler.options["pool_mode"] = "sometimes"
    pooler.write_config()
    with pooler.admin() as console:
        try:
            console.run("RELOAD")
        except ServerError as error:
            assert "RELOAD failed, see logs" in str(error)
    assert pooler.wire().value("SELECT 1") == "1"
    assert {r["key"]: r["value"] for r in pooler.show("CONFIG")}["pool_mode"] == "transaction"
    pooler.options["pool_mode"] = "transaction"


def test_pause_and_resume(start):
    pooler = start()
    client = pooler.wire()
    client.do("SELECT 1")
    with pooler.admin() as console:
        console.run("PAUSE")
        client.send(query("SELECT 'waited'"))
        assert client.is_quiet(0.4)
        console.run("RESUME")
    assert client.ready().texts == [("waited",)]


def tell(pooler, number, answer="shutting down"):
    """Sends a signal, and waits until the log has the answer."""
    pooler.process.send_signal(number)
    pooler.says(answer)


def test_shutdown_waits_for_transactions(start):
    pooler = start()
    client = pooler.wire()
    client.do("BEGIN; SELECT 1")
    tell(pooler, signal.SIGINT)
    assert client.value("SELECT 'still here'") == "still here"
    client.do("COMMIT")
    assert pooler.process.wait(seconds(5)) == 0
    pooler.process = None


@pytest.mark.needs("hardened")
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_who_is_told_twice_to_end_ends_at_once(start, first, second):
    pooler = start()
    client = pooler.wire()
    client.do("BEGIN; SELECT 1")
    tell(pooler, first)
    assert client.value("SELECT 'still here'") == "still here"
    pooler.process.send_signal(second)
    assert pooler.process.wait(seconds(5)) == 0
    pooler.process = None
    assert client.rest().errors[0]["C"] == "57P01"


@pytest.mark.needs("hardened")
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_there_is_no_resuming_from_a_shutdown(start, first):
    pooler = start()
    client = pooler.wire()
    client.do("BEGIN; SELECT 1")
    tell(pooler, first)
    tell(pooler, signal.SIGUSR2, "got SIGUSR2 while shutting down, ignoring")
    assert client.value("SELECT 'still here'") == "still here"
    client.do("COMMIT")
    client.close()
    assert pooler.process.wait(seconds(5)) == 0
    pooler.process = None


SHOWS = {
    "POOLS": "database user cl_active cl_waiting", "STATS": "database",
    "DATABASES": "name host port database force_user pool_size", "CLIENTS": "type user database", "SERVERS": "type user database",
    "LISTS": "list items", "CONFIG": "key value default changeable", "VERSION": "version",
}


@pytest.mark.parametrize("what", SHOWS)
def test_show(start, what):
    pooler = start()
    client = pooler.wire()
    client.do("SELECT 1")
    with pooler.admin() as console:
        columns = console.columns(what)
        wanted = SHOWS[what].split()
        assert columns[:len(wanted)] == wanted or set(wanted) <= set(columns)
        assert console.show(what)
        assert console.show(what.lower() + ";") is not None
        with pytest.raises(ServerError):
            console.run("NONSENSE")
        assert console.show(what), "an error leaves the console usable"


def test_stats_users_may_only_look(start):
    with start().admin("stats") as console:
        assert console.show("POOLS") is not None
        for command in ("RELOAD", "PAUSE", "SHUTDOWN", "KILL test"):
            with pytest.raises(ServerError):
                console.run(command)


@pytest.mark.needs("exact_errors")
def test_columns_are_pgbouncers(start):
    """Names and order, as exporters and dashboards rely on."""
    pooler = start()
    pooler.wire().do("SELECT 1")
    with pooler.admin() as console:
        assert console.columns("POOLS") == (
            "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel"
            " sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode load_balance_hosts").split()
        assert console.columns("DATABASES") == (
            "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime pool_mode"
            " load_balance_hosts max_connections current_connections max_client_connections current_client_connections paused"
            " disabled").split()
        for what in ("CLIENTS", "SERVERS"):
            assert console.columns(what) == (
                "type user database replication state addr port local_addr local_port connect_time request_time wait wait_us"
                " close_needed ptr link remote_pid tls application_name prepared_statements id").split()
        counts = "server_assignment_count xact_count query_count received sent xact_time query_time wait_time" \
            " client_parse_count server_parse_count bind_count client_login_count".split()
        averages = [{"received": "recv"}.get(c, c) for c in counts]
        assert console.columns("STATS") == ["database", *(f"total_{c}" for c in counts), *(f"avg_{c}" for c in averages)]


@pytest.mark.needs("http")
def test_http(start, database):
    database.execute("CREATE TABLE items AS SELECT 1 AS id, 'one' AS v", user="app")
    pooler = start(cache="exact", cache_writes="through_weir", database={"control_user": "control"})
    client = pooler.wire()
    until("a hit is counted", lambda: client.do("SELECT v FROM items") and pooler.hits() > 0)
    for path in ("/healthz", "/readyz"):
        assert pooler.http(path)[0] == 200
    assert pooler.http("/nowhere")[0] == 404
    status, page = pooler.http("/")
    assert status == 200 and "<html" in page.lower()
    assert isinstance(json.loads(pooler.http("/stats")[1]), dict)
    text = pooler.http("/metrics")[1]
    for name in ("weir_cache_hits_total", "weir_cache_misses_total", "weir_request_wait_seconds", "weir_request_server_seconds"):
        assert re.search(rf"^# TYPE {name} ", text, re.M), name
    helped = re.findall(r"^# HELP (\S+)", text, re.M)
    assert len(helped) == len(set(helped)), "a metric is declared twice"
    assert all(re.fullmatch(r"(#.*|[a-zA-Z_:][\w:]*(\{[^}]*\})? \S+|)", line) for line in text.splitlines())
    assert pooler.hits() > 0


@pytest.mark.needs("http")
def test_the_metrics_are_as_prometheus_wants_them(start, database, redis):
    """Judged by Prometheus's own tool, with every part at work: pools, errors, cache and Redis."""
    database.execute("CREATE TABLE items AS SELECT 1 AS id, 'one' AS v", user="app")
    pooler = start(cache="exact", cache_writes="through_weir", cache_redis=redis.url, database={"control_user": "control"})
    client = pooler.wire()
    checked = [promtool(pooler)]
    until("a hit is counted", lambda: client.do("SELECT v FROM items") and pooler.hits() > 0)
    client.do("UPDATE items SET v = 'two'")
    assert client.query("SELECT nothing FROM nowhere").errors
    until("Redis was asked", lambda: client.do("SELECT v FROM items") and redis.keys())
    checked.append(promtool(pooler))
    assert checked == ["", ""]


def promtool(pooler):
    """What `promtool check metrics` has to say: nothing, where all is well."""
    page = pooler.http("/metrics")[1]
    ended = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=seconds(20))
    return ended.stdout + ended.stderr + (f"exit code {ended.returncode}" if ended.returncode else "")


@pytest.mark.needs("http")
def test_readyz_tells_when_no_server_can_be_had(own_postgres, new_pooler):
    database = own_postgres.make_database()
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": own_postgres.port, "dbname": database.name}}).start()
    pooler.wire().do("SELECT 1")
    assert pooler.http("/readyz")[0] == 200
    own_postgres.stop("fast")
    assert pooler.http("/healthz")[0] == 200, "the process itself is well"


@pytest.mark.needs("cache")
@pytest.mark.parametrize("options", [{"cache": "exact"}, {"cache": "exact", "cache_writes": "through_weir", "so_reuseport": "1"}])
def test_exact_refuses_what_it_cannot_promise(idle, options):
    idle.options.update(options)
    idle.databases["test"]["control_user"] = "control"
    code, shown = run(idle, idle.ini)
    assert code != 0 and ("exact" in shown or "so_reuseport" in shown)


def test_the_unix_socket(start):
    pooler = start(unix_socket_dir="/tmp", unix_socket_mode="0777")
    with psycopg.connect(host="/tmp", port=pooler.port, dbname="test", user="app", autocommit=True) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    pooler.stop()
    assert not os.path.exists(f"/tmp/.s.PGSQL.{pooler.port}")
