"""Choose the weeks that a person asks for; whatever is no range of weeks is one line."""

from datetime import date, datetime

import pytest

from sqp_refresh.cli import common
from sqp_refresh.errors import SettingsError
from sqp_refresh.settings import Settings


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "today", lambda _: date(2025, 8, 17))


def day(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def asked_for(first: str | None, last: str | None) -> list[str]:
    return [str(week) for week in common.requested_weeks(Settings.read(), day(first), day(last))]


def test_any_day_of_a_week_names_it():
    assert asked_for("2025-07-29", "2025-08-16") == ["2025-07-27", "2025-08-03", "2025-08-10"]
    assert asked_for(None, "2024-08-18") == ["2024-08-18"]
    assert asked_for("2025-08-10", None) == ["2025-08-10"]


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2025-08-10", "2025-01-01", "--from 2025-08-10 is later than --to 2025-01-01; exchange"),
        ("2025-08-16", "2025-08-15", "--from 2025-08-16 is later than --to 2025-08-15; exchange"),
        ("2025-08-17", None, "are not all between 2024-08-18 and 2025-08-10; choose finished"),
        (None, "2024-08-17", "are not all between 2024-08-18 and 2025-08-10; choose finished"),
        ("0001-01-01", None, "are not all between 2024-08-18 and 2025-08-10; choose finished"),
        (None, "9999-12-31", "are not all between 2024-08-18 and 2025-08-10; choose finished"),
    ],
)
def test_what_is_no_range_of_finished_weeks_is_refused(first, last, message):
    with pytest.raises(SettingsError) as refused:
        asked_for(first, last)

    assert message in str(refused.value)


@pytest.mark.parametrize("first", [None, "2025-08-10"])
def test_a_first_week_that_has_not_ended_is_named(monkeypatch, first):
    monkeypatch.setenv("REFRESH_START_DATE", "2025-08-17")

    with pytest.raises(SettingsError, match="no week since REFRESH_START_DATE 2025-08-17"):
        asked_for(first, None)
