"""A period to which only weeks were added holds what it would if it were summed up anew."""

from collections.abc import Generator, Iterable, Mapping
from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqp_refresh import retrying
from sqp_refresh.errors import Unavailable
from sqp_refresh.load import upsert as upsert_module
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.rows import PeriodRows, SourceBatches
from sqp_refresh.model.tables import TABLES
from sqp_refresh.model.versions import ParentVersions, SourceVersion
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import Delivery, deliver
from sqp_refresh_tests.helpers.nights import Nights
from sqp_refresh_tests.helpers.rows import Row, row, source_table

# Two in August and two in September.
SUNDAYS = FIRST, SECOND, THIRD, FOURTH = [date(2025, 8, 24) + timedelta(7 * n) for n in range(4)]
LOOKED_BACK = [date(2025, 7, 27) + timedelta(7 * n) for n in range(3)]
"""The weeks of a night; the last two are August's."""
NOW = {("A", "x"): (5, 1)}
YEAR = Period.containing(FIRST, Grain.YEAR)
GRAINS = {"monthly_summary": Grain.MONTH, "yearly_summary": Grain.YEAR}

Keys = Mapping[tuple[str, str], tuple[int | None, int | None]]
"""Clicks and purchases, by ASIN and query."""

own_counts = st.none() | st.integers(0, 40)
weeks_of_rows = st.dictionaries(
    st.tuples(st.sampled_from("ABC"), st.sampled_from("xy")),
    st.tuples(own_counts, own_counts),
    min_size=1,
)
nights_of_weeks = st.lists(
    st.dictionaries(st.sampled_from(SUNDAYS), weeks_of_rows, min_size=1, max_size=2),
    min_size=2,
    max_size=4,
)


@pytest.fixture
def url(migrated_database: str) -> str:
    return migrated_database


