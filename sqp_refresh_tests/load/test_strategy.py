"""A period is loaded by the strategy that fits, and each strategy gets what it builds on."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from sqp_refresh.ledger import ledger
from sqp_refresh.ledger.decide import Decision, ReloadReason
from sqp_refresh.ledger.ledger import Baseline, LedgerEntry
from sqp_refresh.ledger.target_version import TargetVersion
from sqp_refresh.load import strategy
from sqp_refresh.load.append import EncodedRows
from sqp_refresh.load.result import Counts, LoadResult
from sqp_refresh.load.strategy import Strategy
from sqp_refresh.load.target import TargetPeriod, TargetTable, inspect_target
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import SqlRows
from sqp_refresh.model.tables import DAILY_SQP_DATA, TABLES
from sqp_refresh.model.versions import ROW_COUNT, ParentVersions, SourceVersion
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.load import daily_rows
from sqp_refresh_tests.load.query_rows import SCHEMA, TARGET, WEEK, reader_of

SUNDAYS = [date(2025, 8, 3), date(2025, 8, 10)]
MONTH = TargetPeriod(TABLES["monthly_summary"], Period(date(2025, 8, 1), date(2025, 8, 31)))
NEW, CHANGED = ReloadReason.NEW, ReloadReason.SOURCE_CHANGED


# -- what decides ----------------------------------------------------------------------------------


def source_version(rows: int = 10, *, superseded: int = 0, digest: str = "now") -> SourceVersion:
    expected = {ROW_COUNT: rows - superseded}
    return SourceVersion(rows, 0, superseded, expected, digest, "US")


def entry(rows: int = 10, *, has_row_hashes: bool = True) -> LedgerEntry:
    target = TargetVersion(rows, 0, "")
    return LedgerEntry(source_version(rows, digest="then"), "", False, target, has_row_hashes)


def new(version: SourceVersion | ParentVersions | None = None, **values: Any) -> Decision:
    return Decision(NEW, version or source_version(), rows=None, **values)


def changed(version: SourceVersion | ParentVersions | None = None, **values: Any) -> Decision:
    defaults = {"rows": None, "entry": entry(), "is_made_alike": True}
    return Decision(CHANGED, version or source_version(), **defaults | values)


def of_weeks(now: dict[date, int], then: dict[date, int], **values: Any) -> Decision:
    """Return the decision for a month that was made from some weeks, and is now from others."""
    before = replace(entry(), version=ParentVersions({"parent": then}), has_row_hashes=False)
    return changed(ParentVersions({"parent": now}), entry=before, **values)


EMPTY = TargetTable(accepts_copy=True, periods_with_rows=frozenset())
FILLED = TargetTable(accepts_copy=True, periods_with_rows=frozenset({WEEK}))
ELSEWHERE = TargetTable(
    accepts_copy=True, periods_with_rows=frozenset({Period.week_of(date(2025, 8, 17))})
)
WITHOUT_COPY = TargetTable(accepts_copy=False, periods_with_rows=frozenset())

Cases = dict[Strategy, dict[str, tuple[Decision, TargetTable]]]
READ_ROWS: Cases = {
    Strategy.APPEND: {
        "new": (new(), EMPTY),
        "new, rows of other periods": (new(), ELSEWHERE),
        "changed, but no row is there": (changed(), EMPTY),
        "forced, but no row is there": (changed(is_forced=True), EMPTY),
    },
    Strategy.DELTA: {
        "changed": (changed(), FILLED),
        "changed, no COPY": (changed(), WITHOUT_COPY),
        "rows were added": (changed(source_version(11)), FILLED),
    },
    Strategy.MERGE: {
        "new, but rows are there": (new(), FILLED),
        "new, but no COPY": (new(), WITHOUT_COPY),
        "new, a key comes twice": (new(source_version(superseded=1)), EMPTY),
        "changed, a key comes twice": (changed(source_version(11, superseded=1)), FILLED),
        "rows have vanished": (changed(source_version(9)), FILLED),
        "made in another way": (changed(is_made_alike=False), FILLED),
        "forced": (changed(is_forced=True), FILLED),
        "no hashes are kept": (changed(entry=entry(has_row_hashes=False)), FILLED),
        "it was left without rows": (changed(entry=entry(rows=0)), FILLED),
        **{
            reason: (replace(changed(), reason=reason), FILLED)
            for reason in (
                ReloadReason.TARGET_CHANGED,
                ReloadReason.EMPTY,
                ReloadReason.DOUBTED,
                ReloadReason.FORCED,
            )
        },
    },
}


def each_case(cases: dict[Strategy, dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(case, expected, id=f"{expected}: {name}")
        for expected, named in cases.items()
        for name, case in named.items()
    ]


@pytest.mark.parametrize(("case", "expected"), each_case(READ_ROWS))
def test_the_strategy_for_rows_that_are_read(case, expected):
    decision, target = case

    assert strategy.choose(decision, target, TARGET, reader_of()) is expected


@pytest.mark.parametrize(
    ("decision", "target", "expected"),
    [(new(), EMPTY, Strategy.MERGE), (changed(), FILLED, Strategy.DELTA)],
)
def test_rows_that_postgres_has_to_convert_are_not_appended(decision, target, expected):
    place = SCHEMA.get_field_index("asin_click_count")
    schema = SCHEMA.set(place, pa.field("asin_click_count", pa.float64()))
    rows = pa.RecordBatchReader.from_batches(schema, [])

    assert strategy.choose(decision, target, TARGET, rows) is expected


BOTH_WEEKS, FIRST_WEEK = dict.fromkeys(SUNDAYS, 1), {SUNDAYS[0]: 1}
COMPUTED_ROWS: dict[Strategy, dict[str, Decision]] = {
    Strategy.INCREMENTAL: {"a week was added": of_weeks(BOTH_WEEKS, FIRST_WEEK)},
    Strategy.MERGE: {
        "new": new(ParentVersions({})),
        "a week has changed": of_weeks({SUNDAYS[0]: 2}, FIRST_WEEK),
        "a week has gone": of_weeks(FIRST_WEEK, BOTH_WEEKS),
        "made in another way": of_weeks(BOTH_WEEKS, FIRST_WEEK, is_made_alike=False),
        "forced": of_weeks(BOTH_WEEKS, FIRST_WEEK, is_forced=True),
        "doubted": replace(of_weeks(BOTH_WEEKS, FIRST_WEEK), reason=ReloadReason.DOUBTED),
        "changed by somebody": replace(
            of_weeks(BOTH_WEEKS, FIRST_WEEK), reason=ReloadReason.TARGET_CHANGED
        ),
    },
}


@pytest.mark.parametrize(("decision", "expected"), each_case(COMPUTED_ROWS))
def test_the_strategy_for_rows_that_postgres_computes(decision, expected):
    rows = SqlRows(sql.SQL("SELECT 1"), (), of_added_weeks=lambda _: rows)

    assert strategy.choose(decision, WITHOUT_COPY, MONTH, rows) is expected


def test_weeks_are_not_added_to_rows_that_do_not_add_up():
    rows = SqlRows(sql.SQL("SELECT 1"), ())

    chosen = strategy.choose(of_weeks(BOTH_WEEKS, FIRST_WEEK), WITHOUT_COPY, MONTH, rows)

    assert chosen is Strategy.MERGE


# -- what the strategies get -----------------------------------------------------------------------


def test_only_rows_to_append_are_encoded_ahead():
    rows = reader_of([{"search_query": "a"}])

    for chosen in (Strategy.DELTA, Strategy.MERGE):
        assert strategy.prepare_rows(chosen, TARGET, new(), rows) is rows
    prepared = strategy.prepare_rows(Strategy.APPEND, TARGET, new(), rows)
    assert isinstance(prepared, EncodedRows)
    (batch,) = prepared
    assert (batch.rows.num_rows, len(batch.encoded)) == (1, 1)


def test_of_a_period_that_gained_weeks_only_these_are_computed():
    requested: list[Sequence[date]] = []
    of_weeks_only = SqlRows(sql.SQL("SELECT 2"), ())

    def of_added_weeks(sundays: Sequence[date]) -> SqlRows:
        requested.append(sundays)
        return of_weeks_only

    rows = SqlRows(sql.SQL("SELECT 1"), (), of_added_weeks)
    decision = of_weeks(BOTH_WEEKS, FIRST_WEEK)

    assert strategy.prepare_rows(Strategy.INCREMENTAL, MONTH, decision, rows) is of_weeks_only
    assert strategy.prepare_rows(Strategy.MERGE, MONTH, decision, rows) is rows
    assert requested == [[SUNDAYS[1]]]


def test_delta_and_incremental_build_on_what_the_ledger_has(session):
    week = daily_rows.baseline_after(session, {"A": (1, 1)})
    target = daily_rows.TARGET
    with session.transaction():
        ledger.record(
            session,
            DAILY_SQP_DATA,
            target.period,
            source_version(1),
            target=week.target,
            audit_log_id=1,
            change=ledger.Change(is_changed=True),
            row_hashes=week.row_hashes,
        )
    decision = changed()
    assert decision.entry

    built_on = {
        chosen: strategy.baseline_of(session, chosen, target, decision) for chosen in Strategy
    }

    assert built_on == {
        Strategy.APPEND: None,
        Strategy.DELTA: week,
        Strategy.INCREMENTAL: Baseline(decision.entry.target),
        Strategy.MERGE: None,
    }


# -- whole loads -----------------------------------------------------------------------------------


def load_new(session: Session, *batches: list[dict]) -> tuple[Strategy, LoadResult]:
    """Choose the strategy for a week that was never loaded, and load it, as a refresh does."""
    decision, rows = new(), reader_of(*batches)
    with session.transaction():
        table = inspect_target(session, TARGET.table, [WEEK])
        chosen = strategy.choose(decision, table, TARGET, rows)
        prepared = strategy.prepare_rows(chosen, TARGET, decision, rows)
        baseline = strategy.baseline_of(session, chosen, TARGET, decision)
        return chosen, strategy.load(session, chosen, TARGET, prepared, baseline)


def test_a_new_week_is_appended_and_compared_from_then_on(session):
    first, appended = load_new(session, [{"search_query": "a"}])
    second, merged = load_new(session, [{"search_query": "a"}, {"search_query": "b"}])

    assert (first, appended.counts) == (Strategy.APPEND, Counts(read=1, inserted=1))
    assert (second, merged.counts) == (Strategy.MERGE, Counts(read=2, inserted=1, unchanged=1))


@pytest.mark.parametrize("type_", ["numeric", "integer"])
def test_a_column_whose_type_was_changed_takes_its_values_by_a_cast(
    session, migrated_database, type_
):
    execute(
        migrated_database,
        f"ALTER TABLE sqp.search_query_performance ALTER COLUMN asin_click_count TYPE {type_}",
    )

    chosen, _ = load_new(session, [{"search_query": "a", "asin_click_count": 7}])

    assert chosen is Strategy.MERGE
    counts = rows(migrated_database, "SELECT asin_click_count FROM sqp.search_query_performance")
    assert counts == [(7,)]


def test_a_user_whom_row_security_binds_can_load_all_the_same(migrated_database):
    with psycopg.connect(migrated_database) as connection:
        connection.execute("ALTER TABLE sqp.search_query_performance ENABLE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE sqp.search_query_performance FORCE ROW LEVEL SECURITY")
        connection.execute("CREATE ROLE bound LOGIN")
        connection.execute("CREATE POLICY all_of_it ON sqp.search_query_performance USING (true)")
        connection.execute("GRANT USAGE ON SCHEMA sqp TO bound")
        connection.execute("GRANT ALL ON sqp.search_query_performance TO bound")
    try:
        with connect(migrated_database) as session:
            session.execute("SET ROLE bound")
            chosen, result = load_new(session, [{"search_query": "a"}])
    finally:
        execute(migrated_database, "DROP OWNED BY bound; DROP ROLE bound")

    assert (chosen, result.counts.inserted) == (Strategy.MERGE, 1)
