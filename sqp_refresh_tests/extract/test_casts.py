"""BigQuery holds a row against its contract as Polars does, from the same text of each rule."""

from datetime import date
from random import Random

import pyarrow as pa
import pytest

from sqp_refresh.extract.bigquery_table import describe
from sqp_refresh.extract.casts import keeps_contract
from sqp_refresh.extract.client import rest_client
from sqp_refresh.extract.sql import query_parameters, typed_rows
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import SourceBatches
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, SQP_REPORT
from sqp_refresh.settings import Settings
from sqp_refresh.validate.row_validator import RowValidator
from sqp_refresh_tests.helpers.rows import SourceTable
from sqp_refresh_tests.validate.dirty import (
    DELIVERIES,
    NUMBER,
    bad_row,
    delivered,
    good_row,
    kinds_of,
)

SUNDAY = date(2025, 8, 10)
EACH = 12


@pytest.fixture
def random() -> Random:
    return Random(20250810)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_bigquery_and_polars_refuse_the_same_rows(environment, source, random, delivery):
    kinds = EACH * kinds_of(delivery, in_bigquery=True)
    rows = [bad_row(kind, number, random, SUNDAY)[0] for number, kind in enumerate(kinds)]
    rows += [good_row(len(rows) + place, random, day=SUNDAY) for place in range(60)]
    batch = delivered(rows, delivery)
    source.write(pa.Table.from_batches([batch]))

    in_bigquery, in_polars = refused_by_bigquery(environment, source), refused_by_polars(batch)

    differ = {number: rows[number] for number in in_bigquery ^ in_polars}
    assert not differ
    assert len(in_polars) == len(kinds)


def refused_by_bigquery(settings: Settings, source: SourceTable) -> set[int]:
    from google.cloud.bigquery import QueryJobConfig

    weeks = [Period.week_of(SUNDAY)]
    config = QueryJobConfig(query_parameters=query_parameters(weeks, settings.SQP_MARKETPLACE))
    with rest_client(settings) as client:
        described = describe(client, source.name, SQP_REPORT)
        query = f"""
        WITH source AS ({typed_rows(described, number=f"`{NUMBER}`")})
        SELECT number FROM source WHERE NOT ({keeps_contract(described)})"""
        return {number for (number,) in client.query(query, job_config=config).result()}


def refused_by_polars(batch: pa.RecordBatch) -> set[int]:
    validator = RowValidator(SEARCH_QUERY_PERFORMANCE, SourceBatches(batch.schema, [batch], {}))
    validator.batches().read_all()
    return {raw[NUMBER] for raw, _ in validator.invalid_rows}
