"""The older system gives way and comes back, and each dependent is where the report says."""

import json
from typing import Any

import psycopg
import pytest

from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.helpers import older_database
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.other_schema import run_commands, run_python
from sqp_refresh_tests.helpers.rows import row
from sqp_refresh_tests.helpers.weeks import LAST

NEXT = "sqp_next"
SHADOW = """
from sqp_refresh.postgres import migrate
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.nights import refresh_all
from sqp_refresh_tests.helpers.weeks import LAST
migrate.upgrade(Settings.read().database_url)
refresh_all(Settings.read(), LAST, LAST)
"""
WEEK = ("--from", str(LAST), "--to", str(LAST))
# What reads the older tables beside what the older system made itself.
OTHERS = """
CREATE ROLE older_reader;
GRANT USAGE ON SCHEMA sqp TO older_reader;
GRANT SELECT ON sqp.weekly_summary, sqp.brands, sqp.webhook_configs TO older_reader;
GRANT SELECT ON sqp.weekly_summary, sqp.refresh_config TO anon;
CREATE VIEW public.clicks AS SELECT w.query, sum(w.total_clicks) AS clicks
    FROM sqp.weekly_summary w WHERE w.period_start > '2025-01-01' GROUP BY w.query;
CREATE MATERIALIZED VIEW public.kept AS SELECT asin, query, avg_ctr FROM sqp.weekly_summary;
CREATE UNIQUE INDEX kept_idx ON public.kept (asin, query);
GRANT SELECT ON public.kept TO older_reader;
CREATE PUBLICATION older_changes FOR TABLE sqp.weekly_summary, sqp.brands;
CREATE POLICY mine ON sqp.weekly_summary FOR SELECT TO older_reader USING (asin = 'B000000001');
CREATE FUNCTION public.clicks_of(text) RETURNS bigint LANGUAGE plpgsql SET search_path = sqp AS
    $$ BEGIN RETURN (SELECT sum(total_clicks) FROM weekly_summary WHERE query = $1); END $$;
CREATE FUNCTION public.first_week() RETURNS sqp.weekly_summary LANGUAGE sql
    BEGIN ATOMIC SELECT * FROM sqp.weekly_summary LIMIT 1; END;
CREATE FUNCTION public.all_clicks() RETURNS bigint LANGUAGE plpgsql AS
    $$ BEGIN RETURN (SELECT sum(total_clicks) FROM sqp.weekly_summary); END $$;
GRANT SELECT (query) ON sqp.monthly_summary TO older_reader;
CREATE TABLE public.notes (asin_week bigint REFERENCES sqp.asin_performance_data);
INSERT INTO sqp.refresh_config (table_schema, table_name, is_enabled, priority)
VALUES ('sqp', 'weekly_summary', false, 7), ('sqp', 'brands', true, 1);
INSERT INTO sqp.webhook_configs (name, url, secret, events, is_enabled)
VALUES ('slack', 'https://example.com/hook', 'a secret', '{refresh_failed}', true),
    ('odd', 'https://example.com/odd', NULL, '{refresh_anything}', true);
COMMENT ON SCHEMA sqp IS 'the older one'
"""
RELATIONS = """
SELECT relname::text, relkind::text, coalesce(pg_get_viewdef(oid), ''), coalesce(relacl::text, '')
FROM pg_class
WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'v', 'm') ORDER BY relname
"""
CONTENT = """
SELECT '{name}', count(*), md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), ''))
FROM {schema}.{name} AS t
"""
PLACES = {
    "view": "to_regclass(%(place)s)",
    "materialized view": "to_regclass(%(place)s)",
    "function": "to_regproc(%(place)s)",
    "foreign key": "(SELECT conname FROM pg_constraint"
    " WHERE conrelid::regclass::text || '.' || conname = %(place)s)",
    "trigger": "(SELECT tgname FROM pg_trigger"
    " WHERE tgrelid::regclass::text || '.' || tgname = %(place)s)",
    "event trigger": "(SELECT evtname FROM pg_event_trigger"
    " WHERE evtname = %(place)s AND evtenabled = 'D')",
    "publication": "(SELECT pubname FROM pg_publication WHERE pubname = %(place)s)",
    "policy": "(SELECT policyname FROM pg_policies"
    " WHERE schemaname || '.' || tablename || '.' || policyname = %(place)s)",
}


