"""A throw-away Redis Cluster: masters, each with its replicas, that fail over by themselves."""

import re

from .redis import Redis
from .system import free_port
from .wait import until

SLOTS = 16384


class ClusterNode(Redis):
    """With a port for TLS the plain one is for the test alone."""

    def __init__(self, *options, is_tls=False):
        self.tls_port = free_port() if is_tls else None
        if is_tls:
            options = ("--tls-port", str(self.tls_port), *options)
        super().__init__("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "1500",
                         "--cluster-replica-validity-factor", "0", "--cluster-require-full-coverage", "no",
                         "--repl-diskless-sync-delay", "0", *options)

    @property
    def bus_port(self):
        return self.options[self.options.index("--cluster-port") + 1]

    @property
    def served_port(self):
        return self.tls_port or self.port

    def id(self):
        return self.text("CLUSTER", "MYID")

    def text(self, *words):
        """A reply of one string or line."""
        reply = self.command(*words).decode()
        return reply.split("\r\n")[1] if reply.startswith("$") else reply[1:].strip()

    def knows(self):
        """How many nodes it has shaken hands with, itself included."""
        return sum("handshake" not in line and bool(line.strip())
                   for line in self.command("CLUSTER", "NODES").decode().split("\n")[1:] if ":" in line)

    def is_well(self):
        return b"cluster_state:ok" in self.command("CLUSTER", "INFO")


class RedisCluster:
    """`masters` that share the slots evenly, and as many replicas of each as wanted."""

    def __init__(self, masters=3, replicas=1, options=(), is_tls=False):
        self.masters = [ClusterNode(*options, is_tls=is_tls) for _ in range(masters)]
        self.replicas = [ClusterNode(*options, is_tls=is_tls) for _ in range(masters * replicas)]
        self.options, self.is_tls = options, is_tls

    @property
    def nodes(self):
        return self.masters + self.replicas

    @property
    def url(self):
        return f"redis{'s' * self.is_tls}+cluster://" + ",".join(f"127.0.0.1:{node.served_port}" for node in self.masters[:2])

    def start(self):
        for node in self.nodes:
            node.start()
        bounds = [SLOTS * i // len(self.masters) for i in range(len(self.masters) + 1)]
        for i, node in enumerate(self.masters):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            node.command("CLUSTER", "ADDSLOTSRANGE", bounds[i], bounds[i + 1] - 1)
        for node in self.nodes[1:]:
            self.meet(node)
        for i, replica in enumerate(self.replicas):
            master = self.masters[i % len(self.masters)].id()
            until("the replica knows its master", lambda: b"+OK" in replica.command("CLUSTER", "REPLICATE", master), 20)
        self.settle()
        return self

    def meet(self, node):
        first = self.nodes[0]
        node.command("CLUSTER", "MEET", "127.0.0.1", first.served_port, first.bus_port)

    def settle(self):
        """Waits until all that run know each other, and every replica is up to date."""
        alive = [node for node in self.nodes if node.process is not None]
        until("all know each other", lambda: all(node.knows() == len(self.nodes) and node.is_well() for node in alive), 30)
        for replica in alive:
            until("the replica is up to date", lambda: replica.role() == "master" or
                  b"master_link_status:up" in replica.command("INFO", "replication"), 30)

    def add(self):
        """Another master, without slots."""
        node = ClusterNode(*self.options, is_tls=self.is_tls).start()
        self.meet(node)
        self.masters.append(node)
        self.settle()
        return node

    def owner(self, slot):
        """The master that has the slot."""
        for node in self.nodes:
            if node.process is None or node.role() != "master":
                continue
            own = next(line for line in node.command("CLUSTER", "NODES").decode().split("\n") if "myself" in line)
            for first, last in re.findall(r" (\d+)(?:-(\d+))?(?= |$)", own.split("connected", 1)[1]):
                if int(first) <= slot <= int(last or first):
                    return node
        return None

    def replica_of(self, master):
        return self.replicas[self.masters.index(master)]

    def keys(self):
        """The names of all keys of the masters."""
        return [key for node in self.nodes if node.process is not None and node.role() == "master" for key in node.keys()]

    def slot_of(self, key):
        return int(self.nodes[0].text("CLUSTER", "KEYSLOT", key))

    def begin_move(self, slot, source, target):
        """Keys that are there are at the source, all others at the target."""
        assert b"+OK" in target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id())
        assert b"+OK" in source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id())

    def move_keys(self, slot, source, target):
        for key in source.keys():
            if self.slot_of(key) == slot:
                source.command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)

    def end_move(self, slot, source, target):
        for node in (target, source, *self.masters):
            if node.process is not None:
                node.command("CLUSTER", "SETSLOT", slot, "NODE", target.id())

    def move(self, slot, source, target):
        self.begin_move(slot, source, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)

    def remove(self):
        for node in self.nodes:
            node.remove()
