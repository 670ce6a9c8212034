"""Run the statements of the page on Supabase, whose roles and function are stood in for."""

import json
import re
from pathlib import Path

import psycopg

from sqp_refresh.monitoring.doctor.checkup import check_postgres
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.commands import output
from sqp_refresh_tests.helpers.database import ensure_role, execute

PAGE = Path(__file__).parents[1] / "docs" / "supabase.md"
STATEMENTS = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
# What a project of Supabase has.
PROJECT = """
CREATE ROLE sqp_refresher;
CREATE PUBLICATION supabase_realtime;
CREATE SCHEMA auth;
CREATE FUNCTION auth.jwt() RETURNS jsonb STABLE
    RETURN current_setting('request.jwt.claims', true)::jsonb;
GRANT USAGE ON SCHEMA auth TO PUBLIC
"""
ROWS = """
INSERT INTO sqp.asin_performance_data (start_date, end_date, marketplace, asin, brand)
VALUES ('2025-08-10', '2025-08-16', 'US', 'B000000001', 'Brightwater'),
    ('2025-08-10', '2025-08-16', 'US', 'B000000002', 'Another');
INSERT INTO sqp.weekly_summary (period_start, period_end, marketplace, asin, search_query)
SELECT start_date, end_date, marketplace, asin, 'blue widget' FROM sqp.asin_performance_data
"""


def test_a_user_sees_the_rows_of_one_brand_by_table_and_by_view(migrated_database, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    ensure_role(migrated_database, "authenticated")
    execute(migrated_database, f"{PROJECT}; {ROWS}")
    try:
        output("grant", "--read", "authenticated")
        output("views", "--compat", "older_names")
        for statement in STATEMENTS:
            execute(migrated_database, statement)

        claims = json.dumps({"app_metadata": {"brand": "Brightwater"}})
        with psycopg.connect(migrated_database) as connection:
            connection.execute("SELECT set_config('request.jwt.claims', %s, true)", [claims])
            connection.execute("SET LOCAL ROLE authenticated")
            for relation in ("sqp.weekly_summary", "older_names.weekly_summary"):
                seen = connection.execute(f"SELECT DISTINCT asin FROM {relation}".encode())
                assert seen.fetchall() == [("B000000001",)], relation

        diagnoses = {each.subject: each for each in check_postgres(Settings.read())}
        assert diagnoses["privileges"].is_ok, "the owner sees all rows"
    finally:
        execute(migrated_database, "DROP OWNED BY sqp_refresher; DROP ROLE sqp_refresher")
        execute(migrated_database, "ALTER ROLE authenticated RESET statement_timeout")


def test_every_kind_of_statement_is_on_the_page():
    assert len(STATEMENTS) == 6
