"""A table entered into the registry, with what it needs, in one transaction of the caller's."""

import json
from collections.abc import Mapping

from psycopg import sql

from sqp_refresh.errors import SettingsError
from sqp_refresh.model.tables import SCHEMA, Dependency
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry.sync_params import SyncParams

_REGISTER = sql.SQL("""
INSERT INTO sqp.refresh_config AS known
    (table_schema, table_name, is_enabled, priority, custom_sync_params)
VALUES ({schema}, {table}, {enabled}, {priority}, {params}::jsonb)
ON CONFLICT (table_schema, table_name) DO UPDATE
SET is_enabled = excluded.is_enabled, priority = excluded.priority,
    custom_sync_params = known.custom_sync_params || excluded.custom_sync_params
""")
_DEPEND = sql.SQL("""
INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id, dependency_type)
SELECT parent.id, dependent.id, {how}
FROM sqp.refresh_config AS parent, sqp.refresh_config AS dependent
WHERE parent.table_schema = {schema} AND parent.table_name = {parent}
    AND dependent.table_schema = {schema} AND dependent.table_name = {table}
ON CONFLICT (parent_config_id, dependent_config_id) DO UPDATE
SET dependency_type = excluded.dependency_type
RETURNING id
""")


def register(
    session: Session,
    table: str,
    params: SyncParams,
    *,
    enabled: bool,
    priority: int,
    parents: Mapping[str, Dependency],
) -> None:
    """Enter a table, or change its entry; the caller commits.

    Raises:
        SettingsError: a parent is not registered.
    """
    named = {"schema": sql.Literal(SCHEMA), "table": sql.Literal(table)}
    session.run(
        _REGISTER.format(
            **named,
            enabled=sql.Literal(enabled),
            priority=sql.Literal(priority),
            params=sql.Literal(json.dumps(params.model_dump(exclude_defaults=True))),
        )
    )
    for parent, how in parents.items():
        entered = session.rows(
            _DEPEND.format(**named, parent=sql.Literal(parent), how=sql.Literal(how.value))
        )
        if not entered:
            raise SettingsError(f"there is no table {parent!r} in sqp.refresh_config to depend on")
