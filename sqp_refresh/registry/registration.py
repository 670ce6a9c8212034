"""Register a table without code, and turn its row in the registry into a `Table`."""

import re
from collections.abc import Iterable, Mapping
from contextlib import closing

from psycopg.types.json import Jsonb

from sqp_refresh.errors import SettingsError
from sqp_refresh.extract.bigquery_table import describe
from sqp_refresh.extract.client import rest_client, translated_errors
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.tables import (
    DATE,
    SCHEMA,
    TABLES,
    Dependency,
    Origin,
    SourceColumn,
    SourceSpec,
    Table,
    is_ours,
)
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry.refresh_config import read_dependencies
from sqp_refresh.registry.sync_params import SyncParams
from sqp_refresh.registry.table_description import TableDescription, describe_tables
from sqp_refresh.schema_name import in_schema
from sqp_refresh.settings import Settings

UPDATED_AT = "updated_at"
# A column of that name and another type, e.g. seconds since 1970, is the operator's own.
_TIMES = ("timestamp with time zone", "timestamp without time zone")

# Dagster names an asset's steps by the table.
_NAME = re.compile(r"[A-Za-z0-9_]+")
_CONTROL_TABLE = re.compile(r"refresh_|webhook_|alembic_version$")

_INSERT_OR_UPDATE = in_schema("""
INSERT INTO sqp.refresh_config AS config
    (table_schema, table_name, is_enabled, priority, custom_sync_params)
VALUES (%(schema)s, %(table)s, %(enabled)s, %(priority)s, %(sync_params)s)
ON CONFLICT (table_schema, table_name) DO UPDATE
SET is_enabled = excluded.is_enabled, priority = excluded.priority,
    custom_sync_params = config.custom_sync_params || excluded.custom_sync_params
""")
_ADD_DEPENDENCY = in_schema("""
INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id, dependency_type)
SELECT parent.id, dependent.id, %(dependency)s
FROM sqp.refresh_config AS parent, sqp.refresh_config AS dependent
WHERE parent.table_schema = %(schema)s AND parent.table_name = %(parent)s
    AND dependent.table_schema = %(schema)s AND dependent.table_name = %(table)s
ON CONFLICT (parent_config_id, dependent_config_id) DO UPDATE
SET dependency_type = excluded.dependency_type
""")
_UNREGISTER = in_schema("""
WITH forgotten AS (
    DELETE FROM sqp.refresh_periods WHERE table_schema = %(schema)s AND table_name = %(table)s
), unpinned AS (
    DELETE FROM sqp.refresh_pins WHERE table_schema = %(schema)s AND table_name = %(table)s
)
DELETE FROM sqp.refresh_config WHERE table_schema = %(schema)s AND table_name = %(table)s
""")


def register(
    session: Session,
    table: str,
    sync_params: SyncParams,
    *,
    enabled: bool,
    priority: int,
    parents: Mapping[str, Dependency],
) -> None:
    """Add a table to the registry, or change its row there.

    Args:
        session: A session in a transaction.
        table: Name of the table in schema sqp.
        sync_params: What it does differently; parameters of an earlier registration stay where
            this one has the default.
        enabled: Whether it may be refreshed.
        priority: Higher is refreshed first among tables that are ready.
        parents: The tables it depends on, and how strictly.

    Raises:
        SettingsError: a parent is not registered.
    """
    changed = sync_params.model_dump(exclude_defaults=True)
    if sync_params.source_table:
        # A source is registered with all that says how it is read, its lack of weeks included.
        changed["week_column"] = sync_params.week_column
    entry = {"enabled": enabled, "priority": priority, "sync_params": Jsonb(changed)}
    names = {"schema": SCHEMA, "table": table}
    session.execute(_INSERT_OR_UPDATE, names | entry)
    for parent, dependency in parents.items():
        edge = {"parent": parent, "dependency": dependency.value}
        if not session.execute(_ADD_DEPENDENCY, names | edge):
            raise SettingsError(
                f"there is no table {parent!r} in {SCHEMA}.refresh_config to depend on"
            )


def unregister(session: Session, table: str) -> None:
    """Remove a table, with its pins, from registry and ledger; the table itself stays as it is.

    Args:
        session: A session in a transaction.
        table: Name of the table in schema sqp.

    Raises:
        SettingsError: the table is not registered, is part of every installation, or another one
            depends on it.
    """
    if table in TABLES:
        raise SettingsError(
            f"{table} is part of every installation; `sqp-refresh disable {table}` to leave it out"
        )
    dependents = [name for parent, name in read_dependencies(session) if parent == table]
    if dependents:
        raise SettingsError(
            f"{', '.join(dependents)} is refreshed after {table}; unregister that first"
        )
    if not session.execute(_UNREGISTER, {"schema": SCHEMA, "table": table}):
        raise SettingsError(f"there is no table {table!r} in {SCHEMA}.refresh_config")


