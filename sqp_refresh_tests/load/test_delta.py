"""Only rows that differ are sent, and the outcome is what a merge would have made of them."""

from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqp_refresh.ledger.target_version import target_versions
from sqp_refresh.load import delta, merge
from sqp_refresh.load.delta import DeltaFilter
from sqp_refresh.load.result import Counts, NeedsMerge
from sqp_refresh.load.row_hashes import RowHashes
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.model.tables import DAILY_SQP_DATA
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.load import hashed_rows
from sqp_refresh_tests.load.daily_rows import (
    NEXT_TARGET,
    TARGET,
    WEEK,
    baseline_after,
    batch_of,
    empty_table,
    merge_week,
    reader_of,
    rows_in_table,
)
from sqp_refresh_tests.load.hashed_rows import hashes_of, made_up_rows, row_hasher

asins = st.sampled_from(["A", "B", "C", "D", "E"])
counts = st.none() | st.integers(0, 3)
weeks_of_rows = st.dictionaries(asins, st.tuples(counts, counts), max_size=5)


def delta_filter(*batches: list[dict], loaded: bytes) -> DeltaFilter:
    reader = hashed_rows.reader_of(*batches)
    return DeltaFilter(reader, RowHashes.from_bytes(loaded), row_hasher())


@given(st.lists(made_up_rows, unique_by=lambda row: row["asin"], max_size=8), st.data())
def test_exactly_the_rows_that_are_loaded_already_are_left_out(read, data):
    loaded = data.draw(st.sets(st.sampled_from(range(len(read))))) if read else set()
    cut = data.draw(st.integers(0, len(read)))
    hashes = hashes_of([read[place] for place in loaded])

    filtered = delta_filter(read[:cut], read[cut:], loaded=hashes)
    differing = [row for batch in filtered.differing() for row in batch.to_pylist()]

    assert differing == [row for place, row in enumerate(read) if place not in loaded]
    assert filtered.already_loaded == len(loaded)
    assert filtered.hasher.to_bytes() == hashes_of(read)


def test_a_key_that_comes_twice_stops_the_filter():
    row = {"asin": "A", "clicks": 1}
    filtered = delta_filter([row], [row | {"clicks": 2}], loaded=hashes_of())

    with pytest.raises(NeedsMerge):
        list(filtered.differing())


@given(before=weeks_of_rows, after=weeks_of_rows)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_that_are_loaded_already_are_not_sent_and_the_outcome_is_the_same(
    session, before, after
):
    empty_table(session)
    merge_week(session, {"N": (1, 1)}, NEXT_TARGET)
    baseline = baseline_after(session, before)
    has_lost = bool(before.keys() - after.keys())
    same = {asin for asin in before.keys() & after.keys() if before[asin] == after[asin]}

    with suppress(NeedsMerge), session.transaction():
        result = delta.load(session, TARGET, reader_of([batch_of(after)]), baseline)

        assert not has_lost
        assert result.counts == Counts(
            read=len(after),
            inserted=len(after.keys() - before.keys()),
            updated=len(before.keys() & after.keys()) - len(same),
            unchanged=len(same),
        )
        assert (result.row_hashes == baseline.row_hashes) == (before == after)
        assert result.totals.target == target_versions(session, DAILY_SQP_DATA, [WEEK])[WEEK]
    assert rows_in_table(session) == (before if has_lost else after)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE sqp.daily_sqp_data SET market_clicks = 9 WHERE asin = 'A'",
        "UPDATE sqp.daily_sqp_data SET market_clicks = 9 WHERE asin = 'B'",
        "DELETE FROM sqp.daily_sqp_data WHERE asin = 'B'",
        "UPDATE sqp.daily_sqp_data SET asin = 'C' WHERE asin = 'B'",
        "INSERT INTO sqp.daily_sqp_data (report_date, marketplace, asin)"
        " VALUES ('2025-08-10', 'US', 'C')",
    ],
)
@pytest.mark.parametrize("after", [{"A": (1, 1), "B": (1, 1)}, {"A": (2, 2), "B": (1, 1)}])
def test_an_edit_while_the_rows_are_on_their_way_is_not_taken_for_ours(
    session, migrated_database, edit, after
):
    baseline = baseline_after(session, {"A": (1, 1), "B": (1, 1)})

    def interrupted():
        execute(migrated_database, edit)
        yield batch_of(after)

    with pytest.raises(NeedsMerge), session.transaction():
        delta.load(session, TARGET, reader_of(interrupted()), baseline)


