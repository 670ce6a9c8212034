"""Name what may give a row other values than a refresh writes: triggers, rules, other types.

A table that has any of them is compared with its source once more after it was written, value by
value: no sum tells that a trigger has set a column which is not added up.
"""

from typing import Any

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
(
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
)
""")


def alterations(table: Table) -> sql.Composed:
    """Return the names of what may alter rows of a table, as a subquery that yields an array.

    It takes the parameters of `alterations_params`.
    """
    return _ALTERATIONS.format(
        table=sql.Literal(target_name(table).as_string(None)), before_row=sql.Literal(BEFORE_ROW)
    )


def alterations_params(table: Table) -> dict[str, Any]:
    """Return the columns of a table, and the types that they were made with."""
    return {
        "columns": [column.name for column in table.columns],
        "types": [column.type for column in table.columns],
    }


def read_alterations(session: Session, table: Table) -> list[str]:
    """Read the names of what may alter rows of a table: "trigger clamp"."""
    query = sql.SQL("SELECT {}").format(alterations(table))
    (names,) = session.fetch_one(query, alterations_params(table))
    return names