@pytest.fixture
def url(environment, database, source, monkeypatch) -> Any:
    """Return the URL of a database with the older system in sqp, and this one beside it."""
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("REFRESH_START_DATE", str(LAST))
    source.write(
        [row(day=LAST, asin=asin, parent_asin=None) for asin in ("B000000001", "B000000002")]
    )
    older_database.build(database)
    run_python(NEXT, SHADOW)
    older_database.fill(database, ours=NEXT)
    execute(database, OTHERS)
    yield database
    execute(database, "DROP OWNED BY older_reader; DROP ROLE older_reader")


def everything(url: str, schema: str) -> dict[str, tuple]:
    """Return each table and view of a schema: its kind, its definition, its grants, its rows."""
    relations = rows(url, RELATIONS.format(schema=schema))
    each = (CONTENT.format(schema=schema, name=name) for name, *_ in relations)
    content = {name: of_rows for name, *of_rows in rows(url, " UNION ALL ".join(each))}
    return {
        name: (kind, text.replace(f"{schema}.", "sqp."), grants, content[name])
        for name, kind, text, grants in relations
    }


def test_the_older_system_gives_way_and_comes_back(url):
    before, ours = everything(url, "sqp"), everything(url, NEXT)
    assert len(before) == 26 + 16 + 7, "tables, materialized views, views"

    compared, planned, adopted = run_commands(
        NEXT,
        ("compare", "sqp", "--json"),
        ("adopt", "--dry-run", "--json"),
        ("adopt", "--yes"),
    )

    assert (compared[0], planned[0], adopted[0]) == (0, 0, 0), (compared, planned[2], adopted[2])
    report = json.loads(planned[1])
    assert report["schemas"] == {"sqp": "sqp_before", NEXT: "sqp"}
    assert_taken_over(url, report)
    assert everything(url, "sqp_before") == before, "nothing of the older data is lost"
    assert_in_place(url, report["dependents"])
    assert_sql_works(url, report["dependents"])

    migrated, verified, planned, undone = run_commands(
        *("sqp", ("migrate",), ("verify",), ("plan", *WEEK, "--json")),
        ("adopt", "--undo", "--yes"),
    )

    assert migrated == (0, "nothing to do\n", ""), migrated
    assert verified[0] == 0, verified
    assert "certificates, the last is" in verified[1]
    assert "without a certificate" not in verified[1]
    assert not [period for period in json.loads(planned[1]) if period["copy"]]
    assert undone[0] == 0, undone
    assert everything(url, "sqp") == before
    assert rows(url, "SELECT obj_description('sqp'::regnamespace, 'pg_namespace')") == [
        ("the older one",)
    ]
    again = run_commands(NEXT, ("migrate",), ("verify",), ("adopt", "--yes"), ("adopt", "--yes"))
    assert again[0] == (0, "nothing to do\n", ""), again
    assert [code for code, *_ in again] == [0, 0, 0, 1], again
    assert "it is done already: set SQP_SCHEMA to sqp" in again[3][2]
    assert everything(url, "sqp_before") == before
    assert everything(url, "sqp").keys() == ours.keys()


def assert_taken_over(url: str, report: dict) -> None:
    settings = rows(
        url,
        "SELECT table_name FROM sqp.refresh_config WHERE NOT is_enabled AND priority = 7"
        " AND table_schema = 'sqp'",
    )
    assert settings == [("weekly_summary",)]
    receivers = rows(url, "SELECT name, events FROM sqp.webhook_configs ORDER BY name")
    assert receivers == [("odd", None), ("slack", ["refresh.failed"])]
    may = "SELECT has_table_privilege('{}', 'sqp.{}', 'SELECT')"
    assert rows(url, may.format("older_reader", "weekly_summary")) == [(True,)]
    assert rows(url, may.format("older_reader", "monthly_summary")) == [(False,)]
    assert rows(url, may.format("anon", "weekly_summary")) == [(True,)]
    assert rows(url, may.format("anon", "refresh_config")) == [(False,)]
    left = "\n".join(report["left"])
    for words in (
        *("receiver odd gets every event", "the secret of receiver slack", "to anon"),
        "grants of older_reader on single columns of monthly_summary",
    ):
        assert words in left
    # Ours registers new tables, the older one does not any more.
    execute(url, "CREATE TABLE sqp.of_a_customer (asin text)")
    registered = "SELECT is_enabled FROM sqp.refresh_config WHERE table_name = 'of_a_customer'"
    assert rows(url, registered) == [(False,)]
    execute(
        url,
        "DROP TABLE sqp.of_a_customer;"
        " DELETE FROM sqp.refresh_config WHERE table_name = 'of_a_customer'",
    )


