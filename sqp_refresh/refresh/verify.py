"""Verify what the tables hold: add up every column on both sides now, and follow the certificates.

Nothing is written. BigQuery is asked by the query that a refresh would ask, for all periods of all
tables at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqp_refresh.checks.certificates.certify import sums_of_source
from sqp_refresh.checks.certificates.target_sums import measure_columns, wrong_ratios
from sqp_refresh.control import proofs
from sqp_refresh.control.proofs import Chain, Proof
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.ledger.ledger import LedgerEntry, published_periods, read_entries
from sqp_refresh.ledger.pins import read_pins
from sqp_refresh.model.column_sums import ColumnSums, columns_that_differ, to_json
from sqp_refresh.model.periods import Period, periods_touched
from sqp_refresh.model.tables import Table
from sqp_refresh.model.versions import Version
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings


@dataclass(frozen=True, slots=True)
class VerifiedPeriod:
    """What both sides say of a period now, and what they said when it was published.

    Attributes:
        period: The period.
        source: What its source says of each column; empty where it has no row of it.
        target: What the table holds.
        wrong_ratios: Rows whose ratio is not what its two counts make it, by column (count).
        proof: Its certificate; None where it was published without one.
        is_pinned: Whether it is pinned, so that its source says nothing of it.
    """

    period: Period
    source: ColumnSums
    target: ColumnSums
    wrong_ratios: Mapping[str, int]
    proof: Proof | None
    is_pinned: bool = False

    @property
    def differing(self) -> list[str]:
        """The columns that are not as they should be."""
        ratios = [name for name, rows in self.wrong_ratios.items() if rows]
        of_source = {} if self.is_pinned else self.source
        return [*columns_that_differ(of_source, self.target), *ratios]

    @property
    def changed(self) -> list[str]:
        """Which sides say something else than the certificate."""
        if self.proof is None:
            return []
        pairs = {
            "source": (self.proof.source, self.source),
            "table": (self.proof.target, self.target),
        }
        return [
            side
            for side, (before, now) in pairs.items()
            if not (side == "source" and self.is_pinned)
            and any(now.get(name) != of_column for name, of_column in before.items())
        ]

    @property
    def is_verified(self) -> bool:
        """Whether both sides agree, and hold what the certificate says."""
        return not self.differing and not self.changed

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "period": str(self.period),
            "ok": self.is_verified,
            "pinned": self.is_pinned,
            "differing": self.differing,
            "changed": self.changed,
            "sha256": self.proof.sha256 if self.proof else None,
            "source": to_json(self.source),
            "target": to_json(self.target),
        }


@dataclass(frozen=True, slots=True)
class VerifiedTable:
    """What verifying a table has found.

    Attributes:
        table: Name of the table.
        periods: Its periods.
        chain: Its certificates, those of other periods too.
    """

    table: str
    periods: Sequence[VerifiedPeriod]
    chain: Chain

    @property
    def is_verified(self) -> bool:
        """Whether every period is, and every certificate is as it was written."""
        return not self.chain.faults and all(period.is_verified for period in self.periods)

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "table": self.table,
            "ok": self.is_verified,
            "chain": {
                "entries": self.chain.entries,
                "sha256": self.chain.sha256,
                "faults": list(self.chain.faults),
            },
            "periods": [period.as_json() for period in self.periods],
        }


def verify(
    settings: Settings, catalog: Catalog, names: Iterable[str], weeks: Sequence[Period] | None
) -> Iterator[VerifiedTable]:
    """Verify tables, one after the other.

    Args:
        settings: Where the servers are.
        catalog: All tables.
        names: Names of the tables to verify.
        weeks: The weeks whose periods are verified; None is all that were published.

    Raises:
        RefreshError: Postgres or BigQuery cannot be asked.
    """
    queries = RunQueries()
    with connect(settings.database_url) as session:
        for name in names:
            table = catalog.table(name)
            with session.transaction():
                entries = _entries(session, table, weeks)
            periods = sorted(entries)
            source = source_for(settings, table, periods, queries=queries)
            # No transaction stands idle while BigQuery answers.
            versions = source.versions(session, periods) if table.source and periods else {}
            with session.transaction():
                yield _verified(session, table, entries, versions)


def _entries(
    session: Session, table: Table, weeks: Sequence[Period] | None
) -> dict[Period, LedgerEntry]:
    """Read the periods that were published; of one that came empty, nothing can be verified."""
    published = published_periods(session, table)
    asked = published if weeks is None else periods_touched(weeks, table.grain)
    entries = read_entries(session, table, [period for period in asked if period in {*published}])
    return {
        period: entry
        for period, entry in entries.items()
        if period in asked and entry.version is not None
    }


def _verified(
    session: Session,
    table: Table,
    entries: Mapping[Period, LedgerEntry],
    versions: Mapping[Period, Version],
) -> VerifiedTable:
    source = sums_of_source(session, table, entries, versions)
    target = measure_columns(session, table, entries)
    ratios = wrong_ratios(session, table, entries)
    certified, pinned = proofs.read(session, table, entries), read_pins(session, table)
    periods = [
        VerifiedPeriod(
            period,
            source.get(period, {}),
            target.get(period, {}),
            ratios.get(period, {}),
            certified.get(period),
            is_pinned=period.start in pinned,
        )
        for period in sorted(entries)
    ]
    return VerifiedTable(table.name, periods, proofs.read_chain(session, table))
