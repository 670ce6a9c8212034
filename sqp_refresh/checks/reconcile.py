"""Compare what a table holds with what its source says that it must, to the last unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqp_refresh.checks import metric_sql
from sqp_refresh.checks.metric_sql import DISTINCT_ASIN_COUNT, ROW_COUNT, SUMS, Measured
from sqp_refresh.checks.period_totals import PeriodTotals
from sqp_refresh.ledger.parent_versions import read_parent_versions
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.model.text import listing
from sqp_refresh.model.versions import ParentVersions, SourceVersion, Version
from sqp_refresh.postgres.session import Session

COMPARED = (ROW_COUNT, DISTINCT_ASIN_COUNT, *SUMS)


@dataclass(frozen=True, slots=True)
class Difference:
    """A total of one period that is not what the source says."""

    period: Period
    metric: str
    value: int
    expected: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.metric} of {self.period} is {self.value:,}, should be {self.expected:,}"


@dataclass(frozen=True, slots=True)
class AlteredRows:
    """Rows of one period that the table holds otherwise than they were written.

    Attributes:
        period: The period.
        rows: How many there are (count).
        altered_by: The names of what may have altered them.
    """

    period: Period
    rows: int
    altered_by: Sequence[str]

    def __str__(self) -> str:
        """Return it in words."""
        return (
            f"{self.rows:,} rows of {self.period} are not as they were written; what alters them "
            f"is {listing(self.altered_by)}, drop or disable it"
        )


def find_differences(
    session: Session, table: Table, period: Period, version: Version, totals: PeriodTotals
) -> list[Difference]:
    """Find where a table does not hold what it must of a period.

    Of a derived period nothing is found if another run has published a week below it meanwhile,
    which it would be compared with. The ledger says so, and the next refresh makes it again.

    Args:
        session: A session with the target.
        table: The table.
        period: The period in question.
        version: What it is made from.
        totals: What the table holds of it.
    """
    expected = expected_totals(session, table, {period: version}).get(period, {})
    differences = [
        Difference(period, name, totals.totals[name], value)
        for name, value in expected.items()
        # A table need not have a column for everything that BigQuery was asked to count.
        if name in totals.totals and totals.totals[name] != value
    ]
    if differences and isinstance(version, ParentVersions):
        now = read_parent_versions(session, table, [period])[period]
        return differences if now == version else []
    return differences


def expected_totals(
    session: Session, table: Table, versions: Mapping[Period, Version | None]
) -> Measured:
    """Return what each period must hold; one that the source has nothing of is not judged.

    What a table that BigQuery fills must hold, BigQuery counted as of the instant of the run, and
    the version keeps; what a derived table must hold follows from the rows of its parents.
    """
    if table.source is None:
        return metric_sql.expected_of_derived(session, table, versions)
    return {
        period: {name: version.expected[name] for name in COMPARED if name in version.expected}
        for period, version in versions.items()
        if isinstance(version, SourceVersion) and version.rows
    }
