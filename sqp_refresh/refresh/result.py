"""What one refresh of one table did, as the audit log, Dagster and a terminal show it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqp_refresh.checks.reconcile import Difference
from sqp_refresh.errors import Rejected
from sqp_refresh.extract.schema_drift import Drift
from sqp_refresh.ledger.ledger import Decision, ReloadReason
from sqp_refresh.load.result import Counts
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import ReadStats
from sqp_refresh.model.tables import Table


@dataclass(slots=True)
class RefreshResult:
    """What one refresh did.

    Attributes:
        table: The table that was refreshed.
        facts: How its rows were read.
        audit_id: The refresh's row in sqp.refresh_audit_log; None before it is opened.
        periods: The periods that were copied, with what that did to each.
        reasons: Why each period was copied, or was not.
        rejected: The weeks that were not published, because of too many bad rows.
        broken: How many rows broke each rule, of those that went into quarantine.
        left_out: Rows of the source that break their contract, and are in no sum of this table.
        differences: What the table holds otherwise than its source says, of each copied period.
        reloaded: The periods of which a part of the rows did not tell all.
        drift: What has changed about the source's columns.
        rows_left: Rows of the periods that were left as they were.
        resumes: The run that broke off, which this one went on from.
        failed_parents: Soft parents whose own last refresh failed.
        over_budget: The time budget in milliseconds, once it is used up.
        seconds: How long it took, reading and publishing together.
    """

    table: Table
    stats: ReadStats
    audit_id: int | None = None
    periods: dict[Period, Counts] = field(default_factory=dict)
    reasons: dict[Period, ReloadReason] = field(default_factory=dict)
    rejected: dict[Period, Rejected] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    differences: dict[Period, list[Difference]] = field(default_factory=dict)
    reloaded: list[Period] = field(default_factory=list)
    drift: Drift = field(default_factory=Drift)
    rows_left: int = 0
    resumes: str | None = None
    failed_parents: list[str] = field(default_factory=list)
    over_budget: int | None = None
    seconds: float = 0.0

    def find(self, findings: Mapping[Period, Decision]) -> None:
        """Take in what is to be done; a period copied by an earlier attempt stays copied."""
        left = {one: found for one, found in findings.items() if not found.reason.copies}
        self.rows_left = sum(
            found.rows or 0 for one, found in left.items() if one not in self.periods
        )
        self.reasons |= {
            one: found.reason for one, found in findings.items() if one not in self.periods
        }

    @property
    def opened(self) -> int:
        """The id of the audit row, which is there by now."""
        assert self.audit_id is not None
        return self.audit_id

    @property
    def counts(self) -> Counts:
        """All copied periods added up."""
        return sum(self.periods.values(), start=Counts())

    @property
    def rows(self) -> int:
        """Rows that the table holds of all the periods, copied or not."""
        return self.counts.landed + self.counts.retained + self.rows_left

    @property
    def skipped(self) -> list[Period]:
        """The periods that were left as they were."""
        return [period for period, reason in self.reasons.items() if not reason.copies]

    @property
    def rows_per_second(self) -> int:
        """Rows read and published in a second."""
        return round(self.counts.read / self.seconds) if self.seconds else 0

    @property
    def budget_warning(self) -> str:
        """What is said of a refresh that takes too long."""
        return (
            f"it took longer than {self.over_budget:,} ms, which REFRESH_TIMEOUT_WARNING_MS allows"
        )

    @property
    def warnings(self) -> list[str]:
        """What an operator should look at although the refresh went through."""
        warnings = [
            f"the {self.table.grain.published} of {period} is empty in the source; "
            f"{counts.retained} rows of it were kept"
            for period, counts in self.periods.items()
            if counts.retained
        ]
        if self.reasons and not self.rows:
            first, last = min(self.reasons), max(self.reasons)
            warnings.append(f"the source has no rows from {first} to {last.end}")
        warnings += [
            f"{parent}, which it needs where it can, failed; its rows are those of before"
            for parent in self.failed_parents
        ]
        if self.over_budget:
            warnings.append(self.budget_warning)
        return [*warnings, *self.drift.warnings, *self._of_quality()]

    def _of_quality(self) -> Iterator[str]:
        if self.counts.quarantined:
            often = ", ".join(f"{reason} ({rows})" for reason, rows in self.broken.most_common(3))
            yield (
                f"{self.counts.quarantined:,} rows are in quarantine: {often}; "
                f"see `sqp-refresh quarantine list --table {self.table.name}`"
            )
        if self.left_out:
            yield f"{self.left_out:,} rows of the source break their contract and are left out"
        if self.stats.undated:
            yield f"{self.stats.undated:,} rows of the source have no date, and reach no week"
        if self._differences:
            said = "; ".join(map(str, self._differences[:3]))
            more = len(self._differences) - 3
            yield f"it does not equal its source: {said}{f'; and {more} more' if more > 0 else ''}"

    @property
    def rejection(self) -> Rejected | None:
        """Why the refresh fails although some weeks may be published; None where it does not."""
        if not self.rejected:
            return None
        first = next(iter(self.rejected.values()))
        others = len(self.rejected) - 1
        return Rejected(
            f"{first}{f', and {others} more weeks' if others else ''}; what was published before "
            "stays as it is",
            rejected={str(week): error.details for week, error in self.rejected.items()},
        )

    @property
    def outcome(self) -> dict[str, Any]:
        """Status and message, as in sqp.refresh_audit_log."""
        return {
            "status": "warning" if self.warnings else "success",
            "error_message": "; ".join(self.warnings) or None,
        }

    @property
    def columns(self) -> dict[str, Any]:
        """The counts, as in sqp.refresh_audit_log."""
        return {
            "rows_processed": self.counts.read,
            "rows_inserted": self.counts.inserted,
            "rows_updated": self.counts.updated,
            "rows_deleted": self.counts.deleted,
            "bigquery_job_id": self.stats.job_id,
        }

    @property
    def metadata(self) -> dict[str, Any]:
        """Everything else, as in sync_metadata."""
        counts = self.counts
        return {
            "weeks": [str(period) for period in self.periods],
            "skipped": [str(period) for period in self.skipped],
            "reasons": {str(period): reason for period, reason in self.reasons.items()},
            "resumes": self.resumes,
            "unchanged": counts.unchanged,
            "quarantined": counts.quarantined,
            "left_out": self.left_out,
            "undated": self.stats.undated,
            "reloaded": [str(period) for period in self.reloaded],
            "rejected": [str(week) for week in self.rejected],
            "rerun_changes": sum(
                counts.changed
                for period, counts in self.periods.items()
                if self.reasons.get(period) is ReloadReason.FORCED
            ),
            "reconciliation": self._reconciliation,
            "schema_changes": self.drift.notes + self.drift.warnings,
            "superseded": counts.superseded,
            "retained": counts.retained,
            "bytes_billed": self.stats.bytes_billed,
            "rows_per_second": self.rows_per_second,
            "read_by": self.stats.method,
        } | ({"source_schema": self.stats.schema} if self.stats.schema else {})

    @property
    def _differences(self) -> list[Difference]:
        return [one for found in self.differences.values() for one in found]

    @property
    def _reconciliation(self) -> dict[str, Any] | None:
        """The verdict on every copied period; None where none was copied."""
        if not self.periods:
            return None
        weeks = {
            str(period): "FAIL" if self.differences.get(period) else "PASS"
            for period in self.periods
        }
        return {
            "verdict": "FAIL" if self._differences else "PASS",
            "weeks": weeks,
            "differences": list(map(str, self._differences)),
        }
