"""Every query is held against Google's own SQL: what it accepts, and what it answers."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import md5
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from zetasql.core import ServerError

from sqp_refresh.extract.aggregates.anomalies import (
    anomalies_of,
    clients_query,
    has_shared_asins,
)
from sqp_refresh.extract.aggregates.source_sums import read_column_sums
from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.casts import READABLE, keeps_contract
from sqp_refresh.extract.source_version import state_query, undated_query
from sqp_refresh.extract.sql import (
    TABLE,
    WEEK,
    aggregate_query,
    bad_rows_query,
    count_query,
    query_parameters,
    rows_query,
    typed_rows,
    week_restriction,
)
from sqp_refresh.model.column_sums import ColumnSum, columns_that_differ
from sqp_refresh.model.rows import SourceBatches
from sqp_refresh.model.tables import (
    SEARCH_QUERY_PERFORMANCE,
    SQP_REPORT,
    TABLES,
    TEXT,
    SourceColumn,
    SourceSpec,
    aggregated_from,
    is_ours,
    middle_columns,
)
from sqp_refresh.model.types import ACCEPTED, LogicalType, logical_type, try_cast
from sqp_refresh.validate.row_validator import RowValidator
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.google_sql import GoogleSql
from sqp_refresh_tests.helpers.rows import Row, row
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, WEEKS, three_weeks
from sqp_refresh_tests.validate.dirty import (
    DELIVERIES,
    NUMBER,
    bad_row,
    delivered,
    good_row,
    kinds_of,
)

ZONES = ("UTC", "America/Los_Angeles", "Asia/Tokyo")
TEXTS = frozenset(column.title for column in SQP_REPORT.columns if column.type == TEXT)
OPTIONAL = [column.title for column in SQP_REPORT.columns if column.optional]
PARAMETERS = query_parameters(WEEKS, "US")


def report(
    numbers: str = "usual", day: str = "TIMESTAMP", *, optional: bool = True, view: bool = False
) -> BigQueryTable:
    """The vendor's report, with its numbers in one type and its dates in another."""
    types = {}
    for column in SQP_REPORT.columns:
        match logical_type(column.type):
            case LogicalType.TEXT:
                types[column.title] = "STRING"
            case LogicalType.DATE:
                types[column.title] = day
            case LogicalType.WHOLE:
                types[column.title] = "INTEGER" if numbers == "usual" else numbers
            case _:
                usual = "NUMERIC" if "Price" in column.title else "FLOAT"
                types[column.title] = usual if numbers == "usual" else numbers
    types = {title: of for title, of in types.items() if optional or title not in OPTIONAL}
    return BigQueryTable(
        "project.dataset.seller-search_query_performance",
        SQP_REPORT,
        types,
        None if view else datetime(2025, 8, 20, 2, tzinfo=UTC),
    )


REPORTS = {
    **{f"all {type_}": report(type_) for type_ in sorted(ACCEPTED[LogicalType.WHOLE])},
    **{f"Date as {type_}": report(day=type_) for type_ in sorted(ACCEPTED[LogicalType.DATE])},
    "without what is optional": report(optional=False),
    "a view": report(view=True),
    "texts that ignore case": replace(report(), collated=TEXTS),
}
_POSTGRES = {
    LogicalType.TEXT: "text",
    LogicalType.DATE: "date",
    LogicalType.WHOLE: "integer",
    LogicalType.NUMBER: "real",
    LogicalType.FLAG: "boolean",
    LogicalType.INSTANT: "timestamp with time zone",
}


def registered(week: str | None) -> BigQueryTable:
    """A table that an operator registered, with a column of every type for each that it becomes."""
    columns, types = [], {}
    for to, accepted in ACCEPTED.items():
        for type_ in sorted(accepted - {"BOOL"}):
            title = f"{to.name} of {type_}"
            columns.append(SourceColumn(title, title.lower(), _POSTGRES[to], ""))
            types[title] = type_
    title = f"DATE of {week}" if week else None
    spec = SourceSpec(tuple(columns), title, ("text of string", "date of date"), "other")
    return BigQueryTable("project.dataset.other", spec, types, datetime.now(UTC))


