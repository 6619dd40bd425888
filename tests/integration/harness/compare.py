"""The differential way to test: the same bytes to PostgreSQL and through the pooler must bring the same bytes back."""

from .wire import Wire, fields_of

# What names a place in the source or the process, not the answer.
ERROR_FIELDS = "SVCMDHPpqsTtcdn"


def comparable(answer):
    """An answer without what differs between any two connections."""
    shown = []
    for seen in answer:
        if seen.kind in "SKR":
            continue
        if seen.kind in "EN":
            fields = fields_of(seen.body)
            shown.append((seen.kind, {f: fields[f] for f in ERROR_FIELDS if f in fields}))
        else:
            shown.append((seen.kind, seen.body))
    return shown


def direct_wire(database, user="app", **parameters):
    """A raw connection straight to PostgreSQL."""
    client = Wire(database.postgres.port)
    client.login(user, database.name, **parameters)
    return client


def play(client, batches):
    """Sends each (bytes, number of ReadyForQuery to come) and collects what comes, as comparable lists."""
    seen = []
    for data, ready in batches:
        client.send(data)
        seen.append(comparable(client.ready(ready)))
    return seen


def assert_same(database, client, batches, user="app", reset=None):
    """Plays the batches directly and through `client`, and compares message by message; reset, a statement, puts the
    data back before each."""
    if reset:
        database.execute(reset)
    with direct_wire(database, user) as direct:
        expected = play(direct, batches)
    if reset:
        database.execute(reset)
    found = play(client, batches)
    for number, (want, got) in enumerate(zip(expected, found)):
        assert got == want, f"batch {number}: PostgreSQL says {brief(want)}, the pooler {brief(got)}"


def brief(messages):
    return [(kind, body if isinstance(body, dict) else body[:60]) for kind, body in messages][:40]
