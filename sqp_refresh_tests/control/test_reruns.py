"""What of a failed run is worth another one, whatever failed in whatever graph."""

from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh.control.reruns import Outcome, tables_skipped_by_soft_parents, tables_to_rerun
from sqp_refresh.model.tables import Dependency

NAMES = "abcdefgh"


@st.composite
def failed_runs(draw: st.DrawFn):
    """Any acyclic graph, and any end of each of its tables that Dagster can bring about."""
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
def test_what_is_tables_skipped_by_soft_parents_was_not_begun_and_hangs_on_no_failure(run):
    parents, outcome = run

    left = tables_skipped_by_soft_parents(NAMES, outcome, parents)

    assert not left & (outcome.done | outcome.given_up)
    for table in left:
        above = hard_ancestors(parents, table)
        assert above <= outcome.done | left, table
        assert any(
            how is Dependency.SOFT for name in {table} | above for how in parents[name].values()
        )
