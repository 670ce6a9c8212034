"""Publish periods as they were: the way back from a bad publish.

    the rows as of then, of the history ─▶ MERGE, as any other rows ─▶ pinned
                                            └─▶ the tables that are made from them, refreshed

A rollback is a refresh whose source is the table's own history, so that lock, transaction, counts,
history and audit row are those of any refresh. What it has published is pinned in the same
transaction: else the next night would bring the source's rows again.
"""

import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from psycopg import sql

from sqp_refresh.control import audit_log, proofs
from sqp_refresh.errors import NotFound, SettingsError
from sqp_refresh.ledger.reach import Reach, read_reaches
from sqp_refresh.load.merge_sql import ReadRows, differing_statement
from sqp_refresh.model.column_sums import ColumnSums
from sqp_refresh.model.periods import Period, weeks_between
from sqp_refresh.model.rows import PeriodRows, ReadStats, SqlRows
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.model.text import listing
from sqp_refresh.model.versions import ParentVersions, SourceVersion, Version
from sqp_refresh.postgres.period_sql import period_params, target_name
from sqp_refresh.postgres.session import Session, connect, identifier
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.rollup.source import RollupSource

_FORMER_ROWS = sql.SQL("""
SELECT {columns}
FROM {as_of}({table}, {period_start}, {at}) AS was (line)
CROSS JOIN LATERAL jsonb_populate_record(NULL::{target}, was.line) AS former
""")
_HAD_ROWS = sql.SQL("SELECT EXISTS ({})")


@dataclass(frozen=True, slots=True)
class Rollback:
    """What is to be published again.

    Attributes:
        table: The table.
        at: The instant as of which.
        periods: The periods, in order of time.
        left: Periods that were first published after that, and are left as they are.
    """

    table: Table
    at: datetime
    periods: Sequence[Period]
    left: Sequence[Period] = ()


@dataclass(frozen=True, slots=True)
class ChangedPeriod:
    """What rolling a period back changes (rows)."""

    period: Period
    inserted: int
    updated: int
    deleted: int


@dataclass(slots=True)
class FormerRows:
    """The rows that a table held at an instant, as a source of its periods.

    Attributes:
        table: The table.
        at: The instant.
        certified: By period, what its certificate of then says of each column.
        batch_size: Of no meaning here: the rows never leave Postgres.
        stats: How the rows were read.
    """

    table: Table
    at: datetime
    certified: Mapping[Period, ColumnSums]
    batch_size: int | None = None
    stats: ReadStats = field(default_factory=lambda: ReadStats(method="history in Postgres"))

    def periods(self, session: Session) -> Sequence[Period]:
        """Return the periods to publish."""
        return sorted(self.certified)

    def versions(self, session: Session, periods: Sequence[Period]) -> Mapping[Period, Version]:
        """Return a version of each that is none of the source's, so that these differ from it."""
        return {period: self._version(period) for period in periods if period in self.certified}

    def _version(self, period: Period) -> Version:
        columns = self.certified[period]
        if self.table.source is None:
            return ParentVersions({}, columns=columns)
        digest = f"rolled back to {self.at.isoformat()}"
        return SourceVersion(0, 0, 0, {}, digest, "", columns=columns)

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        """Return one query for each period."""
        for period in periods:
            yield PeriodRows(period, former_rows(self.table, self.at))


def former_rows(table: Table, at: datetime) -> SqlRows:
    """Return the rows of a table in any one period, as they were."""
    names = [column.name for column in table.columns]
    select = _FORMER_ROWS.format(
        columns=sql.SQL(", ").join(
            sql.SQL("former.{0} AS {0}").format(identifier(name)) for name in names
        ),
        as_of=identifier(SCHEMA, "as_of"),
        table=sql.Literal(table.name.replace("%", "%%")),
        period_start=sql.Placeholder("period_start"),
        at=sql.Literal(at),
        target=target_name(table),
    )
    return SqlRows(select, tuple(names))


def plan_rollback(
    session: Session, table: Table, at: datetime, weeks: Sequence[Period] | None
) -> Rollback:
    """Choose the periods, and require that the history of each reaches back.

    Args:
        session: A session in a transaction.
        table: The table.
        at: The instant.
        weeks: The periods; None is all that have changed since, but for those that were first
            published after it.

    Raises:
        SettingsError: a period was not published by then, or its history does not reach back.
    """
    reaches = read_reaches(session, table, at)
    chosen = [reach for reach in reaches.values() if reach.is_changed] if weeks is None else []
    for period in weeks or ():
        if period not in reaches:
            raise SettingsError(f"{table.name} has no published {table.grain.published} {period}")
        chosen.append(reaches[period])
    new = [reach.period for reach in chosen if not reach.was_published]
    if new and weeks is not None:
        raise SettingsError(
            f"{table.name} had no rows of {listing(new)} at {_text(at)}, as it was first published "
            "later; choose a later instant"
        )
    known = [reach for reach in chosen if reach.was_published]
    _require_known(table, at, known)
    rollback = Rollback(_as_it_was(table), at, [reach.period for reach in known], new)
    _require_rows(session, rollback)
    return rollback