@pytest.fixture
def added_to(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables that rows are added to from now on, instead of being summed up whole."""
    tables: list[str] = []
    module = upsert_module
    statement = module.upsert_statement

    def recording(table, *arguments, **named):
        tables.append(table.name)
        return statement(table, *arguments, **named)

    monkeypatch.setattr(module, "upsert_statement", recording)
    return tables


def week_of(sunday: date, keys: Keys) -> list[Row]:
    return [
        row(
            _nulls({"ASIN Click Count": clicks, "ASIN Purchase Count": bought}),
            day=sunday,
            asin=f"B00000000{asin}",
            query=query,
            clicks=(542, clicks or 0),
            purchases=(48, bought or 0),
        )
        for (asin, query), (clicks, bought) in keys.items()
    ]


def _nulls(counts: Row) -> Row:
    return {title: None for title, count in counts.items() if count is None}


def deliver_weeks(url: str, weeks: Mapping[date, Keys]) -> RefreshResult:
    return deliver(url, [line for sunday, keys in weeks.items() for line in week_of(sunday, keys)])


def roll_up(
    url: str, *sundays: date, table: str = "yearly_summary", force: bool = False
) -> RefreshResult:
    weeks = [Period.week_of(sunday) for sunday in sundays]
    return refresh(url, RollupSource(TABLES[table], weeks), RefreshRequest("rollup", force=force))


def sums_in(url: str, table: str = "yearly_summary") -> dict:
    """Clicks, purchases and weeks, by period, ASIN and query."""
    columns = "period_start, right(asin, 1), search_query, asin_clicks, asin_purchases, weeks_count"
    lines = rows(url, f"SELECT {columns} FROM sqp.{table}")
    return {tuple(line[:3]): tuple(line[3:]) for line in lines}


def summed_up(weeks: Mapping[date, Keys], grain: Grain) -> dict:
    """Compute what a table must hold: the sum of the counts that are not null, if any is."""
    of_key: dict[tuple, list[tuple]] = {}
    for sunday, keys in weeks.items():
        for key, values in keys.items():
            of_key.setdefault((Period.containing(sunday, grain).start, *key), []).append(values)
    return {
        key: (*map(_sum, zip(*all_of, strict=True)), len(all_of)) for key, all_of in of_key.items()
    }


def _sum(values: tuple) -> int | None:
    counts = [value for value in values if value is not None]
    return sum(counts) if counts else None


@given(nights_of_weeks)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_weeks_come_and_change_a_period_is_the_sum_of_its_weeks(url, nights):
    emptied = ["search_query_performance", "refresh_periods", *GRAINS]
    execute(url, f"TRUNCATE {', '.join(f'sqp.{table}' for table in emptied)}")
    weeks: dict[date, Keys] = {}

    for night in nights:
        deliver_weeks(url, night)
        weeks |= night
        for table, grain in GRAINS.items():
            done = roll_up(url, *night, table=table)

            assert sums_in(url, table) == summed_up(weeks, grain)
            assert not done.differences
            assert not done.reloaded
    for table in GRAINS:
        assert roll_up(url, *weeks, table=table, force=True).counts.changed == 0


def test_a_new_week_is_added_to_the_sums_of_the_others(url, added_to):
    deliver_weeks(url, {FIRST: {("A", "x"): (5, 1), ("B", "x"): (3, None)}})
    roll_up(url, FIRST)
    deliver_weeks(url, {SECOND: {("A", "x"): (7, None), ("C", "x"): (1, 2)}})

    done = roll_up(url, SECOND)

    assert added_to == ["yearly_summary"]
    assert sums_in(url) == {
        (YEAR.start, "A", "x"): (12, 1, 2),
        (YEAR.start, "B", "x"): (3, None, 1),
        (YEAR.start, "C", "x"): (1, 2, 1),
    }
    counts = done.counts
    assert (counts.read, counts.inserted, counts.updated, counts.unchanged) == (3, 1, 1, 1)
    assert roll_up(url, SECOND, force=True).counts.changed == 0


def test_several_new_weeks_are_added_at_once(url, added_to):
    weeks = {sunday: {("A", "x"): (number, 1)} for number, sunday in enumerate(SUNDAYS)}
    deliver_weeks(url, {sunday: weeks[sunday] for sunday in SUNDAYS[:2]})
    roll_up(url, *SUNDAYS)
    deliver_weeks(url, {sunday: weeks[sunday] for sunday in SUNDAYS[2:]})

    roll_up(url, *SUNDAYS)

    assert added_to == ["yearly_summary"]
    assert sums_in(url) == {(YEAR.start, "A", "x"): (0 + 1 + 2 + 3, 4, 4)}


def test_more_weeks_than_there_were_are_not_added_but_all_summed_up(url, added_to):
    deliver_weeks(url, {FIRST: {("A", "x"): (1, 1)}})
    roll_up(url, FIRST)
    deliver_weeks(url, {sunday: {("A", "x"): (1, 1)} for sunday in SUNDAYS[1:]})

    roll_up(url, *SUNDAYS)

    assert added_to == []
    assert sums_in(url) == {(YEAR.start, "A", "x"): (4, 4, 4)}


def test_a_night_adds_its_new_week_to_all_periods_that_it_belongs_to(environment, source, added_to):
    nights, keys = Nights(environment, source), {("A", "x"): (5, 1), ("B", "x"): (3, None)}
    before = [line for sunday in LOOKED_BACK[:2] for line in week_of(sunday, keys)]
    # The third week is on record from now on, without a row.
    nights.after(before)

    nights.after(before + week_of(LOOKED_BACK[2], {("A", "x"): (2, 2), ("C", "x"): (1, 0)}))

    assert added_to == ["monthly_summary", "quarterly_summary", "yearly_summary"]


def test_a_period_is_summed_up_whole_where_a_week_was_restated(url, added_to):
    deliver_weeks(url, {FIRST: {("A", "x"): (5, 1), ("B", "x"): (3, 0)}})
    roll_up(url, FIRST)
    deliver_weeks(url, {FIRST: {("A", "x"): (6, 1)}, SECOND: {("A", "x"): (7, 0)}})
    added_to.clear()

    roll_up(url, FIRST, SECOND)

    assert added_to == []
    assert sums_in(url) == {(YEAR.start, "A", "x"): (13, 1, 2)}


def test_a_period_is_summed_up_whole_where_it_is_forced(url, added_to):
    deliver_weeks(url, {FIRST: {("A", "x"): (5, 1)}})
    roll_up(url, FIRST)
    deliver_weeks(url, {SECOND: {("A", "x"): (7, 0)}})

    roll_up(url, SECOND, force=True)

    assert added_to == []
    assert sums_in(url) == {(YEAR.start, "A", "x"): (12, 1, 2)}


@pytest.mark.parametrize(
    "edit",
    [
        "DELETE FROM sqp.yearly_summary WHERE right(asin, 1) = 'A'",
        "UPDATE sqp.yearly_summary SET ctr = 99 WHERE right(asin, 1) = 'B'",
        "UPDATE sqp.yearly_summary SET asin_clicks = 99 WHERE right(asin, 1) = 'A'",
    ],
)
def test_an_edit_by_somebody_else_has_the_period_summed_up_whole(url, edit):
    deliver_weeks(url, {FIRST: {("A", "x"): (5, 1), ("B", "x"): (3, 0)}})
    roll_up(url, FIRST)
    deliver_weeks(url, {SECOND: {("A", "x"): (7, 0)}})
    execute(url, edit)

    done = roll_up(url, SECOND)

    assert done.reloaded == [YEAR]
    assert sums_in(url) == {
        (YEAR.start, "A", "x"): (12, 1, 2),
        (YEAR.start, "B", "x"): (3, 0, 1),
    }
    assert roll_up(url, SECOND, force=True).counts.changed == 0


@pytest.mark.parametrize("clicks", [7, 0])
def test_a_week_that_was_summed_up_before_it_was_on_record_is_not_added_again(url, clicks):
    second = row(
        day=SECOND,
        asin="B00000000A",
        query="x",
        impressions=(20_110, 0),
        clicks=(542, clicks),
        cart_adds=(120, 0),
        purchases=(48, 0),
    )
    deliver(url, [*week_of(FIRST, {("A", "x"): (5, 1)}), second])
    execute(url, f"DELETE FROM sqp.refresh_periods WHERE period_start = '{SECOND}'")
    roll_up(url, FIRST)
    deliver(url, [second])

    done = roll_up(url, SECOND)

    assert done.reloaded == [YEAR]
    assert sums_in(url) == {(YEAR.start, "A", "x"): (5 + clicks, 1, 2)}
    assert rows(url, "SELECT market_clicks FROM sqp.yearly_summary") == [(2 * 542,)]


class OnceMore(Delivery):
    """A source that is interrupted after its first week, and then has another first week."""

    attempts = 0

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        self.attempts += 1
        for week in periods:
            if self.attempts == 1 and week.start == SECOND:
                raise Unavailable("BigQuery is away")
            keys = {("A", "x"): (5, 1), ("B", "x"): (3, 0)} if self.attempts == 1 else NOW
            batches = source_table(week_of(week.start, keys)).to_batches()
            yield PeriodRows(week, SourceBatches(batches[0].schema, batches, {"Marketplace": "US"}))


def test_what_an_attempt_has_published_is_read_twice_by_the_next_one_too(url, monkeypatch):
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0)
    source = OnceMore({Period.week_of(week): [] for week in (FIRST, SECOND)})

    done = refresh(url, source, RefreshRequest("delivery"))

    assert done.reloaded == [Period.week_of(FIRST)]
    loaded = rows(url, "SELECT start_date, right(asin, 1) FROM sqp.search_query_performance")
    assert sorted(loaded) == [(FIRST, "A"), (SECOND, "A")]


@pytest.mark.parametrize(
    ("before", "now", "gained"),
    [
        (
            {"a": {"2025-08-24": 1}, "b": {"2025-08-24": 1}},
            {"a": {"2025-08-24": 1, "2025-08-31": 2}, "b": {"2025-08-24": 1, "2025-08-31": 2}},
            [SECOND],
        ),
        ({"a": {}}, {"a": {"2025-08-24": 1}}, []),
        ({"a": {"2025-08-24": 1}}, {"a": {"2025-08-24": 1, "2025-08-31": 1}}, [SECOND]),
        ({"a": {"2025-08-24": 1}}, {"a": {"2025-08-24": 1}}, []),
        ({"a": {"2025-08-24": 1}}, {"a": {"2025-08-24": 2, "2025-08-31": 2}}, []),
        ({"a": {"2025-08-24": 1}}, {"a": {"2025-08-31": 2}}, []),
        ({"a": {"2025-08-24": 1}, "b": {}}, {"a": {"2025-08-24": 1}, "b": {"2025-08-24": 2}}, []),
        ({"a": {}}, {"a": {"2025-08-24": 1}, "b": {}}, []),
    ],
)
def test_weeks_are_gained_only_where_all_else_is_as_it_was(before, now, gained):
    assert versions(now).added_since(versions(before)) == gained


def versions(weeks: Mapping[str, Mapping[str, int]]) -> ParentVersions:
    return ParentVersions.from_json({"weeks": weeks})


def test_versions_of_another_kind_are_refused_when_they_are_read():
    with pytest.raises(TypeError):
        ParentVersions.from_json({"a": "a digest"})
    with pytest.raises(TypeError):
        SourceVersion.from_json({"rows": 3, "rejectd": 1})
