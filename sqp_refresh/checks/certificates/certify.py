"""Certify a period: put what its source says of each column beside what its table holds."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqp_refresh.checks.certificates.target_sums import columns_of_children, measure_columns
from sqp_refresh.checks.evaluate import Measurement
from sqp_refresh.control import proofs
from sqp_refresh.control.proofs import Proof
from sqp_refresh.ledger.ledger import LedgerEntry
from sqp_refresh.ledger.parent_versions import read_parent_versions
from sqp_refresh.ledger.target_version import target_versions
from sqp_refresh.model.column_sums import ColumnSums, columns_that_differ
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.model.text import listing
from sqp_refresh.model.versions import ParentVersions, SourceVersion, Version
from sqp_refresh.postgres.session import Session

MATCHING_COLUMNS = "matching_columns"


@dataclass(frozen=True, slots=True)
class DifferingColumns:
    """The columns of one period that are not what the source says."""

    period: Period
    columns: Sequence[str]
    metric: str = MATCHING_COLUMNS

    def __str__(self) -> str:
        """Return it in words."""
        return f"{_named(self.columns)} of {self.period} not as in the source"


def certify(
    session: Session, table: Table, period: Period, version: Version, held: ColumnSums
) -> Proof | None:
    """Compare every certified column of a period with its source, in the transaction that loads it.

    None where the source says nothing of columns, or where a derived period differs because another
    run has published a week below it meanwhile: the next refresh makes that one again.

    Args:
        session: A session in that transaction.
        table: The table.
        period: The period.
        version: What it was made from.
        held: What the table holds of each column.
    """
    source = version.columns
    is_of_parents = isinstance(version, ParentVersions) and not source
    if is_of_parents:
        source = columns_of_children(session, table, [period]).get(period, {})
    if not source:
        return None
    proof = Proof(source, {name: held[name] for name in source})
    if proof.differing and is_of_parents:
        now = read_parent_versions(session, table, [period])[period]
        return proof if now == version else None
    return proof


def measure_matching(
    session: Session,
    table: Table,
    entries: Mapping[Period, LedgerEntry],
    unedited: Collection[str] = (),
) -> Iterator[tuple[Period, Measurement]]:
    """Measure how many columns of each certified period are what the source said.

    Of a period that nobody has written to since, its certificate tells; any other is added up.

    Args:
        session: A session in a transaction.
        table: The table.
        entries: How each of the periods was last loaded.
        unedited: Periods that nobody has written to, by their names.
    """
    certified = proofs.read(session, table, entries)
    held = target_versions(session, table, [p for p in certified if str(p) not in unedited])
    edited = [period for period in held if held[period] != entries[period].target]
    now = measure_columns(session, table, edited)
    for period, proof in certified.items():
        differing = columns_that_differ(proof.source, now.get(period, proof.target))
        columns = len(proof.source)
        yield (
            period,
            Measurement(
                MATCHING_COLUMNS,
                str(period),
                columns - len(differing),
                columns,
                detail=listing(differing) if differing else "",
            ),
        )


def sums_of_source(
    session: Session, table: Table, periods: Iterable[Period], versions: Mapping[Period, Version]
) -> dict[Period, ColumnSums]:
    """Return what the source says of the columns of each period.

    Args:
        session: A session with the target.
        table: The table.
        periods: The periods.
        versions: What BigQuery says of them; of a derived table, the rows below it tell.
    """
    if table.source is None:
        return columns_of_children(session, table, periods)
    return {
        period: version.columns
        for period, version in versions.items()
        if isinstance(version, SourceVersion)
    }


def _named(columns: Sequence[str]) -> str:
    return f"{listing(columns)} {'is' if len(columns) == 1 else 'are'}"
