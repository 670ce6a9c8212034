"""A pinned period stays as it is, whatever there is to load, until it is unpinned."""

from collections.abc import Callable, Sequence

import pytest

from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.ledger import pins
from sqp_refresh.ledger.decide import ReloadReason
from sqp_refresh.ledger.staleness import find_restatements
from sqp_refresh.ledger.verdicts import periods_to_reload, periods_to_repair
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, TABLES
from sqp_refresh.model.versions import SourceVersion
from sqp_refresh.monitoring.dashboard.figures import read_figures
from sqp_refresh.monitoring.status.stale_periods import pin_problems, read_staleness
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh_tests.helpers.audit_log import audit_of
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import Delivery, deliver
from sqp_refresh_tests.helpers.rows import Row, row, source_table
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, WEEKS

TABLE = SEARCH_QUERY_PERFORMANCE
WEEK = Period.week_of(MIDDLE)
PIN = """
INSERT INTO sqp.refresh_pins (table_name, period_start, reason) VALUES ('{}', '{}', 'a bad export')
"""
VOLUMES = (
    "SELECT DISTINCT search_query_volume FROM sqp.search_query_performance WHERE start_date = '{}'"
)
MARK = "UPDATE sqp.refresh_periods SET {} WHERE table_name = 'search_query_performance'"


class OfAnotherWeek(Delivery):
    """A delivery that is asked for the last week only."""

    def periods(self, session: Session) -> Sequence[Period]:
        return [Period.week_of(LAST)]


def week(volume: int, day=MIDDLE) -> list[Row]:
    return [row(day=day, query=query, volume=volume) for query in ("blue", "red")]


def volumes(url: str, day=MIDDLE) -> set[int]:
    return {volume for (volume,) in rows(url, VOLUMES.format(day))}


@pytest.fixture
def url(migrated_database: str) -> str:
    """Return a database with two weeks, of which one is pinned."""
    deliver(migrated_database, [*week(800), *week(800, LAST)])
    execute(migrated_database, PIN.format(TABLE.name, MIDDLE))
    return migrated_database


def forced(url: str) -> RefreshResult:
    weeks = {WEEK: source_table(week(900)).to_batches()}
    return refresh(url, Delivery(weeks), RefreshRequest("night", force=True))


def never_loaded(url: str) -> RefreshResult:
    execute(url, PIN.format(TABLE.name, FIRST))
    return deliver(url, [*week(900, FIRST), *week(900)])


def marked(url: str, as_what: str) -> RefreshResult:
    execute(url, f"{MARK.format(as_what)} AND period_start = '{MIDDLE}'")
    return deliver(url, week(900))


@pytest.mark.parametrize(
    "load",
    [
        lambda url: deliver(url, week(900)),
        forced,
        never_loaded,
        lambda url: marked(url, "needs_reload = true"),
        lambda url: marked(url, "source_state = NULL"),
        lambda url: marked(url, "definition_hash = 'x'"),
    ],
    ids=["source changed", "forced", "never loaded", "doubted", "was empty", "another release"],
)
def test_no_refresh_copies_it_for_any_reason(url, load: Callable[[str], RefreshResult]):
    result = load(url)

    assert result.reasons[WEEK] is ReloadReason.PINNED
    assert result.periods == {}
    assert volumes(url) == {800}
    assert volumes(url, FIRST) == set()
    status, message, _, metadata = audit_of(url)
    assert (status, message) == ("success", None)
    assert metadata["reasons"][str(MIDDLE)] == "pinned"
    assert metadata["pinned"][str(MIDDLE)] == "a bad export"


def test_nothing_asks_for_it_again_and_everything_names_it(url):
    execute(url, MARK.format("needs_reload = true, stale_since = now(), failed_metrics = '{x}'"))
    changed = SourceVersion(1, 0, 0, {}, "changed", "US")
    with connect(url) as session, session.transaction():
        last = Period.week_of(LAST)
        assert list(find_restatements(session, TABLE, {WEEK: changed, last: changed})) == [last]
        assert periods_to_reload(session, [TABLE]) == {TABLE.name: [last]}
        staleness = read_staleness(session, [TABLE])
        assert [stale.period for stale in staleness.periods] == [last]
        (problem,) = pin_problems(staleness.pins, [TABLE.name])
        assert problem.message.startswith(f"{TABLE.name} is pinned in {MIDDLE}: a bad export (by ")
        figures = read_figures(session, session.now(), days=1)
        (tile,) = [table for table in figures.tables if table.name == TABLE.name]
        assert [pin.reason for pin in tile.pins] == ["a bad export"]


