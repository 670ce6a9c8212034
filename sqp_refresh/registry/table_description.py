"""Ask Postgres how the tables look that operators registered."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.session import Session

_COLUMNS = """
SELECT relname AS table, coalesce(obj_description(class.oid, 'pg_class'), '') AS comment,
    attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS is_not_null,
    attgenerated <> '' OR attidentity = 'a' AS is_generated
FROM pg_class AS class
JOIN pg_attribute ON attrelid = class.oid AND attnum > 0 AND NOT attisdropped
WHERE relnamespace = %(schema)s::regnamespace AND relname = ANY(%(tables)s)
    AND relkind IN ('r', 'p')
ORDER BY relname, attnum
"""
# A partial or functional index does not say that a set of columns is unique.
_KEYS = """
SELECT class.relname, ARRAY(
    SELECT attname::text FROM pg_attribute
    WHERE attrelid = class.oid AND attnum = ANY(indkey)
)
FROM pg_index
JOIN pg_class AS class ON class.oid = indrelid
WHERE relnamespace = %(schema)s::regnamespace AND relname = ANY(%(tables)s)
    AND indisunique AND indpred IS NULL AND indexprs IS NULL
"""


@dataclass(frozen=True, slots=True)
class TableDescription:
    """A table as Postgres describes it.

    Attributes:
        comment: Its comment; empty where it has none.
        types: The type of each column, without the columns that Postgres fills itself.
        not_null: The columns that are never null.
        keys: The sets of columns that are unique.
    """

    comment: str
    types: dict[str, str]
    not_null: frozenset[str]
    keys: frozenset[frozenset[str]]


@dataclass(frozen=True, slots=True)
class _Column:
    """One column in the catalog of Postgres, beside the name and comment of its table."""

    table: str
    comment: str
    name: str
    type: str
    is_not_null: bool
    is_generated: bool


def describe_tables(session: Session, tables: Sequence[str]) -> dict[str, TableDescription]:
    """Return how Postgres describes tables of schema sqp, by name.

    A table that does not exist is left out.
    """
    if not tables:
        return {}
    params = {"schema": SCHEMA, "tables": list(tables)}
    keys: dict[str, set[frozenset[str]]] = {}
    for table, columns in session.fetch_all(_KEYS, params):
        keys.setdefault(table, set()).add(frozenset(columns))
    columns_by_table: dict[str, list[_Column]] = {}
    for column in session.fetch_all(_COLUMNS, params, row_factory=class_row(_Column)):
        columns_by_table.setdefault(column.table, []).append(column)
    return {
        table: TableDescription(
            comment=columns[0].comment,
            types={column.name: column.type for column in columns if not column.is_generated},
            not_null=frozenset(column.name for column in columns if column.is_not_null),
            keys=frozenset(keys.get(table, ())),
        )
        for table, columns in columns_by_table.items()
    }
