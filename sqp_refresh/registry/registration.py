"""A table that an operator registered without code: its row in the registry made into a `Table`."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.errors import SettingsError
from sqp_refresh.extract.bigquery_table import describe
from sqp_refresh.extract.client import rest_client, translated_errors
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.tables import DATE, SCHEMA, TABLES, Origin, SourceColumn, SourceSpec, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry.sync_params import SyncParams
from sqp_refresh.settings import Settings

UPDATED_AT = "updated_at"

_DESCRIBED = sql.SQL("""
SELECT relname, coalesce(obj_description(class.oid, 'pg_class'), ''), attname,
    format_type(atttypid, atttypmod), attnotnull, attgenerated <> '' OR attidentity = 'a'
FROM pg_class AS class
JOIN pg_attribute ON attrelid = class.oid AND attnum > 0 AND NOT attisdropped
WHERE relnamespace = {schema}::regnamespace AND relname = ANY({tables}) AND relkind IN ('r', 'p')
ORDER BY relname, attnum
""")
_KEYS = sql.SQL("""
SELECT class.relname, (
    SELECT string_agg(attname, ',' ORDER BY attname) FROM pg_attribute
    WHERE attrelid = class.oid AND attnum = ANY(indkey)
)
FROM pg_index
JOIN pg_class AS class ON class.oid = indrelid
WHERE relnamespace = {schema}::regnamespace AND relname = ANY({tables})
    AND indisunique AND indpred IS NULL AND indexprs IS NULL
""")


@dataclass(frozen=True, slots=True)
class Description:
    """A table as Postgres describes it.

    Attributes:
        about: Its comment.
        types: Type by column, those left out that nobody may write.
        not_null: The columns that are never null.
        keys: The sets of columns that are unique.
    """

    about: str
    types: dict[str, str]
    not_null: frozenset[str]
    keys: frozenset[frozenset[str]]


def described(session: Session, tables: Sequence[str]) -> dict[str, Description]:
    """How Postgres describes these tables; one that does not exist is left out."""
    if not tables:
        return {}
    wanted = {
        "schema": sql.Literal(SCHEMA),
        "tables": sql.SQL("{}::text[]").format(sql.Literal(list(tables))),
    }
    keys: dict[str, set[frozenset[str]]] = {}
    for table, columns in session.rows(_KEYS.format(**wanted)):
        keys.setdefault(table, set()).add(frozenset(columns.split(",")))
    found: dict[str, list[tuple]] = {}
    for table, *column in session.rows(_DESCRIBED.format(**wanted)):
        found.setdefault(table, []).append(tuple(column))
    return {
        table: Description(
            about=columns[0][0],
            types={name: type_ for _, name, type_, _, computed in columns if not computed},
            not_null=frozenset(name for _, name, _, not_null, _ in columns if not_null),
            keys=frozenset(keys.get(table, ())),
        )
        for table, columns in found.items()
    }


def checked(
    settings: Settings,
    session: Session,
    table: str,
    source: str | None,
    key: list[str],
    columns: dict[str, str],
    week_column: str | None,
) -> SyncParams:
    """The parameters of a registration that would work.

    Args:
        settings: Where BigQuery is.
        session: A session with Postgres.
        table: Name of the table in schema sqp.
        source: The table in BigQuery; None registers the table without saying where it comes from.
        key: Columns of its primary key.
        columns: Title in BigQuery to column in Postgres.
        week_column: Title of the date that places a row in its week, if any does.

    Raises:
        SettingsError: the registration does not fit the table in Postgres.
        RefreshError: the source does not exist, or does not fit.
    """
    if table in TABLES:
        raise SettingsError(f"{SCHEMA}.{table} is one of the eight tables, and registered already")
    params = SyncParams(source_table=source, key=key, columns=columns, week_column=week_column)
    description = described(session, [table]).get(table)
    if description is None:
        raise SettingsError(f"there is no table {SCHEMA}.{table} in Postgres; create it first")
    if source is None:
        return SyncParams()
    spec = table_from(table, params, description, priority=0).source
    assert spec is not None
    name = settings.source_named(source)
    with translated_errors(name), closing(rest_client(settings)) as client:
        describe(client, name, spec, None)
    return params


def table_from(
    name: str, params: SyncParams, description: Description | None, priority: int
) -> Table:
    """The table that a registration describes, with the same guarantees as any other.

    Raises:
        SettingsError: the registration and the table in Postgres do not fit; the line says where.
    """
    if description is None:
        raise _malformed(name, "there is no such table in Postgres; create it first")
    _check(name, params, description)
    week_name = params.columns[params.week_column] if params.week_column else None
    columns = {
        target: SourceColumn(title, target, description.types[target], f"{title} in BigQuery")
        for title, target in params.columns.items()
    }
    return Table(
        name=name,
        row=description.about or f"one row of {params.source_table}",
        origin=Origin.SOURCE_ROWS,
        grain=Grain.DAY if week_name else Grain.TABLE,
        scope=week_name,
        key=tuple(columns[key].target for key in params.key),
        values=tuple(one.target for one in columns.values() if one.name not in params.key),
        priority=priority,
        source=SourceSpec(
            tuple(columns.values()), params.week_column, tuple(params.key), params.source_table
        ),
        is_stamped=UPDATED_AT in description.types and UPDATED_AT not in columns,
    )


def _check(name: str, params: SyncParams, description: Description) -> None:
    targets = list(params.columns.values())
    if not params.source_table or not params.key or not params.columns:
        raise _malformed(name, "it needs source_table, key and columns")
    if set(targets) <= set(params.key):
        raise _malformed(name, "columns must fill a column beside the key")
    if any("`" in text or "\\" in text for text in (params.source_table, *params.columns)):
        raise _malformed(name, "a name in BigQuery may hold no backtick or backslash")
    if len(set(targets)) < len(targets):
        raise _malformed(name, "columns names one column of the table twice")
    missing = [column for column in targets if column not in description.types]
    if missing:
        raise _malformed(name, f"the table has no column {', '.join(missing)} that may be written")
    unfilled = [column for column in params.key if column not in targets]
    if unfilled:
        raise _malformed(name, f"columns does not fill {', '.join(unfilled)} of the key")
    if frozenset(params.key) not in description.keys:
        raise _malformed(name, f"the table needs a primary key on ({', '.join(params.key)})")
    nullable = sorted(set(params.key) - description.not_null)
    if nullable:
        raise _malformed(name, f"{', '.join(nullable)} of the key must be NOT NULL")
    if params.week_column is not None:
        _check_week(name, params, description)


def _check_week(name: str, params: SyncParams, description: Description) -> None:
    target = params.columns.get(params.week_column or "")
    if target not in params.key:
        raise _malformed(name, "week_column must be one of columns, and fill a column of the key")
    if description.types[target] != DATE:
        raise _malformed(name, f"{target} must be a date, because it places a row in its week")


def _malformed(name: str, what: str) -> SettingsError:
    return SettingsError(f"registration of {SCHEMA}.{name}: {what}")
