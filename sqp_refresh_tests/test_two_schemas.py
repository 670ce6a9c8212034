"""Two schemas in one database: two agencies in one Dagster, and one beside a system of others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from sqp_refresh.definitions import defs
from sqp_refresh.defs.jobs.dashboard_job import KEY as DASHBOARD
from sqp_refresh.defs.run_requests.code_location import is_of
from sqp_refresh.model.tables import TABLES
from sqp_refresh.postgres import migrate
from sqp_refresh.schema_name import render
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.commands import output
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.other_schema import run_commands, run_python, shared_names
from sqp_refresh_tests.helpers.rows import Row, SourceTable, row
from sqp_refresh_tests.helpers.weeks import LAST

OTHER = "agency_b"
REFRESH = ("refresh", "--from", str(LAST), "--to", str(LAST))
OURS = [row(day=LAST, asin=asin) for asin in ("B000000001", "B000000002")]
THEIRS = [
    row(day=LAST, asin=asin, query="green gadget", brand="Northlight")
    for asin in ("B000000007", "B000000008")
]
ROOT = Path(__file__).parents[1]

FOREIGN = """
CREATE SCHEMA sqp;
CREATE TABLE sqp.refresh_config (
    id serial PRIMARY KEY, table_schema text NOT NULL, table_name text NOT NULL,
    is_enabled boolean DEFAULT true, UNIQUE (table_schema, table_name)
);
CREATE TABLE sqp.weekly_summary (
    id bigserial PRIMARY KEY, period_start date NOT NULL, query text NOT NULL,
    asin varchar(10) NOT NULL, total_clicks integer NOT NULL, UNIQUE (period_start, query, asin)
);
CREATE MATERIALIZED VIEW sqp.weekly_trends AS SELECT asin, total_clicks FROM sqp.weekly_summary;
INSERT INTO sqp.weekly_summary (period_start, query, asin, total_clicks)
VALUES ('2025-08-04', 'widget', 'B000000001', 5);
CREATE FUNCTION sqp.auto_register_table_for_refresh() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    command record;
BEGIN
    FOR command IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
        IF command.object_type = 'table' AND command.schema_name = 'sqp' THEN
            INSERT INTO sqp.refresh_config (table_schema, table_name)
            VALUES ('sqp', split_part(command.object_identity, '.', 2)) ON CONFLICT DO NOTHING;
        END IF;
    END LOOP;
END
$$;
CREATE EVENT TRIGGER auto_register_refresh_tables ON ddl_command_end
    EXECUTE FUNCTION sqp.auto_register_table_for_refresh();
"""
"""A little of what the system before this one left, with its event trigger."""

EVERYTHING_OF_SQP = """
SELECT oid::regclass::text, relkind::text, relfilenode::text FROM pg_class
WHERE relnamespace = 'sqp'::regnamespace
UNION ALL SELECT proname, '', md5(pg_get_functiondef(oid)) FROM pg_proc
WHERE pronamespace = 'sqp'::regnamespace
UNION ALL SELECT evtname, evtenabled::text, evtfoid::regproc::text FROM pg_event_trigger
WHERE evtname !~ '^sqp_next'
UNION ALL SELECT 'row', table_name, id::text FROM sqp.refresh_config
UNION ALL SELECT 'row', query, total_clicks::text FROM sqp.weekly_summary
ORDER BY 1, 2, 3
"""

MIGRATE = """
import sys
from sqp_refresh.postgres import migrate
from sqp_refresh.settings import Settings
print(getattr(migrate, sys.argv[1])(Settings.read().database_url))
"""
LOCATION = """
import json
from sqp_refresh.definitions import defs
from sqp_refresh.postgres import migrate
from sqp_refresh.settings import Settings
migrate.upgrade(Settings.read().database_url)
from sqp_refresh_tests.helpers.other_schema import shared_names
print(json.dumps(shared_names(defs())))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give both agencies one Dagster instance, on disk."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("REFRESH_START_DATE", str(LAST))
    return tmp_path


def assert_holds(url: str, schema: str, delivered: list[Row]) -> None:
    """Assert that the eight tables of a schema are what its source says, and nothing else."""
    expected = oracle.expected_tables(delivered)
    with psycopg.connect(url) as connection:
        for table in TABLES:
            actual = oracle.read_table(connection, table, schema)
            oracle.assert_equal(actual, expected[table], f"{schema}.{table}")


def tables_of(url: str, schema: str) -> set[tuple[str, str]]:
    """Return which tables a schema's registry and audit log name, each with its schema."""
    query = """
    SELECT table_schema, table_name FROM sqp.refresh_config
    UNION SELECT table_schema, table_name FROM sqp.refresh_audit_log
    UNION SELECT table_schema, table_name FROM sqp.refresh_periods
    UNION SELECT table_schema, table_name FROM sqp.refresh_checkpoints
    UNION SELECT table_schema, table_name FROM sqp.refresh_proofs
    """
    return set(rows(url, render(query, schema)))


