"""Create the vendor's table in the emulator, with the vendor's titles, and load rows into it."""

from collections.abc import Callable, Sequence
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
    """Return title and BigQuery type of each column of a table for rows of an Arrow schema.

    Raises:
        KeyError: a type is none of `BIGQUERY_TYPES`.
    """
    return tuple((field.name, BIGQUERY_TYPES[field.type]) for field in schema)


SOURCE_SCHEMA = columns_of(SCHEMA)


def fill_source(
    emulator: Emulator,
    dataset: str,
    table: str,
    rows: Callable[[], pa.Table] = year_of_rows,
) -> bool:
    """Load the realistic year into the emulator, unless the table has rows.

    Args:
        emulator: Where to.
        dataset: A bare name.
        table: A bare name.
        rows: Makes the rows; it takes seconds, so that it is called only where they are needed.

    Returns:
        Whether rows were loaded.
    """
    from google.api_core.exceptions import NotFound

    with bigquery_client(emulator) as client:
        name = f"{emulator.project}.{dataset}.{table}"
        try:
            if client.get_table(name, **call_deadline()).num_rows:
                return False
        except NotFound:
            create_source(client, dataset, table)
        load_rows(client, name, rows())
    return True


def create_source(
    client: "Client", dataset: str, table: str, *, schema: Columns = SOURCE_SCHEMA
) -> str:
    """Create the table without rows, and its dataset where there is none.

    It is partitioned by day and clustered by ASIN, as far as the schema has those columns: a
    vendor's table is likely to be.

    Args:
        client: The emulator's.
        dataset: A bare name.
        table: A bare name.
        schema: Title and BigQuery type of each column.

    Returns:
        project.dataset.table.

    Raises:
        google.api_core.exceptions.Conflict: the table exists.
    """
    from google.cloud import bigquery

    name = f"{client.project}.{dataset}.{table}"
    new_table = bigquery.Table(name, schema=[bigquery.SchemaField(*column) for column in schema])
    titles = dict(schema)
    if titles.get(DATE_TITLE) in ("TIMESTAMP", "DATETIME", "DATE"):
        new_table.time_partitioning = bigquery.TimePartitioning(field=DATE_TITLE)
    if CHILD_ASIN_TITLE in titles:
        new_table.clustering_fields = [CHILD_ASIN_TITLE]
    client.create_dataset(dataset, exists_ok=True, **call_deadline())
    client.create_table(new_table, **call_deadline())
    return name


def load_rows(client: "Client", name: str, rows: pa.Table) -> None:
    """Append rows to a table, all or none; columns are matched by title.

    Args:
        client: The emulator's.
        name: project.dataset.table.
        rows: In the table's types; a column that they lack becomes null.

    Raises:
        ValueError: the table lacks one of their columns.
        google.api_core.exceptions.GoogleAPICallError: they were refused.
        concurrent.futures.TimeoutError: they were not loaded within `LOAD_DEADLINE_S`.
    """
    from google.cloud import bigquery

    if not rows.num_rows:
        return
    parquet = BytesIO()
    pq.write_table(_in_order_of(rows, client.get_table(name, **call_deadline()).schema), parquet)
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
    )
    job = client.load_table_from_file(
        parquet, name, rewind=True, job_config=config, num_retries=0, timeout=LOAD_DEADLINE_S
    )
    job.result(timeout=LOAD_DEADLINE_S)


def _in_order_of(rows: pa.Table, schema: "Sequence[SchemaField]") -> pa.Table:
    """Return the rows with the table's columns, in its order.

    BigQuery matches columns by name, but the emulator by position.
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
    """Return keyword arguments that limit one call of the client, its retries included."""
    from google.cloud.bigquery import DEFAULT_RETRY

    return {"retry": DEFAULT_RETRY.with_timeout(CALL_DEADLINE_S), "timeout": CALL_DEADLINE_S}
