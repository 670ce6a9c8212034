"""One table's refresh from end to end: every step of the way, in order, on one page.

The Dagster assets, the command line and the tests all go through `refresh`; it knows nothing of
any of them.
"""

import logging
import resource
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from sqp_refresh.control import audit, checkpoints, registry
from sqp_refresh.errors import RefreshError
from sqp_refresh.load import Counts, publish
from sqp_refresh.parts import Facts, Feed, Part
from sqp_refresh.postgres import Session, connect
from sqp_refresh.tables import SCHEMA, Table
from sqp_refresh.weeks import Period

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Summary:
    """What one refresh did.

    Attributes:
        table: The table that was refreshed.
        facts: How its rows were read.
        periods: The periods that were published, with what that did to each.
        audit_id: The refresh's row in sqp.refresh_audit_log.
        seconds: How long it took, reading and publishing together.
    """

    table: Table
    facts: Facts
    audit_id: int
    periods: dict[Period, Counts] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def counts(self) -> Counts:
        """All periods added up."""
        return sum(self.periods.values(), start=Counts())

    @property
    def rows_per_second(self) -> int:
        """Rows read and published in a second."""
        return round(self.counts.read / self.seconds) if self.seconds else 0

    @property
    def warnings(self) -> list[str]:
        """What an operator should look at although the refresh went through."""
        retained = [
            f"the {self.table.grain.published} of {period} is empty in the source; "
            f"{counts.retained} rows of it were kept"
            for period, counts in self.periods.items()
            if counts.retained
        ]
        if self.periods and not self.counts.read and not retained:
            return [f"the source has no rows from {min(self.periods)} to {max(self.periods).end}"]
        return retained

    @property
    def outcome(self) -> dict[str, Any]:
        """Status and message, as in sqp.refresh_audit_log."""
        return {
            "status": "warning" if self.warnings else "success",
            "error_message": "; ".join(self.warnings) or None,
        }


def refresh(database_url: str, table: Table, feed: Feed, *, run_id: str) -> Summary:
    """Publish a feed's periods one by one, and leave an audit row of what happened, whatever did.

    Raises:
        RefreshError: see `errors`; periods published before it stay published.
    """
    started = time.monotonic()
    with connect(database_url) as session:
        with session.transaction():
            audit_id = audit.begin(session, table, run_id=run_id)
        summary = Summary(table, feed.facts, audit_id)
        try:
            _publish_all(session, feed, summary, run_id)
        except BaseException as error:
            summary.seconds = time.monotonic() - started
            _close_as_failed(database_url, summary, error)
            raise
        summary.seconds = time.monotonic() - started
        with session.transaction():
            _close(session, summary, summary.outcome)
            registry.mark_refreshed(session, table)
    return summary


def _publish_all(session: Session, feed: Feed, summary: Summary, run_id: str) -> None:
    table = summary.table
    with session.transaction():
        registry.require_enabled(session, table)
        periods = feed.periods(session)
        checkpoint = checkpoints.begin(session, table, run_id=run_id, periods=len(periods))
    with closing(feed.parts(periods)) as parts:
        for part in parts:
            _publish(session, part, summary, checkpoint)
    with session.transaction():
        checkpoints.complete(session, checkpoint)


def _publish(session: Session, part: Part, summary: Summary, checkpoint: int) -> None:
    published = len(summary.periods) + 1
    with session.transaction():
        registry.hold(session, summary.table)
        counts = publish(session, summary.table, part)
        rows = summary.counts.read + counts.read
        checkpoints.save(session, checkpoint, part.period, published=published, rows=rows)
    # Only what is committed is counted.
    summary.periods[part.period] = counts
    logger.info("%s.%s %s: %s", SCHEMA, summary.table.name, part.period, counts)


def _close(session: Session, summary: Summary, outcome: dict[str, Any]) -> None:
    counts, facts = summary.counts, summary.facts
    columns = {
        "rows_processed": counts.read,
        "rows_inserted": counts.inserted,
        "rows_updated": counts.updated,
        "rows_deleted": counts.deleted,
        "memory_used_mb": _peak_memory_mb(),
        "bigquery_job_id": facts.job_id,
    }
    metadata = {
        "weeks": [str(period) for period in summary.periods],
        "unchanged": counts.unchanged,
        "quarantined": 0,
        "superseded": counts.superseded,
        "retained": counts.retained,
        "bytes_billed": facts.bytes_billed,
        "rows_per_second": summary.rows_per_second,
        "read_by": facts.method,
    }
    audit.close(session, summary.audit_id, columns | outcome, metadata)


def _close_as_failed(database_url: str, summary: Summary, error: BaseException) -> None:
    """On a session of its own: the refresh's may be the very thing that broke."""
    try:
        with connect(database_url) as session, session.transaction():
            _close(session, summary, audit.failure(error))
    except RefreshError as unreachable:
        logger.warning(
            "audit row %s could not be closed as failed: %s", summary.audit_id, unreachable
        )


def _peak_memory_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kib_per_mb = 1024 if sys.platform != "darwin" else 1024 * 1024
    return round(peak / kib_per_mb)
