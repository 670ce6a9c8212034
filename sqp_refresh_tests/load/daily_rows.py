"""Rows of `daily_sqp_data`, one for each ASIN: made, loaded, and read back."""

from collections.abc import Iterable, Mapping
from datetime import date

import pyarrow as pa

from sqp_refresh.ledger.ledger import Baseline
from sqp_refresh.load import merge
from sqp_refresh.load.result import LoadResult
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import DAILY_SQP_DATA, SUMMED_COUNTS
from sqp_refresh.postgres.session import Session

WEEK = Period.week_of(date(2025, 8, 10))
TARGET = TargetPeriod(DAILY_SQP_DATA, WEEK)
NEXT_TARGET = TargetPeriod(DAILY_SQP_DATA, Period.week_of(date(2025, 8, 17)))
SCHEMA = pa.schema(
    [
        ("report_date", pa.date32()),
        ("marketplace", pa.string()),
        ("asin", pa.string()),
        ("search_query_count", pa.int64()),
        *((name, pa.int64()) for name in SUMMED_COUNTS),
    ]
)
Counted = Mapping[str, tuple[int | None, int | None]]
"""The impressions and the clicks of each ASIN; every other count is 1."""


def batch_of(rows: Counted, week: Period = WEEK) -> pa.RecordBatch:
    """Return the rows of a week as one batch."""
    columns = {
        "report_date": [week.start] * len(rows),
        "marketplace": ["US"] * len(rows),
        "asin": list(rows),
        "search_query_count": [1] * len(rows),
        **{name: [1] * len(rows) for name in SUMMED_COUNTS},
        "asin_impressions": [impressions for impressions, _ in rows.values()],
        "asin_clicks": [clicks for _, clicks in rows.values()],
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


def reader_of(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema = SCHEMA
) -> pa.RecordBatchReader:
    """Return batches as they are read."""
    return pa.RecordBatchReader.from_batches(schema, batches)


def merge_week(session: Session, rows: Counted, target: TargetPeriod = TARGET) -> LoadResult:
    """Compare the rows of a week with the table's, and commit what differs."""
    with session.transaction():
        return merge.load(session, target, reader_of([batch_of(rows, target.period)]))


def baseline_after(session: Session, rows: Counted, target: TargetPeriod = TARGET) -> Baseline:
    """Merge a week; returns what the ledger would keep of it."""
    result = merge_week(session, rows, target)
    assert result.row_hashes is not None, "each key comes once"
    return Baseline(result.totals.target, result.row_hashes)


def empty_table(session: Session) -> None:
    """Delete all rows of the table."""
    with session.transaction():
        session.execute("DELETE FROM sqp.daily_sqp_data")


def rows_in_table(session: Session) -> Counted:
    """Read what the table has of the week."""
    with session.transaction():
        rows = session.fetch_all(
            "SELECT asin, asin_impressions, asin_clicks FROM sqp.daily_sqp_data"
            " WHERE report_date = %(day)s",
            {"day": WEEK.start},
        )
    return {asin: (impressions, clicks) for asin, impressions, clicks in rows}
