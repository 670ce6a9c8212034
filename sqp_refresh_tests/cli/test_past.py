"""Test the commands about what tables held before."""

import json
from datetime import date
from io import StringIO

import pytest

from sqp_refresh.monitoring.dashboard.drawing import draw
from sqp_refresh_tests.helpers.commands import one_line, output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.history import Moment, copy_of, publish

FIRST, SECOND = date(2025, 8, 10), date(2025, 8, 17)
QUERIES = "search_query_performance"


@pytest.fixture
def moments(migrated_database: str, monkeypatch: pytest.MonkeyPatch) -> list[Moment]:
    """Two weeks, of which the first was restated twice."""
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    return [
        publish(migrated_database, weeks)
        for weeks in (
            {FIRST: {"a": (1, 5), "b": (2, 1)}, SECOND: {"a": (1, 1)}},
            {FIRST: {"a": (3, 4), "b": (2, 1)}},
            {FIRST: {"a": (3, 4)}},
        )
    ]


def test_restatements_are_told_in_words_and_as_json(moments):
    printed = output("restatements", "--table", QUERIES)

    (line,) = printed.splitlines()
    assert line.startswith(f"{QUERIES}: the week of 2025-08-10 was restated 2 times; rows: ")
    assert "1 updated, 1 deleted" in line
    assert "impressions 460 → 230" in line
    assert "clicks" not in line, "they add up to what they did"
    assert "purchases 6 → 4" in line
    runs = json.loads(output("restatements", "--table", QUERIES, "--json"))
    assert [(run["asin_purchases_before"], run["asin_purchases_after"]) for run in runs] == [
        (6, 5),
        (5, 4),
    ]
    assert [run["audit_log_id"] for run in runs] == [moment.run for moment in moments[1:]]
    assert QUERIES not in output("restatements", "--week", "2025-08-18")
    assert output("restatements", "--since", "2999-01-01") == "nothing was restated"


def test_the_dashboard_lists_restated_weeks(moments, migrated_database, tmp_path):
    page = tmp_path / "dashboard.html"

    figures = draw(migrated_database, page, moments[-1].at)

    weeks = [(week.table, week.period.start, len(week.runs)) for week in figures.restated]
    assert weeks == [(QUERIES, FIRST, 2), ("weekly_summary", FIRST, 2)]
    html = page.read_text()
    assert "Restated weeks" in html
    assert "6 → 4" in html


def test_a_rollback_is_shown_first_and_then_done(moments, migrated_database, monkeypatch):
    monkeypatch.setattr("sys.stdin", StringIO("n\n"))
    arguments = ("rollback", QUERIES, "--week", "2025-08-12", "--to-run", str(moments[0].run))
    before = copy_of(migrated_database)
    view = "CREATE MATERIALIZED VIEW public.total AS SELECT sum(asin_clicks) AS clicks"
    execute(migrated_database, f"{view} FROM sqp.weekly_summary")

    assert "1 rows to insert, 1 to update, 0 to delete" in output(*arguments, "--dry-run")
    assert copy_of(migrated_database) == before
    assert sqp_refresh(*arguments).returncode == 1, "it asks, and nobody answers"
    assert copy_of(migrated_database) == before

    done = json.loads(output(*arguments, "--yes", "--json"))

    assert done["periods"] == [{"period": "2025-08-10", "inserted": 1, "updated": 1, "deleted": 0}]
    assert done["derived"]["weekly_summary"] == 2
    clicks = "SELECT sum(asin_click_count) FROM sqp.search_query_performance"
    assert rows(migrated_database, clicks) == [(4,)]
    # What reads the tables follows them.
    assert rows(migrated_database, "SELECT clicks FROM public.total") == [(4,)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either --to-run RUN or --to INSTANT"),
        (("--to", "yesterday"), "is no instant"),
        (("--to", "2999-01-01"), "lies in the future"),
        (("--to-run", "nobody"), "has no run nobody"),
        (("--to", "2020-01-01T00:00Z", "--week", "2025-08-10"), "first published later"),
    ],
)
def test_a_rollback_that_cannot_be_is_refused_in_one_line(moments, arguments, message):
    assert message in one_line(sqp_refresh("rollback", QUERIES, "--yes", *arguments))
