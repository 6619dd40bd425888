"""C21: Redis over TLS. Who it is is proven before a password or an answer is sent; where that fails, it is as if there
were no Redis."""

import signal
import subprocess

import pytest

from harness.capability import WEIR_BIN
from harness.redis import Redis, Sentinel
from harness.redis_cluster import RedisCluster
from harness.system import free_port
from harness.wait import until
from test_c21_redis import DOCS, SMALL, original, read_all
from test_c21_redis_cluster import is_up, lost, lost_any, store

pytestmark = pytest.mark.needs("cache")


def tls_options(certificates, name="server", authority="ca", asks="no"):
    return ["--tls-cert-file", str(certificates.crt(name)), "--tls-key-file", str(certificates.key(name)),
            "--tls-ca-cert-file", str(certificates.crt(authority)), "--tls-auth-clients", asks]


class TlsRedis(Redis):
    """Its plain port is for the test alone."""

    def __init__(self, certificates, *options, **more):
        self.tls_port = free_port()
        super().__init__("--tls-port", str(self.tls_port), *tls_options(certificates, **more), *options)

    @property
    def url(self):
        return f"rediss://127.0.0.1:{self.tls_port}"


@pytest.fixture
def new_redis(certificates):
    made = []

    def make(*options, **more):
        made.append(TlsRedis(certificates, *options, **more).start())
        return made[-1]
    yield make
    for redis in made:
        redis.remove()


@pytest.fixture
def secured(cached, certificates):
    def begin(url, **options):
        return cached(DOCS, cache_redis=url, cache_memory=SMALL, cache_max_result="8kB",
                      **{"cache_redis_timeout": 0.5, "cache_redis_tls_ca_file": certificates.crt("ca"), **options})
    return begin


def is_used(cache, expected=original):
    client = cache.wire()
    until("Redis is up", lambda: is_up(cache), 20)
    until("the answers are in Redis", lambda: lost_any(cache, client, expected) == 0, 20)
    assert lost(cache, client, expected) == 0
    assert store(cache)["redis"] == "up"
    return client


def is_refused(cache, words):
    cache.pooler.says(words)
    for _ in range(2):
        read_all(cache.wire(), original)
    assert cache.counted("redis_hits") == 0
    assert store(cache)["redis"] == "bypassed"


def test_c21_answers_come_over_tls(secured, new_redis):
    redis = new_redis("--requirepass", "secret")
    cache = secured(f"rediss://:secret@localhost:{redis.tls_port}/2")
    client = is_used(cache)
    cache.pooler.says(f"redis rediss://localhost:{redis.tls_port}/2: connected")
    cache.wire().do("UPDATE docs SET d = 'new ' || id")
    for _ in range(2):
        read_all(client, lambda i: f"new {i}")


@pytest.mark.parametrize("name", ["elsewhere", "foreign"])
def test_c21_another_redis_than_the_one_that_is_meant(secured, new_redis, name):
    """Its certificate bears another name, or another authority has signed it: it learns no password and no answer."""
    redis = new_redis(name=name)
    is_refused(secured(f"rediss://:secret@127.0.0.1:{redis.tls_port}"), "the cache goes on without it")
    assert redis.keys() == []
    assert b"cmdstat_auth" not in redis.command("INFO", "commandstats")


@pytest.mark.parametrize("mode,name", [("verify-ca", "elsewhere"), ("require", "foreign")])
def test_c21_less_is_proven_where_that_is_said(secured, new_redis, mode, name):
    is_used(secured(new_redis(name=name).url, cache_redis_tls_sslmode=mode))


def test_c21_verify_ca_looks_at_who_has_signed(secured, new_redis):
    is_refused(secured(new_redis(name="foreign").url, cache_redis_tls_sslmode="verify-ca"), "certificate verify failed")


def test_c21_a_redis_that_asks_for_a_certificate(secured, new_redis, certificates):
    redis = new_redis(asks="yes")
    is_used(secured(redis.url, cache_redis_tls_cert_file=certificates.crt("app"),
                    cache_redis_tls_key_file=certificates.key("app")))


