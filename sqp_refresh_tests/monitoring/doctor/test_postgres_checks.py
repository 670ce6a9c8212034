"""Check what the doctor says of a server and a user that would make a refresh fail."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from psycopg import conninfo

from sqp_refresh.control.table_lock import table_lock
from sqp_refresh.errors import (
    AccessDenied,
    DataError,
    NotFound,
    RefreshError,
    Unavailable,
)
from sqp_refresh.load.indexes import drop_for_bulk_load
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, TABLES
from sqp_refresh.monitoring.doctor import postgres_checks
from sqp_refresh.monitoring.doctor.postgres_checks import (
    check_clock,
    check_disk,
    check_first_refreshes,
    check_indexes,
    check_pooler,
    check_privileges,
    check_timeouts,
    check_triggers,
)
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.helpers.database import execute, rows

GRANTS = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sqp TO limited;"


@pytest.fixture
def limited(migrated_database: str) -> Iterator[str]:
    """URL of a migrated database as a user who may look at everything, and do nothing."""
    execute(
        migrated_database,
        "CREATE ROLE limited LOGIN; GRANT USAGE ON SCHEMA sqp TO limited;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA sqp TO limited",
    )
    yield conninfo.make_conninfo(migrated_database, user="limited")
    execute(migrated_database, "DROP OWNED BY limited; DROP ROLE limited")


def privileges(url: str) -> str:
    with connect(url) as session:
        return check_privileges(session, list(TABLES))


def test_a_user_with_every_right_may_refresh(migrated_database, limited):
    execute(migrated_database, GRANTS)

    assert privileges(limited).startswith("limited may do with ")


def test_a_right_that_is_lacking_is_named_with_its_remedy(migrated_database, limited):
    with pytest.raises(AccessDenied, match=r"lacks DELETE, INSERT, UPDATE on asin_perf.* more; "):
        privileges(limited)
    with pytest.raises(AccessDenied) as raised:
        privileges(limited)
    for grant in re.findall("GRANT [^;]+", str(raised.value)):
        execute(migrated_database, grant)
    assert privileges(limited)
    execute(migrated_database, "REVOKE ALL ON ALL TABLES IN SCHEMA sqp FROM limited")

    execute(migrated_database, f"{GRANTS} REVOKE UPDATE ON sqp.weekly_summary FROM limited")
    with pytest.raises(AccessDenied) as raised:
        privileges(limited)
    assert str(raised.value) == (
        "limited lacks UPDATE on weekly_summary; GRANT UPDATE ON sqp.weekly_summary TO limited"
    )


def test_a_table_of_somebody_else_in_the_schema_is_no_matter(migrated_database, limited):
    execute(migrated_database, f"{GRANTS} CREATE TABLE sqp.theirs (id int)")

    assert "theirs" not in privileges(limited)


def test_the_right_to_stage_a_week_is_needed(migrated_database, limited):
    name = conninfo.conninfo_to_dict(migrated_database)["dbname"]
    execute(migrated_database, f"{GRANTS} REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")

    with pytest.raises(AccessDenied, match="may not make temporary tables"):
        privileges(limited)


def test_row_level_security_that_hides_rows_is_noticed(migrated_database, limited):
    execute(migrated_database, f"{GRANTS} ALTER TABLE sqp.refresh_config ENABLE ROW LEVEL SECURITY")

    with pytest.raises(AccessDenied, match="hides rows of refresh_config from limited"):
        privileges(limited)
    assert privileges(migrated_database)


def test_timeouts_of_the_user_which_a_refresh_replaces_are_shown(migrated_database):
    name = conninfo.conninfo_to_dict(migrated_database)["dbname"]
    execute(migrated_database, f"ALTER DATABASE {name} SET statement_timeout = '8s'")
    with connect(migrated_database) as session:
        assert "of the user is 8,000 ms; each transaction" in check_timeouts(session)

    execute(migrated_database, f"ALTER DATABASE {name} SET transaction_timeout = '5min'")
    with connect(migrated_database) as session:
        assert "lifts the user's transaction_timeout of 300,000 ms" in check_timeouts(session)


def test_indexes_that_an_interrupted_first_load_dropped_are_named(migrated_database):
    with connect(migrated_database) as session:
        assert check_indexes(session) == "no index is lacking"
        with session.transaction():
            dropped = drop_for_bulk_load(session, SEARCH_QUERY_PERFORMANCE)
        names = ", ".join(sorted(index.name for index in dropped))

        with pytest.raises(NotFound, match=f"_performance is without {names}, ") as raised:
            check_indexes(session)
        assert "`sqp-refresh migrate`, as postgres, who owns the table, " in str(raised.value)
        session.rollback()

        with table_lock(migrated_database, SEARCH_QUERY_PERFORMANCE) as writer:
            writer.acquire()
            assert "search_query_performance is being filled" in check_indexes(session)


def test_disk_is_shown_as_far_as_it_can_be_seen(migrated_database, limited, monkeypatch):
    with connect(migrated_database) as session:
        assert " GB are free" in check_disk(session)
        monkeypatch.setattr(postgres_checks, "HEADROOM_GB", 1e9)
        with pytest.raises(Unavailable, match="are needed"):
            check_disk(session)
    with connect(limited) as session:
        assert "can be seen by members of pg_monitor only" in check_disk(session)


def test_a_replication_slot_that_nobody_reads_is_noticed(migrated_database):
    slot = "SELECT pg_create_physical_replication_slot('forgotten', true)::text"
    rows(migrated_database, slot)
    try:
        with connect(migrated_database) as session, pytest.raises(Unavailable, match="forgotten"):
            check_disk(session)
    finally:
        rows(migrated_database, "SELECT pg_drop_replication_slot('forgotten')::text")


def test_clocks_that_are_apart_are_noticed(migrated_database, monkeypatch):
    with connect(migrated_database) as session:
        assert "30 s are allowed" in check_clock(session)

        class Ahead(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + timedelta(minutes=2)

        monkeypatch.setattr(postgres_checks, "datetime", Ahead)
        with pytest.raises(RefreshError, match=r"is -1\d\d\.\d s from this machine's"):
            check_clock(session)


def test_without_a_pooler_a_connection_keeps_its_process(migrated_database):
    assert "keeps its server process" in check_pooler(migrated_database)


def test_a_table_may_wait_for_its_first_refresh_for_as_long_as_between_two(migrated_database):
    with connect(migrated_database) as session:
        assert check_first_refreshes(session).startswith("8 of 8 wait for their first refresh")

    execute(
        migrated_database,
        "UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '25 hours'"
        " WHERE table_name = 'weekly_summary'",
    )
    with connect(migrated_database) as session, pytest.raises(NotFound, match=r"^weekly_summary r"):
        check_first_refreshes(session)


def test_a_trigger_that_may_alter_rows_is_named(migrated_database):
    def triggers() -> str:
        with connect(migrated_database) as session:
            return check_triggers(session, TABLES.values())

    assert triggers() == "no trigger or rule may alter what is loaded"

    function = "RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    execute(migrated_database, f"CREATE FUNCTION public.looks() {function}")
    on_table = "ON sqp.weekly_summary FOR EACH ROW EXECUTE FUNCTION public.looks()"
    execute(migrated_database, f"CREATE TRIGGER late AFTER INSERT {on_table}")
    assert triggers().startswith("sqp.weekly_summary has trigger late: ")

    execute(migrated_database, f"CREATE TRIGGER early BEFORE UPDATE {on_table}")
    with pytest.raises(DataError, match=r"sqp.weekly_summary has BEFORE ROW trigger early; "):
        triggers()

    execute(migrated_database, "ALTER TABLE sqp.weekly_summary DISABLE TRIGGER early")
    assert triggers().startswith("sqp.weekly_summary has trigger late: ")
