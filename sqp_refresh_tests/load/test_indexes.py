"""Indexes are dropped only while their empty table is filled, and come back as they were."""

import logging
from dataclasses import replace

import psycopg
import pytest
from psycopg import conninfo, sql

from sqp_refresh.control.missing_indexes import build_missing, list_missing
from sqp_refresh.control.table_lock import table_lock
from sqp_refresh.load import indexes
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, TABLES, Table
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh_tests.helpers.commands import output
from sqp_refresh_tests.helpers.database import execute, rows

TABLE = SEARCH_QUERY_PERFORMANCE
OURS = ["search_query_performance_asin_idx", "search_query_performance_search_query_idx"]
DEFINITIONS = (
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'sqp'"
    " AND tablename = 'search_query_performance' ORDER BY indexname"
)
INVALID = "indisvalid = false"
OID = "'sqp.search_query_performance_asin_idx'::regclass"
NOTED = "SELECT index_name, column_names FROM sqp.refresh_indexes ORDER BY index_name"


def drop(session: Session, table: Table = TABLE) -> list[str]:
    return sorted(index.name for index in indexes.drop_for_bulk_load(session, table))


def build(session: Session) -> list[str]:
    return indexes.build_dropped(session, TABLE)


def test_what_is_dropped_is_built_as_it_was(session, migrated_database):
    execute(
        migrated_database,
        'CREATE INDEX "Their ""Own""" ON sqp.search_query_performance (end_date, marketplace)',
    )
    before = rows(migrated_database, DEFINITIONS)

    assert drop(session) == ['Their "Own"', *OURS]
    assert len(rows(migrated_database, DEFINITIONS)) == len(before) - 3
    build(session)

    assert rows(migrated_database, DEFINITIONS) == before
    assert not rows(migrated_database, NOTED)


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE UNIQUE INDEX {} ON sqp.search_query_performance (search_query, start_date)",
        "CREATE INDEX {} ON sqp.search_query_performance (lower(search_query))",
        "CREATE INDEX {} ON sqp.search_query_performance (asin DESC)",
        "CREATE INDEX {} ON sqp.search_query_performance (asin) WHERE asin_click_count > 0",
        "CREATE INDEX {} ON sqp.search_query_performance (asin) INCLUDE (search_query)",
        "CREATE INDEX {} ON sqp.search_query_performance (asin) WITH (fillfactor = 70)",
        "CREATE INDEX {} ON sqp.search_query_performance (search_query text_pattern_ops)",
        "CREATE INDEX {} ON sqp.search_query_performance USING hash (asin)",
        "CREATE INDEX {} ON sqp.search_query_performance (start_date, asin)",
        "ALTER TABLE sqp.search_query_performance ADD CONSTRAINT {}"
        " EXCLUDE USING btree (asin WITH =, search_query WITH =)",
        "CREATE INDEX {0} ON sqp.search_query_performance (asin); COMMENT ON INDEX sqp.{0} IS 'x'",
        "CREATE INDEX {0} ON sqp.search_query_performance (asin);"
        " ALTER TABLE sqp.search_query_performance CLUSTER ON {0}",
    ],
)
def test_an_index_that_its_columns_do_not_tell_stays(session, migrated_database, definition):
    execute(migrated_database, definition.format("of_their_own"))

    assert drop(session) == OURS
    build(session)

    assert "of_their_own" in str(rows(migrated_database, DEFINITIONS))


def test_a_table_with_a_row_keeps_its_indexes(session, migrated_database):
    execute(
        migrated_database,
        "INSERT INTO sqp.search_query_performance"
        " (start_date, end_date, marketplace, asin, search_query)"
        " VALUES ('2025-08-10', '2025-08-16', 'US', 'B000000001', 'widget')",
    )

    assert drop(session) == []
    assert not rows(migrated_database, NOTED)


def test_where_somebody_is_at_the_table_nobody_waits_and_the_indexes_stay(
    session, migrated_database, caplog
):
    before = rows(migrated_database, DEFINITIONS)
    caplog.set_level(logging.INFO, logger=indexes.__name__)
    with psycopg.connect(migrated_database) as reader:
        reader.execute("SELECT FROM sqp.search_query_performance")

        assert drop(session) == []

    # A lock that is waited for is given up a minute later, with other words.
    (message,) = caplog.messages
    assert message.startswith("the indexes of search_query_performance stay where they are: ")
    assert "could not obtain lock" in message
    assert rows(migrated_database, DEFINITIONS) == before
    assert not rows(migrated_database, NOTED)


def test_who_does_not_own_the_table_leaves_its_indexes_alone(session, migrated_database):
    execute(
        migrated_database,
        "CREATE ROLE refresher LOGIN; GRANT USAGE ON SCHEMA sqp TO refresher;"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sqp TO refresher",
    )
    try:
        with connect(conninfo.make_conninfo(migrated_database, user="refresher")) as theirs:
            assert drop(theirs) == []
            assert drop(session) == OURS
            (warning,) = build(theirs)
        assert len(rows(migrated_database, NOTED)) == 2
        assert f"without {', '.join(OURS)}, which an interrupted first load left out" in warning
        assert "`sqp-refresh migrate`, as postgres, who owns the table, builds them" in warning
    finally:
        execute(migrated_database, "DROP OWNED BY refresher; DROP ROLE refresher")


def test_who_may_not_build_an_index_drops_none(session, migrated_database):
    execute(
        migrated_database,
        "CREATE ROLE owner LOGIN; GRANT USAGE ON SCHEMA sqp TO owner;"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sqp TO owner;"
        "ALTER TABLE sqp.search_query_performance OWNER TO owner",
    )
    try:
        with connect(conninfo.make_conninfo(migrated_database, user="owner")) as theirs:
            assert drop(theirs) == []
            execute(migrated_database, "GRANT CREATE ON SCHEMA sqp TO owner")
            assert drop(theirs) == OURS
    finally:
        execute(
            migrated_database,
            "ALTER TABLE sqp.search_query_performance OWNER TO CURRENT_USER;"
            "DROP OWNED BY owner; DROP ROLE owner",
        )


