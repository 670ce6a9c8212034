"""The indexes of a table without a row, set aside while its first load fills it.

To enter each row into an index as it comes takes longer than to sort them all once they are there.
Set aside are plain indexes over columns, where the user may build them again. What holds a rule
stays, as the primary key does, and so does what begins with the days of a period, by which its rows
are found. Which are away is noted in `sqp.refresh_indexes`, until they are built: by the refresh
that set them aside, or by the next one where that one was killed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session

# Noted are names, never SQL: more may write to the ledger than own the table.
_PLAIN = sql.SQL("""
SELECT {schema} AS table_schema, {table} AS table_name, index.relname::text AS index_name,
    columns.names AS column_names
FROM pg_class AS target
JOIN pg_index ON indrelid = target.oid
JOIN pg_class AS index ON index.oid = indexrelid
CROSS JOIN LATERAL (
    SELECT array_agg(attname::text ORDER BY place) AS names,
        string_agg(quote_ident(attname), ', ' ORDER BY place) AS quoted
    FROM unnest(indkey) WITH ORDINALITY AS of_key (attnum, place)
    JOIN pg_attribute USING (attnum) WHERE attrelid = target.oid
) AS columns
WHERE target.oid = {target}::regclass AND target.relkind = 'r' AND {may_build}
    AND NOT row_security_active(target.oid) AND NOT EXISTS (SELECT FROM {name})
    AND columns.names[1] IS DISTINCT FROM {scope}
    AND indisvalid AND NOT indisexclusion AND NOT indisclustered AND NOT index.relispartition
    AND index.reltablespace = 0 AND obj_description(index.oid, 'pg_class') IS NULL
    AND pg_get_indexdef(index.oid) = format(
        'CREATE INDEX %I ON %I.%I USING btree (%s)', index.relname, {schema}, {table}, quoted
    )
""")
_MAY_BUILD = sql.SQL(
    "pg_has_role(target.relowner, 'USAGE') AND has_schema_privilege(target.relnamespace, 'CREATE')"
)
_NOTE = sql.SQL("""
INSERT INTO sqp.refresh_indexes AS known (table_schema, table_name, index_name, column_names)
{plain}
ON CONFLICT (table_schema, index_name) DO UPDATE
SET table_name = excluded.table_name, column_names = excluded.column_names, set_aside_at = now()
RETURNING known.index_name, known.column_names
""")
# Whoever reads an empty table may go on: nobody waits for the other.
_LOCK = sql.SQL("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE NOWAIT")
_DROP = sql.SQL("DROP INDEX {indexes}")
_AWAY = sql.SQL("""
SELECT index_name, column_names FROM sqp.refresh_indexes
JOIN pg_class AS target ON target.oid = {target}::regclass
WHERE table_schema = {schema} AND table_name = {table} AND {may_build}
ORDER BY index_name
""")
_BUILD = sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {name} ({columns})")
_FORGET = sql.SQL("""
DELETE FROM sqp.refresh_indexes WHERE table_schema = {schema} AND index_name = {index_name}
""")


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is away: its name, and the columns of its table that it is of, in order."""

    name: str
    columns: Sequence[str]


def set_aside(session: Session, table: Table) -> list[Index]:
    """Drop the plain indexes of a table that has no row; returns them.

    Args:
        session: A session with the target, in a transaction of its own, as it may fail.
        table: The table.

    Raises:
        Transient: somebody is at the table; it may well be filled with its indexes.
    """
    named = _named(table)
    plain = _PLAIN.format(**named)
    if not session.rows(plain):
        return []
    session.run(_LOCK.format(**named))
    # Asked again: now nobody enters a row any more.
    noted = [Index(*found) for found in session.rows(_NOTE.format(plain=plain))]
    if noted:
        names = sql.SQL(", ").join(sql.Identifier(SCHEMA, index.name) for index in noted)
        session.run(_DROP.format(indexes=names))
    return noted


def away(session: Session, table: Table) -> list[Index]:
    """The indexes of a table that are set aside, and that the session's user may build."""
    return [Index(*found) for found in session.rows(_AWAY.format(**_named(table)))]


def build(session: Session, table: Table, index: Index) -> None:
    """Build one that is set aside, unless somebody has built one of its name meanwhile.

    Args:
        session: A session with the target, in a transaction.
        table: The table.
        index: What `set_aside` or `away` returned.
    """
    named = _named(table)
    columns = sql.SQL(", ").join(map(sql.Identifier, index.columns))
    session.run(_BUILD.format(**named, index=sql.Identifier(index.name), columns=columns))
    session.run(_FORGET.format(**named, index_name=sql.Literal(index.name)))


def _named(table: Table) -> dict[str, sql.Composable]:
    name = sql.Identifier(SCHEMA, table.name)
    return {
        "schema": sql.Literal(SCHEMA),
        "table": sql.Literal(table.name),
        "name": name,
        "target": sql.Literal(name.as_string(None)),
        "scope": sql.Literal(table.scope),
        "may_build": _MAY_BUILD,
    }
