"""A week of which the source has lost or changed too much is held back, until somebody says so."""

from datetime import date

import pytest

from sqp_refresh.errors import SettingsError
from sqp_refresh.ledger.decide import Decision, ReloadReason
from sqp_refresh.ledger.guard import Change, changes_of_source
from sqp_refresh.ledger.ledger import LedgerEntry
from sqp_refresh.ledger.target_version import TargetVersion
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import DAILY_SQP_DATA, SEARCH_QUERY_PERFORMANCE
from sqp_refresh.model.versions import SourceVersion
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.registry.sync_params import SyncParams
from sqp_refresh_tests.helpers.audit_log import audit_of
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import Delivery
from sqp_refresh_tests.helpers.rows import Row, row, source_table
from sqp_refresh_tests.helpers.weeks import LAST, MIDDLE

WEEK = Period.week_of(MIDDLE)
HELD = f"SELECT held_state, held_nights FROM sqp.refresh_periods WHERE period_start = '{MIDDLE}'"
THERE = f"SELECT count(*) FROM sqp.search_query_performance WHERE start_date = '{MIDDLE}'"
ALERTS = "SELECT payload->>'error_message' FROM sqp.webhook_deliveries"
A_NIGHT_AGO = """
UPDATE sqp.refresh_periods
SET held_nights = array(SELECT night - 1 FROM unnest(held_nights) AS night)
"""
ALL_ROWS = "UPDATE sqp.search_query_performance SET search_query_volume = 1"


def some(count: int, *, day: date = MIDDLE, changed: int = 0) -> list[Row]:
    """Return rows of one week, of which the first few have another volume."""
    return [
        row(day=day, query=f"query {number}", volume=900 if number < changed else 800)
        for number in range(count)
    ]


def deliver(
    url: str, *of_weeks: list[Row], state: str, accept: bool = False, **counted: int
) -> RefreshResult:
    """Refresh from the rows of some weeks, whose source is in one state."""
    weeks = {Period.week_of(of_week[0]["Date"]): of_week for of_week in of_weeks}
    batches = {week: source_table(of_week).to_batches() for week, of_week in weeks.items()}
    source = Delivery(batches, counted={"digest": state, **counted})
    return refresh(url, source, RefreshRequest("night", accept=accept))


def held_nights(url: str) -> int:
    ((_, nights),) = rows(url, HELD)
    return len(nights)


@pytest.fixture
def url(migrated_database: str) -> str:
    """Return a database with a week of 120 rows, and a receiver of alerts."""
    execute(
        migrated_database,
        "INSERT INTO sqp.webhook_configs (name, url, events)"
        " VALUES ('team', 'https://example.com', '{refresh.warning}')",
    )
    deliver(migrated_database, some(120), some(4, day=LAST), state="good")
    return migrated_database


def test_a_week_that_lost_its_rows_stays_and_alerts_once_until_the_third_night(url):
    for _ in range(2):
        result = deliver(url, some(10), some(1, day=LAST), state="bad")

        assert list(result.held) == [WEEK]
        assert result.rows == 121
        assert rows(url, THERE) == [(120,)]
        assert held_nights(url) == 1
    # The other week was published, by the first of them.
    assert rows(url, "SELECT count(*) FROM sqp.search_query_performance") == [(121,)]
    status, message, _, metadata = audit_of(url)
    assert status == "warning"
    assert message
    assert f"the week of {MIDDLE} is held back and stays as it was published: " in message
    assert "110 of its 120 rows would be deleted and 0 changed" in message
    assert metadata["held"][str(MIDDLE)]["deleted"] == 110
    assert metadata["weeks"] == []
    for night in (2, 3):
        execute(url, A_NIGHT_AGO)
        result = deliver(url, some(10), some(1, day=LAST), state="bad")
        assert bool(result.held) == (night < 3)
    assert rows(url, THERE) == [(10,)]
    assert rows(url, HELD) == [(None, [])]
    ((alert,),) = rows(url, ALERTS)
    assert "--accept" in alert


def test_another_state_begins_anew_and_one_that_is_gone_is_forgotten(url):
    deliver(url, some(10), state="bad")
    execute(url, A_NIGHT_AGO)
    deliver(url, some(12), state="as bad")
    assert held_nights(url) == 1
    assert len(rows(url, ALERTS)) == 2

    result = deliver(url, some(120), state="good")

    assert not result.warnings
    assert rows(url, HELD) == [(None, [])]


