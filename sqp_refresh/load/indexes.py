"""Drop the indexes of a table without a row while its first load fills it, and build them again.

To enter each row into an index as it comes takes longer than to sort them all once they are there.
Dropped are plain indexes over columns, where the user may build them again. What holds a rule
stays, as the primary key does, and so does what begins with the days of a period, by which its rows
are found. Which are dropped is noted in `sqp.refresh_indexes` until they are built: by the refresh
that dropped them or, where that one was killed, as `control/missing_indexes` says.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from sqp_refresh.control import missing_indexes
from sqp_refresh.errors import RefreshError
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.period_sql import target_name
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

logger = logging.getLogger(__name__)

# Noted are names, never SQL: more users may write to the note than own the table.
_PLAIN = sql.SQL(
    in_schema("""
SELECT %(schema)s AS table_schema, %(table)s AS table_name, index.relname::text AS index_name,
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
WHERE target.oid = %(target)s::regclass AND target.relkind = 'r' AND {may_build}
    AND NOT row_security_active(target.oid) AND NOT EXISTS (SELECT FROM {name})
    AND columns.names[1] IS DISTINCT FROM %(scope)s::text
    AND indisvalid AND NOT indisexclusion AND NOT indisclustered AND NOT index.relispartition
    AND index.reltablespace = 0 AND obj_description(index.oid, 'pg_class') IS NULL
    AND pg_get_indexdef(index.oid) = format(
        'CREATE INDEX %%I ON %%I.%%I USING btree (%%s)',
        index.relname, %(schema)s::text, %(table)s::text, quoted
    )
    -- Its note would replace that of another table, whose index had the name before.
    AND NOT EXISTS (
        SELECT FROM sqp.refresh_indexes AS note
        WHERE table_schema = %(schema)s AND note.index_name = index.relname
            AND table_name <> %(table)s
    )
""")
)
_NOTE = sql.SQL(
    in_schema("""
INSERT INTO sqp.refresh_indexes AS note (table_schema, table_name, index_name, column_names)
{plain}
ON CONFLICT (table_schema, index_name) DO UPDATE
SET table_name = excluded.table_name, column_names = excluded.column_names, set_aside_at = now()
RETURNING note.index_name AS name, note.column_names AS columns
""")
)
# Whoever reads an empty table may go on: nobody waits for the other.
_LOCK = sql.SQL("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE NOWAIT")
_DROP = sql.SQL("DROP INDEX {indexes}")


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is dropped: its name, and the columns that it is of, in order."""

    name: str
    columns: Sequence[str]


def drop_for_bulk_load(session: Session, table: Table) -> list[Index]:
    """Drop the plain indexes of a table that has no row; returns them.

    Where somebody is at the table they stay: a load is right with them, too.

    Args:
        session: A session with the target, in no transaction.
        table: The table.
    """
    try:
        with session.transaction():
            return _drop(session, table)
    except RefreshError as error:
        logger.info("the indexes of %s stay where they are: %s", table.name, error)
        return []


def _drop(session: Session, table: Table) -> list[Index]:
    params = _params(table)
    plain = _PLAIN.format(name=target_name(table), may_build=missing_indexes.MAY_BUILD)
    if not session.fetch_all(plain, params):
        return []
    session.execute(_LOCK.format(name=_name(table)))
    # Asked again: now nobody enters a row any more.
    noted = session.fetch_all(_NOTE.format(plain=plain), params, row_factory=class_row(Index))
    if noted:
        names = sql.SQL(", ").join(sql.Identifier(SCHEMA, index.name) for index in noted)
        session.execute(_DROP.format(indexes=names))
    return noted


def build_dropped(session: Session, table: Table) -> list[str]:
    """Build the indexes of a table that are dropped; one that cannot be built waits for the next.

    Args:
        session: A session with the target, in no transaction.
        table: The table.

    Returns:
        What is wrong with the indexes of the table after that, and with its constraints.
    """
    with session.transaction():
        if missing_indexes.seems_complete(session, table.name):
            return []
        missing = missing_indexes.list_missing(session, table.name)
        own = [index for index in missing if index.may_build]
        if not own:
            return missing_indexes.table_warnings(session, table.name, missing)
    for index in own:
        try:
            with session.transaction():
                missing_indexes.build(session, index)
        except RefreshError as error:
            logger.warning("%s.%s is without %s: %s", SCHEMA, table.name, index.name, error)
    with session.transaction():
        missing = missing_indexes.list_missing(session, table.name)
        return missing_indexes.table_warnings(session, table.name, missing)


def _params(table: Table) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "table": table.name,
        "target": _name(table).as_string(None),
        "scope": table.scope,
    }


def _name(table: Table) -> sql.Identifier:
    return sql.Identifier(SCHEMA, table.name)
