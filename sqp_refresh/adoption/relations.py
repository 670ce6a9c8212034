"""Read what tables and views a schema has, of any origin, and what may be compared of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqp_refresh.errors import NotFound
from sqp_refresh.postgres.session import Session

NUMBER, DAY, TEXT = "number", "day", "text"
"""As what values are compared."""

_COLUMNS = """
SELECT relname::text, attname::text, CASE
        WHEN typcategory = 'N' THEN 'number'
        WHEN atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN 'day'
        ELSE 'text'
    END, CASE
        WHEN atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) THEN 0
        WHEN atttypid = 'numeric'::regtype AND atttypmod > 3 THEN (atttypmod - 4) & 1023
    END, CASE
        WHEN atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND atttypmod > 3
            THEN atttypmod - 4
    END
FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
JOIN pg_type ON pg_type.oid = atttypid
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s)
    AND relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY relname, attnum
"""
_SCHEMAS = """
SELECT nspname::text FROM pg_namespace
WHERE nspname !~ '^(pg_|information_schema$)' ORDER BY nspname
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, as it is compared.

    Attributes:
        kind: NUMBER, DAY or TEXT.
        scale: How many decimals a number has; None where it has any, and of anything else.
        length: How many characters a text may have; None is any.
    """

    name: str
    kind: str
    scale: int | None = None
    length: int | None = None


Relations = Mapping[str, Mapping[str, Column]]
"""The columns of each table and view of a schema, by its name and by theirs."""


def read_relations(session: Session, schema: str) -> Relations:
    """Read the tables and views of a schema.

    Raises:
        NotFound: there is no such schema.
    """
    schemas = [name for (name,) in session.fetch_all(_SCHEMAS)]
    if schema not in schemas:
        raise NotFound(f"there is no schema {schema!r}; choose from {', '.join(schemas)}")
    relations: dict[str, dict[str, Column]] = {}
    for relation, *parts in session.fetch_all(_COLUMNS, {"schema": schema}):
        column = Column(*parts)
        relations.setdefault(relation, {})[column.name] = column
    return relations
