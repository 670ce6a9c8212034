"""Say how a table differs from one of another schema, period by period, and from what cause."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

from sqp_refresh.adoption.value_patterns import IS_USUAL, cause_of
from sqp_refresh.model.text import LISTED

Ways = Mapping[str, int]
"""How many values differ in which way (count)."""


@dataclass(frozen=True, slots=True)
class PeriodRows:
    """The rows of one period on both sides (counts).

    Attributes:
        period: Its first day; None where the table has no periods, and of all together.
        both: Keys that both sides have.
        only_here: Rows whose key is not there.
        only_there: Rows there whose key is not here.
        differing: Keys that both have, with a value that differs.
        rows_here: All rows here.
        rows_there: All rows there.
        of_parents: Rows that are only there, of an ASIN that is the parent of others here.
        on_mondays: Rows there of a week that begins on Monday.
        finer_there: Keys that have more rows there than here.
        finer_here: Keys that have more rows here than there.
    """

    period: date | None
    both: int
    only_here: int
    only_there: int
    differing: int
    rows_here: int
    rows_there: int
    of_parents: int = 0
    on_mondays: int = 0
    finer_there: int = 0
    finer_here: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether every row is the same on both sides."""
        return not (self.only_here or self.only_there or self.differing)

    @property
    def has_round_number_there(self) -> bool:
        """Whether there are as many rows there as a LIMIT leaves: 50, 1000, 25000."""
        rows = self.rows_there
        return rows >= 10 and (rows % 1_000 == 0 or rows % 10 ** (len(str(rows)) - 1) == 0)


@dataclass(frozen=True, slots=True)
class RowPattern:
    """A cause of rows that only one side has, as a condition on the counts of a period."""

    name: str
    holds: Callable[[PeriodRows], bool]
    words: str


ROW_PATTERNS = (
    RowPattern(
        "not_there",
        lambda rows: not rows.rows_there and rows.only_here > 0,
        "there is no row there: it was not loaded there",
    ),
    RowPattern(
        "not_here",
        lambda rows: not rows.rows_here and rows.only_there > 0,
        "there is no row here: it was not loaded here, or the source does not have it",
    ),
    RowPattern(
        "limit",
        lambda rows: rows.only_here > rows.only_there and rows.has_round_number_there,
        "there are exactly {rows_there:,} rows there and {only_here:,} are missing, as a LIMIT "
        "leaves them",
    ),
    RowPattern(
        "parent_asin",
        lambda rows: rows.only_there > 0 and rows.of_parents >= rows.only_there / 2,
        "{of_parents:,} of the {only_there:,} rows that are only there are of an ASIN that is the "
        "parent of others here: children are under their parent's ASIN there",
    ),
    RowPattern(
        "monday_weeks",
        lambda rows: rows.only_there > 0 and rows.on_mondays >= rows.rows_there * IS_USUAL,
        "weeks begin on Monday there; Amazon's begin on Sunday",
    ),
    RowPattern(
        "finer_there",
        lambda rows: rows.finer_there > 0,
        "{finer_there:,} keys have several rows there: counts are added up, other values are not "
        "compared",
    ),
    RowPattern(
        "finer_here",
        lambda rows: rows.finer_here > 0,
        "{finer_here:,} keys have several rows here, as of several marketplaces: counts are added "
        "up, other values are not compared",
    ),
)


LIMIT = [pattern.name for pattern in ROW_PATTERNS].index("limit")


@dataclass(frozen=True, slots=True)
class Example:
    """One row that differs.

    Attributes:
        column: The column that does; None where only one side has the row.
        how: In what way, or `only_here` or `only_there`.
        key: Its key.
        here: The value here, as text.
        there: The value there.
    """

    column: str | None
    how: str
    key: Mapping[str, Any]
    here: str | None
    there: str | None


