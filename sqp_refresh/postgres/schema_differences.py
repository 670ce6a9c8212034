"""Say how schema `sqp` of a database differs from what this release needs, and mend it by what SQL.

What somebody added is no difference, unless no row could be entered because of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.model.tables import SCHEMA, TABLES
from sqp_refresh.postgres.schema_catalog import Column, Index, Relation, release_schema

_AS_PRINTED = (
    f"its statement is in what `sqp-refresh migrate --sql` prints, as the owner of {SCHEMA}"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is otherwise than this release needs it.

    Attributes:
        relation: The table or view.
        what: What is lacking or otherwise, in words that name the relation.
        remedy: The SQL that mends it, or what else does.
        is_fatal: Whether a refresh fails because of it.
        is_to_fill: Whether the table has to be filled again afterwards.
    """

    relation: str
    what: str
    remedy: str
    is_fatal: bool = True
    is_to_fill: bool = False

    def __str__(self) -> str:
        """Return it in one line, with the remedy."""
        return f"{self.what}; {self.remedy}"


def column_differences(relations: Mapping[str, Relation]) -> Iterator[Difference]:
    """Yield what is otherwise about relations and their columns.

    Args:
        relations: What schema `sqp` of the database holds.
    """
    for name, needed in release_schema().items():
        actual = relations.get(name)
        if actual is None:
            kind = "view" if needed.is_view else "table"
            yield Difference(name, f"there is no {kind} {SCHEMA}.{name}", _AS_PRINTED)
        elif needed.is_view:
            yield from _of_view(name, needed, actual)
        else:
            yield from _of_table(name, needed, actual)


def key_differences(relations: Mapping[str, Relation]) -> Iterator[Difference]:
    """Yield what is otherwise about constraints and indexes, of tables that have their columns.

    Args:
        relations: What schema `sqp` of the database holds, or one table of it.
    """
    for name, actual in relations.items():
        needed = release_schema().get(name, Relation(is_view=False))
        if needed.columns.keys() <= actual.columns.keys():
            yield from _of_constraints(name, needed, actual)
            yield from _of_indexes(name, needed, relations)


def _of_view(name: str, needed: Relation, actual: Relation) -> Iterator[Difference]:
    lacking = needed.columns.keys() - actual.columns.keys()
    if lacking:
        what = f"view {SCHEMA}.{name} lacks {', '.join(sorted(lacking))}"
        yield Difference(name, what, _AS_PRINTED)


def _of_table(name: str, needed: Relation, actual: Relation) -> Iterator[Difference]:
    added = [column for key, column in actual.columns.items() if key not in needed.columns]
    alter = f"ALTER TABLE {_sql(SCHEMA, name)}"
    for column in needed.columns.values():
        if column.name not in actual.columns:
            yield _lacking(name, column, added)
            continue
        here, place = actual.columns[column.name], f"{SCHEMA}.{name}.{column.name}"
        for what, remedy, is_fatal in _changes(column, here):
            remedy = f"{alter} ALTER COLUMN {_sql(column.name)} {remedy}"
            yield Difference(name, f"{place} {what}", remedy, is_fatal)
    for column in added:
        if not column.is_filled and not column.is_generated:
            yield Difference(
                name,
                f"{SCHEMA}.{name}.{column.name}, which this release does not know, is NOT NULL "
                "without a default, so that no row can be entered",
                f"{alter} ALTER COLUMN {_sql(column.name)} DROP NOT NULL",
            )


def _of_constraints(name: str, needed: Relation, actual: Relation) -> Iterator[Difference]:
    for constraint in needed.constraints:
        if constraint not in actual.constraints:
            add = f"ALTER TABLE {_sql(SCHEMA, name)} ADD {constraint}"
            yield Difference(name, f"{SCHEMA}.{name} lacks its {constraint}", add, is_fatal=False)


