"""The one statement that publishes a period: compare, then delete, update and insert what differs.

    rows ── place 1 ──▶ incoming ─┐
      └─ place > 1: superseded    ├─▶ compared ─▶ deleted, updated, inserted
    present (target, one period) ─┘      └─ what is left of present: unchanged

The comparison runs once, and only rows that differ leave it. Unchanged rows are not written, so a
second run costs no WAL and leaves no dead rows; indexes, grants and policies of the target stay as
they are. They are counted where they lie, so that a row which is in neither count is noticed. Where
nothing was read, nothing is deleted: an empty week is more often a late one than one that Amazon
took back. A period that the target has no row of is not compared, only inserted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from psycopg import sql

from sqp_refresh.ledger.target_version import PLACE, of_period
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Column, Table, measures_first, middle_columns
from sqp_refresh.postgres.session import type_name

_INSERT = sql.SQL("""
WITH {read}inserted AS (
    INSERT INTO {target} ({columns})
    SELECT {expressions} FROM {source} WHERE {counts} RETURNING 1
)
SELECT (SELECT count(*) FROM {source}), (SELECT count(*) FROM {source} WHERE NOT {counts}),
       (SELECT count(*) FROM inserted), 0::bigint, 0::bigint, 0::bigint, 0::bigint
""")
_COMPARE = sql.SQL("""
WITH {read}incoming AS (
    SELECT {expressions} FROM {source} WHERE {counts}
), present AS NOT MATERIALIZED (
    SELECT target.tableoid AS row_table, target.ctid AS row_id, {columns} FROM {target} AS target
    WHERE {within}
), compared AS MATERIALIZED (
    SELECT row_table, row_id, {key}, {published},
        CASE WHEN present.row_id IS NULL THEN 'new'
             WHEN incoming.{sample} IS NULL THEN 'vanished'
             ELSE 'differs'
        END AS verdict
    FROM incoming FULL JOIN present USING ({key})
    WHERE present.row_id IS NULL OR incoming.{sample} IS NULL
        OR ROW({published_values}) IS DISTINCT FROM ROW({present_values})
), deleted AS (
    DELETE FROM {target} AS target USING compared
    WHERE verdict = 'vanished' AND EXISTS (SELECT FROM {source}) AND {is_it}
    RETURNING 1
), updated AS (
    UPDATE {target} AS target SET {assignments} FROM compared
    WHERE verdict = 'differs' AND {is_it} RETURNING 1
), inserted AS (
    INSERT INTO {target} ({columns})
    SELECT {columns} FROM compared WHERE verdict = 'new' RETURNING 1
)
SELECT (SELECT count(*) FROM {source}),
       (SELECT count(*) FROM {source} WHERE NOT {counts}),
       (SELECT count(*) FROM inserted),
       (SELECT count(*) FROM updated),
       (SELECT count(*) FROM present)
           - (SELECT count(*) FROM compared WHERE verdict IN ('differs', 'vanished')),
       (SELECT count(*) FROM deleted),
       (SELECT count(*) FROM compared
           WHERE verdict = 'vanished' AND NOT EXISTS (SELECT FROM {source}))
""")
# As above, of rows that are only a part of the period's: what they do not meet stays as it is. Each
# looks for its own row by the key; OFFSET keeps Postgres from reading all of the period for that.
_CHANGE = sql.SQL("""
WITH {read}incoming AS (
    SELECT {expressions} FROM {source}
), compared AS MATERIALIZED (
    SELECT row_table, row_id, row_place, {incoming_key}, {published}
    FROM incoming LEFT JOIN LATERAL (
        SELECT target.tableoid AS row_table, target.ctid AS row_id, {place} AS row_place, {columns}
        FROM {target} AS target
        WHERE {within} AND ROW({target_key}) = ROW({incoming_key}) OFFSET 0
    ) AS present ON true
    WHERE present.row_id IS NULL
        OR ROW({published_values}) IS DISTINCT FROM ROW({present_values})
), updated AS (
    UPDATE {target} AS target SET {assignments} FROM compared
    WHERE {is_it} RETURNING {new_place} - row_place AS moved
), inserted AS (
    INSERT INTO {target} AS target ({columns})
    SELECT {columns} FROM compared WHERE row_id IS NULL RETURNING {new_place} AS moved
)
SELECT (SELECT count(*) FROM {source}), 0::bigint,
       (SELECT count(*) FROM inserted), (SELECT count(*) FROM updated),
       (SELECT count(*) FROM {source}) - (SELECT count(*) FROM compared),
       0::bigint, 0::bigint,
       (SELECT coalesce(sum(moved), 0) FROM (TABLE updated UNION ALL TABLE inserted) AS written)