@dataclass(frozen=True, slots=True)
class TableComparison:
    """How a table differs from the one of its name in another schema.

    Attributes:
        table: Its name.
        periods: The rows of each period, oldest first.
        values: By period and column, how many values differ in which way.
        names: The columns that are compared, and what each is called there.
        key: Those of them by which rows are found again.
        only_here: Columns that are not there.
        only_there: Columns there that have no counterpart here.
        examples: Some rows that differ.
        problem: Why it cannot be compared; empty where it was.
    """

    table: str
    periods: Sequence[PeriodRows] = ()
    values: Mapping[date | None, Mapping[str, Ways]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    key: Sequence[str] = ()
    only_here: Sequence[str] = ()
    only_there: Sequence[str] = ()
    examples: Sequence[Example] = ()
    problem: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether both tables hold the same, as far as both have columns for it."""
        return not self.problem and all(rows.is_equal for rows in self.periods)

    @property
    def rows(self) -> PeriodRows:
        """The rows of all periods together."""
        fields = [*asdict(PeriodRows(None, 0, 0, 0, 0, 0, 0))][1:]
        sums = {name: sum(getattr(rows, name) for rows in self.periods) for name in fields}
        return replace(PeriodRows(None, 0, 0, 0, 0, 0, 0), **sums)

    @property
    def columns(self) -> Mapping[str, Ways]:
        """By column, how many values differ in which way, in all periods together."""
        summed: dict[str, dict[str, int]] = {}
        for of_period in self.values.values():
            for name, ways in of_period.items():
                of_column = summed.setdefault(name, {})
                for how, count in ways.items():
                    of_column[how] = of_column.get(how, 0) + count
        return summed

    def causes(self) -> Iterator[str]:
        """Yield in words what the differences may come from, as far as their pattern is known."""
        for pattern in ROW_PATTERNS:
            matching = [rows for rows in self.periods if pattern.holds(rows)]
            yield from (_in_period(rows, pattern) for rows in matching[:LISTED])
            if len(matching) > LISTED:
                yield f"{len(matching) - LISTED:,} more periods alike: {pattern.name}"
        limit = ROW_PATTERNS[LIMIT]
        if (
            len(self.periods) > 1
            and not any(map(limit.holds, self.periods))
            and limit.holds(self.rows)
        ):
            yield f"in all periods together, {limit.words.format(**asdict(self.rows))}"
        for name, ways in self.columns.items():
            yield from (f"{name}: {words}" for words in _causes_of_column(ways))

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "table": self.table,
            "equal": self.is_equal,
            "problem": self.problem or None,
            "rows": _rows_as_json(self.rows),
            "periods": [
                {"period": str(rows.period) if rows.period else None}
                | _rows_as_json(rows)
                | {
                    "columns": _columns_as_json(self.values.get(rows.period, {})),
                    "causes": [pattern.name for pattern in ROW_PATTERNS if pattern.holds(rows)],
                }
                for rows in self.periods
            ],
            "columns": _columns_as_json(self.columns),
            "compared": dict(self.names),
            "key": list(self.key),
            "columns_only_here": list(self.only_here),
            "columns_only_there": list(self.only_there),
            "examples": [asdict(example) for example in self.examples],
            "causes": list(self.causes()),
        }


def _in_period(rows: PeriodRows, pattern: RowPattern) -> str:
    words = pattern.words.format(**asdict(rows))
    return f"{rows.period}: {words}" if rows.period else words


def _causes_of_column(ways: Ways) -> Iterator[str]:
    differ = sum(ways.values())
    for how, count in ways.items():
        if (cause := cause_of(how)) and count >= differ * IS_USUAL:
            yield f"{cause} ({count:,} of {differ:,} values)"


def _rows_as_json(rows: PeriodRows) -> dict[str, int]:
    return {
        "both": rows.both,
        "only_here": rows.only_here,
        "only_there": rows.only_there,
        "differing": rows.differing,
        "rows_here": rows.rows_here,
        "rows_there": rows.rows_there,
    }


def _columns_as_json(columns: Mapping[str, Ways]) -> dict[str, dict[str, Any]]:
    return {
        name: {"differ": sum(ways.values()), "how": dict(ways)} for name, ways in columns.items()
    }
