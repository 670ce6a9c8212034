"""Test which tables of a failed run are run again, whatever failed in whatever graph."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh.control.reruns import (
    Outcome,
    read_outcome,
    tables_skipped_by_soft_parents,
    tables_to_rerun,
)
from sqp_refresh.model.tables import Dependency
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.helpers.database import execute

NAMES = "abcdefgh"


@st.composite
def failed_runs(draw: st.DrawFn):
    """Draw an acyclic graph, and an outcome of each of its tables that Dagster can bring about."""
    parents = {
        name: draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(Dependency), max_size=3))
        for name in NAMES
    }
    # Only from earlier ones, so that there is no circle.
    parents = {
        name: {above: how for above, how in drawn.items() if above < name}
        for name, drawn in parents.items()
    }
    done, given_up = set(), set()
    for name in NAMES:
        if set(parents[name]) - done:
            continue  # skipped: something above it failed
        how = draw(st.sampled_from(["done", "given up", "may succeed"]))
        done |= {name} if how == "done" else set()
        given_up |= {name} if how == "given up" else set()
    return parents, Outcome(frozenset(done), frozenset(given_up))


def hard_ancestors(parents, table: str) -> set[str]:
    above = {name for name, how in parents[table].items() if how is Dependency.HARD}
    return above.union(*(hard_ancestors(parents, name) for name in above))


@given(failed_runs())
def test_another_run_has_all_that_may_succeed_and_nothing_below_what_cannot(run):
    parents, outcome = run

    again = tables_to_rerun(NAMES, outcome, parents)

    for table in NAMES:
        hopeless = table in outcome.given_up or hard_ancestors(parents, table) & outcome.given_up
        assert (table in again) == (table not in outcome.done and not hopeless), table


@given(failed_runs())
def test_what_is_skipped_by_soft_parents_was_not_begun_and_hangs_on_no_failure(run):
    parents, outcome = run

    left = tables_skipped_by_soft_parents(NAMES, outcome, parents)

    assert not left & (outcome.done | outcome.given_up)
    for table in left:
        above = hard_ancestors(parents, table)
        assert above <= outcome.done | left, table
        assert any(
            how is Dependency.SOFT for name in {table} | above for how in parents[name].values()
        )


@pytest.mark.parametrize("error_type", ["ProcessLost", "Died"])
def test_a_lost_process_is_known_by_the_name_of_an_earlier_release_too(
    migrated_database, error_type
):
    details = f'{{"type": "{error_type}", "kind": "transient", "retryable": true}}'
    execute(
        migrated_database,
        "INSERT INTO sqp.refresh_audit_log"
        " (table_name, status, refresh_completed_at, error_details, sync_metadata)"
        f" VALUES ('weekly_summary', 'failed', now(), '{details}', '{{\"run_id\": \"r\"}}')",
    )

    with connect(migrated_database) as session:
        assert read_outcome(session, "r") == Outcome(is_lost=True)
