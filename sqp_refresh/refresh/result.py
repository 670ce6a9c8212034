"""Define what one refresh of one table did, as the audit log, Dagster and a terminal show it."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqp_refresh.checks.certificates.certify import DifferingColumns
from sqp_refresh.checks.reconcile import AlteredRows, Difference
from sqp_refresh.errors import Rejected
from sqp_refresh.extract.schema_drift import Drift
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.ledger.decide import ReloadReason
from sqp_refresh.ledger.guard import HeldBack
from sqp_refresh.ledger.pins import Pin
from sqp_refresh.load.result import Counts
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.rows import ReadStats
from sqp_refresh.model.tables import Table
from sqp_refresh.model.text import LISTED, listing, printable
from sqp_refresh.model.versions import Version
from sqp_refresh.refresh.prepare import RefreshPlan
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.source_warnings import counts_of_versions, warn_of_versions
from sqp_refresh.refresh.sources import Source


@dataclass(frozen=True, slots=True)
class PeriodResult:
    """What loading one period did.

    Attributes:
        counts: Its rows.
        differences: What the table holds otherwise than its source says.
        broken_rules: How many rows broke each rule, of those that went into quarantine (count).
        rejected_at_source: Rows of the source that break their contract, and are in no sum of this
            table (count).
        version: What it was made from.
        deleted: The key of each row that was deleted.
        withdrawn: Those rows that were deleted because their source breaks its contract (count).
        withdrawn_for: How many of these there are for each rule that is broken (count).
    """

    counts: Counts
    differences: Sequence[Difference | DifferingColumns | AlteredRows] = ()
    broken_rules: Mapping[str, int] = field(default_factory=dict)
    rejected_at_source: int = 0
    version: Version | None = None
    deleted: Sequence[tuple[Any, ...]] = ()
    withdrawn: int = 0
    withdrawn_for: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class RefreshState:
    """What of a refresh outlives its attempts, until it is folded into a `RefreshResult`.

    Attributes:
        source: Where the rows come from.
        request: Who asks for the refresh.
        audit_log_id: The refresh's row in sqp.refresh_audit_log; 0 before it is opened.
        loaded: The periods that were loaded, and committed.
        reasons: Why each period was loaded, or was not.
        rejected: The weeks that were not loaded, because of too many bad rows.
        held: The weeks that were not loaded, because too much of them changed in the source.
        edited: The periods among them that somebody else had written to.
        reloaded: The periods that were read again, and merged.
        has_budget_warning: Whether receivers know that the time budget is used up.
        index_warnings: What is wrong with the table's indexes and constraints.
    """

    source: Source
    request: RefreshRequest
    audit_log_id: int = 0
    loaded: dict[Period, PeriodResult] = field(default_factory=dict)
    reasons: dict[Period, ReloadReason] = field(default_factory=dict)
    rejected: dict[Period, Rejected] = field(default_factory=dict)
    held: dict[Period, HeldBack] = field(default_factory=dict)
    edited: set[Period] = field(default_factory=set)
    reloaded: list[Period] = field(default_factory=list)
    has_budget_warning: bool = False
    index_warnings: Sequence[str] = ()
    _plan: RefreshPlan | None = None
    _started: float = field(default_factory=time.monotonic)

    @property
    def table(self) -> Table:
        """The table that is refreshed."""
        return self.source.table

    @property
    def has_plan(self) -> bool:
        """Whether an attempt has come as far as its plan."""
        return self._plan is not None

    @property
    def plan(self) -> RefreshPlan:
        """What this attempt is to do."""
        assert self._plan, "an attempt begins with its plan"
        return self._plan

    @property
    def source_as_of(self) -> datetime | None:
        """The instant that somebody wants the source as of; None where nobody named one."""
        return self.source.wanted_instant if isinstance(self.source, BigQuerySource) else None

    def follow(self, plan: RefreshPlan) -> None:
        """Begin an attempt; a period that an earlier one has loaded stays loaded."""
        self._plan = plan
        self.rejected.clear()
        self.held.clear()
        self.reasons |= {
            period: decision.reason
            for period, decision in plan.decisions.items()
            if period not in self.loaded
        }

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._started

    @property
    def is_over_budget(self) -> bool:
        """Whether it has taken longer than it should."""
        budget = self.request.budget_ms
        return budget is not None and self.seconds * 1000 > budget

    @property
    def budget_warning(self) -> str:
        """The warning of a refresh that takes too long."""
        return _budget_warning(self.request.budget_ms)

    def fold(self) -> "RefreshResult":
        """Return what the refresh did, as far as it got."""
        plan = self._plan
        left = {
            period: decision
            for period, decision in (plan.decisions if plan else {}).items()
            if period in self.held or (not decision.reason.loads and period not in self.loaded)
        }
        return RefreshResult(
            table=self.table,
            stats=self.source.stats,
            audit_log_id=self.audit_log_id,
            # Several writers end periods in any order.
            loaded=dict(sorted(self.loaded.items())),
            reasons=self.reasons,
            rejected=dict(sorted(self.rejected.items())),
            held=dict(sorted(self.held.items())),
            pins={period: decision.pin for period, decision in left.items() if decision.pin},
            source_as_of=self.source_as_of,
            reloaded=self.reloaded,
            drift=plan.drift if plan else Drift(),
            new_out_of_reach=plan.new_out_of_reach if plan else (),
            left={period: decision.rows_there for period, decision in left.items()},
            resumes=plan.checkpoint.resumes if plan else None,
            failed_parents=plan.failed_parents if plan else (),
            over_budget_ms=self.request.budget_ms if self.is_over_budget else None,
            index_warnings=self.index_warnings,
            seconds=self.seconds,
        )


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """What one refresh did.

    Attributes:
        table: The table that was refreshed.
        stats: How its rows were read.
        audit_log_id: The refresh's row in sqp.refresh_audit_log.
        loaded: The periods that were loaded, with what that did to each.
        reasons: Why each period was loaded, or was not.
        rejected: The weeks that were not loaded, because of too many bad rows.
        held: The weeks that were not loaded, because too much of them changed in the source.
        pins: What keeps each pinned period from being loaded.
        source_as_of: The instant that somebody wanted the source as of; None where nobody did.
        reloaded: The periods that were read again, and merged.
        drift: What has changed about the source's columns.
        new_out_of_reach: Warnings of rows that no refresh will look at, and that are news.
        left: The rows of each period that was left as it was (count).
        resumes: The run that was interrupted, which this one went on from.
        failed_parents: Soft parents whose own last refresh failed.
        over_budget_ms: The time budget, where it was used up (ms).
        index_warnings: What is wrong with the table's indexes and constraints.
        seconds: How long it took, reading and loading together.
        table_rows: Rows of all periods that the table has, also of those that were not asked for
            (count); None where the refresh failed.
    """

    table: Table
    stats: ReadStats
    audit_log_id: int
    loaded: Mapping[Period, PeriodResult]
    reasons: Mapping[Period, ReloadReason]
    rejected: Mapping[Period, Rejected]
    held: Mapping[Period, HeldBack]
    pins: Mapping[Period, Pin]
    source_as_of: datetime | None
    reloaded: Sequence[Period]
    drift: Drift
    new_out_of_reach: Sequence[str]
    left: Mapping[Period, int]
    resumes: str | None
    failed_parents: Sequence[str]
    over_budget_ms: int | None
    index_warnings: Sequence[str]
    seconds: float
    table_rows: int | None = None

    @property
    def periods(self) -> dict[Period, Counts]:
        """The rows of each period that was loaded."""
        return {period: result.counts for period, result in self.loaded.items()}

    @property
    def broken_rules(self) -> Counter[str]:
        """How many rows broke each rule, of those that went into quarantine (count)."""
        broken: Counter[str] = Counter()
        for result in self.loaded.values():
            broken += Counter(result.broken_rules)
        return broken

    @property
    def withdrawn(self) -> int:
        """Rows that were deleted because their source breaks its contract (count)."""
        return sum(result.withdrawn for result in self.loaded.values())

    @property
    def withdrawn_for(self) -> Counter[str]:
        """How many rows were withdrawn for each rule that is broken (count)."""
        broken: Counter[str] = Counter()
        for result in self.loaded.values():
            broken += Counter(result.withdrawn_for)
        return broken

    @property
    def rejected_at_source(self) -> int:
        """Rows of the source that break their contract, and are in no sum of this table (count)."""
        return sum(result.rejected_at_source for result in self.loaded.values())

    @property
    def _versions(self) -> list[Version | None]:
        return [result.version for result in self.loaded.values()]

    @property
    def differences(self) -> list[Difference | DifferingColumns | AlteredRows]:
        """What the table holds otherwise than its source says, of the periods loaded."""
        return [difference for result in self.loaded.values() for difference in result.differences]

    @property
    def counts(self) -> Counts:
        """All loaded periods added up."""
        return sum(self.periods.values(), start=Counts())

    @property
    def rows_left(self) -> int:
        """Rows of the periods that were left as they were (count)."""
        return sum(self.left.values())

    @property
    def rows_by_period(self) -> dict[Period, int]:
        """Rows that the table holds of each of the periods, loaded or not (count)."""
        loaded = {
            period: counts.landed + counts.retained for period, counts in self.periods.items()
        }
        return {**self.left, **loaded}

    @property
    def rows(self) -> int:
        """Rows that the table holds of all the periods, loaded or not (count)."""
        return sum(self.rows_by_period.values())

    @property
    def skipped(self) -> list[Period]:
        """The periods that were left as they were."""
        return [period for period, reason in self.reasons.items() if not reason.loads]

    @property
    def rows_per_second(self) -> int:
        """Rows read and published in a second."""
        return round(self.counts.read / self.seconds) if self.seconds else 0

    @property
    def warnings(self) -> list[str]:
        """What an operator should look at although the refresh went through."""
        left = [held_back_warning(self.table, week, held) for week, held in self.held.items()]
        if self.source_as_of and self.pins:
            left.append(
                f"{listing(self.pins)} is pinned already and stays as it is; "
                f"`sqp-refresh unpin {self.table.name}` first"
            )
        return [*left, *self._other_warnings]

    @property
    def to_look_at(self) -> list[Period]:
        """The periods that its warnings are about, in order of time."""
        return sorted(
            period
            for period, result in self.loaded.items()
            if result.counts.retained
            or result.counts.quarantined
            or result.withdrawn
            or result.rejected_at_source
            or result.differences
            or [*warn_of_versions([result.version])]
        )

    @property
    def has_news(self) -> bool:
        """Whether there is a warning beside those of weeks left as they are, alerted apart."""
        return bool(self._other_warnings)

    @property
    def _other_warnings(self) -> list[str]:
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
        if self.over_budget_ms:
            warnings.append(_budget_warning(self.over_budget_ms))
        warnings += [*self.index_warnings, *self.drift.warnings, *self._quality_warnings()]
        return [*map(printable, warnings)]

    def _quality_warnings(self) -> Iterator[str]:
        if self.counts.quarantined:
            weeks = (week for week, counts in self.periods.items() if counts.quarantined)
            yield (
                f"{self.counts.quarantined:,} rows are in quarantine: "
                f"{_commonest(self.broken_rules)}, in {listing(weeks)}; "
                f"see `sqp-refresh quarantine list --table {self.table.name}`"
            )
        if self.withdrawn:
            weeks = (week for week, result in self.loaded.items() if result.withdrawn)
            yield (
                f"{self.withdrawn:,} published rows were withdrawn, because their source breaks "
                f"its contract now: {_commonest(self.withdrawn_for)}, in {listing(weeks)}"
            )
        if self.rejected_at_source:
            weeks = (week for week, result in self.loaded.items() if result.rejected_at_source)
            rows = f"{self.rejected_at_source:,} rows of the source"
            yield f"{rows} break their contract and are left out, in {listing(weeks)}"
        yield from self.new_out_of_reach
        yield from warn_of_versions(self._versions)
        if self.differences:
            yield f"it does not equal its source: {listing(self.differences, '; ')}"

    @property
    def rejection(self) -> Rejected | None:
        """Why the refresh fails although some weeks may be published; None where it does not."""
        if not self.rejected:
            return None
        first = next(iter(self.rejected.values()))
        others, grain = len(self.rejected) - 1, self.table.grain.published
        return Rejected(
            f"{first}{f', and {others} more {grain}s' if others else ''}; what was published "
            "before stays as it is",
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
        counts, reach, changed_at = self.counts, self.stats.out_of_reach, self.stats.changed_at
        return {
            "weeks": [str(period) for period in self.periods],
            "skipped": [str(period) for period in self.skipped],
            "reasons": {str(period): reason for period, reason in self.reasons.items()},
            "resumes": self.resumes,
            "unchanged": counts.unchanged,
            "quarantined": counts.quarantined,
            "left_out": self.rejected_at_source,
            "withdrawn": self.withdrawn,
            "undated": reach.undated if reach else 0,
            "out_of_reach": reach.to_json() if reach else None,
            **counts_of_versions(self._versions),
            "read_twice": [str(period) for period in self.reloaded],
            "to_look_at": [str(period) for period in self.to_look_at],
            "rejected": [str(week) for week in self.rejected],
            "held": {str(week): asdict(held.change) for week, held in self.held.items()},
            "pinned": {str(period): pin.reason for period, pin in self.pins.items()},
            "source_as_of": self.source_as_of.isoformat() if self.source_as_of else None,
            "source_changed_at": changed_at.isoformat() if changed_at else None,
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
    def _reconciliation(self) -> dict[str, Any] | None:
        """The verdict on every copied period; None where none was copied."""
        if not self.periods:
            return None
        return {
            "verdict": "FAIL" if self.differences else "PASS",
            "weeks": {
                str(period): "FAIL" if result.differences else "PASS"
                for period, result in self.loaded.items()
            },
            "differences": list(map(str, self.differences)),
            "columns": {
                str(difference.period): list(difference.columns)
                for difference in self.differences
                if isinstance(difference, DifferingColumns)
            },
        }


def held_back_warning(table: Table, period: Period, held: HeldBack) -> str:
    """Return the warning of a week that was left as it was, with what to do about it."""
    is_whole = table.grain is Grain.TABLE
    name = period if is_whole else f"the {table.grain.published} of {period}"
    weeks = "" if is_whole else f" --from {period} --to {period}"
    nights = len(held.held.nights)
    return printable(
        f"{name} is held back and stays as it was published: "
        f"{held}; `sqp-refresh refresh --table {table.name}{weeks} --accept` publishes it, and so "
        f"does the third night that finds its source like this (this is number {nights})"
    )


def _commonest(broken_rules: Counter[str]) -> str:
    return ", ".join(f"{reason} ({rows})" for reason, rows in broken_rules.most_common(LISTED))


def _budget_warning(budget_ms: int | None) -> str:
    return f"it took longer than {budget_ms:,} ms, which REFRESH_TIMEOUT_WARNING_MS allows"