""")
# As `PLACE` is of a row that this transaction has written, which RETURNING cannot always tell.
_NEW_PLACE = sql.SQL("""
hash_record_extended(ROW(target.tableoid, target.ctid, pg_current_xact_id()::xid), 0)::numeric
""")
# A place is one of a table, of which a partitioned one has several.
_IS_IT = sql.SQL("target.ctid = row_id AND target.tableoid = row_table")
_PRESENT = sql.SQL("SELECT EXISTS (SELECT FROM {target} WHERE {within})")


@dataclass(frozen=True, slots=True)
class Read:
    """What was read: a table or the result of a query, and which of its rows count.

    Attributes:
        source: Its name in the statement.
        columns: The columns that it yields; the rest is computed from them.
        query: What yields it; None where it is there already.
        is_ranked: Whether rows of one key have a place, and only the first of them counts.
    """

    source: sql.Identifier
    columns: tuple[str, ...]
    query: sql.Composable | None = None
    is_ranked: bool = False

    def named(self) -> dict[str, sql.Composable]:
        """The parts of the statement that speak of it."""
        read = sql.SQL("{} AS MATERIALIZED ({}), ").format(self.source, self.query or sql.SQL(""))
        return {
            "read": read if self.query else sql.SQL(""),
            "source": self.source,
            "counts": sql.SQL("(place = 1)") if self.is_ranked else sql.SQL("true"),
        }


def present_statement(table: Table, period: Period) -> sql.Composed:
    """Whether the target has any row of a period."""
    target = sql.Identifier(SCHEMA, table.name)
    return _PRESENT.format(target=target, within=of_period(table, period))


def insert_statement(table: Table, period: Period, read: Read) -> sql.Composed:
    """Publish a period that the target has no row of; returns the numbers of `Counts`, in order."""
    return _INSERT.format(
        **read.named(),
        target=sql.Identifier(SCHEMA, table.name),
        columns=_names(table.columns),
        expressions=_expressions(table, period, read.columns),
    )


def publish_statement(table: Table, period: Period, read: Read) -> sql.Composed:
    """Compose the statement; it returns the numbers of `Counts`, in that order.

    Args:
        table: The target.
        period: Only the target's rows in these days are compared, changed or deleted.
        read: The rows to publish.
    """
    return _COMPARE.format(
        **read.named(),
        **_comparison(table, period, read),
        # No key column is ever null, so one of them tells whether there is an incoming row.
        sample=sql.Identifier(table.key[0].name),
    )


def changed_statement(table: Table, period: Period, read: Read) -> sql.Composed:
    """Publish those rows of a period that may differ, and leave all others as they are.

    It returns the numbers of `Counts`, in that order, of these rows alone, and by how much their
    places have changed. Each key comes once.
    """
    return _CHANGE.format(
        **read.named(),
        **_comparison(table, period, read),
        place=PLACE,
        new_place=_NEW_PLACE,
        target_key=_listed(sql.Identifier("target", column.name) for column in table.key),
        incoming_key=_listed(sql.Identifier("incoming", column.name) for column in table.key),
    )


def _comparison(table: Table, period: Period, read: Read) -> dict[str, sql.Composable]:
    return {
        "expressions": _expressions(table, period, read.columns),
        "columns": _names(table.columns),
        "key": _names(table.key),
        "target": sql.Identifier(SCHEMA, table.name),
        "within": of_period(table, period),
        "published": _listed(
            sql.SQL("{} AS {}").format(_published(table, column), sql.Identifier(column.name))
            for column in table.values
        ),
        "published_values": _listed(_published(table, column) for column in table.values),
        "present_values": _listed(
            sql.Identifier("present", column.name) for column in table.values
        ),
        "assignments": _listed(_assignments(table)),
        "is_it": _IS_IT,
    }


def bounds(period: Period) -> dict[str, date]:
    """The columns that hold the first and the last day of the period that a row belongs to."""
    return {
        "start_date": period.start,
        "end_date": period.end,
        "period_start": period.start,
        "period_end": period.end,
    }


def key_of(table: Table, read: Read) -> list[str]:
    """The columns of the key that were read; the others are the same in a whole period."""
    return [column.name for column in table.key if column.name in read.columns]


def ranked(table: Table, read: Read) -> Read:
    """The same rows, of which only the latest of each key counts.

    Rows of one key and one date differ only where the source contradicts itself; they are ranked
    by their values, so that every run, and every table, lets the same one count.
    """
    latest = ["report_date"] if "report_date" in read.columns else []
    values = [column.name for column in measures_first(table.values)]
    order = [*latest, *(name for name in values if name in read.columns)]
    query = sql.SQL(
        "SELECT *, row_number() OVER (PARTITION BY {} ORDER BY {}) AS place FROM {}"
    ).format(
        _identifiers(key_of(table, read)),
        _listed(sql.SQL("{} DESC NULLS LAST").format(sql.Identifier(name)) for name in order),
        read.source,
    )
    return Read(sql.Identifier("read"), read.columns, query, is_ranked=True)


def _expressions(table: Table, period: Period, available: tuple[str, ...]) -> sql.Composed:
    return _listed(_expression(table, period, column, available) for column in table.columns)


def _assignments(table: Table) -> Iterator[sql.Composable]:
    for column in table.values:
        yield sql.SQL("{0} = compared.{0}").format(sql.Identifier(column.name))
    if table.is_stamped:
        yield sql.SQL("updated_at = now()")


def _expression(
    table: Table, period: Period, column: Column, available: tuple[str, ...]
) -> sql.Composed:
    """A target column out of what was read: as it is, or computed exactly and rounded once."""
    if column.name in available:
        value = sql.Identifier(column.name)
    elif column.name in table.ratios:
        dividend, divisor = map(sql.Identifier, table.ratios[column.name])
        value = sql.SQL("100 * {}::numeric / nullif({}, 0)").format(dividend, divisor)
    elif column.name in table.medians:
        low, high = map(sql.Identifier, middle_columns(column.name))
        value = sql.SQL("({}::numeric + {}::numeric) / 2").format(low, high)
    else:
        value = sql.Literal(bounds(period)[column.name])
    return sql.SQL("CAST({} AS {}) AS {}").format(
        value, type_name(column.type), sql.Identifier(column.name)
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
