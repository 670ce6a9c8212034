"""Compose the one statement that loads a period: compare, then delete, update and insert.

    rows ── rank 1 ──▶ incoming ─┐
      └─ rank > 1: superseded    ├─▶ compared ─▶ deleted, updated, inserted
    present (target, one period)─┘      └─ what is left of present: unchanged

The comparison runs once, and only rows that differ leave it. Unchanged rows are not written, so a
second run costs no WAL and leaves no dead rows; indexes, grants and policies of the target stay as
they are. They are counted where they lie, so that a row which is in neither count is noticed. Where
nothing was read, nothing is deleted: an empty week is more often a late one than one that Amazon
took back. A period that the target has no row of is not compared, only inserted.

Every statement takes the parameters of `period_params`, and returns the numbers of `Counts` in
their order. Behind them, those that compare all rows return the keys of the rows that they deleted.
Columns of its own are named as `ours` names them, lest a table has one of the same name.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.ledger.target_version import TUPLE_HASH
from sqp_refresh.load import history
from sqp_refresh.model.tables import DATE, Column, Table, measures_first, middle_columns
from sqp_refresh.model.types import LogicalType, logical_type
from sqp_refresh.postgres.period_sql import PERIOD_END, PERIOD_START, in_period, target_name
from sqp_refresh.postgres.session import identifier, type_name

_INSERT = sql.SQL("""
WITH {read}inserted AS (
    INSERT INTO {target} AS target ({columns})
    SELECT {expressions} FROM {source} WHERE {counts} RETURNING 1{inserted_row}
){recorded}
SELECT (SELECT count(*) FROM {source}), (SELECT count(*) FROM {source} WHERE NOT {counts}),
       (SELECT count(*) FROM inserted), 0::bigint, 0::bigint, 0::bigint, 0::bigint, '[]'::jsonb
""")
# `compared` is computed once (MATERIALIZED), because three statements read it, and they must agree.
# `present` is not: it would be copied to disk for a comparison that reads it once.
_COMPARED = sql.SQL("""
{read}incoming AS (
    SELECT {expressions} FROM {source} WHERE {counts}
), present AS NOT MATERIALIZED (
    SELECT target.tableoid AS __sqp_tableoid, target.ctid AS __sqp_ctid, {columns}{present_before}
    FROM {target} AS target WHERE {in_period}
), compared AS MATERIALIZED (
    SELECT present.__sqp_tableoid, present.__sqp_ctid, {key}, {new_columns},
        CASE WHEN present.__sqp_ctid IS NULL THEN 'new'
             WHEN incoming.{any_key} IS NULL THEN 'vanished'
             ELSE 'differs'
        END AS __sqp_verdict{compared_before}
    FROM incoming FULL JOIN present USING ({key})
    WHERE present.__sqp_ctid IS NULL OR incoming.{any_key} IS NULL
        OR ROW({new_values}) IS DISTINCT FROM ROW({present_values})
)
""")
_MERGE = sql.SQL("""
WITH {compared}, deleted AS (
    DELETE FROM {target} AS target USING compared
    WHERE compared.__sqp_verdict = 'vanished' AND EXISTS (SELECT FROM {source})
        AND {is_same_tuple}
    RETURNING jsonb_build_array({deleted_key}) AS group_key{deleted_row}
), updated AS (
    UPDATE {target} AS target SET {assignments} FROM compared
    WHERE compared.__sqp_verdict = 'differs' AND {is_same_tuple} RETURNING 1{updated_row}
), inserted AS (
    INSERT INTO {target} AS target ({columns})
    SELECT {columns} FROM compared WHERE __sqp_verdict = 'new' RETURNING 1{inserted_row}
){recorded}
SELECT (SELECT count(*) FROM {source}),
       (SELECT count(*) FROM {source} WHERE NOT {counts}),
       (SELECT count(*) FROM inserted),
       (SELECT count(*) FROM updated),
       (SELECT count(*) FROM present)
           - (SELECT count(*) FROM compared WHERE __sqp_verdict IN ('differs', 'vanished')),
       (SELECT count(*) FROM deleted),
       (SELECT count(*) FROM compared
           WHERE __sqp_verdict = 'vanished' AND NOT EXISTS (SELECT FROM {source})),
       (SELECT coalesce(jsonb_agg(group_key), '[]')
           FROM (SELECT group_key FROM deleted LIMIT 100000) AS deleted)