def test_c21_a_redis_that_asks_for_a_certificate_and_gets_none(secured, new_redis):
    is_refused(secured(new_redis(asks="yes").url), "the cache goes on without it")


def test_c21_a_redis_that_speaks_no_tls(secured, redis):
    is_refused(secured(f"rediss://127.0.0.1:{redis.port}"), "the cache goes on without it")


def test_c21_a_redis_that_hangs_in_the_handshake_or_dies(secured, new_redis):
    redis = new_redis()
    redis.send(signal.SIGSTOP)
    cache = secured(redis.url)
    cache.pooler.says("connecting took too long")
    read_all(cache.wire(), original)
    redis.send(signal.SIGCONT)
    client = is_used(cache)
    redis.stop(signal.SIGKILL)
    read_all(client, original)
    redis.start()
    until("it is used again", lambda: lost_any(cache, client) == 0, 20)


def test_c21_sentinels_over_tls(secured, new_redis, certificates):
    master = new_redis()
    port = free_port()
    sentinel = Sentinel(master)
    sentinel.lines = [f"tls-port {port}", "tls-replication yes"] + \
        [f"{key[2:]} {value}" for key, value in zip(*[iter(tls_options(certificates))] * 2)]
    sentinel.watched = master.tls_port
    try:
        sentinel.start()
        is_used(secured(f"rediss+sentinel://localhost:{port}/weir"))
    finally:
        sentinel.remove()


def test_c21_a_cluster_over_tls(secured, certificates):
    cluster = RedisCluster(options=["--tls-cluster", "yes", "--tls-replication", "yes", *tls_options(certificates)],
                           is_tls=True)
    try:
        cluster.start()
        cache = secured(cluster.url)
        client = is_used(cache)
        heir = cluster.replica_of(cluster.masters[0])
        cluster.masters[0].stop(signal.SIGKILL)
        until("the replica is the master", lambda: heir.role() == "master", 30)
        until("all come from the Cluster again", lambda: lost_any(cache, client) == 0, 20)
        assert f":{heir.tls_port} up" in store(cache)["redis_nodes"]
    finally:
        cluster.remove()


BAD = {
    "no such file": ("rediss://h", {"cache_redis_tls_ca_file": "/nowhere/ca.crt"},
                     'cache_redis_tls_ca_file = "/nowhere/ca.crt": no certificates in PEM that can be read'),
    "half a pair": ("rediss://h", {"cache_redis_tls_key_file": "/nowhere/key"},
                    'cache_redis_tls_cert_file = "": a certificate and its key are needed together: set both'),
    "left to chance": ("rediss://h", {"cache_redis_tls_sslmode": "prefer"},
                       'cache_redis_tls_sslmode = "prefer" is not accepted; it takes one of require, verify-ca, verify-full'),
    "no TLS": ("redis://h", {"cache_redis_tls_ca_file": "/etc/ca.crt"},
               'cache_redis_tls_ca_file = "/etc/ca.crt" is for TLS, and cache_redis is without: begin it with rediss'),
    "no URL": ("rediss+cluster://u:secret@h/3", {}, 'cache_redis = "rediss+cluster://***@h/3": not a Redis URL; expected'),
}


@pytest.mark.parametrize("case", BAD)
def test_c21_what_is_wrong_with_the_configuration_is_said(tmp_path, case):
    url, options, words = BAD[case]
    file = tmp_path / "weir.ini"
    file.write_text("[databases]\nd = host=h\n[weir]\nlisten_port = 6432\nauth_type = trust\ncache = ttl\n"
                    f"cache_redis = {url}\n" + "".join(f"{key} = {value}\n" for key, value in options.items()))
    run = subprocess.run([WEIR_BIN, "--check", file], capture_output=True, text=True, timeout=20)
    assert run.returncode != 0
    line = 8 if options and "cert_file" not in words else 7
    where = f"{file}: " if "cert_file" in words else f"{file}:{line}: "
    assert where + words in run.stderr + run.stdout, run.stderr
    assert "secret" not in run.stderr + run.stdout
