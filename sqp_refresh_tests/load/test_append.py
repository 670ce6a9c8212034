"""What is appended is what a merge would have made of it, and it is not where it might not be."""

import pytest

from sqp_refresh.errors import DataError
from sqp_refresh.load import append, merge
from sqp_refresh.load.result import Counts, LoadResult, NeedsMerge
from sqp_refresh.postgres.session import Session
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.load.query_rows import TARGET, reader_of


def append_week(session: Session, *batches: list[dict]) -> LoadResult:
    with session.transaction():
        return append.load(session, TARGET, append.encode_ahead(TARGET, reader_of(*batches)))


def merge_week(session: Session, *batches: list[dict]) -> LoadResult:
    with session.transaction():
        return merge.load(session, TARGET, reader_of(*batches))


def test_a_new_week_is_what_a_merge_would_have_made_of_it(session, migrated_database):
    week = [
        {"search_query": f"query {n}", "total_click_rate": n / 7, "asin_click_count": n}
        for n in range(3_000)
    ]

    appended = append_week(session, week)
    merged = merge_week(session, week)

    assert appended.counts == Counts(read=3_000, inserted=3_000)
    assert merged.counts == Counts(read=3_000, unchanged=3_000)
    assert appended.row_hashes == merged.row_hashes
    assert appended.totals == merged.totals
    assert rows(
        migrated_database,
        "SELECT count(*) FROM sqp.search_query_performance"
        " WHERE created_at IS NULL OR updated_at <> created_at",
    ) == [(0,)]


def test_rows_of_the_period_that_came_meanwhile_need_a_merge(session):
    week = [{"search_query": f"query {n}", "total_click_rate": n / 7} for n in range(50)]
    first = append_week(session, week[:40])

    with pytest.raises(NeedsMerge):
        append_week(session, week)
    merged = merge_week(session, week)

    assert first.counts == Counts(read=40, inserted=40)
    assert merged.counts == Counts(read=50, inserted=10, unchanged=40)


@pytest.mark.parametrize("type_", ["numeric", "integer"])
def test_a_column_whose_type_was_changed_meanwhile_needs_a_merge(session, migrated_database, type_):
    encoded = append.encode_ahead(TARGET, reader_of([{"search_query": "a"}]))
    execute(
        migrated_database,
        f"ALTER TABLE sqp.search_query_performance ALTER COLUMN asin_click_count TYPE {type_}",
    )

    with pytest.raises(NeedsMerge), session.transaction():
        append.load(session, TARGET, encoded)
    assert not rows(migrated_database, "SELECT FROM sqp.search_query_performance")


@pytest.mark.parametrize("rejected", [(0,), (1,), (0, 1)])
def test_a_batch_whose_rows_were_all_rejected_is_no_matter(session, rejected):
    batches = [
        [] if number in rejected else [{"search_query": query}]
        for number, query in enumerate(("a", "b"))
    ]

    result = append_week(session, *batches)

    assert result.counts == Counts(read=2 - len(rejected), inserted=2 - len(rejected))


def test_a_batch_is_put_in_the_order_of_its_key(session, migrated_database):
    append_week(session, [{"search_query": query} for query in ("b", "c", "a")])

    in_place = "SELECT search_query FROM sqp.search_query_performance ORDER BY ctid"
    assert rows(migrated_database, in_place) == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize("is_one_batch", [True, False])
def test_a_key_that_comes_twice_needs_a_merge(session, migrated_database, is_one_batch):
    twice = [{"search_query": "a", "asin_click_count": n} for n in (1, 2)]
    batches = [twice] if is_one_batch else [twice[:1], twice[1:]]

    with pytest.raises(NeedsMerge):
        append_week(session, *batches)
    assert not rows(migrated_database, "SELECT FROM sqp.search_query_performance")

    merged = merge_week(session, *batches)
    assert merged.counts == Counts(read=2, inserted=1, superseded=1)
    assert merged.row_hashes is None


def test_a_key_that_postgres_notices_first_needs_a_merge_too(session, monkeypatch):
    # Whether libpq tells of an error before the last row is sent is a matter of time.
    def fail_after_the_first(session, table, columns, batches):
        next(iter(batches))
        raise DataError("duplicate key")

    monkeypatch.setattr(append, "copy", fail_after_the_first)

    with pytest.raises(NeedsMerge):
        append_week(session, [{"search_query": "a"}], [{"search_query": "b"}] * 2)
    with pytest.raises(DataError, match="duplicate key"):
        append_week(session, [{"search_query": "a"}], [{"search_query": "b"}])


@pytest.mark.parametrize("number", [1e6, -1e14, 1e300])
def test_a_number_too_large_for_its_column_stops_the_week(session, migrated_database, number):
    week = [{"search_query": "a"}, {"search_query": "b", "total_click_rate": number}]

    with pytest.raises(DataError, match=r"overflow|too large"):
        append_week(session, week)
    assert not rows(migrated_database, "SELECT FROM sqp.search_query_performance")


def test_a_row_without_its_key_stops_the_week(session, migrated_database):
    with pytest.raises(DataError, match='null value in column "search_query"'):
        append_week(session, [{"search_query": "a"}, {"search_query": None}])
    assert not rows(migrated_database, "SELECT FROM sqp.search_query_performance")
