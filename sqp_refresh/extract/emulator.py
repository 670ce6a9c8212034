"""Name where an emulator differs from BigQuery; nothing else in the project knows.

The emulator's Storage Read rejects a column list that names a space, and cannot see the result
table of a query, so columns are not selected there and results come over REST.
"""

from typing import TYPE_CHECKING

from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.bigquery.table import RowIterator


def is_emulated(settings: Settings) -> bool:
    """Return whether rows come from an emulator."""
    return bool(settings.BIGQUERY_STORAGE_EMULATOR_HOST)


def result_over_rest(result: "RowIterator") -> "pa.Table":
    """Read a query's whole result as Arrow, in the order of the query."""
    return result.to_arrow(create_bqstorage_client=False)
