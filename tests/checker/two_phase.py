"""Commits in two phases: what one session has prepared, another one commits, maybe by another way.

Every transaction that was prepared has an owner until its end: it stands among those that anybody may end
(`shared.prepared`), or, when it is not known whether it exists, among the doubtful ones, which are rolled back. Otherwise its
locks would stop everybody."""

import forms
from history import DONE, UNKNOWN, Raise, clock
from harness.wire import SYNC, once, query

GONE = b"42704"  # there is no such transaction
DOUBT_NS = 12_000_000_000  # longer than anything waits for a lock


def act(session):
    """The first phase, maybe something in between, and the second phase of all that is prepared."""
    if session.user != "app":
        return
    yield from session.send(query("RESET ROLE"))
    yield from _prepare(session)
    for _ in range(session.random.choice((0, 1, 2))):
        yield from session.burst()
    yield from finish(session)


def finish(session):
    """Ends what has been prepared, whoever did that; tries again to be rid of what is doubtful."""
    shared = session.shared
    if session.user != "app" or not (shared.prepared or shared.doubtful):
        return
    yield from session.send(query("RESET ROLE"))  # only the role that has prepared it may end it
    while shared.prepared:
        yield from _end(session, *shared.prepared.pop(session.random.randrange(len(shared.prepared))))
    for gid, since in list(shared.doubtful.items()):
        answer = yield from session.send(query(f"ROLLBACK PREPARED '{gid}'"))
        if not answer.errors or answer.errors[0] == GONE and clock() - since > DOUBT_NS:
            shared.doubtful.pop(gid, None)


def _prepare(session):
    cell, token = session.pick_cell(), session.token()
    gid, made, is_known = f"two {token}", None, True
    answer = yield from session.begin_block()
    if answer.errors:
        return
    try:
        form = session.random.choice((forms.write_simple, forms.write_parameters, forms.write_with, forms.write_merge))
        request = form(session, cell, token)
        answer = yield from session.run(request)
        if not answer.errors:
            made = Raise(cell, 1, token, session.number_of(request, answer))
            is_known = False
            answer = yield from session.send(query(f"PREPARE TRANSACTION '{gid}'"))
            is_known = session.outcome(answer) != UNKNOWN
    finally:
        session.block = None
        if not is_known:
            session.shared.doubtful[gid] = clock()
    if answer.errors or answer.status != b"I":
        yield from session.send(query("ROLLBACK"))
    else:
        session.shared.prepared.append((gid, [made]))


def _end(session, gid, items):
    is_over = False
    try:
        if session.random.random() < 0.25:
            answer = yield from session.send(query(f"ROLLBACK PREPARED '{gid}'"))
            is_over = not answer.errors
        else:
            sql = f"COMMIT PREPARED '{gid}'"
            payload = query(sql) if session.random.random() < 0.5 else once(sql) + SYNC
            is_cut = session.random.random() < session.shared.cut_share
            answer = yield from session.commit("two phases", session.send(payload, cut=is_cut), items)
            is_over = session.outcome(answer) == DONE
    finally:
        if not is_over:
            session.shared.doubtful[gid] = clock()