""")
_DIFFERING = sql.SQL("""
WITH {compared}
SELECT count(*) FILTER (WHERE __sqp_verdict = 'new'),
    count(*) FILTER (WHERE __sqp_verdict = 'differs'),
    count(*) FILTER (WHERE __sqp_verdict = 'vanished' AND EXISTS (SELECT FROM {source}))
FROM compared
""")
# As above, of rows that are only a part of the period's: what they do not meet stays as it is. Each
# looks for its own row by the key; OFFSET keeps Postgres from reading all of the period for that.
_UPSERT = sql.SQL("""
WITH {read}incoming AS (
    SELECT {expressions} FROM {source}
), compared AS MATERIALIZED (
    SELECT present.__sqp_tableoid, present.__sqp_ctid, present.__sqp_tuple_hash,
        {incoming_key}, {new_columns}{compared_before}
    FROM incoming LEFT JOIN LATERAL (
        SELECT target.tableoid AS __sqp_tableoid, target.ctid AS __sqp_ctid,
            {tuple_hash} AS __sqp_tuple_hash, {columns}{present_before}
        FROM {target} AS target
        WHERE {in_period} AND ROW({target_key}) = ROW({incoming_key}) OFFSET 0
    ) AS present ON true
    WHERE present.__sqp_ctid IS NULL
        OR ROW({new_values}) IS DISTINCT FROM ROW({present_values})
), updated AS (
    UPDATE {target} AS target SET {assignments} FROM compared
    WHERE {is_same_tuple}
    RETURNING {new_hash} - compared.__sqp_tuple_hash AS hash_change{updated_row}
), inserted AS (
    INSERT INTO {target} AS target ({columns})
    SELECT {columns} FROM compared WHERE __sqp_ctid IS NULL
    RETURNING {new_hash} AS hash_change{inserted_row}
){recorded}
SELECT (SELECT count(*) FROM {source}), 0::bigint,
       (SELECT count(*) FROM inserted), (SELECT count(*) FROM updated),
       (SELECT count(*) FROM {source}) - (SELECT count(*) FROM compared),
       0::bigint, 0::bigint,
       (SELECT coalesce(sum(hash_change), 0) FROM (
           SELECT hash_change FROM updated UNION ALL SELECT hash_change FROM inserted
       ) AS written)
