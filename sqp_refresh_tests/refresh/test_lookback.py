"""Each finished week of a table is refreshed by its nights, or watched by the sensor."""

from datetime import UTC, date, datetime

import pytest

from sqp_refresh.model.periods import finished_weeks
from sqp_refresh.refresh.lookback import (
    default_weeks,
    weeks_behind,
    weeks_of_night,
    weeks_of_table,
)
from sqp_refresh.registry.sync_params import SyncParams
from sqp_refresh.settings import Settings

TICK = datetime(2025, 8, 18, 2, tzinfo=UTC)
USUAL = SyncParams()


@pytest.mark.parametrize("lookback_weeks", [None, 1, 6, 9, 12, 500])
@pytest.mark.parametrize("other", [USUAL, SyncParams(lookback_weeks=2)])
def test_no_week_of_a_table_falls_between_its_nights_and_the_sensor(lookback_weeks, other):
    settings, params = Settings.read(), SyncParams(lookback_weeks=lookback_weeks)

    night = weeks_of_night(settings, [params, other], TICK)
    refreshed = weeks_of_table(night, params)
    watched = weeks_behind(settings, params, TICK.date())

    assert [*watched, *refreshed] == finished_weeks(settings.REFRESH_START_DATE, TICK.date())


def test_a_table_without_a_look_back_of_its_own_takes_the_weeks_of_a_longer_night():
    settings = Settings.read()

    night = weeks_of_night(settings, [USUAL, SyncParams(lookback_weeks=12)], TICK)

    assert weeks_of_table(night, USUAL) == night
    assert len(night) == 12


def test_a_person_who_names_no_weeks_gets_the_usual_look_back(monkeypatch):
    monkeypatch.setenv("REFRESH_LOOKBACK_WEEKS", "2")

    weeks = default_weeks(Settings.read(), TICK.date())

    assert [week.start for week in weeks] == [date(2025, 8, 3), date(2025, 8, 10)]