def assert_in_place(url: str, dependents: list[dict]) -> None:
    kinds = {kind: [each for each in dependents if each["kind"] == kind] for kind in PLACES}
    assert sum(map(len, kinds.values())) == len(dependents)
    assert all(kinds.values()), {kind: len(of_kind) for kind, of_kind in kinds.items()}
    assert {
        name for name, *_ in rows(url, "SELECT viewname FROM pg_views WHERE schemaname = 'public'")
    } <= {each["name"].removeprefix("public.") for each in kinds["view"]}
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = pg_catalog")
        for each in dependents:
            query = f"SELECT {PLACES[each['kind']]} IS NOT NULL".encode()
            assert connection.execute(query, {"place": each["place"]}).fetchone() == (True,), each


def assert_sql_works(url: str, dependents: list[dict]) -> None:
    """Run all the SQL of the report; then what read the older rows reads the new ones."""
    written = {each["name"]: each for each in dependents if each["sql"]}
    assert {
        "public.clicks",
        "public.kept",
        "public.weekly_summary",
        "public.monthly_summary",
        "sqp.weekly_trends",
        "older_changes",
        "sqp.weekly_summary.mine",
    } <= written.keys()
    assert "null then" in written["public.weekly_summary"]["remark"]
    by_name = {each["name"]: each for each in dependents}
    assert "SET search_path = sqp_before" in by_name["public.clicks_of"]["sql"]
    assert "FROM sqp_before.weekly_summary" in by_name["public.all_clicks"]["sql"]
    assert "total_clicks" in by_name["public.all_clicks"]["remark"]
    assert by_name["public.first_week"]["sql"] is None
    joined = by_name["public.search_performance_summary"]
    assert joined["reads"] == ["sqp.asin_performance_data", "sqp.search_query_performance"]
    assert "no SQL can be written" in by_name["sqp.search_performance_summary"]["remark"]
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE sqp.weekly_summary SET asin_clicks = 4711, ctr = 47.11")
        for each in written.values():
            if each["kind"] != "function":
                connection.execute(each["sql"].encode())
        for query in (
            "SELECT DISTINCT clicks / 2 FROM public.clicks",
            "SELECT DISTINCT total_clicks FROM public.weekly_summary",
            "SELECT DISTINCT avg_ctr * 100 FROM public.kept",
        ):
            assert connection.execute(query.encode()).fetchall() == [(4711,)], query
        connection.rollback()


def test_it_is_refused_with_the_reason_and_changes_nothing(database, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database)
    execute(database, "CREATE SCHEMA sqp; CREATE TABLE sqp.weekly_summary (id bigint, query text)")
    with psycopg.connect(database) as holder:
        holder.execute("INSERT INTO sqp.weekly_summary VALUES (1, 'blue widget')")
        _, written = run_commands(NEXT, ("migrate",), ("adopt", "--yes"))
        holder.rollback()
        holder.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('sqp_next.weekly_summary refresh', 0))"
        )
        execute(database, "CREATE SCHEMA sqp_before")
        busy, taken, missing, own, nothing = run_commands(
            NEXT,
            ("adopt", "--from", "public", "--yes"),
            ("adopt", "--yes"),
            ("adopt", "--from", "nope", "--yes"),
            ("adopt", "--from", NEXT, "--yes"),
            # It does not ask whether to take nothing back.
            ("adopt", "--undo"),
        )

    for (code, _, message), words in (
        (busy, "sqp_next.weekly_summary is being refreshed"),
        (written, "to sqp.weekly_summary; stop the older system first"),
        (taken, "there is a schema sqp_before already"),
        (missing, "there is no schema 'nope'"),
        (own, "sqp_next is our own schema"),
        (nothing, "nothing to take back"),
    ):
        assert code == 1
        assert words in message, message
    assert set(everything(database, "sqp")) == {"weekly_summary"}
    assert everything(database, NEXT).keys() > set(TABLES)