REGISTERED = {
    f"registered by {week}": registered(week)
    for week in [None, *sorted(ACCEPTED[LogicalType.DATE])]
}


def queries(source: BigQueryTable) -> Iterator[str]:
    yield from (rows_query(source), state_query(source), count_query(source.name))
    yield bad_rows_query(source)
    if source.spec.week_title:
        yield undated_query(source)
        restriction = week_restriction(source, WEEKS[0])
        yield f"SELECT * FROM `{source.name}` WHERE {restriction}"
    if source.spec.is_vendor_report and source.is_table:
        yield aggregate_query(source, aggregated_from(SQP_REPORT))
    elif source.spec.is_vendor_report:
        yield from (aggregate_query(source, [table]) for table in aggregated_from(SQP_REPORT))


def named_as_in_queries(week: str, spelling: Callable[[str], str]) -> BigQueryTable:
    """A registered table, with a column for each word of a query; the week is one of them, too."""
    texts = " ".join(text for plain in REGISTERED.values() for text in queries(plain))
    words = {word.lower() for word in re.findall(r"[A-Za-z_]\w*", texts)}
    names = [spelling(word) for word in sorted(words) if not is_ours(word)]
    types = {name: "INTEGER" if place % 2 else "STRING" for place, name in enumerate(names)}
    types[spelling("day")] = week
    of = {"INTEGER": "bigint", "STRING": "text"}
    columns = tuple(SourceColumn(n, n, of.get(type_, "date"), "") for n, type_ in types.items())
    spec = SourceSpec(columns, spelling("day"), (spelling("day"), spelling("value")), "other")
    return BigQueryTable("project.dataset.other", spec, types, datetime.now(UTC))


ODDLY_NAMED = {
    "lower case": named_as_in_queries("DATETIME", str.lower),
    "upper case": named_as_in_queries("TIMESTAMP", str.upper),
}
# Each under a name of its own, so that one catalog has them all.
SOURCES = {
    name: replace(source, name=f"{source.name}-{number}")
    for number, (name, source) in enumerate((REPORTS | REGISTERED | ODDLY_NAMED).items())
}


@pytest.fixture(scope="module")
def google() -> GoogleSql:
    # Of the user, whose other clones and later runs need what was compiled, too.
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return GoogleSql(SOURCES.values(), caches / "sqp_refresh_tests")


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_query_is_accepted(google, source):
    for query in queries(source):
        google.analyse(query, PARAMETERS if source.spec.week_title else [])


@pytest.mark.parametrize("source", REPORTS.values(), ids=REPORTS)
def test_the_state_query_is_small_and_reads_what_is_needed_once(source):
    query = state_query(source)

    assert len(query) < 12_000
    # What is billed is each column that is needed, once.
    assert query.count(source.name) == 1
    assert set(re.findall("`([^`]+)`", query)) == {source.name, *source.types}


ASIN_PRICE = "ASIN Median Purchase Price Amount"


def with_odd_days() -> list[Row]:
    """Three weeks with a contradiction, a later day, unknown values, empty texts, and prices."""
    rows = three_weeks()
    later = {**rows[-1], "Date": LAST + timedelta(days=6), "Product Name": ""}
    contradiction = rows[0] | {"Search Query Volume": 9_000}
    unknown = row(day=FIRST, query="grey", asin="", brand=None, clicks=(0, 0), price="1.01")
    prices = [
        row({ASIN_PRICE: own}, day=MIDDLE, query=f"{own} widget", market_price=market)
        for own, market in [("0.15", "3"), (None, "3.01"), ("0.16", "99.9")]
    ]
    return [*rows, later, contradiction, unknown, *prices]