""")
# As `TUPLE_HASH`, of a row that this transaction has written: RETURNING may not tell its xmin.
_NEW_HASH = sql.SQL("""
hash_record_extended(ROW(target.tableoid, target.ctid, pg_current_xact_id()::xid), 0)::numeric
""")
# A ctid is one of a table, of which a partitioned one has several.
_IS_SAME_TUPLE = sql.SQL(
    "target.ctid = compared.__sqp_ctid AND target.tableoid = compared.__sqp_tableoid"
)
# Types that Postgres cannot tell two equal values of, or compares by their size alone.
_WITHOUT_EQUALITY = frozenset(
    ("json", "xml", "point", "polygon", "box", "circle", "path", "jsonpath")
)
_HAS_ROWS = sql.SQL("SELECT EXISTS (SELECT FROM {target} WHERE {in_period})")

PERIOD_DAYS = {
    "start_date": PERIOD_START,
    "end_date": PERIOD_END,
    "period_start": PERIOD_START,
    "period_end": PERIOD_END,
}
"""The columns that hold the first and the last day of the period that a row belongs to."""


@dataclass(frozen=True, slots=True)
class ReadRows:
    """The rows to load: a table or the result of a query, and which of them count.

    Attributes:
        source: Its name in the statement.
        columns: The columns that it yields; the rest is computed from them.
        query: What yields it; None where it is there already.
        is_ranked: Whether rows of one key have a rank, and only the first of them counts.
    """

    source: sql.Identifier
    columns: tuple[str, ...]
    query: sql.Composable | None = None
    is_ranked: bool = False

    def fragments(self) -> dict[str, sql.Composable]:
        """Return the parts of a statement that speak of these rows."""
        read = sql.SQL("{} AS MATERIALIZED ({}), ").format(self.source, self.query or sql.SQL(""))
        return {
            "read": read if self.query else sql.SQL(""),
            "source": self.source,
            "counts": sql.SQL("(__sqp_rank = 1)") if self.is_ranked else sql.SQL("true"),
        }


def has_rows_query(table: Table) -> sql.Composed:
    """Compose the question whether the target has any row of a period."""
    return _HAS_ROWS.format(target=target_name(table), in_period=in_period(table))


def insert_statement(table: Table, read: ReadRows, *, is_recorded: bool = False) -> sql.Composed:
    """Compose what loads a period that the target has no row of.

    Args:
        table: The table.
        read: The rows.
        is_recorded: Whether each row that is written is put on record as it was before; this takes
            the parameter `audit_log_id`.
    """
    return _INSERT.format(
        **read.fragments(),
        **_history(table, "inserted", is_recorded=is_recorded),
        target=target_name(table),
        columns=_names(table.columns),
        expressions=_expressions(table, read.columns),
    )


def merge_statement(table: Table, read: ReadRows, *, is_recorded: bool = False) -> sql.Composed:
    """Compose what makes the target's rows of a period equal to those that were read."""
    deleted_key = _listed(identifier("target", name) for name in table.group_key)
    record = _history(table, "deleted", "updated", "inserted", is_recorded=is_recorded)
    return _MERGE.format(**_compared(table, read, record), **record, deleted_key=deleted_key)


def differing_statement(table: Table, read: ReadRows) -> sql.Composed:
    """Compose what counts the rows of a period that a merge would insert, update and delete."""
    return _DIFFERING.format(**_compared(table, read, _history(table, is_recorded=False)))


def upsert_statement(table: Table, read: ReadRows, *, is_recorded: bool = False) -> sql.Composed:
    """Compose what loads those rows of a period that may differ, and leaves all others.

    Beside the counts, of these rows alone, it returns by how much the sum of tuple hashes has
    changed. Each key comes once.
    """
    return _UPSERT.format(
        **read.fragments(),
        **_comparison(table, read),
        **_history(table, "updated", "inserted", is_recorded=is_recorded),
        tuple_hash=TUPLE_HASH,
        new_hash=_NEW_HASH,
        target_key=_listed(identifier("target", column.name) for column in table.key),
        incoming_key=_listed(identifier("incoming", column.name) for column in table.key),
    )


def read_key(table: Table, columns: Iterable[str]) -> list[str]:
    """List the columns of the key that were read; the others are the same in a whole period."""
    read = set(columns)
    return [column.name for column in table.key if column.name in read]


def ranked(table: Table, read: ReadRows) -> ReadRows:
    """Return the same rows, of which only the latest of each key counts.

    Rows of one key and one date differ only where the source contradicts itself; they are ranked
    by their values, so that every run, and every table, lets the same one count.
    """
    types = {column.name: column for column in table.columns}
    # A registered table may have a column of that name which is a text.
    report_date = types.get("report_date", Column("report_date", DATE, "of the source"))
    latest = [report_date] if "report_date" in read.columns else []
    values = [column for column in measures_first(table.values) if column.name in read.columns]
    query = sql.SQL(
        "SELECT *, row_number() OVER (PARTITION BY {} ORDER BY {}) AS __sqp_rank FROM {}"
    ).format(
        _listed(map(identifier, read_key(table, read.columns))),
        _listed(
            [
                sql.SQL("{} DESC NULLS LAST").format(_in_byte_order(column))
                for column in [*latest, *values]
            ]
        ),
        read.source,
    )
    return ReadRows(sql.Identifier("read"), read.columns, query, is_ranked=True)


def _in_byte_order(column: Column) -> sql.Composable:
    """Compose a value that is compared as BigQuery compares it, whatever the database's locale."""
    if logical_type(column.type) is not LogicalType.TEXT:
        return identifier(column.name)
    return sql.SQL('{} COLLATE "C"').format(identifier(column.name))