def test_two_agencies_share_a_database_and_a_dagster(environment, source, home, monkeypatch):
    url = environment.database_url
    of_other = SourceTable(source.emulator, source.dataset, "report_of_another_agency")
    source.write(OURS)
    of_other.write(THEIRS)

    output(*REFRESH)
    with monkeypatch.context() as others:
        others.setenv("BIGQUERY_SOURCE_TABLE", of_other.table)
        done = run_commands(OTHER, ("migrate",), REFRESH)
    assert [code for code, *_ in done] == [0, 0], done

    assert_holds(url, "sqp", OURS)
    assert_holds(url, OTHER, THEIRS)
    for schema in ("sqp", OTHER):
        execute(url, f"CREATE TABLE {schema}.of_a_customer (asin text)")
        assert tables_of(url, schema) == {
            (schema, table) for table in (*TABLES, "of_a_customer")
        }, schema
    with dg.DagsterInstance.get() as instance:
        keys = {tuple(key.path) for key in instance.all_asset_keys()}
        runs = instance.get_runs()
    assert keys >= {(schema, table) for schema in ("sqp", OTHER) for table in TABLES}
    ours = [run for run in runs if is_of("sqp_refresh", run)]
    assert len(runs) == 2
    assert [{key.path[0] for key in run.asset_selection or ()} for run in ours] == [{"sqp"}]

    # The way back of one leaves the other.
    execute(url, f"DROP TABLE {OTHER}.of_a_customer")
    assert run_python(OTHER, MIGRATE, "downgrade").startswith("['0")
    assert rows(url, f"SELECT FROM pg_namespace WHERE nspname = '{OTHER}'") == []
    assert_holds(url, "sqp", OURS)
    assert output("migrate") == "nothing to do"
    execute(url, "CREATE TABLE sqp.of_another_customer (asin text)")
    assert ("sqp", "of_another_customer") in tables_of(url, "sqp")


def test_two_code_locations_share_no_asset_and_no_pool(environment, migrated_database):
    here = shared_names(defs())
    there = json.loads(run_python(OTHER, LOCATION))

    for kind in ("assets", "pools"):
        assert len(here[kind]) == len(there[kind]) >= len(TABLES)
        assert not set(here[kind]) & set(there[kind]), kind
    assert {f"{OTHER}/{table}" for table in TABLES} < set(there["assets"])
    assert [here[kind] for kind in ("groups", "jobs", "sensors")] == [
        there[kind] for kind in ("groups", "jobs", "sensors")
    ]
    assert DASHBOARD.to_user_string() in here["assets"]


def test_a_schema_of_another_origin_is_worked_beside(environment, source, database, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("REFRESH_START_DATE", str(LAST))
    execute(database, FOREIGN)
    before = rows(database, EVERYTHING_OF_SQP)
    source.write(OURS)

    with pytest.raises(migrate.Permanent, match="set SQP_SCHEMA to another name"):
        migrate.upgrade(database)
    done = run_commands(
        "sqp_next",
        ("migrate",),
        REFRESH,
        ("migrate",),
        ("check",),
        ("status",),
    )

    assert [code for code, *_ in done[:3]] == [0, 0, 0], done
    assert done[2][1] == "nothing to do\n"
    for _, printed, error in done[3:]:
        # That the week is old is all that is wrong.
        assert (error, "weekly_summary" in printed) == ("", True)
    assert "schema sqp_next is at" in done[4][1]
    assert_holds(database, "sqp_next", OURS)
    assert rows(database, EVERYTHING_OF_SQP) == before
    # Its event trigger goes on, for its own tables only; and so does ours.
    execute(database, "CREATE TABLE sqp.of_theirs (asin text); CREATE TABLE sqp_next.ours (a text)")
    registered = "SELECT table_name FROM sqp.refresh_config"
    assert set(rows(database, registered)) == {("of_theirs",)}
    assert ("ours",) in rows(database, render(registered, "sqp_next"))
    assert ("of_theirs",) not in rows(database, render(registered, "sqp_next"))


def test_a_word_of_sql_is_refused_as_a_name(database, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database)
    with pytest.raises(AssertionError, match="SQP_SCHEMA select is a word of SQL"):
        run_python("select", MIGRATE, "upgrade")


# A few tests of each kind: migrations and their differences, a night, the kill switches.
CORE = (
    "postgres/test_release_definitions.py::test_the_file_is_what_the_migrations_make",
    "migrations/test_migrate.py::test_a_second_run_does_nothing",
    "refresh/test_run.py::test_an_edit_by_somebody_else_is_found_and_mended",
    "control/test_kill_switch.py::test_a_table_is_locked_by_one_refresh_at_a_time",
    "control/test_kill_switch.py::test_a_checkpoint_tells_how_far_a_refresh_has_got",
)


def test_the_core_passes_in_another_schema(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            # In the directory that all sessions share, it would close what servers of this one use.
            f"--basetemp={tmp_path / 'other'}",
            *(str(ROOT / "sqp_refresh_tests" / test) for test in CORE),
        ],
        env=os.environ | {"SQP_SCHEMA": OTHER},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
