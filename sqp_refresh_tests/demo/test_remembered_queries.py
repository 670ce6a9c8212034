"""The emulator translates a query once, and answers it from the tables that it names each time."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psutil
import pytest
from google.api_core.exceptions import GoogleAPIError
from google.cloud.bigquery import Client, QueryJobConfig, SchemaField, Table

from sqp_refresh.demo.remembered_queries import without_names
from sqp_refresh.demo.servers import Emulator, bigquery_client
from sqp_refresh.demo.source_table import call_deadline
from sqp_refresh.extract.bigquery_table import describe
from sqp_refresh.extract.source_version import state_query
from sqp_refresh.extract.sql import query_parameters
from sqp_refresh.model.tables import SQP_REPORT
from sqp_refresh_tests.helpers.rows import SourceTable
from sqp_refresh_tests.helpers.weeks import WEEKS, three_weeks


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Client]:
    with bigquery_client(emulator) as client:
        yield client


@contextmanager
def other_dataset(client: Client) -> Iterator[str]:
    """Make a dataset; it is dropped in the end."""
    name = f"another_{uuid4().hex}"
    client.create_dataset(name, **call_deadline())
    yield name
    client.delete_dataset(name, delete_contents=True, **call_deadline())


def run_query(client: Client, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(query, **call_deadline()).result(**call_deadline())]


def write(client: Client, name: str, value: str) -> None:
    run_query(client, f"INSERT INTO `{name}` VALUES ({value})")


def test_a_query_reads_the_dataset_and_the_instant_that_it_names(client, dataset):
    query = f"SELECT value, '{uuid4()}' <> '' FROM `{{}}.kept` AS r{{}} ORDER BY value"
    with other_dataset(client) as other:
        of_dataset = {dataset: [1, 2], other: [3, 4]}
        instants = {}
        for name, (first, second) in of_dataset.items():
            run_query(client, f"CREATE TABLE `{client.project}.{name}.kept` (value INT64)")
            write(client, f"{client.project}.{name}.kept", str(first))
            instants[name] = datetime.now(UTC).isoformat()
            write(client, f"{client.project}.{name}.kept", str(second))

        for name, (first, second) in of_dataset.items():
            place = f"{client.project}.{name}"
            as_of = f" FOR SYSTEM_TIME AS OF TIMESTAMP '{instants[name]}'"
            assert run_query(client, query.format(place, as_of)) == [(first, True)]
            assert run_query(client, query.format(place, "")) == [(first, True), (second, True)]


def test_an_instant_is_refused_where_the_table_was_not_yet_there(client, dataset):
    name = f"`{client.project}.{dataset}.kept`"
    query = f"SELECT * FROM {name} AS r FOR SYSTEM_TIME AS OF TIMESTAMP '{{}}'"
    before = datetime.now(UTC)
    run_query(client, f"CREATE TABLE {name} (value INT64)")
    write(client, name.strip("`"), "1")

    assert run_query(client, query.format(datetime.now(UTC).isoformat())) == [(1,)]
    for wrong in (before - timedelta(days=1), before + timedelta(days=1)):
        with pytest.raises(GoogleAPIError, match="FOR SYSTEM_TIME AS OF is"):
            run_query(client, query.format(wrong.isoformat()))


def test_a_query_goes_by_the_types_of_its_columns(client, dataset):
    query = f"SELECT AVG(value), '{uuid4()}' <> '' FROM `{client.project}.{{}}.kept`"
    with other_dataset(client) as other:
        for name, type_ in ((dataset, "NUMERIC"), (other, "FLOAT64")):
            table = Table(f"{client.project}.{name}.kept", [SchemaField("value", type_)])
            client.create_table(table, **call_deadline())
            write(client, f"{client.project}.{name}.kept", f"CAST(1.5 AS {type_})")

        ((exact, _),) = run_query(client, query.format(dataset))
        ((rounded, _),) = run_query(client, query.format(other))

    assert (type(exact), type(rounded)) == (Decimal, float)
    assert exact == rounded


def test_a_view_is_read_as_its_query_says_at_the_moment(client, dataset):
    place = f"{client.project}.{dataset}"
    run_query(client, f"CREATE TABLE `{place}.kept` AS SELECT 1 AS value")
    query = f"SELECT * FROM `{place}.seen`"
    for value in ("value", "value + 1"):
        body = f"SELECT {value} AS value FROM `{place}.kept`"
        run_query(client, f"CREATE OR REPLACE VIEW `{place}.seen` AS {body}")
        assert run_query(client, query) == [(2 if "+" in value else 1,)]


def test_the_longest_query_of_a_night_is_translated_once(emulator, client, source):
    mark, spent_s = uuid4(), []
    (server,) = (
        child for child in psutil.Process().children() if "bigquery_server" in str(child.cmdline())
    )
    with other_dataset(client) as other:
        for table in (source, SourceTable(emulator, other, source.table)):
            table.write(three_weeks())
            described = describe(client, table.name, SQP_REPORT)
            query = f"SELECT * FROM ({state_query(described)}) WHERE '{mark}' <> ''"
            configuration = QueryJobConfig(query_parameters=query_parameters(WEEKS, "US"))
            before = server.cpu_times().user
            result = client.query(query, configuration, **call_deadline()).result(**call_deadline())
            spent_s.append(server.cpu_times().user - before)
            assert result.total_rows == len(WEEKS)

    assert spent_s[1] < spent_s[0] / 2


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE `a.b.c` (value INT64)",
        "INSERT INTO `a.b.c` SELECT * FROM `a.b.d`",
        "SELECT 1",
        "SELECT * FROM `a.b.INFORMATION_SCHEMA.TABLES`",
        "SELECT * FROM `a.b.c*`",
        "SELECT 'b' FROM `a.b.c`",
        "SELECT * FROM `a.b.c` JOIN b.d USING (value)",
        "SELECT * FROM `a.b.c`; DROP TABLE `a.b.c`",
        "SELECT * FROM `a.b.c` AS r FOR SYSTEM_TIME AS OF TIMESTAMP_SUB(now, INTERVAL 1 DAY)",
    ],
)
def test_what_is_no_query_of_tables_by_their_whole_names_is_not_remembered(statement):
    assert without_names(statement) is None


def test_names_and_instants_are_all_that_may_differ():
    query = "SELECT * FROM `a.b.{}` AS r{} JOIN `a.b.{}` USING (value)"
    at = " FOR SYSTEM_TIME AS OF TIMESTAMP '{}'"

    query_of_c = without_names(query.format("c", at.format("2025-08-20T02:00:00+00:00"), "d"))
    assert query_of_c
    for same in (
        query.format("c", at.format("2025-08-21T02:00:00.5+00:00"), "d"),
        query.format("c", "", "d"),
    ):
        assert (result := without_names(same)) and result.text == query_of_c.text
        assert result.tables != query_of_c.tables
    for other in (query.format("d", "", "c"), query.format("c", "", "c")):
        assert (result := without_names(other)) and result.text != query_of_c.text