def test_a_check_does_not_judge_it_by_its_source(url):
    execute(url, MARK.format("failed_metrics = '{row_count,funnel_violations}'"))
    execute(url, "DELETE FROM sqp.search_query_performance WHERE search_query = 'red'")
    # Only now does the source say how many rows there are.
    expected = """jsonb_set(source_state, '{expected}', '{"row_count": 2}')"""
    execute(url, MARK.format(f"source_state = {expected}"))
    with connect(url) as session, session.transaction():
        verdicts = run_checks(session, TABLE, None, today=LAST)

    (verdict,) = [verdict for verdict in verdicts if verdict.metric.name == "row_count"]
    assert {each.period: verdict.of(each) for each in verdict.measurements} == {
        str(MIDDLE): "pinned",
        str(LAST): "FAIL",
    }
    assert verdict.as_json()["pinned"] == [str(MIDDLE)]
    failed = "SELECT failed_metrics FROM sqp.refresh_periods WHERE period_start = '{}'"
    assert rows(url, failed.format(MIDDLE)) == [([],)]
    ((of_last,),) = rows(url, failed.format(LAST))
    assert "row_count" in of_last


def test_what_is_derived_from_it_is_made_from_what_it_holds_whoever_wrote_that(url):
    monthly = TABLES["monthly_summary"]
    refresh(url, RollupSource(monthly, WEEKS), RefreshRequest("night"))
    execute(
        url,
        "UPDATE sqp.search_query_performance SET search_query_volume = 7"
        f" WHERE start_date = '{MIDDLE}'",
    )

    deliver(url, week(900))
    refresh(url, RollupSource(monthly, WEEKS), RefreshRequest("night"))

    assert volumes(url) == {7}
    summed = "SELECT DISTINCT search_query_volume FROM sqp.monthly_summary"
    assert rows(url, summed) == [(807,)]
    with connect(url) as session:
        assert periods_to_repair(session, monthly) == []


def test_a_derived_period_is_pinned_like_any_other(url):
    weekly = TABLES["weekly_summary"]
    refresh(url, RollupSource(weekly, WEEKS), RefreshRequest("night"))
    execute(url, PIN.format(weekly.name, LAST))
    deliver(url, week(900, LAST))

    result = refresh(url, RollupSource(weekly, WEEKS), RefreshRequest("night"))

    assert result.reasons[Period.week_of(LAST)] is ReloadReason.PINNED
    with connect(url) as session:
        assert periods_to_repair(session, weekly) == []


def test_unpinned_the_next_refresh_loads_it_whatever_its_weeks_and_however_much_changes(
    migrated_database,
):
    url = migrated_database
    many = [row(day=MIDDLE, query=f"query {number}") for number in range(120)]
    deliver(url, [*many, *week(800, LAST)])
    with connect(url) as session, session.transaction():
        pins.pin(session, TABLE, [WEEK], reason="rolled back", pinned_by="somebody")
        assert [pin.pinned_by for pin in pins.list_pins(session)] == ["somebody"]
        assert pins.unpin(session, TABLE, [Period.week_of(LAST)]) == []
        assert pins.unpin(session, TABLE) == [MIDDLE]
        assert pins.read_pins(session, TABLE) == {}

    both = {
        Period.week_of(LAST): source_table(week(800, LAST)).to_batches(),
        WEEK: source_table(week(900)).to_batches(),
    }
    refresh(url, OfAnotherWeek(both), RefreshRequest("night"))

    assert volumes(url) == {900}
    assert rows(url, "SELECT DISTINCT accepts_any_change FROM sqp.refresh_periods") == [(False,)]
