"""A table that is one entry of `TABLES` and one migration is refreshed like the others."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from random import Random
from statistics import median

import psycopg
import pytest

from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.model.lineage import origins
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.tables import (
    ASIN_PERFORMANCE_DATA,
    SEARCH_QUERY_PERFORMANCE,
    SQP_REPORT,
    TABLES,
    TEXT,
    Table,
)
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import RefreshRequest, refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.deliveries import tolerate
from sqp_refresh_tests.helpers.oracle import Key, Read, Rows
from sqp_refresh_tests.helpers.rows import Row, SourceTable, row
from sqp_refresh_tests.model.added_tables import ADDED, OWN, with_tables

# Two in August and two in September; all in one quarter.
SUNDAYS = [date(2025, 8, 17) + timedelta(7 * number) for number in range(4)]


@pytest.fixture
def with_added(environment: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a database that has the added tables, and of a release that knows them."""
    for table in with_tables(*ADDED).values():
        monkeypatch.setitem(TABLES, table.name, table)
    with psycopg.connect(environment.database_url) as connection:
        for table in ADDED:
            connection.execute(migration(table).encode())
            connection.execute(
                "INSERT INTO sqp.refresh_config (table_name, priority) VALUES (%s, 1)"
                " ON CONFLICT (table_schema, table_name) DO UPDATE SET is_enabled = true",
                [table.name],
            )
    tolerate(environment.database_url, 0.5)
    return environment


def migration(table: Table) -> str:
    columns = [f"{column.name} {column.type}" for column in table.columns]
    columns += [f"{name} timestamptz DEFAULT now()" for name in ("created_at", "updated_at")]
    key = ", ".join(column.name for column in table.key)
    return f"CREATE TABLE sqp.{table.name} ({', '.join(columns)}, PRIMARY KEY ({key}))"


def rows_of(sundays: Iterable[date], seed: int) -> list[Row]:
    """Rows with unknown counts, later dates in a week, contradictions, and a bad one a week."""
    random = Random(seed)
    rows = []
    for sunday in sundays:
        rows += [
            random_row(random, sunday, marketplace, asin, query)
            for marketplace in ("DE", "US")
            for asin in ("B000000001", "B000000002", "B000000003")
            for query in random.sample(["blue", "green", "red", "white"], 3)
        ]
        later = {**rows[-1], "Date": sunday + timedelta(3), "Product Name": None}
        contradiction = rows[-4] | {"Search Query Volume": 9_000}
        bad = row(day=sunday, asin="no ASIN", query="bad", clicks=(900, 800))
        rows += [later, contradiction, bad]
    return rows


def random_row(random: Random, sunday: date, marketplace: str, asin: str, query: str) -> Row:
    clicks = random.randint(1, 50)
    unknown = {"ASIN Purchase Count": None} if random.random() < 0.2 else {}
    return row(
        {**unknown, **({"ASIN Cart Add Count": None} if random.random() < 0.2 else {})},
        day=sunday,
        marketplace=marketplace,
        asin=asin,
        query=query,
        title=f"Title {asin}" if random.random() < 0.8 else None,
        volume=random.randint(800, 900),
        impressions=(random.randint(10_000, 20_000), random.randint(100, 900)),
        clicks=(500 + clicks, clicks),
        cart_adds=(100, random.randint(0, clicks)),
        purchases=(50, 0 if unknown else random.randint(0, 20)),
        price=f"{random.randint(100, 9_999) / 100:.2f}",
    )


def refresh_added(settings: Settings, sundays: Iterable[date]) -> dict[str, RefreshResult]:
    weeks, instant = [Period.week_of(sunday) for sunday in sundays], datetime.now(UTC)
    # As in one run, the tables share the queries that they have in common.
    queries = RunQueries()
    return {
        table.name: refresh(
            settings.database_url,
            source_for(settings, table, weeks, instant, queries=queries),
            RefreshRequest("added"),
        )
        for table in (SEARCH_QUERY_PERFORMANCE, ASIN_PERFORMANCE_DATA, *ADDED)
    }


def read_table(settings: Settings, table: Table) -> Rows:
    key = [column.name for column in table.key]
    values = [column.name for column in table.values]
    query = f"SELECT {', '.join(key + values)} FROM sqp.{table.name}"
    with psycopg.connect(settings.database_url) as connection:
        lines = connection.execute(query.encode()).fetchall()
    return {line[: len(key)]: dict(zip(values, line[len(key) :], strict=True)) for line in lines}