def test_what_somebody_accepts_goes_through_at_once(url):
    assert not deliver(url, some(10), state="bad", accept=True).held
    assert rows(url, THERE) == [(10,)]
    assert rows(url, ALERTS) == []


@pytest.mark.parametrize(
    ("before", "after", "changed", "is_held"),
    [
        (120, 120, 61, True),
        (120, 120, 60, False),
        (120, 100, 41, True),
        (120, 400, 0, False),
        (99, 1, 0, False),
    ],
    ids=["most changed", "half changed", "both together", "new rows", "a small week"],
)
def test_deleted_and_changed_rows_count_of_those_that_were_there(
    migrated_database, before, after, changed, is_held
):
    deliver(migrated_database, some(before), state="good")

    result = deliver(migrated_database, some(after, changed=changed), state="other")

    assert bool(result.held) == is_held
    assert is_held or result.counts.landed == after


def test_the_share_is_the_table_s_own(url):
    execute(url, """UPDATE sqp.refresh_config SET custom_sync_params = '{"max_delete_ratio": 1}'""")

    assert not deliver(url, some(1), state="bad").held


@pytest.mark.parametrize("wrong", [-0.1, 1.5, "much", None])
def test_a_share_that_is_none_is_refused_by_name(wrong):
    with pytest.raises(SettingsError, match="max_delete_ratio"):
        SyncParams.read("daily_sqp_data", {"max_delete_ratio": wrong})


@pytest.mark.parametrize("state", ["good", "restated"])
@pytest.mark.parametrize("edit", [ALL_ROWS, "DELETE FROM sqp.search_query_performance"])
def test_what_somebody_else_has_damaged_is_mended_without_a_word(url, edit, state):
    execute(url, edit)

    result = deliver(url, some(120, changed=1), some(4, day=LAST), state=state)

    assert not result.held
    assert result.counts.landed == 124


def test_a_source_that_lost_its_rows_is_held_back_though_somebody_wrote_to_the_week(
    migrated_database,
):
    deliver(migrated_database, some(120), state="good", rows=120)
    execute(migrated_database, ALL_ROWS)

    result = deliver(migrated_database, some(10), state="bad", rows=10)

    assert str(result.held[WEEK]).startswith("its source has lost 110 of 120 rows")
    assert rows(migrated_database, THERE) == [(120,)]


def test_another_release_may_change_every_row(url):
    execute(url, "UPDATE sqp.refresh_periods SET definition_hash = 'another'")

    assert not deliver(url, some(120, changed=120), state="as another release counts it").held


def test_a_week_that_comes_empty_is_kept_and_then_weighed_by_what_comes(url):
    batches = {WEEK: source_table([]).to_batches()}
    source = Delivery(batches, counted={"digest": "empty", "rows": 0})
    emptied = refresh(url, source, RefreshRequest("night"))

    assert emptied.counts.retained == 120
    assert deliver(url, some(10), state="bad").held


def version(rows_of_source: int, digest: str, marketplace: str = "US") -> SourceVersion:
    return SourceVersion(rows_of_source, 0, 0, {}, digest, marketplace)


@pytest.mark.parametrize(
    ("now", "weighed"),
    [
        (version(120, "same"), []),
        (version(120, "restated"), [0.1, 0.0]),
        (version(30, "bad"), [0.1, 0.75]),
        (version(30, "bad", "DE"), [0.75]),
    ],
    ids=["unchanged", "restated", "lost", "another marketplace"],
)
def test_of_an_aggregated_table_rows_that_vanish_count_and_sums_that_change_do_not(now, weighed):
    entry = LedgerEntry(version(120, "same"), "made", False, TargetVersion(100, 0, ""))
    decision = Decision(
        ReloadReason.SOURCE_CHANGED, now, rows=None, entry=entry, is_made_alike=True
    )

    changes = changes_of_source(DAILY_SQP_DATA, decision, Change(100, 10, 90))

    assert [change.ratio for change in changes] == weighed
    first = Decision(ReloadReason.NEW, now, rows=None)
    assert changes_of_source(SEARCH_QUERY_PERFORMANCE, first, Change(100, 100)) == []
