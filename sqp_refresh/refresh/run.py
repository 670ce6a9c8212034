"""One table's refresh from end to end: every step of the way, in order, on one page.

The Dagster assets, the command line and the tests all go through `refresh`; it knows nothing of
any of them.
"""

import logging
import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqp_refresh.checks import data_quality
from sqp_refresh.checks.data_quality import Recorded
from sqp_refresh.checks.metrics import QUARANTINED_RATIO, with_bounds
from sqp_refresh.checks.period_totals import PeriodTotals
from sqp_refresh.checks.reconcile import Difference, differences
from sqp_refresh.control import audit_log, checkpoints, quarantine
from sqp_refresh.control.checkpoints import Checkpoint
from sqp_refresh.control.table_lock import table_lock
from sqp_refresh.errors import RefreshError, Rejected, SchemaMismatch, Transient
from sqp_refresh.extract.schema_drift import drift, explained, require_percentages
from sqp_refresh.ledger import ledger
from sqp_refresh.ledger.ledger import Decision, ReloadReason
from sqp_refresh.ledger.target_version import Baseline
from sqp_refresh.load import indexes
from sqp_refresh.load.append import encode_ahead
from sqp_refresh.load.indexes import Index
from sqp_refresh.load.merge import publish
from sqp_refresh.load.result import LoadResult, NeedsMerge
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, Source, SqlRows
from sqp_refresh.model.tables import SCHEMA, Dependency, Origin, Table
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.lookback import weeks_of_table
from sqp_refresh.refresh.prefetch import ahead
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.registry import refresh_config
from sqp_refresh.retrying import retrying
from sqp_refresh.validate.row_validator import (
    InvalidRow,
    RowValidator,
    ValidatedRows,
    rejection,
    validated,
)

logger = logging.getLogger(__name__)

SAMPLE = 1_000
"""Bad rows of a rejected week that are kept, to see what is wrong with it."""


class Trigger(StrEnum):
    """Who launched a run: only what a person did is a manual step."""

    SCHEDULE = "schedule"
    SENSOR = "sensor"
    RETRY = "retry"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """Who asks for a refresh, and how it is to be done.

    Attributes:
        run_id: The run that it belongs to.
        root_run_id: The run that that one is a re-run of, however often; None where it is none.
        force: Copy also what has not changed.
        tick: The tick of the schedule that asks for it; None where somebody else does.
        budget_ms: Milliseconds after which it is marked as a warning, and goes on.
        launched_by: Who launched the run.
        rerun: How many times its work had been launched before.
    """

    run_id: str
    root_run_id: str | None = None
    force: bool = False
    tick: datetime | None = None
    budget_ms: int | None = None
    launched_by: Trigger = Trigger.PERSON
    rerun: int = 0

    @property
    def origin(self) -> dict[str, Any]:
        """Where the refresh comes from, as in sync_metadata."""
        known = {"run_id": self.run_id, "launched_by": self.launched_by}
        if self.tick:
            known["tick"] = self.tick.isoformat()
        if self.root_run_id:
            known["root_run_id"] = self.root_run_id
        return known | ({"rerun": self.rerun} if self.rerun else {})


def refresh(database_url: str, feed: Source, order: RefreshRequest) -> RefreshResult:
    """Publish those of a feed's periods that changed, and leave an audit row, whatever happens.

    What is transient is tried again, from the first period not yet published. A week with too many
    bad rows is left as it was, the others are published, and then the refresh fails.

    Raises:
        RefreshError: see `errors`; periods published before it stay published.
    """
    work = _Work(database_url, feed.table, feed, order)
    with table_lock(database_url, feed.table) as writer:
        try:
            for attempt in retrying(lambda: len(work.summary.periods)):
                with attempt:
                    writer.ensure()
                    work.attempt()
        except BaseException as error:
            work.close_as_failed(error)
            raise
    return work.summary


