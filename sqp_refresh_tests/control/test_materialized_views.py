"""The materialized views of the user follow the tables that they read."""

from urllib.parse import urlsplit

import psycopg

from sqp_refresh import retrying
from sqp_refresh.control import materialized_views
from sqp_refresh.control.materialized_views import refresh_materialized_views
from sqp_refresh.settings import MaterializedViews, Settings
from sqp_refresh_tests.helpers.commands import output
from sqp_refresh_tests.helpers.database import ensure_role, execute, rows
from sqp_refresh_tests.helpers.nights import refresh_all
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, three_weeks

RANGE = ("--from", str(FIRST), "--to", str(LAST))
# A view on a view on our table, one on that, one without a unique index, and one on no table.
VIEWS = """
CREATE VIEW public.weeks AS SELECT * FROM sqp.search_query_performance;
CREATE MATERIALIZED VIEW public.by_asin AS
    SELECT asin, sum(asin_purchase_count) AS bought FROM public.weeks GROUP BY asin;
CREATE UNIQUE INDEX ON public.by_asin (asin);
CREATE MATERIALIZED VIEW public.a_total AS SELECT sum(bought) AS bought FROM public.by_asin;
CREATE MATERIALIZED VIEW sqp."My days" AS SELECT count(*) AS days FROM sqp.daily_sqp_data;
CREATE MATERIALIZED VIEW public.no_of_ours AS SELECT now() AS made
"""
LOG = """
SELECT table_schema || '.' || table_name, status, sync_metadata->'concurrently', error_message
FROM sqp.refresh_audit_log WHERE sync_metadata ? 'materialized_view' ORDER BY id
"""
BOUGHT = "SELECT bought FROM public.a_total"


def after_night(settings: Settings, run_id: str = "night") -> list[str]:
    """Return which views are refreshed at the end of a run, with a mark where that fails."""
    done = refresh_materialized_views(settings, run_id)
    return [f"{outcome.view}{' !' if outcome.warning else ''}" for outcome in done]


def test_they_are_refreshed_exactly_in_the_nights_that_changed_what_they_read(environment, source):
    url = environment.database_url
    source.write(three_weeks())
    execute(url, VIEWS)
    refresh_all(environment)

    assert after_night(environment) == ["public.by_asin", "sqp.My days", "public.a_total"]

    assert rows(url, BOUGHT) == [(12,)]
    assert rows(url, LOG) == [
        ("public.by_asin", "success", True, None),
        ("sqp.My days", "success", False, None),
        ("public.a_total", "success", False, None),
    ]
    # No view of tables counts them, though one of them is in the schema of the tables.
    counted = "SELECT table_name FROM sqp.{} WHERE table_name IN ('by_asin', 'a_total', 'My days')"
    for view in ("refresh_success_rate", "refresh_runs", "refresh_nightly"):
        assert rows(url, counted.format(view)) == [], view

    # In a night that changed nothing, nothing is refreshed, nor what was made since.
    execute(url, "CREATE MATERIALIZED VIEW public.new AS SELECT * FROM sqp.weekly_summary")
    refresh_all(environment)
    assert after_night(environment, "unchanged") == []

    # A week is restated: of one table, what another reads of it stays as it was.
    source.replace(three_weeks(purchases=(48, 2)))
    execute(url, "REFRESH MATERIALIZED VIEW public.by_asin")
    refresh_all(environment)
    off = environment.model_copy(update={"REFRESH_MATERIALIZED_VIEWS": MaterializedViews.OFF})
    assert after_night(off) == []
    assert after_night(environment) == [
        "public.by_asin",
        "public.new",
        "sqp.My days",
        "public.a_total",
    ]
    assert rows(url, BOUGHT) == [(24,)]
    assert after_night(environment) == []

    # While a run is at work on a table, another one may end between two of its weeks.
    for change in ("changed_by - 1", "changed_by + 1"):
        week = f"table_name = 'daily_sqp_data' AND period_start = '{LAST}'"
        execute(url, f"UPDATE sqp.refresh_periods SET changed_by = {change} WHERE {week}")
        assert after_night(environment) == ["sqp.My days"], change


