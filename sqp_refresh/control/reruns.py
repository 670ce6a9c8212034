"""What is left of a run that failed, and what of that is worth another run."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.errors import ProcessLost
from sqp_refresh.model.tables import SCHEMA, Dependency
from sqp_refresh.postgres.session import Session

Parents = Mapping[str, Mapping[str, Dependency]]

_OF_RUN = sql.SQL("""
SELECT table_name, refresh_completed_at IS NULL, status, error_details::text,
    sync_metadata->'reconciliation'->>'verdict' IS NOT DISTINCT FROM 'FAIL'
FROM sqp.refresh_audit_log
WHERE table_schema = {schema} AND sync_metadata->>'run_id' = {run_id}
ORDER BY id
""")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has done of what it was asked for.

    Attributes:
        done: Tables that were refreshed.
        given_up: Tables that failed for a reason that another attempt does not change, or that do
            not equal their source.
        at_work: Tables that it is still refreshing.
        died: Whether its process ended without a word while it refreshed a table.
    """

    done: frozenset[str] = frozenset()
    given_up: frozenset[str] = frozenset()
    at_work: frozenset[str] = frozenset()
    died: bool = False


def outcome_of(session: Session, run_id: str) -> Outcome:
    """What the audit log says of a run."""
    done, given_up, at_work, died = set(), set(), set(), False
    wanted = _OF_RUN.format(schema=sql.Literal(SCHEMA), run_id=sql.Literal(run_id))
    for table, is_open, status, details, differs in session.rows(wanted):
        if is_open:
            at_work.add(table)
            continue
        if status != "failed" and differs:
            # Its checks block what is downstream, whoever asks for it.
            given_up.add(table)
            continue
        if status != "failed":
            done.add(table)
            continue
        error = json.loads(details or "{}")
        died = died or error.get("type") == ProcessLost.__name__
        if not error.get("retryable"):
            given_up.add(table)
    return Outcome(frozenset(done), frozenset(given_up), frozenset(at_work), died)


def worth_another_run(asked: Collection[str], outcome: Outcome, parents: Parents) -> set[str]:
    """The tables of a failed run to refresh again: what failed or was not begun, and may succeed.

    A table is not refreshed from a hard parent that failed for good.

    Args:
        asked: The tables that the run was asked for.
        outcome: What it has done of them.
        parents: Each table's parents, and how strictly it needs them.
    """
    left = set(asked) - outcome.done - outcome.given_up
    return left - _below(outcome.given_up, left, parents)


def left_by_soft_parents(asked: Collection[str], outcome: Outcome, parents: Parents) -> set[str]:
    """The tables that a run did not begin, only because parents failed that they can do without.

    Dagster skips whatever is downstream of a failure, so these need a run without that parent.
    """
    failed = set(asked) - outcome.done
    own = {
        table
        for table in failed
        if table not in outcome.given_up and any(up in failed for up in parents[table])
    }
    return own - _below(failed - own, own, parents)


def _below(failed: Iterable[str], among: set[str], parents: Parents) -> set[str]:
    """Those of some tables that hang on a failed one by hard dependencies, however far below."""
    reached = set(failed)
    while True:
        more = {
            table
            for table in among - reached
            if any(
                how is Dependency.HARD and parent in reached
                for parent, how in parents[table].items()
            )
        }
        if not more:
            return reached & among
        reached |= more