def _require_known(table: Table, at: datetime, reaches: Sequence[Reach]) -> None:
    unknown = [reach for reach in reaches if not reach.is_known]
    if unknown:
        since = max(reach.history_since for reach in unknown if reach.history_since)
        raise SettingsError(
            f"the history of {table.name} {listing([reach.period for reach in unknown])} does not "
            f"reach back to {_text(at)}; it begins at {_text(since)}"
        )


def _require_rows(session: Session, rollback: Rollback) -> None:
    """Require that each period had rows: a publish without any would delete none."""
    query = _HAD_ROWS.format(former_rows(rollback.table, rollback.at).select)
    empty = [
        period
        for period in rollback.periods
        if session.fetch_one(query, period_params(period)) == (False,)
    ]
    if empty:
        raise SettingsError(
            f"{rollback.table.name} had no rows of {listing(empty)} at {_text(rollback.at)}; "
            "choose another instant"
        )


def _as_it_was(table: Table) -> Table:
    """Return the table without values that a null leaves as they are: what was null is again."""
    return replace(table, kept_when_null=frozenset())


def instant_of_run(session: Session, table: Table, run: str) -> datetime:
    """Return when a run had published what it published of a table.

    Args:
        session: A session with the target.
        table: The table.
        run: The id of its row in the audit log, or its run id.

    Raises:
        NotFound: the table has no such run.
        SettingsError: it has not ended yet.
    """
    ended = audit_log.find_run_end(session, table, run)
    if not ended:
        raise NotFound(
            f"{table.name} has no run {run}; `sqp-refresh history {table.name} --json` lists them"
        )
    completed_at = ended[-1]
    if completed_at is None:
        raise SettingsError(f"run {run} of {table.name} has not ended yet; wait for it")
    return completed_at


def preview(session: Session, rollback: Rollback) -> Iterator[ChangedPeriod]:
    """Count what rolling each period back would change; nothing is written."""
    rows = former_rows(rollback.table, rollback.at)
    read = ReadRows(sql.Identifier("read"), rows.columns, rows.select)
    statement = differing_statement(rollback.table, read)
    for period in rollback.periods:
        yield ChangedPeriod(period, *session.fetch_one(statement, period_params(period)))


def roll_back(database_url: str, rollback: Rollback, *, keeps_history: bool) -> RefreshResult:
    """Publish the periods as they were, each in one transaction, and pin them.

    Args:
        database_url: Where the target is.
        rollback: What `plan_rollback` has chosen.
        keeps_history: Whether what this changes is put on record, too.

    Raises:
        RefreshError: see `refresh`; periods that were published before it stay so.
    """
    with connect(database_url) as session:
        certified = proofs.read_as_of(session, rollback.table, rollback.periods, rollback.at)
    source = FormerRows(
        rollback.table,
        rollback.at,
        {period: certified.get(period, {}) for period in rollback.periods},
    )
    return refresh(database_url, source, _request(keeps_history, rollback.at))


def derived_sources(session: Session, catalog: Catalog, rollback: Rollback) -> list[RollupSource]:
    """List what is to be refreshed of the tables made from the table, parents first.

    A disabled one is left as it is.
    """
    own = rollback.table.name
    derived = [name for name in catalog.with_derived([own]) if name != own]
    if not derived:
        return []
    weeks = [
        week for period in rollback.periods for week in weeks_between(period.start, period.end)
    ]
    registrations = refresh_config.read_registrations(session)
    return [
        RollupSource(catalog.tables[name], weeks)
        for name in derived
        if name in registrations and registrations[name].is_enabled
    ]


def refresh_derived(
    database_url: str, source: RollupSource, *, keeps_history: bool
) -> RefreshResult:
    """Refresh a table that is made from one that was rolled back.

    Raises:
        RefreshError: see `refresh`.
    """
    return refresh(database_url, source, _request(keeps_history))


def _request(keeps_history: bool, rollback_to: datetime | None = None) -> RefreshRequest:
    return RefreshRequest(
        str(uuid.uuid4()),
        accept=rollback_to is not None,
        rollback_to=rollback_to,
        keeps_history=keeps_history,
    )


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
