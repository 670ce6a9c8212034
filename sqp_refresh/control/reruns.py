"""Decide which tables of a failed run are worth another run."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from psycopg.rows import class_row

from sqp_refresh.errors import Kind, ProcessLost, Stopped
from sqp_refresh.model.tables import SCHEMA, Dependency
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

Parents = Mapping[str, Mapping[str, Dependency]]
"""Each table's parents, and how strictly it needs them."""

# The second is what the class was called when older rows of the audit log were written.
_PROCESS_LOST = (ProcessLost.__name__, "Died")

_TABLES_OF_RUN = in_schema("""
SELECT table_name AS table, refresh_completed_at IS NULL AS is_running,
    status = 'failed' AS is_failed,
    sync_metadata->'reconciliation'->>'verdict' IS NOT DISTINCT FROM 'FAIL' AS differs,
    error_details->>'type' AS error_type,
    coalesce(error_details->>'kind' = %(operator)s, false) AS is_by_operator,
    coalesce(error_details->'retryable' = 'true', false) AS is_retryable
FROM sqp.refresh_audit_log
WHERE table_schema = %(schema)s AND sync_metadata->>'run_id' = %(run_id)s
ORDER BY id
""")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has done of what it was asked for.

    Attributes:
        done: Tables that were refreshed.
        given_up: Tables that failed for a reason that another attempt does not change, or that do
            not equal their source.
        running: Tables that it is still refreshing.
        is_lost: Whether its process ended without a word while it refreshed a table.
        is_interrupted: Whether its process was interrupted while it refreshed a table, as by Ctrl-C
            or by the end of the machine.
    """

    done: frozenset[str] = frozenset()
    given_up: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    is_lost: bool = False
    is_interrupted: bool = False


@dataclass(frozen=True, slots=True)
class _TableRun:
    """One table in a run, as the audit log has it."""

    table: str
    is_running: bool
    is_failed: bool
    differs: bool
    error_type: str | None
    is_by_operator: bool
    is_retryable: bool

    @property
    def is_interrupted(self) -> bool:
        # What an operator stops through the database is none: that ends one table, not the process.
        return self.is_failed and self.is_by_operator and self.error_type != Stopped.__name__

    @property
    def is_given_up(self) -> bool:
        if self.is_failed:
            return not self.is_retryable and not self.is_interrupted
        # The checks of a table that differs block what is downstream, whoever asks for it.
        return self.differs


def read_outcome(session: Session, run_id: str) -> Outcome:
    """Read from the audit log what a run has done."""
    params = {"schema": SCHEMA, "run_id": run_id, "operator": Kind.OPERATOR}
    rows = session.fetch_all(_TABLES_OF_RUN, params, row_factory=class_row(_TableRun))
    closed = [row for row in rows if not row.is_running]
    return Outcome(
        done=frozenset(row.table for row in closed if not row.is_failed and not row.is_given_up),
        given_up=frozenset(row.table for row in closed if row.is_given_up),
        running=frozenset(row.table for row in rows if row.is_running),
        is_lost=any(row.is_failed and row.error_type in _PROCESS_LOST for row in closed),
        is_interrupted=any(row.is_interrupted for row in closed),
    )


def tables_to_rerun(requested: Collection[str], outcome: Outcome, parents: Parents) -> set[str]:
    """Return the tables to refresh again: what failed or was not begun, and may succeed.

    A table is not refreshed from a hard parent that failed for good.

    Args:
        requested: The tables that the run was asked for.
        outcome: What it has done of them.
        parents: The parents of every table.
    """
    left = set(requested) - outcome.done - outcome.given_up
    return left - _blocked_by(outcome.given_up, left, parents)


def tables_skipped_by_soft_parents(
    requested: Collection[str], outcome: Outcome, parents: Parents
) -> set[str]:
    """Return the tables that a run did not begin only because a soft parent failed.

    Dagster skips whatever is downstream of a failure, so these need a run without that parent.

    Args:
        requested: The tables that the run was asked for.
        outcome: What it has done of them.
        parents: The parents of every table.
    """
    failed = set(requested) - outcome.done
    skipped = {
        table
        for table in failed
        if table not in outcome.given_up and any(parent in failed for parent in parents[table])
    }
    return skipped - _blocked_by(failed - skipped, skipped, parents)


def _blocked_by(failed: Iterable[str], tables: set[str], parents: Parents) -> set[str]:
    """Return those of the tables below a failed one by hard dependencies, however far below."""
    blocked = set(failed)
    while True:
        more = {
            table
            for table in tables - blocked
            if any(
                how is Dependency.HARD and parent in blocked
                for parent, how in parents[table].items()
            )
        }
        if not more:
            return blocked & tables
        blocked |= more