def _of_indexes(
    name: str, needed: Relation, relations: Mapping[str, Relation]
) -> Iterator[Difference]:
    actual = relations[name].indexes
    for index in needed.indexes:
        if not any(each.serves(index.definition) or _is_broken(each, index) for each in actual):
            what, remedy = f"{SCHEMA}.{name} lacks its index {index.name}", index.definition
            if owner := _owner_of_name(index.name, relations):
                # Without a name, Postgres finds one.
                what += f", and {owner} has its name"
            else:
                remedy = remedy.replace("INDEX ON", f"INDEX {_sql(index.name)} ON", 1)
            yield Difference(name, what, remedy, is_fatal=False)
    for index in actual:
        if not index.is_valid:
            yield _invalid(name, index, actual)


def _changes(needed: Column, actual: Column) -> Iterator[tuple[str, str, bool]]:
    """Yield what is otherwise about a column, what to ALTER, and whether no refresh gets by it."""
    if actual.is_generated and not needed.is_generated:
        yield "is computed by Postgres", "DROP EXPRESSION", True
    if actual.type != needed.type:
        using = f"USING {_sql(needed.name)}::{needed.type}"
        yield f"is {actual.type}, not {needed.type}", f"TYPE {needed.type} {using}", False
    if needed.is_identity and not actual.is_identity:
        yield "is no identity any more", "ADD GENERATED ALWAYS AS IDENTITY", True
    if needed.default is not None and actual.default is None:
        yield "has no default", f"SET DEFAULT {needed.default}", True
    if needed.is_not_null and not actual.is_not_null:
        yield "may be null", "SET NOT NULL", False
    if actual.is_not_null and not needed.is_not_null:
        yield "may not be null", "DROP NOT NULL", True


def _lacking(name: str, column: Column, added: Sequence[Column]) -> Difference:
    what = f"{SCHEMA}.{name} lacks column {column.name}"
    table, quoted = _sql(SCHEMA, name), _sql(column.name)
    add = f"ALTER TABLE {table} ADD COLUMN {quoted} {column.definition}"
    if column.is_filled:
        return Difference(name, what, add, is_to_fill=name in TABLES)
    # Without it nobody knows which row is which.
    alike = [each for each in added if (each.type, each.is_filled) == (column.type, False)]
    if len(alike) == 1:
        rename = f"ALTER TABLE {table} RENAME COLUMN {_sql(alike[0].name)} TO {quoted}"
        return Difference(name, f"{what}, and has {alike[0].name} for it", rename)
    if name in TABLES:
        return Difference(
            name,
            f"{what}, without which its rows cannot be told apart",
            f"restore it from a backup; or empty it, to be filled again: TRUNCATE {table}; {add}",
            is_to_fill=True,
        )
    return Difference(name, what, f"restore {SCHEMA}.{name} from a backup")


def _is_broken(actual: Index, needed: Index) -> bool:
    """Return whether an index is the one that is needed, but was never finished."""
    return not actual.is_valid and actual.definition == needed.definition


def _owner_of_name(name: str, relations: Mapping[str, Relation]) -> str | None:
    """Return what has the name of an index that is lacking, if anything has."""
    if name in relations:
        return f"{SCHEMA}.{name}"
    for table, relation in relations.items():
        if any(index.name == name for index in relation.indexes):
            return f"another index, of {SCHEMA}.{table},"
    return None


def _invalid(table: str, index: Index, of_table: Sequence[Index]) -> Difference:
    name = _sql(SCHEMA, index.name)
    has_twin = any(other.is_valid and other.definition == index.definition for other in of_table)
    return Difference(
        table,
        f"index {index.name} of {SCHEMA}.{table} is invalid, as a CREATE INDEX CONCURRENTLY leaves "
        "it that failed",
        f"DROP INDEX {name}" if has_twin else f"REINDEX INDEX {name}",
        is_fatal=False,
    )


def _sql(*names: str) -> str:
    return sql.Identifier(*names).as_string(None)
