"""Write the SQL by which a view reads a new table, under the names and types of the older one.

In the view's definition, as Postgres prints it, the older table gives way to a query of the new one
that has its columns. So the view keeps its own columns, and what reads it, and who.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqp_refresh.adoption.older_names import OLDER_NAMES, PERIOD_NUMBERS
from sqp_refresh.adoption.relations import Relations
from sqp_refresh.model.tables import TABLES, ours
from sqp_refresh.model.text import listing

FILL = "WITH DATA;"
"""How the statement ends that creates and fills a materialized view."""

# In what Postgres prints, words of SQL are in capitals: a word that is not is an alias.
_ALIAS = r'( (?:[a-z_][\w$]*|"[^"]+"))?'
# Where a column is only shown, it may be null; where rows are chosen or joined by it, it may not.
_CHOOSES = re.compile(r"\b(WHERE|JOIN|GROUP BY|HAVING|DISTINCT|UNION|INTERSECT|EXCEPT|OVER|WITH)\b")


@dataclass(frozen=True, slots=True)
class OlderColumn:
    """A column of an older table that a view uses, and its type as SQL."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class OlderRelation:
    """What a view reads.

    Attributes:
        place: It with its schema, as that is called afterwards.
        name: It without.
        is_older: Whether it is a table of the older schema, or keeps rows there.
        columns: Those that the view uses.
    """

    place: str
    name: str
    is_older: bool
    columns: tuple[OlderColumn, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A view that reads older tables.

    Attributes:
        place: It with its schema, as that is called afterwards.
        is_kept: Whether it keeps its rows, being materialized.
        definition: Its SELECT, as Postgres prints it.
        options: Its options as SQL.
        indexes: What creates its indexes, as SQL.
        grants: What gives others their rights to it, as SQL.
        reads: What it reads.
    """

    place: str
    is_kept: bool
    definition: str
    options: str
    indexes: Sequence[str] = ()
    grants: Sequence[str] = ()
    reads: list[OlderRelation] = field(default_factory=list)

    def read(self, place: str) -> OlderRelation | None:
        """Return one of the relations that it reads, None where it does not."""
        return next((relation for relation in self.reads if relation.place == place), None)


def repoint(
    view: View, readers: Sequence[View], schema: str, here: Relations
) -> tuple[str | None, str]:
    """Return the SQL that points a view at the new tables, and what to know of it.

    Args:
        view: The view.
        readers: The views that read it.
        schema: Our schema, as it is called afterwards.
        here: What our schema has.

    Returns:
        None, and why, where no such SQL can be written.
    """
    read = [relation for relation in view.reads if relation.is_older]
    new = [relation for relation in read if relation.name in here]
    if not new:
        return None, "none is needed: it reads no table that there is a new one of"
    if stays := [relation.place for relation in read if relation not in new]:
        remark = f"{listing(stays)} stays as it is"
    else:
        remark = ""
    definition, lacking = view.definition, []
    for relation in new:
        selected, without = _select(relation, schema, here)
        lacking += [f"{relation.name}.{name}" for name in without]
        definition = _replaced(definition, relation, selected)
    if finer := [name for name in lacking if _tells_rows_apart(name)]:
        return None, f"no SQL can be written: the new table has one row for all of {listing(finer)}"
    if lacking and (len(view.reads) > 1 or _CHOOSES.search(view.definition)):
        return None, f"no SQL can be written: the new tables have no {listing(lacking)}"
    if lacking:
        remark = f"null then, as the new table does not have it: {', '.join(lacking)}"
    kept = [reader.place for reader in readers if reader.is_kept]
    if view.is_kept and kept:
        return None, f"no SQL can be written: {listing(kept)} keeps rows of it; make both anew"
    definition = definition.rstrip().removesuffix(";")
    if view.is_kept:
        return _made_anew(view, readers, definition), remark
    return _replacing(view, definition), remark


def _select(relation: OlderRelation, schema: str, here: Relations) -> tuple[str, list[str]]:
    """Return a query of a new table that has the older columns, and those that it has not."""
    renamed, table = OLDER_NAMES.get(relation.name, {}), TABLES.get(relation.name)
    numbers = PERIOD_NUMBERS.get(table.grain, {}) if table else {}
    expressions, lacking = [], []
    for column in relation.columns:
        name = column.name if column.name in here[relation.name] else renamed.get(column.name)
        if name in here[relation.name]:
            value = f"{name}::{column.type}"
        elif column.name in numbers and table:
            value = f"extract({numbers[column.name]} FROM {table.scope})::{column.type}"
        else:
            value = f"NULL::{column.type}"
            lacking.append(column.name)
        expressions.append(f"{value} AS {column.name}")
    columns, table_name = ", ".join(expressions), f"{schema}.{relation.name}"
    return f"(SELECT {columns} FROM {table_name})", lacking  # noqa: S608, to be read, and printed


def _tells_rows_apart(name: str) -> bool:
    """Return whether a column of an older table, which the new one has not, is one of its key."""
    table, _, column = name.partition(".")
    return column in OLDER_NAMES.get(table, {})


def _replaced(definition: str, relation: OlderRelation, selected: str) -> str:
    mark = re.compile(rf"(?<![\w.'\"]){re.escape(relation.place)}(?![\w.'\"]){_ALIAS}")
    return mark.sub(lambda match: f"{selected}{match[1] or f' {relation.name}'}", definition)


def _replacing(view: View, definition: str) -> str:
    options = f" WITH ({view.options})" if view.options else ""
    return f"CREATE OR REPLACE VIEW {view.place}{options} AS\n{definition};"


def _made_anew(view: View, readers: Iterable[View], definition: str) -> str:
    """Return what makes a materialized view anew, has its readers read that one, and drops it."""
    schema, _, name = view.place.rpartition(".")
    new = f"{schema}.{ours('new')}"
    reading = [
        _replacing(reader, _replaced(reader.definition, read, new).rstrip().removesuffix(";"))
        for reader in readers
        if (read := reader.read(view.place))
    ]
    made = [
        f"CREATE MATERIALIZED VIEW {new} AS\n{definition}\n{FILL}",
        *reading,
        f"DROP MATERIALIZED VIEW {view.place};",
        f"ALTER MATERIALIZED VIEW {new} RENAME TO {name};",
        *(f"{statement};" for statement in (*view.indexes, *view.grants)),
    ]
    return "\n".join(made)
