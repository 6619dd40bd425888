"""The composition of docker/compose.yaml: built, started, asked, and stopped, by every version of Compose there is."""

import json
import shutil
import urllib.request

import psycopg
import pytest

from harness import system
from harness.capability import ROOT
from harness.docker import BASE, POSTGRES, REDIS, Docker
from harness.wait import until

pytestmark = [pytest.mark.full, pytest.mark.needs("cache", "plain"), pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def docker():
    if not (system.IS_ROOT and (shutil.which("dockerd") or shutil.which("docker"))):
        pytest.skip("machine: only root may start a Docker daemon, and it must be installed")
    daemon = Docker()
    try:
        for name in (BASE, POSTGRES, REDIS):
            daemon.image(name)
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture(scope="module", params=["docker compose", "docker-compose"])
def composition(docker, request):
    if not docker.has(*request.param.split()):
        pytest.skip(f"machine: no {request.param}")
    ports = {"WEIR_PORT": str(system.free_port()), "WEIR_HTTP_PORT": str(system.free_port()), "WEIR_HTTP_TOKEN": "secret"}
    command = [*request.param.split(), "-p", "weirtest", "-f", str(ROOT / "docker" / "compose.yaml")]
    docker.run(*command, "up", "-d", "--build", **ports)
    try:
        container = docker.run(*command, "ps", "-q", "weir", **ports).stdout.split()[-1]
        until("weir is healthy", lambda: docker.health(container) == "healthy", 90, pause=1)
        yield docker, container, ports
    finally:
        docker.run(*command, "down", "-v", "-t", "5", check=False, **ports)


def stats(ports):
    request = urllib.request.Request(f"http://127.0.0.1:{ports['WEIR_HTTP_PORT']}/stats", headers={"Authorization": "Bearer secret"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.read().decode()


def hits(shown):
    """The number of hits, wherever in the JSON it stands."""
    def walk(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("hits", "cache_hits", "cache_hits_total", "weir_cache_hits_total") and isinstance(inner, (int, float)):
                    yield inner
                yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)
    return sum(walk(json.loads(shown)))


def test_the_composition_answers_and_reports_a_hit(composition):
    _, _, ports = composition
    with psycopg.connect(host="127.0.0.1", port=ports["WEIR_PORT"], dbname="app", user="app", password="app", autocommit=True,
                         connect_timeout=30) as connection:
        connection.execute("CREATE TABLE items AS SELECT 1 AS id, 'one' AS v")

        def reads_until_hit():
            assert connection.execute("SELECT v FROM items WHERE id = 1").fetchone() == ("one",)
            return hits(stats(ports)) > 0

        until("an answer comes from the cache", reads_until_hit, 30, pause=0.1)
        connection.execute("UPDATE items SET v = 'two'")
        assert connection.execute("SELECT v FROM items WHERE id = 1").fetchone() == ("two",)


def test_the_container_is_unprivileged_and_read_only(composition):
    docker, container, _ = composition
    assert docker.run("docker", "exec", container, "id", "-u").stdout.strip() != "0"
    assert docker.run("docker", "exec", container, "touch", "/usr/local/bin/x", check=False).returncode != 0
    assert docker.run("docker", "exec", container, "fetch", "/healthz").returncode == 0


def test_the_image_is_small(composition):
    docker, _, _ = composition
    size = int(docker.run("docker", "image", "inspect", "-f", "{{.Size}}", "weir").stdout)
    base = int(docker.run("docker", "image", "inspect", "-f", "{{.Size}}", BASE).stdout)
    assert size - base < 60 << 20, f"{(size - base) >> 20} MB on top of Debian"


def test_the_stats_want_their_token(composition):
    _, _, ports = composition
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{ports['WEIR_HTTP_PORT']}/stats", timeout=10)
