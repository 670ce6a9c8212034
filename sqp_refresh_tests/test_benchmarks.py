"""What the benchmark measures with is right; what it measures is not told here."""

import pyarrow as pa
import pytest

from benchmarks import ours
from benchmarks.cases import LANES, NIGHTS, SLOPE, Case
from benchmarks.measure import NUMBERS, Measurement, medians
from benchmarks.report import Report
from benchmarks.rows import CHANGED, Rows, write_rows
from benchmarks.targets import TARGETS
from sqp_refresh.load import strategy
from sqp_refresh.model.rows import PeriodRows, SourceBatches, SqlRows
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.validate.row_validator import validated
from sqp_refresh_tests.helpers.database import rows

KEY = [column.name for column in SEARCH_QUERY_PERFORMANCE.key]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Rows, Rows]:
    """Write a week, and the same week with some rows restated."""
    folder = tmp_path_factory.mktemp("rows")
    for name, is_changed in (("first", False), ("changed", True)):
        write_rows(folder / f"{name}.arrow", 1, per_week=5_000, changed=is_changed)
    return Rows(folder / "first.arrow"), Rows(folder / "changed.arrow")


def run(contender: str, case: Case, seconds: float) -> Measurement:
    numbers = dict.fromkeys(NUMBERS, 1.0) | {"seconds": seconds}
    return Measurement(contender, case, **numbers)


def test_every_row_keeps_its_contract_and_no_key_comes_twice(written):
    first, _ = written
    (batch,) = first.batches()
    period_rows = PeriodRows(first.weeks()[0], SourceBatches(batch.schema, [batch], {}))
    good = validated(SEARCH_QUERY_PERFORMANCE, period_rows).rows
    assert not isinstance(good, SourceBatches | SqlRows)

    assert good.read_all().num_rows == 5_000
    assert first.of_target().group_by(KEY).aggregate([]).num_rows == 5_000


def test_two_percent_of_the_changed_rows_differ(written):
    first, changed = (weeks.of_target().to_pylist() for weeks in written)

    differing = [row != other for row, other in zip(first, changed, strict=True)]

    assert sum(differing) == 5_000 // CHANGED


AUDIT_LOG = """
SELECT status, rows_processed, rows_inserted, rows_updated FROM sqp.refresh_audit_log ORDER BY id
"""


def test_each_case_finds_what_the_one_before_it_left(migrated_database, monkeypatch, written):
    # Put back what "writes nothing" replaces; a benchmark runs it in a process of its own.
    monkeypatch.setattr(strategy, "load", strategy.load)
    first, changed = written

    ours.engine(migrated_database, first)()
    ours.engine(migrated_database, first)()
    ours.engine(migrated_database, changed)()
    ours.bystander(migrated_database, changed)()

    assert rows(migrated_database, AUDIT_LOG) == [
        ("success", 5_000, 5_000, 0),
        ("success", 5_000, 0, 0),
        ("success", 5_000, 0, 5_000 // CHANGED),
        ("success", 5_000, 0, 0),
    ]


def test_the_steps_alone_write_nothing(migrated_database, written):
    first, _ = written

    ours.staging(migrated_database, first)()
    ours.validation(migrated_database, first)()

    assert not rows(migrated_database, "SELECT FROM sqp.search_query_performance")


def test_others_get_exactly_the_columns_of_the_target(written):
    names = [column.name for column in SEARCH_QUERY_PERFORMANCE.columns]

    assert written[0].of_target().schema.names == names
    assert pa.types.is_date32(written[0].of_target().schema.field("start_date").type)


def test_each_number_is_the_median_of_its_runs():
    (middle,) = medians([run("limit", Case.FIRST, seconds) for seconds in (3, 1, 8)])

    assert middle.seconds == 3


def test_a_figure_tells_whether_it_is_reached_and_nothing_where_it_was_not_measured():
    runs = [
        run("sqp_refresh", Case.FIRST, 3),
        run("limit", Case.FIRST, 2),
        run("dlt", Case.FIRST, 6),
    ]

    figures = {figure["about"]: figure for figure in Report(1, {}, runs).figures()}

    assert figures["first load / limit"] == {
        "about": "first load / limit",
        "value": 1.5,
        "bound": "≤ 2",
        "holds": True,
    }
    assert figures["dlt / first load"]["holds"] is False
    assert figures["Sling / first load"]["value"] is None


def test_every_figure_is_of_runs_that_are_made():
    made = {run for lane in (*LANES, SLOPE, NIGHTS) for run in lane}

    for target in TARGETS:
        assert {target.of, target.by} - {None} <= made, target.name
