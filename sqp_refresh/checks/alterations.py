"""Name what may give a row other values than a refresh writes: triggers, rules, other types.

A table that has any of them is compared with its source once more after it was written, value by
value: no sum tells that a trigger has set a column which is not added up.
"""

from collections.abc import Sequence

from psycopg import sql

from sqp_refresh.model.tables import Table
from sqp_refresh.postgres.period_sql import target_name
from sqp_refresh.postgres.session import Session

BEFORE_ROW = "BEFORE ROW trigger "
"""How the name of what changes rows before they are written begins."""

# Of partitions and tables that inherit, too: the rows may lie there. A trigger that only fires in
# another session_replication_role than ours is none. The bits of a trigger's type: 1 is ROW, 2
# BEFORE, 4 INSERT, 8 DELETE and 16 UPDATE. Rules of SELECT are views.
_ALTERATIONS = sql.SQL("""
WITH RECURSIVE part AS (
    SELECT to_regclass({table})::oid AS relid
    UNION SELECT inhrelid FROM pg_inherits JOIN part ON inhparent = relid
), firing AS (
    SELECT CASE current_setting('session_replication_role')
        WHEN 'replica' THEN 'R' ELSE 'O' END AS enabled
)
SELECT coalesce(array_agg(name ORDER BY name), '{{}}') FROM (
    SELECT CASE tgtype & 3 WHEN 3 THEN {before_row} ELSE 'trigger ' END || tgname AS name
    FROM pg_trigger JOIN part ON tgrelid = relid CROSS JOIN firing
    WHERE NOT tgisinternal AND tgenabled IN (enabled, 'A') AND tgtype & 28 <> 0
    UNION
    SELECT 'rule ' || rulename
    FROM pg_rewrite JOIN part ON ev_class = relid CROSS JOIN firing
    WHERE ev_type <> '1' AND ev_enabled IN (enabled, 'A')
    UNION
    SELECT format('the type %%s of column %%s', format_type(atttypid, atttypmod), attname)
    FROM unnest(%(columns)s::text[], %(types)s::text[]) AS made (name, type)
    JOIN pg_attribute ON attrelid = to_regclass({table}) AND attname = made.name
    WHERE format_type(atttypid, atttypmod) <> made.type
) AS alteration
""")


# To plan the query above takes longer than to measure a small period, so that it is asked only
# where the catalog's own flags, or the types, say that there is something to find.
_DEFINITION = sql.SQL("""
(
    SELECT CASE WHEN relhastriggers OR relhasrules OR relhassubclass THEN '{{}}' ELSE ARRAY(
        SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod)) FROM pg_attribute
        WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
    ) END
    FROM pg_class WHERE oid = {table}::regclass
)
""")


def definition(table: Table) -> sql.Composed:
    """Return the columns of a table with their types, as a subquery that yields an array.

    It is empty where the table has, or had, a trigger, a rule or a table that inherits from it.
    """
    return _DEFINITION.format(table=_literal_name(table))


def alterations_of(session: Session, table: Table, defined: Sequence[str]) -> list[str]:
    """Read the names of what may alter rows, unless the definition of the table rules that out.

    Args:
        session: A session in a transaction during which that cannot change.
        table: The table.
        defined: What `definition` yields.
    """
    made = {f"{column.name} {column.type}" for column in table.columns}
    return [] if made <= set(defined) else read_alterations(session, table)


def read_alterations(session: Session, table: Table) -> list[str]:
    """Read the names of what may alter rows of a table: "trigger clamp"."""
    query = _ALTERATIONS.format(table=_literal_name(table), before_row=sql.Literal(BEFORE_ROW))
    columns = {
        "columns": [column.name for column in table.columns],
        "types": [column.type for column in table.columns],
    }
    (names,) = session.fetch_one(query, columns)
    return names


def _literal_name(table: Table) -> sql.Literal:
    return sql.Literal(target_name(table).as_string(None))
