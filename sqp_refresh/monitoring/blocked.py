"""Find the tables that are not refreshed because of one above them, for status and dashboard."""

from collections.abc import Collection, Mapping, Sequence

from sqp_refresh.checks.metrics import METRICS, CheckSeverity
from sqp_refresh.model.tables import Dependency
from sqp_refresh.monitoring.views import MetricResult, TableFreshness
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry.refresh_config import read_dependencies


def read_hard_parents(session: Session) -> dict[str, list[str]]:
    """Read the tables without which each table is not refreshed, by its name."""
    parents: dict[str, list[str]] = {}
    for (parent, dependent), kind in read_dependencies(session).items():
        if kind == Dependency.HARD:
            parents.setdefault(dependent, []).append(parent)
    return parents


def blocks(metric: MetricResult) -> bool:
    """Return whether a metric keeps the tables below its table from being refreshed."""
    definition = METRICS.get(metric.name)
    is_blocking = definition is not None and definition.severity is CheckSeverity.BLOCKS
    return is_blocking and metric.is_within_threshold is False


def find_blockers(
    tables: Sequence[TableFreshness],
    parents: Mapping[str, Sequence[str]],
    failing: Collection[str],
) -> dict[str, str]:
    """Return which table each blocked table waits for, by its name.

    A table is blocked where one above it failed, or failed a blocking check, in a run that began
    after its own last one: it was left out then, and is until that table is right again.

    Args:
        tables: Every registered table.
        parents: The hard parents of each table.
        failing: The tables that fail a blocking check.
    """
    by_name = {table.table_name: table for table in tables}
    bad = {name for name, table in by_name.items() if table.last_status == "failed"} | {*failing}

    blocked = {
        table.table_name: next(
            (
                name
                for name in _above(table.table_name, parents)
                if name in bad and _began_later(by_name[name], table)
            ),
            None,
        )
        for table in tables
        if table.is_enabled and not table.is_running and table.last_status != "failed"
    }
    return {name: blocker for name, blocker in blocked.items() if blocker}


def _above(table: str, parents: Mapping[str, Sequence[str]]) -> list[str]:
    """List the tables above a table, the nearest first; the registry may have a cycle."""
    above: dict[str, None] = {}
    level = list(parents.get(table, ()))
    while level:
        above |= dict.fromkeys(level)
        level = [name for each in level for name in parents.get(each, ()) if name not in above]
    return list(above)


def _began_later(parent: TableFreshness, table: TableFreshness) -> bool:
    if parent.last_started_at is None:
        return False
    return table.last_started_at is None or table.last_started_at < parent.last_started_at
