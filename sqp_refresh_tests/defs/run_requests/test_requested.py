"""What somebody asks for in SQL is launched, and settled by how its run ended."""

from datetime import timedelta

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, InvalidParameterValue

from sqp_refresh_tests.defs.run_requests.operator import (
    FORCED,
    requested_tables,
    requested_weeks,
)
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE

SENSOR = "requested_refreshes"
DAILY = "daily_sqp_data"


def ask(url: str, arguments: str = "") -> int:
    """Ask for a refresh as somebody does at psql; return its id."""
    ((request,),) = rows(url, f"SELECT sqp.request_refresh({arguments})")
    return request


def request(url: str, number: int) -> tuple:
    query = "SELECT status, run, message, launched_at IS NOT NULL, completed_at IS NOT NULL"
    ((*state,),) = rows(url, f"{query} FROM sqp.refresh_requests WHERE id = {number}")
    return tuple(state)


def test_a_request_ends_as_done_with_its_run_and_two_of_a_table_one_after_the_other(
    operator, environment
):
    url = environment.database_url
    first = ask(url, f"ARRAY['{DAILY}'], '{FIRST}', '{MIDDLE}', true")
    second = ask(url, f"tables => '{{{DAILY},asin_performance_data}}', first_week => '{MIDDLE}'")
    ask(url, f"'{{search_query_performance}}', last_week => '{LAST}'")

    launched, beside = operator.sense(SENSOR)

    assert requested_tables(launched) == {DAILY}
    assert requested_weeks(launched) == (str(FIRST), str(MIDDLE))
    assert launched.run_config == FORCED
    assert requested_tables(beside) == {"search_query_performance"}
    assert requested_weeks(beside)[1] == str(LAST)
    assert request(url, first) == ("launched", None, None, True, False)
    assert request(url, second) == ("pending", None, f"waits for request {first}", False, False)
    # It is asked for again as long as there is no run of it; Dagster launches a key once.
    assert [again.run_key for again in operator.sense(SENSOR)] == [launched.run_key, beside.run_key]

    run = operator.launch(launched)
    (following,) = (each for each in operator.sense(SENSOR) if each.run_key != beside.run_key)

    assert request(url, first) == ("done", run.run_id, "4 rows changed", True, True)
    assert requested_tables(following) == {DAILY, "asin_performance_data"}
    assert requested_weeks(following)[0] == str(MIDDLE)
    assert request(url, second)[0] == "launched"
    ((by,),) = rows(url, "SELECT DISTINCT launched_by FROM sqp.refresh_runs")
    assert by == "person"
    # The next of these tables is told how long it may take.
    third = ask(url, f"ARRAY['{DAILY}']")
    ((seconds, asked_by),) = rows(
        url,
        "SELECT expected_seconds, requested_by = current_user FROM sqp.refresh_requests"
        f" WHERE id = {third}",
    )
    assert seconds > 0
    assert asked_by


def test_a_request_that_fails_is_settled_by_its_re_run(operator, environment):
    url = environment.database_url
    number = ask(url, f"ARRAY['{DAILY}'], '{FIRST}', '{LAST}'")
    (launched,) = operator.sense(SENSOR)
    # At the end of a run that fails, too, materialized views are refreshed that have to be.
    execute(url, f"CREATE MATERIALIZED VIEW public.days AS SELECT * FROM sqp.{DAILY} WITH NO DATA")
    failed = operator.run_without_bigquery(requested_tables(launched), **launched.tags)

    assert rows(url, "SELECT * FROM public.days") == []
    logged = [entry.message for entry in operator.instance.all_logs(failed.run_id)]
    assert "materialized view public.days was refreshed" in logged
    assert operator.sense(SENSOR) == []
    state = request(url, number)
    assert state[:2] == ("failed", failed.run_id)
    assert state[2].startswith(f"{DAILY}: ")

    (rerun,) = operator.sense(after=timedelta(minutes=1.5))
    done = operator.launch(rerun)
    assert operator.sense(SENSOR) == []
    assert request(url, number) == ("done", done.run_id, "6 rows changed", True, True)


def test_what_cannot_be_launched_fails_with_the_remedy_and_keeps_no_other(operator, environment):
    url = environment.database_url
    too_early = ask(url, "ARRAY['daily_sqp_data'], '2024-01-07', '2024-01-14'")
    good = ask(url)
    # The right to write the table is the right to enter what the function would refuse.
    execute(url, "INSERT INTO sqp.refresh_requests (tables) VALUES ('{nothing}')")

    (launched,) = operator.sense(SENSOR)

    assert requested_tables(launched) > {DAILY}
    assert request(url, good)[0] == "launched"
    status, _, message, *_ = request(url, too_early)
    assert (status, "set REFRESH_START_DATE" in message) == ("failed", True)
    assert "there is no table 'nothing'" in request(url, good + 1)[2]


BAD = {
    "'{nothing}'": "there is no table 'nothing' in sqp.refresh_config; choose from asin_perf",
    "'{NULL}'": "there is no table null",
    "'{}'": "tables is empty; name tables, or leave it out",
    "'{yearly_summary}'": "yearly_summary is disabled; set is_enabled = true",
    "NULL, '2025-08-04'": "2025-08-04 is no Sunday, .*; its week is that of 2025-08-03",
    "NULL, '2025-08-10', '2025-08-03'": "first_week 2025-08-10 is later than last_week",
    "last_week => '9000-01-05'": "the week of 9000-01-05 has not ended yet; the newest that has is",
    "NULL, 'infinity'": "infinity is no week; name the Sunday",
}


def test_bad_input_is_refused_at_once(migrated_database):
    execute(
        migrated_database,
        "UPDATE sqp.refresh_config SET is_enabled = false WHERE table_name = 'yearly_summary'",
    )
    execute(
        migrated_database,
        "DO $$BEGIN CREATE ROLE anon; EXCEPTION WHEN duplicate_object THEN NULL; END$$",
    )
    with psycopg.connect(migrated_database) as connection:
        connection.execute("SET ROLE service_role")
        for arguments, message in BAD.items():
            with pytest.raises(InvalidParameterValue, match=message), connection.transaction():
                connection.execute(f"SELECT sqp.request_refresh({arguments})".encode())
        connection.execute("SELECT sqp.request_refresh()")
        connection.execute("SET ROLE anon")
        with pytest.raises(InsufficientPrivilege):
            connection.execute("SELECT sqp.request_refresh()")
