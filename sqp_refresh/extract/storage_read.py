"""Read rows over the Storage Read API: one ordered stream of Arrow, resumed where it broke."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from sqp_refresh.extract.client import CALL_DEADLINE_S, subject_of, translated_errors
from sqp_refresh.retrying import retrying

if TYPE_CHECKING:
    from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient
    from google.cloud.bigquery_storage_v1.types import ReadSession

# A stream is read in stretches of at most this long, so that one that stalls is noticed; the next
# stretch starts at the first row not received.
STRETCH_S = 60
# The refresh starts its week anew after this many, so few are enough.
ATTEMPTS_WITHOUT_A_ROW = 3


def open_session(
    client: "BigQueryReadClient",
    table: str,
    *,
    restriction: str = "",
    columns: tuple[str, ...] = (),
    instant: datetime | None = None,
    job_project: str | None = None,
) -> "ReadSession":
    """Open a read session: a table's rows, all at one instant, in one stream.

    Args:
        client: Where to ask.
        table: project.dataset.table.
        restriction: A filter in SQL, without WHERE; empty for all rows.
        columns: Titles of the columns to send; empty for all.
        instant: When to read the table as of; None is now.
        job_project: The project that the session belongs to; None is the table's own.
    """
    from google.cloud.bigquery_storage_v1 import types

    # The name of an old project holds a dot itself.
    project, dataset, name = table.rsplit(".", 2)
    lz4 = types.ArrowSerializationOptions(
        buffer_compression=types.ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
    )
    options = types.ReadSession.TableReadOptions(
        row_restriction=restriction,
        selected_fields=list(columns),
        arrow_serialization_options=lz4,
    )
    request = types.ReadSession(
        table=f"projects/{project}/datasets/{dataset}/tables/{name}",
        data_format=types.DataFormat.ARROW,
        read_options=options,
    )
    if instant is not None:
        request.table_modifiers = types.ReadSession.TableModifiers(snapshot_time=instant)
    with translated_errors(subject_of(table, job_project)):
        # One stream keeps the order of a query's result, and weeks are small.
        return client.create_read_session(
            parent=f"projects/{job_project or project}",
            read_session=request,
            max_stream_count=1,
            # The library's own retries would go on for ten minutes.
            retry=None,
            timeout=CALL_DEADLINE_S,
        )


def session_schema(session: "ReadSession") -> pa.Schema:
    """Return the Arrow schema of every block of a session."""
    return pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))


def session_batches(
    client: "BigQueryReadClient", session: "ReadSession"
) -> Iterator[pa.RecordBatch]:
    """Read every row of a session, once, whatever breaks on the way.

    Raises:
        Unavailable: several attempts in a row brought no row.
    """
    schema = session_schema(session)
    for stream in session.streams:
        yield from _stream_batches(client, stream.name, schema, session.table)


def _stream_batches(
    client: "BigQueryReadClient", stream: str, schema: pa.Schema, subject: str
) -> Iterator[pa.RecordBatch]:
    received = 0

    def progress() -> int:
        return received

    for attempt in retrying(progress, ATTEMPTS_WITHOUT_A_ROW):
        with attempt:
            for batch in _stretch(client, stream, received, schema, subject):
                received += batch.num_rows
                yield batch


def _stretch(
    client: "BigQueryReadClient", stream: str, offset: int, schema: pa.Schema, subject: str
) -> Iterator[pa.RecordBatch]:
    with translated_errors(subject):
        blocks = client.read_rows(read_stream=stream, offset=offset, retry=None, timeout=STRETCH_S)
        for block in blocks:
            message = pa.py_buffer(block.arrow_record_batch.serialized_record_batch)
            yield pa.ipc.read_record_batch(message, schema)
