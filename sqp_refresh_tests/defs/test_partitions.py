"""Read the weeks of a run from its tags; whatever is no range of weeks fails it."""

import dagster as dg
import pytest

from sqp_refresh.defs.partitions import range_tags, weeks_of_run


def weeks(first: str, last: str) -> list[str]:
    covered = []

    @dg.op
    def read(context: dg.OpExecutionContext) -> None:
        covered.extend(weeks_of_run(context) or ())

    @dg.job
    def reading() -> None:
        read()

    reading.execute_in_process(tags=range_tags(first, last))
    return [str(week) for week in covered]


def test_a_run_covers_the_weeks_from_one_to_another():
    assert weeks("2025-08-03", "2025-08-10") == ["2025-08-03", "2025-08-10"]


@pytest.mark.parametrize(("first", "last"), [("2025-08-10", "2025-08-03"), ("soon", "2025-08-03")])
def test_what_is_no_range_of_weeks_fails_the_run(first, last):
    with pytest.raises(dg.Failure, match="are no range of weeks: name the Sunday of the first"):
        weeks(first, last)