def _compared(
    table: Table, read: ReadRows, record: Mapping[str, sql.Composable]
) -> dict[str, sql.Composable]:
    parts = read.fragments() | _comparison(table, read)
    # No key column is ever null, so one of them tells whether there is an incoming row.
    any_key = identifier(table.key[0].name)
    return parts | {"compared": _COMPARED.format(**parts, **record, any_key=any_key)}


def _history(table: Table, *written: str, is_recorded: bool) -> dict[str, sql.Composable]:
    """Return what a statement has beside its own parts to record the rows that it changes."""
    old_values = (
        history.OldValue(
            column.name,
            sql.SQL("{} IS DISTINCT FROM {}").format(
                _comparable(column, identifier("present", column.name)),
                _comparable(column, _new_value(table, column)),
            ),
        )
        for column in table.values
    )
    parts = history.fragments(table, old_values, is_recorded=is_recorded)
    return parts | {"recorded": history.recorded(table, *written, is_recorded=is_recorded)}


def _comparison(table: Table, read: ReadRows) -> dict[str, sql.Composable]:
    return {
        "expressions": _expressions(table, read.columns),
        "columns": _names(table.columns),
        "key": _names(table.key),
        "target": target_name(table),
        "in_period": in_period(table),
        "new_columns": _listed(
            sql.SQL("{} AS {}").format(_new_value(table, column), identifier(column.name))
            for column in table.values
        ),
        "new_values": _listed(
            _comparable(column, _new_value(table, column)) for column in table.values
        ),
        "present_values": _listed(
            _comparable(column, identifier("present", column.name)) for column in table.values
        ),
        "assignments": _listed(_assignments(table)),
        "is_same_tuple": _IS_SAME_TUPLE,
    }


def _expressions(table: Table, available: tuple[str, ...]) -> sql.Composed:
    return _listed(_expression(table, column, available) for column in table.columns)


def _assignments(table: Table) -> Iterator[sql.Composable]:
    for column in table.values:
        yield sql.SQL("{0} = compared.{0}").format(identifier(column.name))
    if table.is_stamped:
        yield sql.SQL("updated_at = now()")


def _expression(table: Table, column: Column, available: tuple[str, ...]) -> sql.Composed:
    """Compose a target column from what was read: as it is, or exactly and rounded once."""
    value: sql.Composable
    if column.name in available:
        value = identifier(column.name)
    elif column.name in table.ratios:
        dividend, divisor = map(identifier, table.ratios[column.name])
        value = sql.SQL("100 * {}::numeric / nullif({}, 0)").format(dividend, divisor)
    elif column.name in table.medians:
        low, high = map(identifier, middle_columns(column.name))
        value = sql.SQL("({}::numeric + {}::numeric) / 2").format(low, high)
    else:
        value = PERIOD_DAYS[column.name]
    return sql.SQL("CAST({} AS {}) AS {}").format(
        value, type_name(column.type), identifier(column.name)
    )


def _new_value(table: Table, column: Column) -> sql.Composable:
    """Compose what a column becomes; a null never overwrites a title that is known.

    An empty text is no title, also where an earlier release has written it.
    """
    incoming = identifier("incoming", column.name)
    if column.name not in table.kept_when_null:
        return incoming
    known = sql.SQL("nullif({}, '')").format(identifier("present", column.name))
    return sql.SQL("coalesce({}, {})").format(incoming, known)


def _comparable(column: Column, value: sql.Composable) -> sql.Composable:
    """Compose a value as it is compared: one without an operator for that as the text that it is.

    The operators of an extension's type are in a schema that a session does not search, and so the
    schema of the type itself is part of its name.
    """
    has_equality = "." not in column.type and column.type not in _WITHOUT_EQUALITY
    return value if has_equality else sql.SQL("CAST({} AS text)").format(value)


def _names(columns: Iterable[Column]) -> sql.Composed:
    return _listed(identifier(column.name) for column in columns)


def _listed(items: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(items)