BAD = [row(day=LAST, asin="no ASIN"), row(day=FIRST, query=" "), row(day=LAST, clicks=(1, 2))]


def judge(
    google: GoogleSql, source: BigQueryTable, query: str, zone: str = "UTC"
) -> list[dict[str, Any]]:
    """Hold a state query against the oracle, under a project's time zone; return what it says."""
    rows = with_odd_days()
    state = google.run(query, source, rows + BAD, PARAMETERS, zone)
    queries_held = oracle.expected_tables(rows)["search_query_performance"]
    for of_week in state:
        week = of_week[WEEK]
        held = [line for key, line in queries_held.items() if key[0] == week]
        assert of_week["landing"] == len(held)
        assert of_week["s15"] == sum(line["asin_click_count"] for line in held)
        assert of_week["broken"] == sum(line["Date"] == week for line in BAD)
    assert {line[WEEK] for line in state} == {week.start for week in WEEKS}
    return state


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("COUNTIF(", "COUNT_IF(", id="a misspelt function"),
        pytest.param("`Child ASIN`", '"Child ASIN"', id="a name in double quotes"),
        pytest.param(", 'UTC')", ")", id="the time zone of the project"),
    ],
)
def test_a_wrong_query_fails(google, right, wrong):
    source = SOURCES["Date as TIMESTAMP"]
    query = state_query(source)
    assert right in query
    with pytest.raises((ServerError, AssertionError)):
        judge(google, source, query.replace(right, wrong), ZONES[1])


@pytest.mark.parametrize(
    ("day", "zone"),
    [*(("TIMESTAMP", zone) for zone in ZONES), ("DATE", ZONES[1]), ("DATETIME", ZONES[1])],
)
def test_weeks_are_those_of_utc_whatever_the_project_s_time_zone_is(google, day, zone):
    source, rows = SOURCES[f"Date as {day}"], with_odd_days()

    judge(google, source, state_query(source), zone)
    aggregates = google.run(
        aggregate_query(source, aggregated_from(SQP_REPORT)), source, rows + BAD, PARAMETERS, zone
    )

    expected = oracle.expected_tables(rows)
    for table in aggregated_from(SQP_REPORT):
        of_table = [line for line in aggregates if line[TABLE] == table.name]
        assert comparable(of_table, table.name) == comparable_rows(expected[table.name], table.name)


def number_of(value: Any) -> Any:
    """What is added up of a value: of a text, the first 32 bits of its MD5."""
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days
    if isinstance(value, str):
        return int.from_bytes(md5(value.encode(), usedforsecurity=False).digest()[:4])
    return value or 0


def sums_of(lines: list[dict[str, Any]]) -> dict[str, ColumnSum]:
    """What a table holds of each column, added up in plain Python."""
    return {
        name: ColumnSum(
            sum(line[name] is None for line in lines),
            Decimal(sum(number_of(line[name]) for line in lines)),
        )
        for name in lines[0]
    }


# Between two numbers of the column, near to that, with more digits than survive, and both signs.
ODD_RATES = [2.00005, 2.0000499999, 100 / 7, 1.00005, 8.12345000000001, 33.33335, 0.00005]


