"""A registered table may have columns, and a name, that are also used in the text of queries."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa
import pytest
from psycopg import sql

from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.demo.servers import bigquery_client
from sqp_refresh.demo.source_table import columns_of, create_source, load_rows
from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.source_version import state_query, undated_query
from sqp_refresh.extract.sql import bad_rows_query, rows_query
from sqp_refresh.load import merge_sql
from sqp_refresh.load.merge_sql import ReadRows
from sqp_refresh.model.periods import weeks_between
from sqp_refresh.model.tables import OWN_COUNTS, SHARES, TABLES, Table
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.history import clock
from sqp_refresh_tests.helpers.weeks import FIRST, LAST

# Names that are no words of a query of a registered table, or were once.
MORE = {
    *("row_id", "row_table", "row_place", "day_place", "kept", "digest", "readable", "week_start"),
    *("table_name", "place", "is_latest", "client", "seconds_of_day", "index", "reason", "value"),
    *(
        "facts",
        "asin",
        *OWN_COUNTS,
        *SHARES,
        *(count for pair in SHARES.values() for count in pair),
    ),
    *("Kept", "DAY_PLACE", "Verdict", "marketplace", "search_query_volume", "report_date"),
}
# Columns that Postgres itself has in every table.
SYSTEM = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}
SPEND = {"source_table": "spend", "key": ["day", "code"], "week_column": "Day"}
PLAIN = {"Day": "day", "Code": "code", "Spend": "spend"}


def words_of(*texts: str) -> set[str]:
    """Name every word of these texts, each in one spelling of all that differ in case alone."""
    words = {word.lower(): word for text in texts for word in re.findall(r"[A-Za-z_]\w*", text)}
    return {word for word in words.values() if not word.startswith("__sqp_")}


def queries_of(table: Table, source: BigQueryTable) -> Iterator[str]:
    """Compose every query about a registered table, for both databases."""
    yield from (state_query(source), rows_query(source), bad_rows_query(source))
    yield undated_query(source)
    read = ReadRows(sql.Identifier("staging"), tuple(column.name for column in table.columns))
    read = merge_sql.ranked(table, read)
    for compose in (
        partial(merge_sql.insert_statement, is_recorded=True),
        partial(merge_sql.merge_statement, is_recorded=True),
        merge_sql.differing_statement,
        partial(merge_sql.upsert_statement, is_recorded=True),
    ):
        yield compose(table, read).as_string(None)


def create(url: str, table: str, columns: dict[str, str]) -> None:
    """Create a table of texts and one JSON, with the key (day, code), and register it."""
    types = {"facts": "json"}
    others = "".join(
        f', "{name}" {types.get(name, "text")}'
        for name in columns.values()
        if name not in ("day", "code")
    )
    execute(
        url,
        f'CREATE TABLE sqp."{table}" (day date, code text{others}, "__sqp_verdict" text,'
        " updated_at bigint, PRIMARY KEY (day, code));"
        "UPDATE sqp.refresh_config SET is_enabled = true, custom_sync_params ="
        f" '{json.dumps(SPEND | {'columns': columns})}' WHERE table_name = '{table}'",
    )


def deliver(emulator, dataset: str, delivered: pa.Table) -> None:
    with bigquery_client(emulator) as client:
        name = f"{emulator.project}.{dataset}.spend"
        client.delete_table(name, not_found_ok=True)
        create_source(client, dataset, "spend", schema=columns_of(delivered.schema))
        load_rows(client, name, delivered)


def spent(titles: Iterable[str], **values: str) -> pa.Table:
    """A row for each code, with one value in every column."""
    days = [FIRST if code < "n" else LAST for code in values]
    columns = {title: list(values.values()) for title in titles}
    return pa.table(columns | {"Day": pa.array(days, pa.date32()), "Code": list(values)})


def refreshed(settings, table: str):
    weeks = list(weeks_between(FIRST, LAST))
    source = source_for(settings, read_catalog(settings).table(table), weeks)
    return refresh(settings.database_url, source, RefreshRequest("r"))


def test_a_column_may_be_called_as_any_word_of_a_query(environment, emulator, dataset):
    url = environment.database_url
    create(url, "plain", PLAIN)
    plain = read_catalog(environment).table("plain")
    assert plain.source
    types = {"Day": "TIMESTAMP", "Code": "STRING", "Spend": "STRING"}
    described = BigQueryTable("p.d.spend", plain.source, types, datetime.now(UTC))
    words = words_of(*queries_of(plain, described))
    # The emulator does not take what its own SQL reserves.
    words = {word for word in words if not word.isupper()} | MORE
    words = {word.lower(): word for word in sorted(words)}
    words = [words[word] for word in words.keys() - {"day", "code", *SYSTEM}]
    columns = {"Day": "day", "Code": "code"} | {word: word for word in words}
    create(url, "requested", columns)

    deliver(emulator, dataset, spent(words, a="1", b="1", y="1", z="1"))
    first = refreshed(environment, "requested")
    deliver(emulator, dataset, spent(words, a="2", b="1", y="1", z="1"))
    delta = refreshed(environment, "requested")
    before = clock(url)
    deliver(emulator, dataset, spent(words, a="2", b="1", c="3", z="9"))
    merged = refreshed(environment, "requested")

    assert (first.counts.inserted, first.warnings) == (4, [])
    assert (delta.counts.updated, delta.counts.changed, delta.warnings) == (1, 1, [])
    counts = merged.counts
    assert (counts.inserted, counts.updated, counts.deleted) == (1, 1, 1)
    assert merged.warnings == []
    with connect(url) as session, session.transaction():
        table = read_catalog(environment).table("requested")
        verdicts = run_checks(session, table, None, today=LAST)
    assert {verdict.metric.name for verdict in verdicts} >= {"row_count", "volume_ratio"}
    last = words_of("Verdict").pop()
    held = rows(url, f'SELECT code, "{last}", kept FROM sqp.requested ORDER BY 1')
    assert held == [("a", "2", "2"), ("b", "1", "1"), ("c", "3", "3"), ("z", "9", "9")]
    as_of = f"sqp.as_of(table_name, period_start, '{before}') AS line"
    periods = "FROM sqp.refresh_periods AS period CROSS JOIN LATERAL"
    where = "WHERE table_name = 'requested' ORDER BY 1"
    was = rows(url, f"SELECT line->>'code', line->>'{last}' {periods} {as_of} {where}")
    assert was == [("a", "2"), ("b", "1"), ("y", "1"), ("z", "1")]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"Spend": "__sqp_week"}, "__sqp_week begins like the names that queries of sqp_refresh"),
        ({"Spend": "__SQP_Kept"}, "__SQP_Kept begins like the names that queries"),
        ({"__Sqp_Week": "spend"}, "read a view that names it otherwise"),
        ({"Spend": "spend", "SPEND": "Spend"}, "which are one column to BigQuery"),
        ({"Spend": "spend", "Other": "Spend"}, "which queries cannot tell apart"),
        ({"Spend": "a`b"}, "a column may hold no backtick or backslash in its name"),
    ],
)
def test_what_queries_could_not_tell_from_their_own_is_refused_by_name(
    environment, columns, problem
):
    create(environment.database_url, "plain", {"Day": "day", "Code": "code"} | columns)

    catalog = read_catalog(environment)

    assert set(catalog.tables) == set(TABLES)
    assert problem in catalog.unusable["plain"]