@dataclass(slots=True)
class _Work:
    """A refresh in hand, through all of its attempts."""

    database_url: str
    table: Table
    feed: Source
    order: RefreshRequest
    started: float = field(default_factory=time.monotonic)
    summary: RefreshResult = field(init=False)
    tolerated: float = 0.0
    away: list[Index] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.summary = RefreshResult(self.table, self.feed.stats)

    def attempt(self) -> None:
        self.summary.rejected.clear()
        with connect(self.database_url) as session:
            with session.transaction():
                self._open(session)
            with session.transaction():
                checkpoint, findings = self._prepare(session)
            if findings and all(found.reason is ReloadReason.NEW for found in findings.values()):
                self._set_indexes_aside(session)
            again = self._publish_all(session, self._to_read(findings), findings, checkpoint)
            if again:
                self._publish_all(session, again, findings, checkpoint)
            self._build_indexes(session)
            with session.transaction():
                self._finish(session, checkpoint, findings)
        if self.summary.rejection:
            raise self.summary.rejection

    def _open(self, session: Session) -> None:
        if self.summary.audit_id is None:
            audit_log.close_dead(session, held=self.table)
            self.summary.audit_id = audit_log.begin(session, self.table, self.order.origin)

    def _prepare(self, session: Session) -> tuple[Checkpoint, Mapping[Period, Decision]]:
        """Find out what is to be done, and open or take over the checkpoint for it."""
        params = refresh_config.require_enabled(session, self.table).params
        (bounded,) = with_bounds([QUARANTINED_RATIO], params.only(QUARANTINED_RATIO.name))
        self.tolerated = bounded.maximum or 0.0
        self.feed.batch_size = params.batch_size
        self.away = indexes.away(session, self.table)
        periods = self.feed.periods(session)
        if self.order.tick and self.table.source:
            periods = weeks_of_table(periods, params)
        broken_off = checkpoints.active(session, self.table)
        if broken_off and self.order.force and not broken_off.forced:
            broken_off = None
        findings = self._examine(session, periods, broken_off)
        checkpoint = self._begin(session, findings, broken_off)
        self.summary.resumes = checkpoint.resumes
        self.summary.find(findings)
        soft = [name for name, how in self.table.parents.items() if how is Dependency.SOFT]
        self.summary.failed_parents = audit_log.failed_last(session, soft)
        return checkpoint, findings

    def _examine(
        self, session: Session, periods: Sequence[Period], broken_off: Checkpoint | None
    ) -> Mapping[Period, Decision]:
        done = broken_off.published if broken_off else []
        before = audit_log.last_schema(session, self.table) if self.table.source else {}
        try:
            findings = ledger.examine(
                session, self.table, self.feed, periods, force=self.order.force, resumed=done
            )
        except SchemaMismatch as mismatch:
            raise explained(mismatch, self.table.source, before) from None
        self.summary.drift = drift(self.table.source, before, self.feed.stats.schema)
        require_percentages(one for one, found in findings.items() if found.state.has_fractions)
        return findings

    def _begin(
        self, session: Session, findings: Mapping[Period, Decision], broken_off: Checkpoint | None
    ) -> Checkpoint:
        to_copy = {one: finding for one, finding in findings.items() if finding.reason.copies}
        rows = [finding.rows for finding in to_copy.values()]
        return checkpoints.begin(
            session,
            self.table,
            run_id=self.order.run_id,
            periods=list(to_copy),
            rows=None if None in rows else sum(filter(None, rows)),
            forced=self.order.force,
            resumed=broken_off,
        )

    def _to_read(self, findings: Mapping[Period, Decision]) -> list[Period]:
        """The periods to copy; of a week that BigQuery sums up, it has counted the bad rows."""
        to_copy = [period for period, finding in findings.items() if finding.reason.copies]
        if self.table.origin is not Origin.SOURCE_AGGREGATE:
            return to_copy
        for period in to_copy:
            state = findings[period].state
            if state.broken_ratio > self.tolerated:
                bad, read = state.value["broken"], state.value["source_rows"]
                self.summary.rejected[period] = rejection(period, bad, read, self.tolerated)
        return [period for period in to_copy if period not in self.summary.rejected]

    def _set_indexes_aside(self, session: Session) -> None:
        """A first load is faster without them, and right with them, should that fail."""
        try:
            with session.transaction():
                self.away += indexes.set_aside(session, self.table)
        except RefreshError as error:
            logger.info("the indexes of %s stay where they are: %s", self.table.name, error)

    def _build_indexes(self, session: Session) -> None:
        """Each for itself: one that cannot be built now is left to the next refresh."""
        for index in self.away:
            try:
                with session.transaction():
                    indexes.build(session, self.table, index)
            except RefreshError as error:
                logger.warning(
                    "%s.%s is without %s: %s", SCHEMA, self.table.name, index.name, error
                )
        self.away = []

    def _publish_all(
        self,
        session: Session,
        periods: Sequence[Period],
        findings: Mapping[Period, Decision],
        checkpoint: Checkpoint,
    ) -> list[Period]:
        """Publish these periods; returns those that must be read again, then whole."""
        undecided = []
        with closing(self.feed.parts(periods)) as parts:
            good = (self._prepared(part, findings[part.period]) for part in parts)
            with closing(ahead(good)) as coming:
                for part in coming:
                    try:
                        self._publish(session, part, findings[part.period], checkpoint)
                    except NeedsMerge:
                        logger.info("%s: a part of its rows does not tell all", part.period)
                        undecided.append(part.period)
        self.summary.reloaded += undecided
        return undecided

    def _prepared(self, part: PeriodRows, finding: Decision) -> PeriodRows:
        """What is done with a part's rows before it is its turn: only the good ones come."""
        if isinstance(part.rows, SqlRows):
            return self._shortened(part, part.rows, finding)
        good = validated(self.table, part, self._most_refused(finding))
        return encode_ahead(self.table, good) if finding.reason is ReloadReason.NEW else good

    def _shortened(self, part: PeriodRows, query: SqlRows, finding: Decision) -> PeriodRows:
        """Of a period that has only gained weeks, what Postgres is to compute."""
        is_whole = self.order.force or part.period in self.summary.reloaded
        gained = [] if is_whole else finding.gained
        if not gained or not query.with_gained:
            return part
        return replace(part, rows=query.with_gained(gained))

    def _publish(
        self, session: Session, part: PeriodRows, finding: Decision, checkpoint: Checkpoint
    ) -> None:
        sieve = part.sieve if isinstance(part, ValidatedRows) else None
        try:
            self._publish_sifted(session, part, sieve, finding, checkpoint)
        except Rejected as rejected:
            self.summary.rejected[part.period] = rejected
            assert sieve, "only a sieve rejects"
            with session.transaction():
                self._quarantine(session, part.period, sieve.refused[:SAMPLE])

    def _most_refused(self, finding: Decision) -> int | None:
        """How many bad rows are worth keeping: with more of them, the week is rejected."""
        if finding.rows is None:
            return None
        return max(SAMPLE, math.ceil(self.tolerated * finding.rows))

    def _publish_sifted(
        self,
        session: Session,
        part: PeriodRows,
        sieve: RowValidator | None,
        finding: Decision,
        checkpoint: Checkpoint,
    ) -> None:
        # The transaction that closes the checkpoint is the last one.
        with session.transaction(synchronous_commit=False):
            refresh_config.hold(session, self.table)
            whole = finding.needs_all_rows or part.period in self.summary.reloaded
            # Where all rows are to be compared, the table may not hold what was published.
            known = None if whole else self._known(session, part, finding)
            landed = self._load(session, part, sieve, known, whole=whole)
            counts = landed.counts
            ledger.record(
                session,
                self.table,
                part.period,
                # Rows that the source no longer has are looked at again every time.
                None if counts.retained else finding.source_state,
                held=landed.inventory.held,
                audit_id=self.summary.opened,
                changed=counts.changed > 0,
                fingerprints=landed.fingerprints,
                known=known,
            )
            found = self._reconcile(session, part, finding, landed.inventory)
            checkpoints.save(session, checkpoint, part.period, rows=counts.read)
            self._watch_budget(session)
        # Only what is committed is counted.
        self.summary.periods[part.period] = counts
        self.summary.differences[part.period] = found
        if sieve:
            self.summary.broken += sieve.reasons
        elif self.table.source:
            self.summary.left_out += finding.source_state.get("broken", 0)
        logger.info("%s.%s %s: %s", SCHEMA, self.table.name, part.period, counts)

    def _known(self, session: Session, part: PeriodRows, finding: Decision) -> Baseline | None:
        """The rows that the table has already, where nothing but the source has changed."""
        if not part.is_whole and finding.held:
            return Baseline(finding.held)
        if self.order.force or not finding.only_source_changed:
            return None
        return ledger.as_published(session, self.table, part.period)

    def _load(
        self,
        session: Session,
        part: PeriodRows,
        sieve: RowValidator | None,
        known: Baseline | None,
        *,
        whole: bool,
    ) -> LoadResult:
        """Publish the good rows of a part, and put the bad ones into quarantine."""
        landed = publish(session, self.table, part, known=known, whole=whole)
        if sieve is None:
            return landed
        if sieve.bad_ratio > self.tolerated:
            reasons = dict(sieve.reasons.most_common())
            raise rejection(part.period, sieve.bad, sieve.read, self.tolerated, reasons)
        if len(sieve.refused) < sieve.bad:
            raise Transient(f"the source changed while the week of {part.period} was read")
        self._quarantine(session, part.period, sieve.refused)
        counts = replace(landed.counts, read=sieve.read, quarantined=sieve.bad)
        counts.check_nothing_lost()
        return replace(landed, counts=counts)

    def _quarantine(self, session: Session, period: Period, refused: Sequence[InvalidRow]) -> None:
        """Settle the rows of a week that waited, and keep those that it has now."""
        quarantine.settle(session, self.table, period)
        quarantine.keep(session, self.table, period, refused, audit_id=self.summary.opened)

    def _reconcile(
        self, session: Session, part: PeriodRows, finding: Decision, holds: PeriodTotals
    ) -> list[Difference]:
        """Hold what was published against what the source says; where they differ, doubt it.

        Raises:
            NeedsMerge: they differ, and not all rows of the period were looked at.
        """
        found = differences(session, self.table, part.period, finding.source_state, holds)
        if found and not part.is_whole:
            raise NeedsMerge
        if found:
            ledger.doubt(session, self.table, [part.period])
        return found

    def _watch_budget(self, session: Session) -> None:
        budget = self.order.budget_ms
        if budget is None or self.summary.over_budget or self._elapsed() * 1000 <= budget:
            return
        self.summary.over_budget = budget
        audit_log.warn(session, self.summary.opened, self.summary.budget_warning)

    def _finish(
        self, session: Session, checkpoint: Checkpoint, findings: Mapping[Period, Decision]
    ) -> None:
        self.summary.seconds = self._elapsed()
        if self.order.budget_ms and self.summary.seconds * 1000 > self.order.budget_ms:
            self.summary.over_budget = self.order.budget_ms
        checkpoints.complete(session, checkpoint)
        if self.summary.rejected:
            data_quality.record(session, self.summary.opened, [self._quarantined_ratio()])
            return
        newest = ledger.newest(session, self.table)
        refresh_config.mark_refreshed(
            session,
            self.table,
            tick=self.order.tick,
            is_newest=newest is None or any(period.start >= newest for period in findings),
        )
        self._close(session, self.summary.outcome)

    def _quarantined_ratio(self) -> Recorded:
        """The metric that rejected a week: no check runs after a refresh that fails."""
        weeks = [error.details for error in self.summary.rejected.values()]
        worst = max(week["bad"] / week["read"] for week in weeks)
        return Recorded(QUARANTINED_RATIO.name, worst, None, None, self.tolerated, False)

    def _close(self, session: Session, outcome: dict[str, Any]) -> None:
        columns = self.summary.columns | {"memory_used_mb": _peak_memory_mb()} | outcome
        metadata = self.summary.metadata | {"forced": self.order.force}
        audit_log.close(session, self.summary.opened, columns, metadata)

    def close_as_failed(self, error: BaseException) -> None:
        """On a session of its own: the refresh's may be the very thing that broke."""
        self.summary.seconds = self._elapsed()
        try:
            with connect(self.database_url) as session:
                with session.transaction():
                    if self.summary.audit_id is None:
                        self.summary.audit_id = audit_log.begin(
                            session, self.table, self.order.origin
                        )
                    self._close(session, audit_log.failure(error))
                # Who was interrupted has no time for it.
                if isinstance(error, Exception):
                    self._build_indexes(session)
        except RefreshError as unreachable:
            logger.warning("the failure of %s is not in the log: %s", self.table.name, unreachable)

    def _elapsed(self) -> float:
        return time.monotonic() - self.started


def _peak_memory_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kib_per_mb = 1024 if sys.platform != "darwin" else 1024 * 1024
    return round(peak / kib_per_mb)
