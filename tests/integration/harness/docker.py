"""A Docker daemon for one test: the one that runs, or one started in a temporary directory; and images for where the
public ones cannot be pulled."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .debian import bootstrap
from .wait import until

BASE, POSTGRES, REDIS = "debian:bookworm-slim", "postgres:15", "redis:7"

# Stand-ins for the public images: the same programs from Debian, and as much of their entry points as is used.
STAND_INS = {
    POSTGRES: """
FROM debian:bookworm-slim
RUN mkdir -p /etc/postgresql-common/createcluster.d && echo 'create_main_cluster = false' \
        > /etc/postgresql-common/createcluster.d/none.conf \
    && apt-get update && apt-get install -y --no-install-recommends postgresql-15 && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin PGDATA=/tmp/pg
USER postgres
CMD ["sh", "-c", "echo $POSTGRES_PASSWORD > /tmp/pw && initdb -U $POSTGRES_USER --pwfile /tmp/pw -E UTF8 --locale=C.UTF-8 -A scram-sha-256 \
 && echo 'host all all all scram-sha-256' >> /tmp/pg/pg_hba.conf \
 && { [ $POSTGRES_DB = postgres ] || echo \\"CREATE DATABASE $POSTGRES_DB\\" \
 | postgres --single -D /tmp/pg postgres; } && exec postgres -c listen_addresses='*' -k /tmp"]
""",
    REDIS: """
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*
USER redis
CMD ["redis-server"]
""",
}


class Docker:
    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="weir-docker-"))
        self.environment = dict(os.environ)
        self.daemon = None
        self.made = []
        if self.run("docker", "info", check=False).returncode != 0:
            self._start()

    def _start(self):
        socket = f"unix://{self.directory}/socket"
        with open(self.directory / "log", "wb") as log:
            self.daemon = subprocess.Popen(
                ["dockerd", "--data-root", self.directory / "data", "--exec-root", self.directory / "exec", "--pidfile",
                 self.directory / "pid", "-H", socket], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.environment["DOCKER_HOST"] = socket
        until("the Docker daemon answers", self._answers, 30)

    def _answers(self):
        assert self.daemon.poll() is None, (self.directory / "log").read_text()[-2000:]
        return self.run("docker", "info", check=False).returncode == 0

    def run(self, *command, check=True, limit=900, **environment):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL,
                               env={**self.environment, "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0", **environment})
        assert not check or ended.returncode == 0, (ended.stdout + ended.stderr)[-4000:]
        return ended

    def has(self, *command):
        """Whether there is such a command: docker compose, say, which is a plug-in."""
        return shutil.which(command[0]) is not None and self.run(*command, "version", check=False).returncode == 0

    def image(self, name):
        """Makes sure there is an image of that name: the public one, or a stand-in."""
        if self.run("docker", "image", "inspect", name, check=False).returncode == 0:
            return
        if self.run("docker", "pull", "-q", name, check=False, limit=300).returncode == 0:
            return
        self.made.append(name)
        if name == BASE:
            self._import_base()
        else:
            self.image(BASE)
            folder = self.directory / re.sub(r"\W", "-", name)
            folder.mkdir()
            (folder / "Dockerfile").write_text(STAND_INS[name])
            self.run("docker", "build", "-q", "-t", name, str(folder))

    def _import_base(self):
        root = self.directory / "base"
        bootstrap(root)
        self.run("sh", "-c", f"tar -C {root} -c . | docker import - {BASE}")
        shutil.rmtree(root)

    def health(self, container):
        state = json.loads(self.run("docker", "inspect", container).stdout)[0]["State"]
        assert state["Running"], self.run("docker", "logs", container, check=False).stderr[-2000:]
        return state["Health"]["Status"]

    def stop(self):
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait(60)
        else:
            for name in self.made:
                self.run("docker", "rmi", "-f", name, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
