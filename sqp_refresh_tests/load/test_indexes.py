"""Indexes are away only while their empty table is filled, and come back as they were."""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import conninfo, sql

from sqp_refresh.errors import Transient
from sqp_refresh.load import indexes
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, Table
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh_tests.helpers.database import execute, rows

TABLE = SEARCH_QUERY_PERFORMANCE
OURS = ["search_query_performance_asin_idx", "search_query_performance_search_query_idx"]
DEFINITIONS = (
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'sqp'"
    " AND tablename = 'search_query_performance' ORDER BY indexname"
)
SET_ASIDE = "SELECT index_name, column_names FROM sqp.refresh_indexes ORDER BY index_name"


@pytest.fixture
def session(migrated_database: str) -> Iterator[Session]:
    with connect(migrated_database) as session:
        yield session


def set_aside(session: Session, table: Table = TABLE) -> list[str]:
    with session.transaction():
        return sorted(index.name for index in indexes.set_aside(session, table))


def build(session: Session) -> None:
    with session.transaction():
        for index in indexes.away(session, TABLE):
            indexes.build(session, TABLE, index)


def test_what_is_set_aside_is_built_as_it_was(session, migrated_database):
    execute(
        migrated_database,
        'CREATE INDEX "Their ""Own""" ON sqp.search_query_performance (end_date, marketplace)',
    )
    before = rows(migrated_database, DEFINITIONS)

    assert set_aside(session) == ['Their "Own"', *OURS]
    assert len(rows(migrated_database, DEFINITIONS)) == len(before) - 3
    build(session)

    assert rows(migrated_database, DEFINITIONS) == before
    assert not rows(migrated_database, SET_ASIDE)


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

    assert set_aside(session) == OURS
    build(session)

    assert "of_their_own" in str(rows(migrated_database, DEFINITIONS))


def test_a_table_with_a_row_keeps_its_indexes(session, migrated_database):
    execute(
        migrated_database,
        "INSERT INTO sqp.search_query_performance"
        " (start_date, end_date, marketplace, asin, search_query)"
        " VALUES ('2025-08-10', '2025-08-16', 'US', 'B000000001', 'widget')",
    )

    assert set_aside(session) == []
    assert not rows(migrated_database, SET_ASIDE)


def test_nobody_is_made_to_wait_for_it(session, migrated_database):
    before = rows(migrated_database, DEFINITIONS)
    with psycopg.connect(migrated_database) as reader:
        reader.execute("SELECT FROM sqp.search_query_performance")

        # A lock that is waited for is given up by the same error, a minute later.
        with pytest.raises(Transient, match="could not obtain lock"):
            set_aside(session)

    assert rows(migrated_database, DEFINITIONS) == before
    assert not rows(migrated_database, SET_ASIDE)


def test_who_does_not_own_the_table_leaves_its_indexes_alone(session, migrated_database):
    execute(
        migrated_database,
        "CREATE ROLE refresher LOGIN; GRANT USAGE ON SCHEMA sqp TO refresher;"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sqp TO refresher",
    )
    try:
        with connect(conninfo.make_conninfo(migrated_database, user="refresher")) as theirs:
            assert set_aside(theirs) == []
            assert set_aside(session) == OURS
            build(theirs)
        assert len(rows(migrated_database, SET_ASIDE)) == 2
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
            assert set_aside(theirs) == []
            execute(migrated_database, "GRANT CREATE ON SCHEMA sqp TO owner")
            assert set_aside(theirs) == OURS
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
        assert set_aside(session, replace(TABLE, name=name)) == []


def test_one_that_was_built_by_hand_may_be_set_aside_again(session):
    set_aside(session)
    with session.transaction():
        session.run(
            sql.SQL("CREATE INDEX {} ON sqp.search_query_performance (asin)").format(
                sql.Identifier(OURS[0])
            )
        )

    assert set_aside(session) == OURS[:1]
    with session.transaction():
        assert {index.name: index.columns for index in indexes.away(session, TABLE)} == {
            OURS[0]: ["asin"],
            OURS[1]: ["search_query", "start_date"],
        }


def test_one_that_somebody_has_built_meanwhile_is_left_as_it_is(session, migrated_database):
    set_aside(session)
    execute(
        migrated_database,
        f"CREATE INDEX {OURS[0]} ON sqp.search_query_performance (asin DESC)",
    )

    build(session)

    assert "(asin DESC)" in str(rows(migrated_database, DEFINITIONS))
    assert not rows(migrated_database, SET_ASIDE)


def test_a_ledger_that_was_tampered_with_runs_nothing(session, migrated_database):
    set_aside(session)
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
    set_aside(session)

    migrate.downgrade(migrated_database, "0010")

    assert rows(migrated_database, DEFINITIONS) == before