BREAKING = """
CREATE MATERIALIZED VIEW public.breaks AS
    SELECT 1 / (12 - sum(asin_purchase_count)) AS part FROM sqp.search_query_performance;
CREATE MATERIALIZED VIEW public.works AS SELECT count(*) FROM sqp.weekly_summary;
CREATE MATERIALIZED VIEW public.on_it AS SELECT * FROM public.breaks;
INSERT INTO sqp.webhook_configs (name, url) VALUES ('chat', 'https://x.test')
"""


def test_one_that_fails_is_a_warning_and_is_tried_again_until_it_works(
    environment, source, monkeypatch
):
    url = environment.database_url
    source.write(three_weeks())
    execute(url, BREAKING)
    alerts = "SELECT payload->>'table_name', payload->>'event' FROM sqp.webhook_deliveries"
    # Dagster and the command line go the same way.
    printed = output("refresh", *RANGE)

    assert rows(url, "SELECT * FROM public.works") == [(12,)]
    assert "public.breaks warning: Postgres: division by zero" in printed
    (breaks,) = [row for row in rows(url, LOG) if row[0] == "public.breaks"]
    assert breaks[:2] == ("public.breaks", "warning")
    assert rows(url, "SELECT status FROM sqp.refresh_audit_log WHERE status = 'failed'") == []
    assert ("public.breaks", "refresh.warning") in rows(url, alerts)

    sent = rows(url, alerts)
    assert after_night(environment, "again") == ["public.breaks !"]
    assert rows(url, alerts) == sent, "of the same cause receivers know"
    (why,) = rows(url, "SELECT status, why FROM sqp.refresh_status")
    assert why[0] == "degraded"
    assert "materialized view public.breaks: Postgres: division by zero" in why[1]

    execute(url, "UPDATE sqp.search_query_performance SET asin_purchase_count = 0")
    assert after_night(environment, "mended") == ["public.breaks", "public.on_it"]
    assert after_night(environment, "unchanged") == []

    # Whoever reads one without a unique index keeps no run waiting for long.
    monkeypatch.setattr(materialized_views, "_LOCK_TIMEOUT", "SET LOCAL lock_timeout TO '50ms'")
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0)
    with psycopg.connect(url) as reader:
        reader.execute("SELECT FROM public.works")
        changed = "UPDATE sqp.refresh_periods SET row_count = 0 WHERE table_name = 'weekly_summary'"
        execute(url, changed)
        (works,) = refresh_materialized_views(environment, "read meanwhile")
    assert "lock timeout" in str(works)


def test_one_of_another_owner_says_what_to_grant(environment, source, monkeypatch):
    url = environment.database_url
    source.write(three_weeks())
    refresh_all(environment)
    for role in ("views_owner", "plain_refresher"):
        ensure_role(url, role)
    execute(
        url,
        "ALTER ROLE plain_refresher LOGIN; GRANT service_role TO plain_refresher;"
        "GRANT CREATE ON SCHEMA public TO views_owner;"
        "CREATE MATERIALIZED VIEW public.theirs AS SELECT * FROM sqp.weekly_summary WITH NO DATA;"
        "ALTER MATERIALIZED VIEW public.theirs OWNER TO views_owner",
    )
    try:
        address = urlsplit(url)
        login = f"plain_refresher@{address.netloc.rpartition('@')[2]}"
        monkeypatch.setenv("DATABASE_URL", address._replace(netloc=login).geturl())
        (theirs,) = refresh_materialized_views(Settings.read(), "night")
        assert theirs.warning
        assert "belongs to views_owner" in theirs.warning
        assert 'GRANT "views_owner" TO "plain_refresher"' in theirs.warning

        # Its owner may not read what it reads.
        execute(url, "GRANT views_owner TO plain_refresher")
        (theirs,) = refresh_materialized_views(Settings.read(), "night")
        assert "`sqp-refresh grant --read views_owner`" in str(theirs)
        monkeypatch.setenv("DATABASE_URL", url)
        output("grant", "--read", "views_owner")
        assert after_night(environment) == ["public.theirs"]
    finally:
        execute(url, "DROP OWNED BY views_owner, plain_refresher")
        execute(url, "DROP ROLE views_owner, plain_refresher")