def test_what_a_trigger_does_to_other_rows_needs_a_merge(session, migrated_database):
    baseline = baseline_after(session, {"A": (1, 1), "B": (1, 1)})
    execute(
        migrated_database,
        "CREATE FUNCTION sqp.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE sqp.daily_sqp_data SET market_clicks = 9 WHERE asin = 'B'; RETURN NULL; END $$;"
        "CREATE TRIGGER touch AFTER UPDATE ON sqp.daily_sqp_data"
        " FOR EACH ROW WHEN (NEW.asin = 'A') EXECUTE FUNCTION sqp.touch()",
    )
    after = {"A": (2, 2), "B": (1, 1)}

    with pytest.raises(NeedsMerge), session.transaction():
        delta.load(session, TARGET, reader_of([batch_of(after)]), baseline)

    assert merge_week(session, after).counts == Counts(read=2, updated=1, unchanged=1)


@pytest.mark.parametrize("is_one_batch", [True, False])
def test_a_key_that_comes_twice_needs_a_merge(session, is_one_batch):
    twice = pa.concat_batches([batch_of({"A": (1, 1)}), batch_of({"A": (2, 2)})])
    batches = [twice] if is_one_batch else [twice.slice(0, 1), twice.slice(1)]
    baseline = baseline_after(session, {"A": (1, 1)})

    with pytest.raises(NeedsMerge), session.transaction():
        delta.load(session, TARGET, reader_of(batches), baseline)
    assert rows_in_table(session) == {"A": (1, 1)}

    with session.transaction():
        merged = merge.load(session, TARGET, reader_of(batches))
    assert (merged.counts.superseded, merged.row_hashes) == (1, None)


@pytest.mark.parametrize("is_in_ledger", [True, False])
def test_a_period_without_hashes_in_the_ledger_needs_a_merge(session, is_in_ledger):
    baseline = baseline_after(session, {"A": (1, 1)})
    without = replace(baseline, row_hashes=None) if is_in_ledger else None

    with pytest.raises(NeedsMerge), session.transaction():
        delta.load(session, TARGET, reader_of([batch_of({"A": (1, 1)})]), without)


def test_rows_at_one_place_of_two_partitions_are_not_confused(session, migrated_database):
    target = TargetPeriod(replace(DAILY_SQP_DATA, name="parted"), WEEK)
    execute(
        migrated_database,
        "CREATE TABLE sqp.parted (LIKE sqp.daily_sqp_data INCLUDING DEFAULTS)"
        " PARTITION BY LIST (asin);"
        "CREATE TABLE sqp.parted_a PARTITION OF sqp.parted FOR VALUES IN ('a');"
        "CREATE TABLE sqp.parted_b PARTITION OF sqp.parted FOR VALUES IN ('b');"
        "CREATE TABLE sqp.parted_rest PARTITION OF sqp.parted DEFAULT",
    )
    baseline = baseline_after(session, {"a": (1, 1), "b": (1, 1)}, target)

    after = {"a": (1, 1), "b": (2, 1), "c": (1, 1)}
    with session.transaction():
        differing = delta.load(session, target, reader_of([batch_of(after)]), baseline)
    vanished = merge_week(session, {"b": (3, 1)}, target)

    assert differing.counts == Counts(read=3, inserted=1, updated=1, unchanged=1)
    assert vanished.counts == Counts(read=1, updated=1, deleted=2)
    assert rows(migrated_database, "SELECT asin, asin_impressions FROM sqp.parted") == [("b", 3)]
