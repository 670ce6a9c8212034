"""The indexes of a table without a row, set aside while its first load fills it.

To enter each row into an index as it comes takes longer than to sort them all once they are there.
Set aside are plain indexes over columns; what holds a rule, as the primary key does, stays. They
are kept in `sqp.refresh_indexes`, and built by the first refresh that gets to its end, be it the
one that goes on from where this one was killed.
"""

from collections.abc import Sequence

from psycopg import sql

from sqp_refresh.postgres import Session
from sqp_refresh.tables import SCHEMA, Table

# Kept are names, never SQL: more may write to the ledger than own the table.
_KEEP = sql.SQL("""
INSERT INTO sqp.refresh_indexes (table_schema, table_name, index_name, column_names)
SELECT {schema}, {table}, index.relname, columns.names
FROM pg_class AS target
JOIN pg_index ON indrelid = target.oid
JOIN pg_class AS index ON index.oid = indexrelid
CROSS JOIN LATERAL (
    SELECT array_agg(attname::text ORDER BY place) AS names,
        string_agg(quote_ident(attname), ', ' ORDER BY place) AS quoted
    FROM unnest(indkey) WITH ORDINALITY AS of_key (attnum, place)
    JOIN pg_attribute USING (attnum) WHERE attrelid = target.oid
) AS columns
WHERE target.oid = {target}::regclass AND pg_has_role(target.relowner, 'USAGE')
    AND NOT EXISTS (SELECT FROM {name})
    AND indisvalid AND NOT indisclustered AND index.reltablespace = 0
    AND obj_description(index.oid, 'pg_class') IS NULL
    AND pg_get_indexdef(index.oid) = format(
        'CREATE INDEX %I ON %I.%I USING btree (%s)', index.relname, {schema}, {table}, quoted
    )
RETURNING index_name
""")
# Whoever reads an empty table may go on: nobody waits for the other.
_LOCK = sql.SQL("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE NOWAIT")
_DROP = sql.SQL("DROP INDEX {indexes}")
_KEPT = sql.SQL("""
SELECT index_name, column_names FROM sqp.refresh_indexes
JOIN pg_class AS target ON target.oid = {target}::regclass
WHERE table_schema = {schema} AND table_name = {table} AND pg_has_role(relowner, 'USAGE')
ORDER BY index_name
""")
_BUILD = sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {name} ({columns})")
_FORGET = sql.SQL("""
DELETE FROM sqp.refresh_indexes WHERE table_schema = {schema} AND table_name = {table}
""")


def set_aside(session: Session, table: Table) -> Sequence[str]:
    """Drop the indexes of a table that has no row; returns their names.

    A table that the session's user does not own keeps its indexes.

    Args:
        session: A session with the target, in a transaction of its own, as it may fail.
        table: The table.

    Raises:
        Transient: somebody is at the table; it may well be filled with its indexes.
    """
    names = [name for (name,) in session.rows(_KEEP.format(**_named(table)))]
    if names:
        session.run(_LOCK.format(**_named(table)))
        indexes = sql.SQL(", ").join(sql.Identifier(SCHEMA, name) for name in names)
        session.run(_DROP.format(indexes=indexes))
    return names


def build(session: Session, table: Table) -> None:
    """Build the indexes that are set aside, where the session's user owns the table.

    Args:
        session: A session with the target, in a transaction.
        table: The table.
    """
    kept = session.rows(_KEPT.format(**_named(table)))
    for index, columns in kept:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        session.run(_BUILD.format(**_named(table), index=sql.Identifier(index), columns=names))
    if kept:
        session.run(_FORGET.format(**_named(table)))


def _named(table: Table) -> dict[str, sql.Composable]:
    name = sql.Identifier(SCHEMA, table.name)
    return {
        "schema": sql.Literal(SCHEMA),
        "table": sql.Literal(table.name),
        "name": name,
        "target": sql.Literal(name.as_string(None)),
    }
