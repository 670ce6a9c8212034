"""A column of a type that does not convert is refused by name, in BigQuery and as it is read."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta

import pyarrow as pa
import pytest
from google.cloud.bigquery import Client, SchemaField, Table

from sqp_refresh.demo.servers import bigquery_client
from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.extract.bigquery_table import describe
from sqp_refresh.model.tables import SourceColumn, SourceSpec
from sqp_refresh.monitoring.doctor.checkup import _check_registered_sources
from sqp_refresh.validate.conform import conform
from sqp_refresh_tests.helpers.commands import one_line, sqp_refresh
from sqp_refresh_tests.helpers.database import execute

PARTS = (SchemaField("part", "STRING"),)
FIELDS = [
    SchemaField("Code", "STRING"),
    SchemaField("plain", "STRING"),
    *(SchemaField(f"a {t}", t) for t in ("JSON", "GEOGRAPHY", "BYTES", "INTERVAL", "TIME")),
    *(
        SchemaField(f"some {t}", t, mode="REPEATED")
        for t in ("STRING", "INTEGER", "FLOAT", "NUMERIC", "BOOLEAN", "DATE", "TIMESTAMP", "JSON")
    ),
    SchemaField("a STRUCT", "RECORD", fields=PARTS),
    SchemaField("some STRUCTs", "RECORD", mode="REPEATED", fields=PARTS),
    SchemaField("a RANGE", "RANGE", range_element_type="DATE"),
]
POSTGRES = ("text", "bigint", "numeric", "boolean", "date", "timestamp with time zone")


@pytest.fixture
def client(emulator, dataset) -> Iterator[Client]:
    with bigquery_client(emulator) as client:
        client.create_table(Table(f"{emulator.project}.{dataset}.odd", schema=FIELDS))
        view = f"CREATE VIEW {dataset}.odd_view AS SELECT 'a' AS `Code`, ['a'] AS `some STRING`"
        client.query(view).result()
        yield client


def spec_of(title: str, postgres_type: str, name: str = "odd") -> SourceSpec:
    columns = (
        SourceColumn("Code", "code", "text", ""),
        SourceColumn(title, "x", postgres_type, ""),
    )
    return SourceSpec(columns, None, ("code",), name)


def test_a_column_that_holds_no_single_value_is_refused_by_name(client, dataset):
    for field in FIELDS[2:]:
        for postgres_type in POSTGRES:
            expected = rf"column '{field.name}' of .*odd is .*, which does not convert to"
            with pytest.raises(SchemaMismatch, match=expected) as refused:
                describe(
                    client, f"{client.project}.{dataset}.odd", spec_of(field.name, postgres_type)
                )
            assert ("REPEATED" in str(refused.value)) == (field.mode == "REPEATED")
            assert refused.value.details["source_schema"]["Code"] == "STRING"
    with pytest.raises(SchemaMismatch, match=r"column 'some STRING' of .* is REPEATED STRING"):
        describe(client, f"{client.project}.{dataset}.odd_view", spec_of("some STRING", "text"))


def test_columns_that_nobody_reads_may_be_of_any_type(client, dataset):
    spec = SourceSpec((SourceColumn("Code", "code", "text", ""),), None, ("code",), "odd")

    assert describe(client, f"{client.project}.{dataset}.odd", spec).types == {"Code": "STRING"}


def test_a_table_says_when_it_was_last_changed_and_a_view_does_not(client, dataset):
    spec = SourceSpec((SourceColumn("Code", "code", "text", ""),), None, ("code",), "odd")
    table, view = (
        describe(client, f"{client.project}.{dataset}.{name}", spec) for name in ("odd", "odd_view")
    )

    assert table.instant
    assert table.changed_at
    assert timedelta() <= table.instant - table.changed_at < timedelta(minutes=10)
    assert view.changed_at is None


def test_the_doctor_and_the_plan_name_it_and_go_on_with_the_others(client, environment):
    titles = {"bad": "some STRING", "gone": "plain", "good": "plain", "off": "a JSON"}
    for table, title in titles.items():
        params = {
            "source_table": "nowhere" if table == "gone" else "odd",
            "key": ["code"],
            "columns": {"Code": "code", title: "x"},
        }
        execute(
            environment.database_url,
            f"CREATE TABLE sqp.{table} (code text PRIMARY KEY, x text);"
            f"UPDATE sqp.refresh_config SET is_enabled = {table != 'off'}, custom_sync_params ="
            f" '{json.dumps(params)}' WHERE table_name = '{table}'",
        )

    diagnoses = list(_check_registered_sources(environment))
    planned = sqp_refresh("plan", "--json")

    message = one_line(planned)
    assert [diagnosis.is_ok for diagnosis in diagnoses] == [False, False, True]
    for text in (" ".join(diagnosis.message for diagnosis in diagnoses), message):
        assert "sqp.bad" in text and "column 'some STRING' of" in text and "REPEATED" in text
        assert "sqp.gone" in text and "nowhere" in text
    tables = {period["table"] for period in json.loads(planned.stdout)}
    assert tables & titles.keys() == {"good"}


@pytest.mark.parametrize(
    "array",
    [
        pa.array([["a"]]),
        pa.array([[]], pa.list_(pa.string())),
        pa.array([[1]], pa.large_list(pa.int64())),
        pa.array([{"a": 1}]),
        pa.array([[{"a": 1}]]),
        pa.array([b"a"]),
        pa.array([b"a"], pa.binary(1)),
    ],
    ids=lambda array: str(array.type),
)
@pytest.mark.parametrize("postgres_type", POSTGRES)
def test_rows_that_come_with_such_a_column_are_refused_by_name(array, postgres_type):
    batch = pa.RecordBatch.from_pydict({"Code": pa.array(["a"]), "Value": array})

    with pytest.raises(
        SchemaMismatch, match=f"column 'Value' .* comes as {re.escape(str(array.type))}"
    ):
        conform(spec_of("Value", postgres_type), batch, {})
