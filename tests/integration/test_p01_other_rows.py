"""P01: nobody ever gets another client's rows."""

import pytest

from harness import wire
from harness.crowd import crowd
from harness.wait import until
from harness.wire import SYNC, once

# Bytes that look like ReadyForQuery, CommandComplete and an error, for parsers that search instead of counting.
DISGUISE = b"Z\0\0\0\x05I" + b"C\0\0\0\x0dSELECT 1\0" + b"E\0\0\0\x05\0"


def test_p01_unnamed_statements_under_saturation(start):
    pooler = start(default_pool_size=2)

    def ask(number):
        with pooler.wire() as client:
            for turn in range(40):
                mine = f"{number}:{turn}"
                client.send(once("SELECT $1::text, count(*)::text FROM generate_series(1, $2::int)",
                                 [mine, turn]),
                            once("SELECT $1::text || repeat('x', $2::int)", [mine, turn * 50]), SYNC)
                answer = client.ready()
                assert answer.texts == [(mine, str(turn)), (mine + "x" * (turn * 50),)], answer.errors

    crowd(24, ask)


def test_p01_simple_and_extended_clients_share_servers(start):
    pooler = start(default_pool_size=3)

    def ask(number):
        with pooler.wire() as client:
            for turn in range(30):
                mine = f"{number}/{turn}"
                send = client.query if (number + turn) % 2 else client.extended
                assert send(f"SELECT '{mine}' FROM generate_series(1, {turn % 7 + 1})").texts \
                    == [(mine,)] * (turn % 7 + 1)

    crowd(20, ask)


def test_p01_nothing_of_a_failed_checkout_reaches_the_next_client(start, database):
    database.execute("CREATE TABLE marks (who text)", user="app")
    pooler = start(default_pool_size=1, query_wait_timeout=1)
    holder = pooler.wire()
    holder.do("BEGIN")
    for _ in range(3):
        waiting = pooler.wire()
        waiting.send(once("INSERT INTO marks VALUES ($1)", ["waiting"]), once("SELECT 'waiting'"), SYNC)
        assert "query_wait_timeout" in waiting.up_to("EZ").errors[0]["M"]
        waiting.close()
    assert holder.query("SELECT 'holder'").texts == [("holder",)]
    holder.do("COMMIT")
    with pooler.wire() as after:
        for turn in range(5):
            assert after.query(f"SELECT 'after {turn}'").texts == [(f"after {turn}",)]
    assert database.value("SELECT count(*) FROM marks") == 0


@pytest.mark.parametrize("size", [100, 65_530, 65_536, 131_000, 3_000_000])
def test_p01_data_that_looks_like_messages_releases_nothing(start, database, size):
    pooler = start(default_pool_size=1)
    payload = (DISGUISE * (size // len(DISGUISE) + 1))[:size]

    crowd(4, lambda n: check_payload(pooler, payload, n))


def check_payload(pooler, payload, number=0):
    """Sends the payload as a binary parameter and gets it back in a row, several times over."""
    with pooler.wire() as client:
        for turn in range(5):
            mark = f"{number}.{turn}".encode()
            client.send(wire.parse("SELECT $1::bytea, $2::bytea", types=(17, 17)),
                        wire.bind([payload, mark], formats=(1,), result_formats=(1,)), wire.execute(), SYNC)
            answer = client.ready()
            assert answer.kinds == "12DCZ", answer.errors
            assert answer.rows == [[payload, mark]]


def test_p01_a_client_that_leaves_in_mid_answer_leaves_nothing_behind(start):
    pooler = start(default_pool_size=1)
    for turn in range(8):
        leaver = pooler.wire()
        leaver.send(wire.query(f"SELECT 'leaver', repeat('x', 1000) FROM generate_series(1, {turn * 2000 + 1})"))
        leaver.next_is("T")
        leaver.reset()
        with pooler.wire() as client:
            assert client.query(f"SELECT 'mine {turn}'").texts == [(f"mine {turn}",)]
    until("the pool has no client left", lambda: pooler.admin().pool("test", "app").get("cl_active") == "0")