@pytest.mark.parametrize("name", ["Date as TIMESTAMP", "all STRING", "all NUMERIC"])
def test_the_sum_of_every_column_is_that_of_what_the_table_must_hold(google, name):
    source = SOURCES[name]
    rows = with_odd_days()
    for number, rate in enumerate(ODD_RATES):
        query = f"größer {number} 'x'"
        odd = row({"Total Click Rate": None if number == 2 else 3}, day=LAST, query=query)
        if name != "all NUMERIC":
            odd["Total Cart Add Rate"] = rate
        rows.append(odd)

    state = google.run(state_query(source), source, rows + BAD, PARAMETERS)

    for table in ("search_query_performance", "asin_performance_data", "daily_sqp_data"):
        expected = oracle.expected_tables(rows)[table]
        for week in WEEKS:
            (of_week,) = (line for line in state if line[WEEK] == week.start)
            sums = read_column_sums(TABLES[table], week, of_week)
            lines = [
                dict(zip(oracle.KEYS[table], key, strict=True)) | line
                for key, line in expected.items()
                if week.start <= key[0] <= week.end
            ]
            held = sums_of(lines)
            if table == "search_query_performance":
                assert sums.keys() == held.keys()
            assert set(TABLES[table].sums) <= sums.keys()
            assert not columns_that_differ(sums, held)
            for column, of_column in sums.items():
                assert of_column.total == held[column].total
                doubtful = name != "all NUMERIC" and week == WEEKS[-1]
                assert of_column.least is None or (doubtful and column == "total_cart_add_rate")


def comparable(aggregates: list[dict[str, Any]], table: str) -> list[tuple[Any, ...]]:
    """What of an aggregated table's rows is compared: all but what Postgres computes of them."""
    names = [*TABLES[table].group_key, *texts(table), "search_query_count", *TABLES[table].sums]
    return sorted(
        (*(line[name] for name in names), *(mean(line, m) for m in TABLES[table].medians))
        for line in aggregates
    )


def mean(line: dict[str, Any], median: str) -> Decimal | int | None:
    """The mean of a median's two middle values, which Postgres takes."""
    low, high = (oracle.exact(line[name]) for name in middle_columns(median))
    return None if low is None or high is None else oracle.rounded((low + high) / 2, 2)


def comparable_rows(rows: oracle.Rows, table: str) -> list[tuple[Any, ...]]:
    compared = [*texts(table), "search_query_count", *TABLES[table].sums, *TABLES[table].medians]
    key = [oracle.KEYS[table].index(name) for name in TABLES[table].group_key]
    return sorted(
        (*(of[place] for place in key), *(line[name] for name in compared))
        for of, line in rows.items()
    )


def texts(table: str) -> list[str]:
    return [
        name for name in ("product_title", "brand", "category") if name in oracle.COLUMNS[table]
    ]


@pytest.mark.parametrize("name", ["Date as TIMESTAMP", "all STRING"])
def test_bad_rows_are_those_that_break_their_contract_value_by_value(google, name):
    source = SOURCES[name]
    unreadable = row({"Total Click Count": "12,5"}, day=FIRST) if name == "all STRING" else None
    bad = [*BAD, unreadable] if unreadable else BAD

    lines = google.run(bad_rows_query(source), source, with_odd_days() + bad, PARAMETERS, ZONES[1])

    # Of a row that cannot be read, no value is promised.
    assert [line[WEEK] for line in lines if not line[READABLE]] == [FIRST] * (len(bad) - len(BAD))
    read = {line["asin"] + line["search_query"]: line for line in lines if line[READABLE]}
    assert len(read) == len(BAD)
    for raw in BAD:
        line = read[raw["Child ASIN"] + raw["Search Query"]]
        assert (line["report_date"], line["brand"]) == (raw["Date"], raw["Client Name"])
        for number, title, _ in oracle.MEASURES:
            assert oracle.exact(line[number]) == oracle.exact(raw[title]), title


@pytest.mark.parametrize("zone", ZONES[:2])
def test_rows_out_of_reach_are_counted(google, zone):
    source = SOURCES["Date as TIMESTAMP"]
    early, late = FIRST - timedelta(days=1), LAST + timedelta(days=7)
    rows = [row(day=day) for day in (FIRST, LAST + timedelta(days=6), early, late, late)]
    rows += [row({"Date": None}), row({"Date": None})]

    query = f"""
    SELECT undated, misdated, DATE(first_date, 'UTC') AS first, DATE(last_date, 'UTC') AS last
    FROM ({undated_query(source)})"""
    (counted,) = google.run(query, source, rows, PARAMETERS, zone)

    assert counted == {"undated": 2, "misdated": 3, "first": early, "last": late}


