"""A source that was made after the instant of the run is read as it is then."""

from datetime import UTC, datetime

from sqp_refresh import retrying
from sqp_refresh.model.tables import DAILY_SQP_DATA
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh_tests.helpers.weeks import WEEKS, three_weeks


def test_a_table_that_has_no_state_yet_is_read_by_the_next_attempt(
    environment, source, monkeypatch
):
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0.1)
    before = datetime.now(UTC)
    # The table is made first, and is loaded a moment later.
    source.write(three_weeks())

    rows_of_run = source_for(environment, DAILY_SQP_DATA, WEEKS, before)
    result = refresh(environment.database_url, rows_of_run, RefreshRequest("r"))

    assert list(result.periods) == WEEKS
    assert result.counts.inserted == 6