def test_the_index_of_a_partition_stays(session, migrated_database):
    execute(
        migrated_database,
        "CREATE TABLE sqp.whole (id int, asin text) PARTITION BY LIST (id);"
        "CREATE TABLE sqp.piece PARTITION OF sqp.whole DEFAULT;"
        "CREATE INDEX ON sqp.whole (asin)",
    )

    for name in ("whole", "piece"):
        assert drop(session, replace(TABLE, name=name)) == []


def test_an_index_that_was_built_by_hand_may_be_dropped_again(session):
    drop(session)
    with session.transaction():
        session.execute(
            sql.SQL("CREATE INDEX {} ON sqp.search_query_performance (asin)").format(
                sql.Identifier(OURS[0])
            )
        )

    assert drop(session) == OURS[:1]
    with session.transaction():
        assert {index.name: index.columns for index in list_missing(session)} == {
            OURS[0]: ["asin"],
            OURS[1]: ["search_query", "start_date"],
        }


ANEW = "(asin, start_date)"


@pytest.mark.parametrize(
    ("meanwhile", "is_built"),
    [
        (f"CREATE INDEX {OURS[0]} ON sqp.search_query_performance (asin, start_date)", False),
        ("CREATE INDEX theirs ON sqp.search_query_performance (asin, start_date, end_date)", False),
        (f"CREATE INDEX {OURS[0]} ON sqp.search_query_performance (asin DESC)", True),
        ("CREATE INDEX theirs ON sqp.search_query_performance (asin) WHERE asin > ''", True),
        (f"CREATE INDEX {OURS[0]} ON sqp.weekly_summary (asin, marketplace)", True),
        (f"CREATE VIEW sqp.{OURS[0]} AS SELECT 1", True),
    ],
)
def test_an_index_is_built_unless_its_table_has_one_that_does_the_same(
    session, migrated_database, meanwhile, is_built
):
    drop(session)
    execute(migrated_database, meanwhile)
    before = len(rows(migrated_database, DEFINITIONS))

    assert build(session) == []

    definitions = rows(migrated_database, DEFINITIONS)
    # The other of the two that were dropped is built in any case.
    assert len(definitions) - before == 1 + is_built
    assert any(ANEW[:-1] in definition for (definition,) in definitions)
    assert not rows(migrated_database, NOTED)


def test_an_index_that_was_begun_by_hand_and_failed_is_built_in_its_place(
    session, migrated_database
):
    drop(session)
    index = f"CREATE INDEX {OURS[0]} ON sqp.search_query_performance (asin, start_date)"
    execute(migrated_database, index)
    execute(migrated_database, f"UPDATE pg_index SET {INVALID} WHERE indexrelid = {OID}")
    before = len(rows(migrated_database, DEFINITIONS))

    assert build(session) == []

    assert rows(migrated_database, f"SELECT indisvalid FROM pg_index WHERE indexrelid = {OID}") == [
        (True,)
    ]
    assert len(rows(migrated_database, DEFINITIONS)) - before == 1


def test_the_note_of_one_table_does_not_replace_that_of_another(session, migrated_database):
    drop(session)
    execute(migrated_database, f"CREATE INDEX {OURS[0]} ON sqp.weekly_summary (asin, marketplace)")

    taken = drop(session, TABLES["weekly_summary"])

    assert OURS[0] not in taken
    assert (OURS[0], ["asin", "start_date"]) in rows(migrated_database, NOTED)


def test_migrate_and_maintain_build_what_a_killed_load_left_out(
    session, migrated_database, monkeypatch
):
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    before = rows(migrated_database, DEFINITIONS)
    drop(session)
    with table_lock(migrated_database, TABLE) as filling:
        filling.acquire()
        with session.transaction():
            assert build_missing(session) == 0

    assert output("migrate") == "built 2 indexes that a first load left out"
    assert rows(migrated_database, DEFINITIONS) == before
    assert output("migrate") == "nothing to do"

    drop(session)
    assert "2 indexes built" in output("maintain")
    assert rows(migrated_database, DEFINITIONS) == before


def test_an_index_that_cannot_be_built_waits_for_the_next_refresh(
    session, migrated_database, caplog
):
    drop(session)
    execute(
        migrated_database,
        "UPDATE sqp.refresh_indexes SET column_names = '{not_there}'"
        f" WHERE index_name = '{OURS[0]}'",
    )

    build(session)

    (message,) = caplog.messages
    assert message.startswith(f"sqp.search_query_performance is without {OURS[0]}: ")
    assert rows(migrated_database, NOTED) == [(OURS[0], ["not_there"])]
    assert OURS[1] in str(rows(migrated_database, DEFINITIONS))


def test_a_note_that_was_tampered_with_runs_nothing(session, migrated_database):
    drop(session)
    execute(
        migrated_database,
        "UPDATE sqp.refresh_indexes SET column_names = '{asin}', index_name = 'x ON sqp.x (y); --'"
        f" WHERE index_name = '{OURS[0]}'",
    )

    build(session)

    assert '"x ON sqp.x (y); --" ON sqp.search_query_performance USING btree (asin)' in str(
        rows(migrated_database, DEFINITIONS)
    )


def test_a_release_that_does_not_know_of_it_finds_them_built(session, migrated_database):
    before = rows(migrated_database, DEFINITIONS)
    drop(session)

    migrate.downgrade(migrated_database, "0010")

    assert rows(migrated_database, DEFINITIONS) == before
