"""Compose what puts each row that a statement changes on record as it was before.

    present ─▶ compared ─▶ deleted, updated, inserted ─▶ recorded

The statement that writes a period knows every row that it replaces, so that one more INSERT beside
its others is all that `sqp.refresh_history` takes. Where nothing is to be recorded, every part is
empty.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.checks.metric_sql import own_columns
from sqp_refresh.model.tables import OWN_COUNTS, SCHEMA, Table
from sqp_refresh.postgres.session import identifier

_CHANGES = tuple(f"{name.removesuffix('_count')}s_change" for name in OWN_COUNTS)
"""The columns that say by how much each of an ASIN's own counts has changed."""

_COMPARED = sql.SQL(""",
        CASE WHEN present.__sqp_ctid IS NOT NULL AND incoming.{any_key} IS NOT NULL
            THEN {old_values}
        END AS __sqp_before, present.__sqp_updated_at{own_counts}""")
# To join an object with an empty one costs next to nothing; a subquery would take 0.2 ms a row.
_OLD_VALUE = sql.SQL(
    "CASE WHEN {is_changed} THEN jsonb_build_object({name}, {value}) ELSE '{{}}' END"
)
_RETURNED = sql.SQL(""",
        jsonb_build_object({key}) AS __sqp_key, {operation} AS __sqp_operation,
        {before} AS __sqp_before, {updated_at}::timestamptz AS __sqp_updated_at, {changes}""")
_RECORDED = sql.SQL(""", recorded AS (
    INSERT INTO {history} (
        audit_log_id, table_schema, table_name, period_start, key, operation, before,
        updated_at_before, {changes}
    )
    SELECT %(audit_log_id)s, {schema}, {table}, %(period_start)s, __sqp_key, __sqp_operation,
        __sqp_before, __sqp_updated_at, {changes}
    FROM ({written}) AS written
)
""")
_WRITTEN = sql.SQL("""
SELECT __sqp_key, __sqp_operation, __sqp_before, __sqp_updated_at, {changes} FROM {name}
""")
_STAMPED = sql.SQL(", target.updated_at AS __sqp_updated_at")
_UNSTAMPED = sql.SQL(", NULL::timestamptz AS __sqp_updated_at")
_NOTHING = sql.SQL("")


@dataclass(frozen=True, slots=True)
class OldValue:
    """A value that a row has before it is written.

    Attributes:
        name: Its column.
        is_changed: The condition that it becomes another.
    """

    name: str
    is_changed: sql.Composable


def fragments(
    table: Table, old_values: Iterable[OldValue], *, is_recorded: bool
) -> dict[str, sql.Composable]:
    """Return what is added to the parts of a statement that compare and write rows.

    Args:
        table: The table.
        old_values: What each value was, and whether it has changed.
        is_recorded: Whether rows are recorded at all.
    """
    names = ("present_before", "compared_before", "deleted_row", "updated_row", "inserted_row")
    if not is_recorded:
        return dict.fromkeys(names, _NOTHING)
    own = own_columns(table)
    compared = _COMPARED.format(
        any_key=identifier(table.key[0].name),
        old_values=sql.SQL(" || ").join(
            _OLD_VALUE.format(
                is_changed=old.is_changed,
                name=_text(old.name),
                value=identifier("present", old.name),
            )
            for old in old_values
        ),
        own_counts=sql.SQL("").join(
            sql.SQL(", present.{} AS {}").format(identifier(column), _before(column))
            for column in own.values()
        ),
    )
    parts = (
        _STAMPED if table.is_stamped else _UNSTAMPED,
        compared,
        _returned(table, "delete", sql.SQL("to_jsonb(target.*)")),
        _returned(table, "update", sql.SQL("compared.__sqp_before")),
        _returned(table, "insert", sql.SQL("NULL::jsonb")),
    )
    return dict(zip(names, parts, strict=True))


def recorded(table: Table, *written: str, is_recorded: bool) -> sql.Composable:
    """Return the part of a statement that records the rows which other parts of it have written.

    Args:
        table: The table.
        written: The names of these parts.
        is_recorded: Whether rows are recorded at all.
    """
    if not is_recorded:
        return _NOTHING
    changes = _listed(map(sql.Identifier, _CHANGES))
    return _RECORDED.format(
        history=sql.Identifier(SCHEMA, "refresh_history"),
        schema=sql.Literal(SCHEMA),
        table=_text(table.name),
        changes=changes,
        written=sql.SQL(" UNION ALL ").join(
            _WRITTEN.format(changes=changes, name=sql.Identifier(name)) for name in written
        ),
    )


def _returned(table: Table, operation: str, before: sql.Composable) -> sql.Composed:
    key = (
        sql.SQL("{}, {}").format(_text(column.name), _of_target(column.name))
        for column in table.key
    )
    is_update = operation == "update"
    return _RETURNED.format(
        key=_listed(key),
        operation=sql.Literal(operation),
        before=before,
        updated_at=sql.SQL("compared.__sqp_updated_at") if is_update else sql.SQL("NULL"),
        changes=_listed(_changes(table, operation)),
    )


def _changes(table: Table, operation: str) -> Iterator[sql.Composable]:
    """Return by how much each of an ASIN's own counts changes when a row is written or deleted."""
    own = own_columns(table)
    for count, name in zip(OWN_COUNTS, _CHANGES, strict=True):
        value: sql.Composable = sql.SQL("NULL::numeric")
        if count in own:
            now = _number(_of_target(own[count]))
            before = _number(sql.SQL("compared.{}").format(_before(own[count])))
            value = {
                "insert": now,
                "update": sql.SQL("{} - {}").format(now, before),
                "delete": sql.SQL("- {}").format(now),
            }[operation]
        yield sql.SQL("{} AS {}").format(value, sql.Identifier(name))


def _before(column: str) -> sql.Identifier:
    return identifier(f"__sqp_{column}")


def _text(name: str) -> sql.Literal:
    """Return a name as a text of a statement that is run with parameters; see `identifier`."""
    return sql.Literal(name.replace("%", "%%"))


def _number(value: sql.Composable) -> sql.Composed:
    return sql.SQL("coalesce({}, 0)::numeric").format(value)


def _of_target(column: str) -> sql.Identifier:
    return identifier("target", column)


def _listed(items: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(items)