def computed(table: Table, rows: list[Row]) -> Rows:
    """Compute a table in plain Python from the rows of the source."""
    by = "day" if table.grain is Grain.DAY else "week"
    reads = [oracle.read(line, "US") for line in rows if line["Child ASIN"] != "no ASIN"]
    groups: dict[Key, list[Read]] = {}
    for read in oracle.winners(reads, by).values():
        groups.setdefault(key_of(table, read), []).append(read)
    everything: dict[Key, list[Read]] = {}
    for read in reads:
        everything.setdefault(key_of(table, read), []).append(read)
    return {key: values_of(table, groups[key], everything[key]) for key in groups}


def key_of(table: Table, read: Read) -> Key:
    return tuple(place_of(table, read).get(c.name) or getattr(read, c.name) for c in table.key)


def place_of(table: Table, read: Read) -> dict[str, date]:
    period = Period.containing(read.week, table.grain)
    bounds = {"start_date": read.week, "end_date": read.week + timedelta(6)}
    return bounds | {
        "report_date": read.day,
        "period_start": period.start,
        "period_end": period.end,
    }


def values_of(table: Table, members: list[Read], everything: list[Read]) -> Row:
    def whole(read: Read, measure: str) -> int | None:
        value = oracle.rounded(read.numbers[measure], 0)
        return None if value is None else int(value)

    values: Row = {}
    for column in table.values:
        name = column.name
        if name in table.sums:
            values[name] = oracle.total(whole(read, table.sums[name]) for read in members)
        elif name in table.counts:
            counted = table.counts[name].replace("start_date", "week")
            values[name] = len({getattr(read, counted) for read in members})
        elif name in table.medians:
            prices = [read.numbers[table.medians[name]] for read in members]
            prices = [price for price in prices if price is not None]
            values[name] = oracle.rounded(median(prices), 2) if prices else None
        elif name == "period_end":
            values[name] = place_of(table, members[0])[name]
        elif column.type == TEXT:
            texts = [(read.day, t) for read in everything if (t := getattr(read, name)) is not None]
            values[name] = max(texts)[1] if texts else None
        elif name not in table.ratios:
            values[name] = whole(members[0], name)
    for name, (dividend, divisor) in table.ratios.items():
        values[name] = oracle.percent(values[dividend], values[divisor])
    return values


def require_equal(settings: Settings, rows: list[Row], results: dict[str, RefreshResult]) -> None:
    for table in ADDED:
        oracle.assert_equal(read_table(settings, table), computed(table, rows), table.name)
        assert not any(results[table.name].differences), table.name


def test_added_tables_hold_what_plain_python_computes_night_after_night(
    with_added: Settings, source: SourceTable
):
    first = rows_of(SUNDAYS[:3], seed=1)
    source.write(first)
    require_equal(with_added, first, refresh_added(with_added, SUNDAYS[:3]))

    # A week is added to two months, a quarter and all time; nothing else has changed.
    second = first + rows_of(SUNDAYS[3:], seed=2)
    source.replace(second)
    require_equal(with_added, second, refresh_added(with_added, SUNDAYS))

    # Three weeks are restated, with rows that come and rows that go.
    third = rows_of(SUNDAYS[:1], seed=3) + rows_of(SUNDAYS[1:3], seed=1) + second[-21:]
    source.replace(third)
    results = refresh_added(with_added, SUNDAYS)
    require_equal(with_added, third, results)

    again = refresh_added(with_added, SUNDAYS)
    assert {name: result.counts.changed for name, result in again.items()} == dict.fromkeys(
        again, 0
    )
    with connect(with_added.database_url) as session, session.transaction():
        for table in ADDED:
            verdicts = run_checks(session, table, None, today=SUNDAYS[-1])
            compared = [verdict for verdict in verdicts if verdict.metric.is_compared]
            assert {verdict.metric.name: verdict.ok for verdict in compared} == dict.fromkeys(
                expected_metrics(table), True
            ), table.name


def expected_metrics(table: Table) -> set[str]:
    own = {measure for measure in table.sums.values() if measure in OWN.values()}
    own |= {column.name for column in table.values if column.name in OWN.values()}
    asins = {"distinct_asin_count"} if any(column.name == "asin" for column in table.key) else set()
    return {"row_count", "matching_columns", *asins, *(f"sum_{measure}" for measure in own)}


@pytest.mark.parametrize("table", ADDED, ids=lambda table: table.name)
def test_every_column_of_an_added_table_has_its_lineage(table):
    titles = {column.title for column in SQP_REPORT.columns}

    for column, made_from in origins(table).items():
        assert made_from, column
        for parent, name in made_from:
            above = TABLES[parent].names if parent else titles
            assert name in above, column
            assert parent is None or parent in table.parents
