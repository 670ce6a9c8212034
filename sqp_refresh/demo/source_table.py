"""The vendor's table in the emulator: created with the vendor's titles, filled by load jobs."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sqp_refresh.demo.servers import Emulator, bigquery_client
from sqp_refresh.demo.year import SCHEMA, year_of_rows
from sqp_refresh.model.tables import CHILD_ASIN_TITLE, DATE_TITLE

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, SchemaField

CALL_DEADLINE_S = 30
LOAD_DEADLINE_S = 120

BIGQUERY_TYPES = {
    pa.timestamp("us", "UTC"): "TIMESTAMP",
    pa.timestamp("us"): "DATETIME",
    pa.date32(): "DATE",
    pa.int64(): "INTEGER",
    pa.float64(): "FLOAT",
    pa.string(): "STRING",
    pa.bool_(): "BOOLEAN",
    pa.decimal128(38, 9): "NUMERIC",
}

Columns = tuple[tuple[str, str], ...]


def columns_of(schema: pa.Schema) -> Columns:
    """Title and BigQuery type of each column of a table that is to hold rows of this schema.

    Raises:
        KeyError: a type is none of `BIGQUERY_TYPES`.
    """
    return tuple((field.name, BIGQUERY_TYPES[field.type]) for field in schema)


SOURCE_SCHEMA = columns_of(SCHEMA)


def fill_source(emulator: Emulator, dataset: str, table: str) -> bool:
    """Put the realistic year into the emulator, unless rows are there; returns whether it did."""
    from google.api_core.exceptions import NotFound

    with bigquery_client(emulator) as client:
        name = f"{emulator.project}.{dataset}.{table}"
        try:
            if client.get_table(name, **call_deadline()).num_rows:
                return False
        except NotFound:
            create_source(client, dataset, table)
        load_rows(client, name, year_of_rows())
    return True


def create_source(
    client: "Client", dataset: str, table: str, *, schema: Columns = SOURCE_SCHEMA
) -> str:
    """Create the table, empty, and its dataset where there is none; returns project.dataset.table.

    It is partitioned by day and clustered by ASIN, as a vendor's is likely to be. A schema without
    one of those columns gives a table without that.

    Args:
        client: The emulator's.
        dataset: A bare name.
        table: A bare name.
        schema: Title and BigQuery type of each column.

    Raises:
        google.api_core.exceptions.Conflict: the table exists.
    """
    from google.cloud import bigquery

    name = f"{client.project}.{dataset}.{table}"
    made = bigquery.Table(name, schema=[bigquery.SchemaField(*column) for column in schema])
    titles = dict(schema)
    if titles.get(DATE_TITLE) in ("TIMESTAMP", "DATETIME", "DATE"):
        made.time_partitioning = bigquery.TimePartitioning(field=DATE_TITLE)
    if CHILD_ASIN_TITLE in titles:
        made.clustering_fields = [CHILD_ASIN_TITLE]
    client.create_dataset(dataset, exists_ok=True, **call_deadline())
    client.create_table(made, **call_deadline())
    return name


def load_rows(client: "Client", name: str, rows: pa.Table) -> None:
    """Append rows to a table, all or none; columns go by their titles.

    Args:
        client: The emulator's.
        name: project.dataset.table.
        rows: In the table's types; a column that it lacks is null.

    Raises:
        ValueError: the table lacks one of their columns.
        google.api_core.exceptions.GoogleAPICallError: they were refused.
        concurrent.futures.TimeoutError: they were not loaded within `LOAD_DEADLINE_S`.
    """
    from google.cloud import bigquery

    if not rows.num_rows:
        return
    parquet = BytesIO()
    pq.write_table(_placed(rows, client.get_table(name, **call_deadline()).schema), parquet)
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
    )
    job = client.load_table_from_file(
        parquet, name, rewind=True, job_config=config, num_retries=0, timeout=LOAD_DEADLINE_S
    )
    job.result(timeout=LOAD_DEADLINE_S)


def _placed(rows: pa.Table, schema: "Sequence[SchemaField]") -> pa.Table:
    """The rows with the table's columns in its order.

    BigQuery goes by name, the emulator by place: it would put a value under another title.
    """
    unknown = set(rows.column_names) - {field.name for field in schema}
    if unknown:
        raise ValueError(f"the table has no column {', '.join(sorted(unknown))}")
    arrow = {name: type_ for type_, name in BIGQUERY_TYPES.items()}
    return pa.table(
        {
            field.name: rows[field.name]
            if field.name in rows.column_names
            else pa.nulls(rows.num_rows, arrow[field.field_type])
            for field in schema
        }
    )


def call_deadline() -> dict[str, Any]:
    """Keyword arguments that bound one call of the client, its retries included."""
    from google.cloud.bigquery import DEFAULT_RETRY

    return {"retry": DEFAULT_RETRY.with_timeout(CALL_DEADLINE_S), "timeout": CALL_DEADLINE_S}
