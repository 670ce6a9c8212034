"""One row of the registry, whatever it holds, ends no other table's refreshes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from sqp_refresh import definitions
from sqp_refresh.definitions import defs
from sqp_refresh.defs.dagster_orchestrator import DagsterOrchestrator
from sqp_refresh.defs.run_requests.scheduled import request_scheduled_run
from sqp_refresh.model.tables import DAILY_SQP_DATA, TABLES
from sqp_refresh.monitoring.doctor.postgres_checks import check_first_refreshes
from sqp_refresh.monitoring.status.report import report_status
from sqp_refresh.monitoring.views import read_freshness
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry import registration
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh.registry.refresh_config import mark_refreshed, read_registrations
from sqp_refresh_tests.helpers.commands import one_line, sqp_refresh
from sqp_refresh_tests.helpers.database import execute

NAMES = [
    "ad-spend",
    "ad.spend",
    'ad"spend',
    "ad'spend",
    "ad spend",
    "ad/spend",
    "ad\nspend",
    "ad\x1b[31mspend",
    "Anzeigenausgäbe",
    "広告費",
    "100%",
    "{ad}",
    "$ad",
]
GOOD = {"source_table": "spend", "key": ["code"], "columns": {"Code": "code", "Spend": "spend"}}


def create(url: str, name: str, params: dict | str = GOOD) -> None:
    """Create a table, and enter it into the registry as an operator does in SQL."""
    with psycopg.connect(url) as connection:
        table = sql.Identifier("sqp", name)
        connection.execute(
            sql.SQL("CREATE TABLE {} (code text PRIMARY KEY, spend numeric)").format(table)
        )
        text = params if isinstance(params, str) else json.dumps(params)
        connection.execute(
            "UPDATE sqp.refresh_config SET is_enabled = true, custom_sync_params = %s::jsonb"
            " WHERE table_name = %s",
            [text, name],
        )


def loaded() -> dg.Definitions:
    """Load the code location, every job of it, and return it."""
    definitions = defs()
    dg.Definitions.validate_loadable(definitions)
    return definitions


def selected(definitions: dg.Definitions) -> set[str]:
    """Return the tables that the nightly job refreshes."""
    job = definitions.resolve_job_def("daily_refresh")
    return {key.path[-1] for key in job.asset_layer.executable_asset_keys}


def test_names_that_dagster_does_not_take_are_left_out_and_shown(environment, caplog):
    for name in NAMES:
        create(environment.database_url, name)
    create(environment.database_url, "n" * 63)

    definitions = loaded()

    assert selected(definitions) == {*TABLES, "n" * 63}
    graph, catalog = definitions.resolve_asset_graph(), read_catalog(environment)
    assert set(catalog.unusable) == set(NAMES)
    for name, problem in catalog.unusable.items():
        assert "Dagster takes only names of the letters" in problem
        node = graph.get(dg.AssetKey(["sqp", name]))
        assert node.description == f"It is not refreshed. {problem}"
        assert node.metadata["sqp/registry_differs"] == problem
        assert problem in catalog.problems
        assert problem in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_name_that_dagster_does_not_take_is_refused_at_registration(environment, name):
    create(environment.database_url, name, {})

    for source in ((), ("--source", "spend", "--key", "code", "--column", "Code=code")):
        line = one_line(sqp_refresh("register", name, *source))
        assert f"registration of sqp.{name}: Dagster takes only names" in line
    line = one_line(sqp_refresh("register", "refresh_config"))
    assert "it is one of the control tables, which are never refreshed" in line


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({**GOOD, "source_table": 7}, "source_table (Input should be a valid string)"),
        ({**GOOD, "source_table": None}, "it needs source_table, key and columns"),
        ({**GOOD, "key": {"code": 1}}, "key (Input should be a valid list)"),
        ({**GOOD, "key": ["code", "code"]}, "key names one column twice"),
        ({**GOOD, "columns": ["code"]}, "columns (Input should be a valid dictionary)"),
        ({**GOOD, "week_column": ["Code"]}, "week_column (Input should be a valid string)"),
        ({**GOOD, "batch_size": 10**30}, "batch_size (Input should be less than or equal to"),
        ({**GOOD, "batch_size": "many"}, "batch_size (Input should be a valid integer"),
        ({**GOOD, "quality": []}, "quality (Input should be a valid dictionary"),
        (json.dumps(GOOD)[:-1] + ', "batch_size": 1e5000}', "is malformed"),
        ('{"source_table": "x", "key": ' + "[" * 3000 + "]" * 3000 + "}", "is malformed"),
    ],
)
def test_parameters_that_do_not_fit_are_a_problem_of_their_table_alone(
    environment, params, problem
):
    create(environment.database_url, "spend", params)

    definitions = loaded()

    assert selected(definitions) == set(TABLES)
    (message,) = read_catalog(environment).problems
    assert problem in message
    assert "spend" in message
    request = request_scheduled_run(environment, read_catalog(environment), datetime.now(UTC))
    assert isinstance(request, dg.RunRequest | dg.SkipReason)


@pytest.mark.parametrize("source", ["a..b", ".", " ", "a.b.c.d.e", "ä-1", "seller-sqp*", "x/y"])
def test_a_name_in_bigquery_that_is_none_does_not_end_the_others(environment, source):
    create(environment.database_url, "spend", {**GOOD, "source_table": source})

    assert selected(loaded()) >= set(TABLES)


def test_malformed_parameters_of_one_table_do_not_end_the_night(environment):
    execute(
        environment.database_url,
        "UPDATE sqp.refresh_config SET next_refresh_at = '-infinity';"
        """UPDATE sqp.refresh_config SET custom_sync_params = '{"lookback_weeks": "x"}'"""
        " WHERE table_name = 'daily_sqp_data'",
    )

    request = request_scheduled_run(environment, read_catalog(environment), datetime.now(UTC))

    assert isinstance(request, dg.RunRequest)
    assert len(request.asset_selection or ()) == len(TABLES)


@pytest.mark.parametrize("due", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
def test_an_instant_that_python_does_not_have_ends_no_other_table(environment, due):
    url = environment.database_url
    execute(
        url,
        f"UPDATE sqp.refresh_config SET next_refresh_at = '{due}', refresh_frequency_hours = "
        "2147483647 WHERE table_name = 'daily_sqp_data'",
    )

    tick = datetime.now(UTC) + timedelta(days=2)
    request = request_scheduled_run(environment, read_catalog(environment), tick)

    assert isinstance(request, dg.RunRequest)
    names = {key.path[-1] for key in request.asset_selection or ()}
    is_due = due in ("-infinity", "0044-03-15 BC")
    assert names == set(TABLES) - (set() if is_due else {"daily_sqp_data"})
    assert selected(loaded()) == set(TABLES)
    with connect(url) as session:
        assert len(read_freshness(session)) == len(TABLES)
        assert "wait for their first refresh" in check_first_refreshes(session)
        with session.transaction():
            mark_refreshed(session, DAILY_SQP_DATA, tick=None, is_newest=True)
        now = datetime.now(UTC)
        assert read_registrations(session)["daily_sqp_data"].next_refresh_at > now


def test_a_dependency_that_cannot_be_followed_is_left_out(environment):
    url = environment.database_url
    create(url, "spend")
    create(url, "other")
    execute(
        url,
        "ALTER TABLE sqp.refresh_dependencies DROP CONSTRAINT refresh_dependencies_check,"
        " DROP CONSTRAINT refresh_dependencies_dependency_type_check;"
        "INSERT INTO sqp.refresh_dependencies"
        " (parent_config_id, dependent_config_id, dependency_type)"
        " SELECT parent.id, dependent.id, kind FROM (VALUES ('spend', 'spend', 'hard'),"
        " ('spend', 'other', 'hard'), ('other', 'spend', 'soft'),"
        " ('weekly_summary', 'other', 'firm')) AS edge (up, down, kind)"
        " JOIN sqp.refresh_config AS parent ON parent.table_name = up"
        " JOIN sqp.refresh_config AS dependent ON dependent.table_name = down",
    )

    problems = "; ".join(read_catalog(environment).problems)

    assert selected(loaded()) == {*TABLES, "spend", "other"}
    assert "spend -> spend, which closes a circle" in problems
    assert problems.count("which closes a circle") == 2
    assert "weekly_summary -> other as 'firm', which is neither hard nor soft" in problems


def test_names_that_collide_only_in_dagster_leave_one_of_them_out(environment):
    for name in ("sqp__late", "late_checks"):
        create(environment.database_url, name)

    definitions = loaded()

    assert len(selected(definitions)) == len(TABLES) + 1
    problems: Any = definitions.metadata["sqp/registry_differs"].value
    (problem,) = problems
    assert "is left out, because it cannot be defined (Dagster" in problem


def test_what_nobody_has_foreseen_is_shown_by_doctor_and_status(environment, monkeypatch, caplog):
    create(environment.database_url, "spend")
    create(environment.database_url, "fine")
    made = definitions.table_assets

    def fails(settings, catalog):
        assert "spend" not in catalog.tables, "a defect"
        return made(settings, catalog)

    monkeypatch.setattr(definitions, "table_assets", fails)

    assert selected(loaded()) == {*TABLES, "fine"}
    expected = "sqp.spend is left out, because it cannot be defined (AssertionError: a defect"
    assert expected in caplog.text
    orchestrator = DagsterOrchestrator(defs)
    deployed = report_status(environment, orchestrator).criteria[0]
    assert deployed.is_met is False
    assert any(expected in problem.message for problem in deployed.problems)
    assert expected in sqp_refresh("doctor").stdout


def test_what_goes_wrong_as_a_row_is_read_is_a_problem_of_the_row(environment, monkeypatch):
    create(environment.database_url, "spend")

    def fails(*_: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(registration, "_check_columns", fails)

    (problem,) = read_catalog(environment).problems
    assert problem.startswith("sqp.spend is left out, because it cannot be defined (KeyError: ")
