"""Sum up what one look at a source has shown, for whoever watches the source itself."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqp_refresh.extract.bigquery_table import BigQueryTable


@dataclass(frozen=True, slots=True)
class SourceObservation:
    """What a source held when a run looked at it.

    Attributes:
        rows: Rows of the weeks that were looked at (count).
        newest_week: The Sunday of the newest of them that has rows; None where none has.
        table_rows: All rows of the table (count), as BigQuery counts them; None for a view.
        changed_at: When the table was last written, by BigQuery; None where it does not say.
        data_version: A text that is another one once a row of these weeks has changed.
    """

    rows: int
    newest_week: date | None
    table_rows: int | None
    changed_at: datetime | None
    data_version: str


def observe(
    source: BigQueryTable, by_week: Mapping[date, Mapping[str, Any]], digests: Iterable[str]
) -> SourceObservation:
    """Return what the result of the state query says of the source.

    Args:
        source: The table that was asked.
        by_week: The row of the state query for every week that has rows, by its Sunday.
        digests: Names of its columns that together identify the rows of a week.
    """
    names = ("source_rows", *digests)
    texts = (f"{week} {[row[name] for name in names]}" for week, row in sorted(by_week.items()))
    return SourceObservation(
        rows=sum(row["source_rows"] for row in by_week.values()),
        newest_week=max(by_week, default=None) if source.spec.week_title else None,
        table_rows=source.rows,
        changed_at=source.changed_at,
        data_version=hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16],
    )