def check_registration(
    settings: Settings,
    session: Session,
    table: str,
    source: str | None,
    key: list[str],
    columns: dict[str, str],
    week_column: str | None,
) -> SyncParams:
    """Return the parameters of a registration, once Postgres and BigQuery agree with them.

    Args:
        settings: Where BigQuery is.
        session: A session with Postgres, in no transaction: BigQuery is asked, too.
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
    require_name(table)
    params = SyncParams(source_table=source, key=key, columns=columns, week_column=week_column)
    with session.transaction():
        description = describe_tables(session, [table]).get(table)
    if description is None:
        raise SettingsError(f"there is no table {SCHEMA}.{table} in Postgres; create it first")
    if source is None:
        return SyncParams()
    spec = build_table(table, params, description, priority=0).source
    assert spec is not None
    name = settings.source_named(source)
    with translated_errors(name), closing(rest_client(settings)) as client:
        describe(client, name, spec)
    return params


def build_table(
    name: str, params: SyncParams, description: TableDescription | None, priority: int
) -> Table:
    """Build the table that a registration describes, with the same guarantees as any other.

    Args:
        name: Name of the table in schema sqp.
        params: Its parameters in the registry.
        description: How Postgres describes it; None where it does not exist.
        priority: Higher is refreshed first among tables that are ready.

    Raises:
        SettingsError: the registration and the table in Postgres do not fit; the line says where.
    """
    require_name(name)
    if description is None:
        raise _malformed(name, "there is no such table in Postgres; create it first")
    _check_columns(name, params, description)
    _check_key(name, params, description)
    week_name = params.columns[params.week_column] if params.week_column else None
    columns = {
        target: SourceColumn(title, target, description.types[target], f"{title} in BigQuery")
        for title, target in params.columns.items()
    }
    return Table(
        name=name,
        row=description.comment or f"one row of {params.source_table}",
        origin=Origin.SOURCE_ROWS,
        grain=Grain.DAY if week_name else Grain.TABLE,
        scope=week_name,
        key=tuple(columns[key].target for key in params.key),
        values=tuple(column.target for column in columns.values() if column.name not in params.key),
        priority=priority,
        source=SourceSpec(
            tuple(columns.values()), params.week_column, tuple(params.key), params.source_table
        ),
        is_stamped=description.types.get(UPDATED_AT) in _TIMES and UPDATED_AT not in columns,
    )


def require_name(name: str) -> None:
    """Require that a table can be an asset by its name, and is none of those that keep the records.

    Raises:
        SettingsError: it is not; the line says what to do.
    """
    if _CONTROL_TABLE.match(name):
        raise _malformed(name, "it is one of the control tables, which are never refreshed")
    if not _NAME.fullmatch(name):
        raise _malformed(
            name,
            "Dagster takes only names of the letters A to Z and a to z, digits and underscores; "
            "rename the table",
        )
    _require_other_names(name, [name], "rename the table")


def _check_columns(name: str, params: SyncParams, description: TableDescription) -> None:
    """Check what fills the table, and that it may be written."""
    targets = list(params.columns.values())
    if not params.source_table or not params.key or not params.columns:
        raise _malformed(name, "it needs source_table, key and columns")
    if set(targets) <= set(params.key):
        raise _malformed(name, "columns must fill a column beside the key")
    _check_names(name, params)
    missing = [column for column in targets if column not in description.types]
    if missing:
        raise _malformed(name, f"the table has no column {', '.join(missing)} that may be written")


def _check_names(name: str, params: SyncParams) -> None:
    """Check that queries can name each column, and tell it from every other."""
    targets = list(params.columns.values())
    # All of these are quoted with backticks in queries.
    if any("`" in text or "\\" in text for text in (params.source_table or "", *params.columns)):
        raise _malformed(name, "a name in BigQuery may hold no backtick or backslash")
    if any("`" in text or "\\" in text for text in targets):
        raise _malformed(name, "a column may hold no backtick or backslash in its name; rename it")
    _require_other_names(name, targets, "rename the column")
    _require_other_names(name, params.columns, "read a view that names it otherwise")
    if len(set(targets)) < len(targets):
        raise _malformed(name, "columns names one column of the table twice")
    if same := _same_in_any_case(params.columns):
        raise _malformed(name, f"columns names {same}, which are one column to BigQuery")
    if same := _same_in_any_case(targets):
        raise _malformed(
            name, f"columns fills {same}, which queries cannot tell apart; rename one of them"
        )


def _require_other_names(table: str, names: Iterable[str], remedy: str) -> None:
    for name in filter(is_ours, names):
        problem = f"{name} begins like the names that queries of sqp_refresh use themselves"
        raise _malformed(table, f"{problem}; {remedy}")


def _same_in_any_case(names: Iterable[str]) -> str:
    """Return two names that differ in case alone, which BigQuery does not tell apart; or none."""
    spellings: dict[str, str] = {}
    for name in names:
        other = spellings.setdefault(name.lower(), name)
        if other != name:
            return f"{other} and {name}"
    return ""


def _check_key(name: str, params: SyncParams, description: TableDescription) -> None:
    """Check that the key identifies a row, in the way that a merge needs it to."""
    targets = params.columns.values()
    if len(set(params.key)) < len(params.key):
        raise _malformed(name, "key names one column twice")
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


def _check_week(name: str, params: SyncParams, description: TableDescription) -> None:
    target = params.columns.get(params.week_column or "")
    if target not in params.key:
        raise _malformed(name, "week_column must be one of columns, and fill a column of the key")
    if description.types[target] != DATE:
        raise _malformed(name, f"{target} must be a date, because it places a row in its week")


def _malformed(name: str, problem: str) -> SettingsError:
    return SettingsError(f"registration of {SCHEMA}.{name}: {problem}")
