"""No pooler at all: WEIR_BIN=straight runs the tests on PostgreSQL itself, which proves that they expect nothing that
PostgreSQL would not answer. Tests of the pool, of the console and of hits cannot pass so; those of answers must."""

from .pooler import Pooler


class Straight(Pooler):
    is_straight = True

    def start(self):
        self.port = int(next(iter(self.databases.values()))["port"])
        return self

    def stop(self):
        for connection in self.opened:
            connection.close()

    def complaints(self):
        return []

    def wire(self, database="test", user="app", password=None, receive_buffer=None, **parameters):
        line = self.databases[database]
        return super().wire(line["dbname"], line.get("user", user), password, receive_buffer, **parameters)

    def connect(self, dbname="test", user="app", **more):
        return super().connect(self.databases[dbname]["dbname"], user, **more)

    def uri(self, dbname="test", user="app", scheme="postgresql"):
        return super().uri(self.databases[dbname]["dbname"], user, scheme)
