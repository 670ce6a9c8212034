"""Certificates: every column of every week, on both sides, and the chain that they are kept in."""

import json
from datetime import timedelta

import pytest
from psycopg import sql

from sqp_refresh.checks.certificates.certify import MATCHING_COLUMNS
from sqp_refresh.control.proofs import read_chain
from sqp_refresh.model.periods import weeks_between
from sqp_refresh.model.tables import DATE, SEARCH_QUERY_PERFORMANCE, TABLES, TEXT
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import refresh_all
from sqp_refresh_tests.helpers.rows import row
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, three_weeks

QUERIES = SEARCH_QUERY_PERFORMANCE
COLUMNS = QUERIES.columns
MANY_WEEKS = list(weeks_between(LAST - timedelta(weeks=len(COLUMNS) - 1), LAST))


def refreshed(settings: Settings) -> None:
    source = source_for(settings, QUERIES, MANY_WEEKS)
    refresh(settings.database_url, source, RefreshRequest("certified"))


def verified(*arguments: str) -> dict[str, dict]:
    """What `verify` says of each table; its status must be that of the tables."""
    done = sqp_refresh("verify", "--json", *arguments)
    tables = {line["table"]: line for line in json.loads(done.stdout)}
    assert done.returncode == (0 if all(line["ok"] for line in tables.values()) else 1)
    return tables


def differing(table: dict) -> dict[str, list[str]]:
    return {of["period"]: of["differing"] for of in table["periods"] if not of["ok"]}


def changed(name: str, type_: str) -> str:
    """Another value of a column: other texts, later days, greater numbers and, of some, null."""
    if type_ == TEXT:
        return f"'{name[:2].upper()}' || substr({name}, 3)"
    if type_ == DATE or name.endswith("_count"):
        return f"{name} + 1"
    return f"nullif({name} + 0.01, NULL)" if name.endswith("_price") else "NULL"


@pytest.fixture
def many_weeks(environment, source) -> Settings:
    source.write(
        [row(day=week.start, query=query) for week in MANY_WEEKS for query in ("blue", "red")]
    )
    refreshed(environment)
    return environment


def test_a_value_that_somebody_changes_is_named_with_its_column_and_week(many_weeks):
    url, of_table = many_weeks.database_url, ("--table", QUERIES.name)
    assert len(COLUMNS) == 38
    assert differing(verified(*of_table)[QUERIES.name]) == {}
    certificates = rows(url, "SELECT is_equal, source = target FROM sqp.refresh_proofs ORDER BY id")
    assert certificates == [(True, True)] * len(MANY_WEEKS)

    for column, week in zip(COLUMNS, MANY_WEEKS, strict=True):
        execute(
            url,
            f"UPDATE sqp.{QUERIES.name} SET {column.name} = {changed(column.name, column.type)} "
            f"WHERE start_date = '{week.start}' AND search_query = 'blue'",
        )
    expected = {str(week): [column.name] for column, week in zip(COLUMNS, MANY_WEEKS, strict=True)}
    table = verified(*of_table)[QUERIES.name]
    assert differing(table) == expected
    assert {tuple(of["changed"]) for of in table["periods"]} == {("table",)}
    week = MANY_WEEKS[10]
    printed = sqp_refresh("verify", *of_table, "--from", str(week.start), "--to", str(week.end))
    assert f"{week}: {COLUMNS[10].name} differ from the source" in printed.stdout

    check = sqp_refresh("check", *of_table, "--from", str(week.start), "--to", str(week.end))
    assert check.returncode == 1
    assert "columns_match_source: matching_columns is 37" in check.stdout
    assert f"({COLUMNS[10].name})" in check.stdout
    failed = rows(
        url,
        "SELECT period_start, failed_metrics FROM sqp.refresh_periods WHERE failed_metrics <> '{}'",
    )
    assert [(week.start, [MATCHING_COLUMNS])] == [
        (start, [name for name in names if name == MATCHING_COLUMNS]) for start, names in failed
    ]

    refreshed(many_weeks)
    assert differing(verified(*of_table)[QUERIES.name]) == {}


def faults(settings: Settings, statement: str) -> tuple[str, ...]:
    """What is wrong with the certificates once a statement was run, which is taken back."""
    with connect(settings.database_url) as session:
        session.execute(sql.SQL(statement))  # type: ignore[arg-type]
        chain = read_chain(session, QUERIES)
        session.rollback()
    return chain.faults


def test_every_table_is_certified_and_an_altered_or_removed_certificate_is_detected(
    environment, source
):
    later = row(day=LAST + timedelta(days=6), query="red widget", clicks=(542, 6))
    contradiction = row(day=FIRST, asin="B000000001", volume=9_000)
    broken = row(day=FIRST, asin="no ASIN")
    unknown = row({"Total Click Rate": None}, day=FIRST, query="grey", clicks=(0, 0))
    source.write(
        [
            *three_weeks(),
            *[row(day=FIRST, query=f"q {n}") for n in range(99)],
            later,
            contradiction,
            broken,
            unknown,
        ]
    )
    refresh_all(environment)
    url = environment.database_url

    tables = verified()
    assert {name: differing(table) for name, table in tables.items()} == {t: {} for t in TABLES}
    certified = {
        name: {column for of in table["periods"] for column in of["target"]}
        for name, table in tables.items()
    }
    assert certified[QUERIES.name] == QUERIES.names
    assert all(set(TABLES[name].sums) <= columns for name, columns in certified.items())
    assert "8 certificates" not in output("verify", "--table", "yearly_summary")

    assert faults(environment, "SELECT 1") == ()
    (first, sunday), *_, (last, _) = rows(
        url,
        "SELECT id, period_start FROM sqp.refresh_proofs"
        f" WHERE table_name = '{QUERIES.name}' ORDER BY id",
    )
    for number in range(first, last + 1):
        assert faults(environment, f"DELETE FROM sqp.refresh_proofs WHERE id = {number}")
    for change in (
        """source = jsonb_set(source, '{asin,sum}', '"1"')""",
        """target = target - 'asin'""",
        "is_equal = NOT is_equal",
        "audit_log_id = audit_log_id + 1",
        "created_at = created_at + interval '1 second'",
        "previous_sha256 = sha256",
        "sha256 = repeat('0', 64)",
    ):
        (named, *_) = faults(
            environment, f"UPDATE sqp.refresh_proofs SET {change} WHERE id = {first}"
        )
        assert named.startswith(f"certificate {first} of {sunday} ")

    execute(url, "UPDATE sqp.monthly_summary SET ctr = ctr + 1 WHERE period_start = '2025-08-01'")
    execute(url, "UPDATE sqp.yearly_summary SET market_clicks = market_clicks + 1")
    execute(url, "DELETE FROM sqp.asin_performance_data WHERE asin = 'B000000002'")
    execute(url, "DELETE FROM sqp.refresh_proofs WHERE table_name = 'daily_sqp_data'")
    tables = verified()
    assert differing(tables["monthly_summary"])["2025-08-01"] == ["ctr"]
    assert list(differing(tables["yearly_summary"]).values()) == [["market_clicks", "click_share"]]
    assert len(tables["daily_sqp_data"]["chain"]["faults"]) == 3
    assert len(differing(tables["asin_performance_data"])) == 3
    check = sqp_refresh("check", "--table", QUERIES.name)
    assert "asin_weeks_agree: unmatched_asin_weeks is 1" in check.stdout