def test_keys_of_several_clients_are_counted_and_two_of_them_named(google):
    source = SOURCES["Date as TIMESTAMP"]
    clients = ["Brightwater", "Acme", "Brightwater ", " ", None, "Zenith"]
    shared = [row(day=FIRST, query="shared", brand=client) for client in clients]
    of_asin = [row(day=FIRST, query=f"{client} widget", brand=client) for client in clients]
    bad = row(day=MIDDLE, query="shared", brand="Nobody's", clicks=(1, 2))
    rows = [*shared, *of_asin, row(day=FIRST, asin="B000000002"), row(day=MIDDLE), bad]

    (state,) = [
        line
        for line in google.run(state_query(source), source, rows, PARAMETERS)
        if has_shared_asins(line)
    ]
    of_weeks = {
        line[WEEK]: line for line in google.run(clients_query(source), source, rows, PARAMETERS)
    }

    assert state[WEEK] == FIRST
    for table in (SEARCH_QUERY_PERFORMANCE, *aggregated_from(SQP_REPORT)):
        of_week = anomalies_of(table, state | of_weeks[FIRST])
        assert (of_week["shared_keys"], of_week["clients"]) == (1, ("Acme", "Brightwater"))
        assert anomalies_of(table, state | of_weeks[MIDDLE])["shared_keys"] == 0


def test_a_digest_is_the_same_in_every_time_zone(google):
    source, rows = SOURCES["Date as TIMESTAMP"], three_weeks()
    digests = {
        tuple(sorted(tuple(line[f"digest_{n}"] for n in (1, 9, 17)) for line in state))
        for zone in ZONES[:2]
        for state in [google.run(state_query(source), source, rows, PARAMETERS, zone)]
    }
    assert len(digests) == 1


@pytest.mark.parametrize("name", ODDLY_NAMED)
def test_a_column_may_be_called_as_any_word_of_a_query(google, name):
    source = SOURCES[name]
    day, value = source.spec.week_title, source.spec.key[1]
    assert day
    values = {"INTEGER": 7, "STRING": "a"}
    line = {title: values.get(type_, FIRST) for title, type_ in source.types.items()}
    if source.types[day] != "DATE":
        line[day] = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    lines = [line, line | {value: None}, line]

    (state,) = google.run(state_query(source), source, lines, PARAMETERS)
    (bad,) = google.run(bad_rows_query(source), source, lines, PARAMETERS)

    assert (state["source_rows"], state["broken"], state["landing"]) == (3, 1, 1)
    assert (bad[WEEK], bad[value], bad[READABLE]) == (FIRST, None, True)
    assert len(google.run(rows_query(source), source, lines, PARAMETERS)) == 3


@pytest.mark.parametrize("zone", ZONES[:2])
def test_a_registered_table_s_days_are_those_of_utc(google, zone):
    source = SOURCES["registered by TIMESTAMP"]
    instant = datetime(2025, 8, 10, 0, 0, tzinfo=UTC)
    line = dict.fromkeys(source.types) | {
        title: instant if type_ == "TIMESTAMP" else FIRST
        for title, type_ in source.types.items()
        if type_ in ("TIMESTAMP", "DATE", "DATETIME")
    }
    line |= {"TEXT of STRING": "a"}

    query = f"SELECT * FROM ({typed_rows(source)})"
    (typed,) = google.run(query, source, [line], PARAMETERS, zone)

    assert typed[WEEK] == typed["date of timestamp"] == LAST
    assert typed["date of datetime"] == FIRST


