"""Pair the columns of one of our tables with those of a table of the same name elsewhere.

What the older system keeps in another shape is put together here: the first day of a period from
its numbers, and what a row of queries has through `asin_performance_id`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from psycopg import sql

from sqp_refresh.adoption.older_names import PERIOD_NUMBERS, candidates
from sqp_refresh.adoption.relations import DAY, NUMBER, TEXT, Column, Relations
from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.table import Table
from sqp_refresh.model.vendor_report import COUNT_SUFFIXES

OWN, PARENT = "own", "parent"
"""How the table is called in the query, and the one that its rows refer to."""
PARENT_TABLE, PARENT_KEY = "asin_performance_data", "asin_performance_id"

_MONTH_OF = {
    Grain.MONTH: sql.SQL("own.month::integer"),
    Grain.QUARTER: sql.SQL("3 * own.quarter::integer - 2"),
    Grain.YEAR: sql.SQL("1"),
}
_FIRST_DAY = sql.SQL("make_date(own.year::integer, {}, 1)")


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """A column of ours, and what it is there.

    Attributes:
        here: Our column.
        there: Theirs.
        value: Its value there, as SQL.
    """

    here: Column
    there: Column
    value: sql.Composable

    @property
    def kind(self) -> str:
        """As what both are compared: as text, where they are of different kinds."""
        is_day_as_text = (self.here.kind, self.there.kind) == (DAY, TEXT)
        return self.here.kind if is_day_as_text or self.here.kind == self.there.kind else TEXT

    @property
    def is_whole(self) -> bool:
        """Whether both are whole numbers, which are compared faster as such."""
        return self.here.scale == self.there.scale == 0 and self.kind == NUMBER

    @property
    def rounding(self) -> Decimal:
        """How far apart two numbers may be that are rounded to different decimals, and equal."""
        scales = (self.here.scale, self.there.scale)
        if 0 in scales or scales[0] == scales[1]:
            return Decimal(0)
        return Decimal(5).scaleb(-1 - min(scale for scale in scales if scale is not None))

    @property
    def rounding_of_hundredth(self) -> Decimal:
        """The same, where one of both is multiplied by a hundred before."""
        scales = [scale for scale in (self.here.scale, self.there.scale) if scale]
        return Decimal(51).scaleb(-min(scales)) if scales else Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Pairing:
    """How a table of ours is compared with one of the same name.

    Attributes:
        table: Our table.
        scope: The pair that places a row in its period; None where all rows are one.
        key: The pairs that tell rows of a period apart, as far as both have them.
        values: All other pairs.
        only_here: Names of our columns that are not there.
        only_there: Names of columns there that are none of ours.
        refers_to_parent: Whether rows there have a part of their key in another table.
    """

    table: Table
    scope: ColumnPair | None
    key: tuple[ColumnPair, ...]
    values: tuple[ColumnPair, ...]
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]
    refers_to_parent: bool

    def is_additive(self, name: str) -> bool:
        """Return whether a column of several rows together is the sum of theirs."""
        is_count = name.endswith(COUNT_SUFFIXES) and name not in self.table.counts
        return name in self.table.sums or is_count


def pair_columns(
    table: Table, here: Relations, there: Relations, added: Mapping[str, str]
) -> Pairing:
    """Pair the columns of a table that both schemas have.

    Args:
        table: Our table.
        here: What our schema has.
        there: What the other has.
        added: What the user says each older column is, before what is known.

    Raises:
        SchemaMismatch: nothing there says which rows of ours a row is.
    """
    ours, theirs = here[table.name], there[table.name]
    parents = there.get(PARENT_TABLE, {}) if PARENT_KEY in theirs else {}
    pairs = {
        name: pair
        for name in (column.name for column in table.columns if column.name in ours)
        if (pair := _pair(table, ours[name], theirs, parents, added))
    }
    if table.scope and table.scope not in pairs:
        raise SchemaMismatch(
            f"there is no {table.scope} in it, which places a row in its {table.grain.published}; "
            f"name it by --map OLD={table.scope}"
        )
    key = [name for name in table.group_key if name in pairs and name != table.scope]
    if not key and not table.scope:
        raise SchemaMismatch(f"it has no column of the key, {', '.join(table.group_key)}")
    used = {pair.there.name for pair in pairs.values()}
    return Pairing(
        table,
        pairs[table.scope] if table.scope else None,
        tuple(pairs[name] for name in key),
        tuple(pair for name, pair in pairs.items() if name not in (*key, table.scope)),
        tuple(column.name for column in table.columns if column.name not in pairs),
        tuple(name for name in theirs if name not in used),
        bool(parents) and "id" in parents,
    )


def _pair(
    table: Table,
    column: Column,
    theirs: Mapping[str, Column],
    parents: Mapping[str, Column],
    added: Mapping[str, str],
) -> ColumnPair | None:
    """Return a pair of one of our columns, or None where nothing there is the same."""
    is_of_parent = column.name in table.group_key or column.name in (table.scope, "end_date")
    in_parent = parents.get(column.name) if is_of_parent and "id" in parents else None
    for name in candidates(table.name, column.name, added):
        if name in theirs:
            value: sql.Composable = sql.Identifier(OWN, name)
            if in_parent:
                # It was added later, and is null where nobody filled it.
                value = sql.SQL("coalesce({}, {})").format(
                    value, sql.Identifier(PARENT, column.name)
                )
            return ColumnPair(column, theirs[name], value)
    if in_parent:
        return ColumnPair(column, in_parent, sql.Identifier(PARENT, column.name))
    numbers = PERIOD_NUMBERS.get(table.grain, {})
    if column.name == table.scope and numbers and numbers.keys() <= theirs.keys():
        first_day = _FIRST_DAY.format(_MONTH_OF[table.grain])
        return ColumnPair(column, Column(" and ".join(numbers), DAY), first_day)
    return None
