"""What matters most, before PostgreSQL 18: tests of other files, on servers of that version. With WEIR_POSTGRES=18 every
test has them."""

import pytest

from harness.postgres import Postgres, make_tls_postgres
from test_c01_c04_identity import test_c01_a_table_that_appears_earlier_in_the_path  # noqa: F401
from test_c01_c04_identity import test_c01_set_local_lasts_for_its_transaction  # noqa: F401
from test_c11_c13_feed import fed, test_c11_every_way_to_write_is_seen  # noqa: F401
from test_login import test_every_pair_of_client_and_server_authentication  # noqa: F401
from test_p06_p07_prepared import test_p06_a_statement_follows_to_every_server  # noqa: F401
from test_p06_p07_prepared import test_p06_names_behave_as_in_postgresql  # noqa: F401
from test_p06_p07_prepared import test_p07_a_changed_result_type_does_not_stay_broken  # noqa: F401
from test_p09_p26_settings import prepared, test_p09_settings_follow_their_session_alone  # noqa: F401
from test_p10_cancel import test_p10_a_late_cancel_never_hits_the_next_client  # noqa: F401
from test_p10_cancel import test_p10_psycopg_cancels  # noqa: F401
from test_p14_replication import begin, cluster, source  # noqa: F401
from test_p14_replication import test_p14_replication_both_kinds_get_a_walsender_of_their_own  # noqa: F401
from test_p16_p17_pins import locks, test_p17_temporary_tables_stay_with_their_session  # noqa: F401
from test_p16_p17_pins import test_p17_advisory_locks_stay_with_their_session  # noqa: F401
from test_tls_servers import secured, test_scram_through_tls_and_pass_through  # noqa: F401
from test_tls_servers import test_the_cache_and_its_watch_through_tls  # noqa: F401

pytestmark = pytest.mark.needs("cache", "exact_errors", "pins", "prepared", "profile")
VERSION = "18"


@pytest.fixture(scope="module")
def postgres():
    server = Postgres(VERSION).start().make_roles()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def tls_postgres(certificates):
    server = make_tls_postgres(certificates, VERSION)
    yield server
    server.remove()


@pytest.fixture
def own_postgres():
    server = Postgres(VERSION).start().make_roles()
    yield server
    server.remove()


def test_the_version_is_what_it_says(start):
    with start().wire() as client:
        assert client.value("SHOW server_version").startswith(f"{VERSION}.")


@pytest.mark.parametrize("protocol", ["query", "extended"])
def test_settings_that_were_set_before_a_query_open_no_transaction(start, protocol):
    pooler = start(default_pool_size=1)
    one, two = pooler.wire(), pooler.wire(search_path="two")
    for _ in range(3):
        for client, path in ((one, '"$user", public'), (two, "two")):
            answer = getattr(client, protocol)("SELECT current_setting('search_path')")
            assert (answer.texts, answer.statuses) == ([(path,)], "I")