def test_texts_are_compared_byte_by_byte_whatever_the_collation_of_their_column_is():
    source = SOURCES["texts that ignore case"]

    # The engine of these tests has no collation that ignores case, so that none is tried here.
    for query in (
        state_query(source),
        clients_query(source),
        undated_query(source),
        aggregate_query(source, aggregated_from(SQP_REPORT)),
    ):
        # A digest is of JSON, which has no collation.
        named = dict(re.findall(r"`([^`]+)` AS (c\d+)\b", query))
        collated = r"COLLATE\((?:`[^`]+`|c\d+), ''\)|TO_JSON_STRING\(STRUCT\([^)]*\)\)"
        compared = re.sub(rf"(?:`[^`]+` )?AS c\d+\b|{collated}", "", query)
        assert not [title for title in TEXTS if f"`{title}`" in compared]
        # What is named first is without a collation once it is typed.
        typed, _, _ = compared.partition("), judged AS (")
        assert not [name for title in TEXTS if (name := named.get(title)) and f"{name}," in typed]
        assert not named or {"Marketplace", "Search Query"} <= named.keys()


WRITTEN = [
    *("200", "200.0", "200.", " 200.000 ", "-0.0", "+7.0", "007.0", "200.5", "2e2", "1E+16", ".0"),
    *("1,000", "1,000.0", "", " ", "NaN", "nan", "Infinity", "-inf", "None", "0x10", "0x10.0"),
    *(f"{2**63 - 1}.0", f"{2**63}.0", f"-{2**63}.0", f"-{2**63 + 1}.0", f"{2**53 + 1}.0"),
    *("0" * 60 + "7.0", "7." + "0" * 60, "7." + "0" * 60 + "1", "9" * 40, "9" * 40 + ".0"),
    *(f"7{blank}" for blank in "\t\n\v\f\r\x1c\x1f\x85\xa0\u2009\u200b\u2028\u3000\ufeff"),
]


@pytest.mark.parametrize("to", [LogicalType.WHOLE, LogicalType.NUMBER])
def test_google_and_arrow_read_the_same_numbers_in_texts(google, to):
    title = "A number"
    column = SourceColumn(title, "number", {"a whole number": "bigint"}.get(to, "numeric"), "")
    spec = SourceSpec((column,), None, ("number",), "other")
    source = BigQueryTable("project.dataset.texts", spec, {title: "STRING"}, None)
    query = f"""
    SELECT IF({READABLE}, number, NULL) AS number, text
    FROM ({typed_rows(source, text=f"`{title}`")})"""

    lines = google.run(query, source, [{title: text} for text in WRITTEN], [])

    read = {line["text"]: line["number"] for line in lines}
    numbers, _ = try_cast(pa.array(WRITTEN), column.type)
    assert read == dict(zip(WRITTEN, numbers.to_pylist(), strict=True))


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_google_and_polars_refuse_the_same_rows(google, delivery):
    random = Random(20250810)
    kinds = 2 * kinds_of(delivery, in_bigquery=True)
    rows = [bad_row(kind, number, random, LAST)[0] for number, kind in enumerate(kinds)]
    rows += [good_row(len(rows) + place, random, day=LAST) for place in range(10)]
    batch = delivered(rows, delivery)
    sources = {"numbers": "Date as TIMESTAMP", "floats": "all FLOAT", "texts": "all STRING"}
    source = SOURCES[sources[delivery]]
    with_number = replace(source, types=source.types | {NUMBER: "INTEGER"})

    query = f"""
    WITH source AS ({typed_rows(source, number=f"`{NUMBER}`")})
    SELECT number FROM source WHERE NOT ({keeps_contract(source)})"""
    lines = google.run(query, with_number, batch.to_pylist(), PARAMETERS)

    validator = RowValidator(SEARCH_QUERY_PERFORMANCE, SourceBatches(batch.schema, [batch], {}))
    validator.batches().read_all()
    refused = {raw[NUMBER] for raw, _ in validator.invalid_rows}
    differ = {number: rows[number] for number in refused ^ {line["number"] for line in lines}}
    assert not differ
    assert len(refused) == len(kinds)
