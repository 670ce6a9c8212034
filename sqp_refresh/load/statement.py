"""The one statement that publishes a period: compare, then delete, update and insert what differs.

    rows ── place 1 ──▶ incoming ─┐
      └─ place > 1: superseded    ├─▶ compared ─▶ deleted, updated, inserted, unchanged
    present (target, one period) ─┘

The comparison runs once. Unchanged rows are not written, so a second run costs no WAL and leaves
no dead rows; indexes, grants and policies of the target stay as they are. Where nothing was read,
nothing is deleted: an empty week is more often a late one than one that Amazon took back.
"""

from collections.abc import Iterable, Iterator

from psycopg import sql

from sqp_refresh.postgres import typed
from sqp_refresh.tables import SCHEMA, Column, Table, measures_first, middle_columns
from sqp_refresh.weeks import Period

_STATEMENT = sql.SQL("""
WITH read AS MATERIALIZED (
    {rows}
), incoming AS (
    SELECT {expressions} FROM read WHERE place = 1
), present AS (
    SELECT target.ctid AS row_id, {columns} FROM {target} AS target
    WHERE {within}
), compared AS MATERIALIZED (
    SELECT row_id, {key}, {published},
        CASE WHEN present.row_id IS NULL THEN 'new'
             WHEN incoming.{sample} IS NULL THEN 'vanished'
             WHEN ROW({published_values}) IS DISTINCT FROM ROW({present_values}) THEN 'differs'
             ELSE 'same'
        END AS verdict
    FROM incoming FULL JOIN present USING ({key})
), deleted AS (
    DELETE FROM {target} AS target USING compared
    WHERE verdict = 'vanished' AND target.ctid = row_id AND EXISTS (SELECT FROM read)
    RETURNING 1
), updated AS (
    UPDATE {target} AS target SET {assignments} FROM compared
    WHERE verdict = 'differs' AND target.ctid = row_id RETURNING 1
), inserted AS (
    INSERT INTO {target} ({columns})
    SELECT {columns} FROM compared WHERE verdict = 'new' RETURNING 1
)
SELECT (SELECT count(*) FROM read),
       (SELECT count(*) FROM read WHERE place > 1),
       (SELECT count(*) FROM inserted),
       (SELECT count(*) FROM updated),
       (SELECT count(*) FROM compared WHERE verdict = 'same'),
       (SELECT count(*) FROM deleted),
       (SELECT count(*) FROM compared WHERE verdict = 'vanished' AND NOT EXISTS (SELECT FROM read))
""")


def publish_statement(
    table: Table, period: Period, rows: sql.Composable, available: tuple[str, ...]
) -> sql.Composed:
    """Compose the statement; it returns the numbers of `Counts`, in that order.

    Args:
        table: The target.
        period: Only the target's rows in these days are compared, changed or deleted.
        rows: A SELECT of the `available` columns and of `place`, a row's rank among those that
            carry its key; only rank 1 is published.
        available: The columns that `rows` yields; the rest is computed from them.
    """
    return _STATEMENT.format(
        rows=rows,
        expressions=_listed(
            _expression(table, period, column, available) for column in table.columns
        ),
        columns=_names(table.columns),
        key=_names(table.key),
        target=sql.Identifier(SCHEMA, table.name),
        within=_within(table, period),
        # No key column is ever null, so one of them tells whether there is an incoming row.
        sample=sql.Identifier(table.key[0].name),
        published=_listed(
            sql.SQL("{} AS {}").format(_published(table, column), sql.Identifier(column.name))
            for column in table.values
        ),
        published_values=_listed(_published(table, column) for column in table.values),
        present_values=_listed(sql.Identifier("present", column.name) for column in table.values),
        assignments=_listed(_assignments(table)),
    )


def _assignments(table: Table) -> Iterator[sql.Composable]:
    for column in table.values:
        yield sql.SQL("{0} = compared.{0}").format(sql.Identifier(column.name))
    if table.is_stamped:
        yield sql.SQL("updated_at = now()")


def _within(table: Table, period: Period) -> sql.Composable:
    if table.scope is None:
        return sql.SQL("true")
    return sql.SQL("{} BETWEEN {} AND {}").format(
        sql.Identifier(table.scope), sql.Literal(period.start), sql.Literal(period.end)
    )


def staged_rows(table: Table, available: tuple[str, ...], staging: str) -> sql.Composed:
    """A SELECT over the staging table that ranks the rows of one key, the latest date first.

    Rows of one key and one date differ only where the source contradicts itself; they are ranked
    by their values, so that every run, and every table, lets the same one count.
    """
    key = [column.name for column in table.key if column.name in available]
    latest = ["report_date"] if "report_date" in available else []
    values = [column.name for column in measures_first(table.values) if column.name in available]
    return sql.SQL(
        "SELECT *, row_number() OVER (PARTITION BY {} ORDER BY {}) AS place FROM {}"
    ).format(
        _identifiers(key),
        _listed(
            sql.SQL("{} DESC NULLS LAST").format(sql.Identifier(name)) for name in latest + values
        ),
        sql.Identifier(staging),
    )


def _expression(
    table: Table, period: Period, column: Column, available: tuple[str, ...]
) -> sql.Composed:
    """A target column out of what was read: as it is, or computed exactly and rounded once."""
    bounds = {
        "start_date": period.start,
        "end_date": period.end,
        "period_start": period.start,
        "period_end": period.end,
    }
    if column.name in available:
        value = sql.Identifier(column.name)
    elif column.name in table.ratios:
        dividend, divisor = map(sql.Identifier, table.ratios[column.name])
        value = sql.SQL("100 * {}::numeric / nullif({}, 0)").format(dividend, divisor)
    elif column.name in table.medians:
        low, high = map(sql.Identifier, middle_columns(column.name))
        value = sql.SQL("({}::numeric + {}::numeric) / 2").format(low, high)
    else:
        value = sql.Literal(bounds[column.name])
    return sql.SQL("CAST({} AS {}) AS {}").format(
        value, typed(column.type), sql.Identifier(column.name)
    )


def _published(table: Table, column: Column) -> sql.Composable:
    incoming = sql.Identifier("incoming", column.name)
    if column.name not in table.kept_when_null:
        return incoming
    return sql.SQL("coalesce({}, {})").format(incoming, sql.Identifier("present", column.name))


def _names(columns: Iterable[Column]) -> sql.Composed:
    return _identifiers(column.name for column in columns)


def _identifiers(names: Iterable[str]) -> sql.Composed:
    return _listed(map(sql.Identifier, names))


def _listed(items: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(items)
