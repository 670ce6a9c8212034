"""A week is arriving, complete, final or restated, as its own past and the rule say."""

import hashlib
from collections import defaultdict
from datetime import date, timedelta
from statistics import median
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.ledger.finality import WeekState
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import Delivery
from sqp_refresh_tests.helpers.rows import Row, row, source_table

WEEK = Period.week_of(date.today() - timedelta(weeks=1))
BEFORE = [Period.week_of(WEEK.start - timedelta(weeks=back)) for back in range(12, 0, -1)]
VIEW = "SELECT state, restatements FROM sqp.week_finality WHERE week = '{}' AND marketplace = '{}'"
EVENTS = "SELECT receiver, event, payload->>'error_message' FROM sqp.webhook_deliveries ORDER BY id"
AGE = (
    "UPDATE sqp.refresh_week_changes SET changed_at = changed_at - interval '{0} days';"
    "UPDATE sqp.refresh_finality SET looked_at = looked_at - interval '{0} days'"
)


def some(week: Period, asins: int = 10, *, volume: int = 800, marketplace: str = "US") -> list[Row]:
    """Return a row for each of so many ASINs."""
    return [
        row(day=week.start, asin=f"B00000000{place}", volume=volume, marketplace=marketplace)
        for place in range(asins)
    ]


def publish(url: str, *of_weeks: list[Row]) -> None:
    """Refresh from these rows; a source with the same rows as before is unchanged."""
    weeks = {Period.week_of(of_week[0]["Date"]): of_week for of_week in of_weeks}
    batches = {week: source_table(of_week).to_batches() for week, of_week in weeks.items()}
    digest = hashlib.md5(repr(of_weeks).encode()).hexdigest()
    refresh(url, Delivery(batches, counted={"digest": digest}), RefreshRequest("night"))


def state(url: str, week: Period = WEEK, marketplace: str = "US") -> tuple[Any, ...]:
    (current,) = rows(url, VIEW.format(week, marketplace))
    return current


@pytest.fixture
def url(migrated_database: str) -> str:
    """Return a database after its first load, of twelve weeks of ten ASINs."""
    publish(migrated_database, *map(some, BEFORE))
    return migrated_database


def test_a_first_load_finds_old_weeks_final_and_the_newest_arriving(url):
    current = rows(url, "SELECT week, rows, asins, asins_expected, state FROM sqp.week_finality")

    first, last = BEFORE[0], BEFORE[-1]
    assert (first.start, 10, 10, None, "final") in current
    assert (last.start, 10, 10, 10, "arriving") in current
    assert [name for *_, name in sorted(current)][-3:] == ["arriving"] * 3
    (newest,) = rows(url, "SELECT marketplace, week FROM sqp.latest_final_week")
    assert newest[1] < date.today() - timedelta(days=28 + 40)


def test_rows_that_were_there_before_the_first_refresh_are_weeks_too(url):
    execute(url, "DELETE FROM sqp.refresh_week_changes; DELETE FROM sqp.refresh_periods")

    publish(url, *map(some, BEFORE))

    assert rows(url, "SELECT count(*) FROM sqp.week_finality") == [(len(BEFORE),)]


def test_the_life_of_a_week(url, monkeypatch):
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", "https://example.com/all")
    for name, events in (("asks", "'{week.arrived,week.final}'"), ("any", "NULL")):
        execute(
            url,
            "INSERT INTO sqp.webhook_configs (name, url, events)"
            f" VALUES ('{name}', 'https://example.com', {events})",
        )
    partial, whole = some(WEEK, 4), some(WEEK)
    restated, again, late = (some(WEEK, volume=volume) for volume in (900, 901, 902))
    nights = [
        # Nights since the one before, what the source has then, and what the week is after it.
        (1, partial, ("arriving", 0)),
        (1, whole, ("arriving", 0)),
        (2, whole, ("arriving", 0)),
        (1, whole, ("complete", 0)),
        (5, restated, ("arriving", 1)),
        (3, restated, ("complete", 1)),
        (1, again, ("arriving", 2)),
        (39, again, ("complete", 2)),
        (1, again, ("final", 2)),
        (3, late, ("restated", 3)),
        (39, late, ("restated", 3)),
        (1, late, ("final", 3)),
    ]
    for days, source, expected in nights:
        execute(url, AGE.format(days))
        publish(url, source)
        assert state(url) == expected, (days, expected)
        ((newest,),) = rows(url, "SELECT week FROM sqp.latest_final_week")
        assert (newest == WEEK.start) == (expected[0] == "final")

    of_week = [alert for alert in rows(url, EVENTS) if str(WEEK) in (alert[2] or "")]
    assert [(receiver, event) for receiver, event, _ in of_week] == [
        ("asks", "week.arrived"),
        ("asks", "week.final"),
        ("asks", "week.final"),
    ]
    assert of_week[0][2] == f"the week of {WEEK} of US arrived: 4 rows of 4 ASINs; 10 are usual"
    # Of the first load, nothing has arrived.
    assert [event for _, event, _ in rows(url, EVENTS)].count("week.arrived") == 1


def test_only_the_source_changes_a_week_and_each_marketplace_for_itself(url):
    execute(url, AGE.format(5))
    publish(url, some(WEEK) + some(WEEK, marketplace="DE"))
    execute(url, AGE.format(5))
    publish(url, some(WEEK) + some(WEEK, marketplace="DE"))
    assert state(url) == ("complete", 0)
    # What somebody else has written is mended, and that is no restatement.
    execute(url, "UPDATE sqp.search_query_performance SET search_query_volume = 1")
    publish(url, some(WEEK) + some(WEEK, marketplace="DE"))
    assert state(url) == ("complete", 0)

    publish(url, some(WEEK) + some(WEEK, 9, marketplace="DE"))

    assert state(url) == ("complete", 0)
    assert state(url, marketplace="DE") == ("arriving", 1)


def test_a_short_week_is_arriving_until_it_is_final_all_the_same(url, monkeypatch):
    publish(url, some(WEEK, 8))
    for days, expected in ((10, "arriving"), (29, "arriving"), (1, "final")):
        execute(url, AGE.format(days))
        publish(url, some(WEEK, 8))
        assert state(url) == (expected, 0)
    # The thresholds are settings, and hold from the next refresh on.
    monkeypatch.setenv("FINALITY_QUIET_DAYS", "90")
    monkeypatch.setenv("FINALITY_ASINS_RATIO", "0.7")
    publish(url, some(WEEK, 8))
    assert state(url) == ("complete", 0)


def test_checks_judge_complete_weeks_only(url):
    def judged() -> tuple[Any, Any]:
        with connect(url) as session, session.transaction():
            verdicts = run_checks(session, SEARCH_QUERY_PERFORMANCE, [WEEK], today=date.today())
        of = {verdict.metric.name: verdict for verdict in verdicts}
        return of["freshness_days"].value, of["volume_ratio"].ok

    publish(url, some(WEEK, 4))
    age, volume = judged()
    assert volume is None
    # The newest weeks of the first load are not complete yet, either.
    assert 28 + 3 <= age < 28 + 3 + 7

    execute(url, AGE.format(41))
    publish(url, some(WEEK, 4))

    assert judged() == ((date.today() - WEEK.end).days, False)


QUIET_DAYS, ARRIVING_NIGHTS, OWN_WEEKS = 14, 3, 2
FIRST_LOAD = 4
LIFE = st.tuples(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),  # nights between the parts that arrive
    st.lists(st.integers(1, 30), max_size=3),  # nights between restatements
    st.sampled_from([20, 20, 20, 12]),  # ASINs in the end
)
SIMULATION = """
DO $$
DECLARE this_night integer; started constant timestamptz := '2030-01-01 02:00Z';
BEGIN
    UPDATE sqp.refresh_finality
    SET arriving_nights = {nights}, quiet_days = {quiet}, own_weeks = {own};
    FOR this_night IN 0..{last} LOOP
        INSERT INTO sqp.refresh_week_changes (marketplace, week, changed_at, rows, asins, found_as)
        SELECT 'US', plan.week, started + make_interval(days => this_night), plan.asins, plan.asins,
            (SELECT state FROM sqp.week_finality AS current WHERE current.week = plan.week)
        FROM plan WHERE plan.night = this_night;
        UPDATE sqp.refresh_finality SET looked_at = started + make_interval(days => this_night);
        INSERT INTO outcomes SELECT this_night, week, asins_expected, restatements, state,
            (SELECT latest.week FROM sqp.latest_final_week AS latest) FROM sqp.week_finality;
    END LOOP;
END
$$
"""


def expected_state(own: list[int], life: dict[str, Any], usual: float | None, night: int) -> str:
    """Apply the rule to one week, by its own words."""
    quiet = night - life["changed"]
    if quiet >= QUIET_DAYS:
        return "final"
    if life["reopened"]:
        return "restated"
    if quiet < ARRIVING_NIGHTS or (usual is not None and life["asins"] < 0.9 * usual):
        return "arriving"
    took = percentile(own, 0.95) if len(own) >= OWN_WEEKS else None
    return "final" if took is not None and quiet > took else "complete"


def percentile(values: list[int], part: float) -> float:
    place = part * (len(values) - 1)
    low, ordered = int(place), sorted(values)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def planned(lives: list[Any]) -> dict[int, dict[int, int]]:
    """Return how many ASINs each week has from each night on on which it changes."""
    nights: dict[int, dict[int, int]] = defaultdict(dict)
    for number in range(FIRST_LOAD):
        nights[0][number] = 20
    for number, (arriving, restated, asins) in enumerate(lives, FIRST_LOAD):
        night = 7 * (number - FIRST_LOAD) + 1
        for part, pause in enumerate(arriving, 1):
            nights[night][number] = max(1, asins * part // len(arriving))
            night += pause
        for pause in restated:
            night += pause
            nights[night][number] = asins
    return nights


def simulated(nights: dict[int, dict[int, int]], last: int) -> dict[tuple[int, int], Any]:
    """Return what each week is after each night, as a second reading of the rule has it."""
    outcomes, lives = {}, {}
    for night in range(last + 1):
        for number, asins in nights.get(night, {}).items():
            if number in lives:
                life, before = lives[number], outcomes[night - 1, number][2]
                life["restatements"] += before != "arriving" or life["restatements"] > 0
                life |= {
                    "changed": night,
                    "asins": asins,
                    "reopened": before in ("final", "restated"),
                }
            else:
                lives[number] = {
                    "first": night,
                    "changed": night,
                    "asins": asins,
                    "restatements": 0,
                    "reopened": False,
                }
        own = [
            life["changed"] - life["first"]
            for number, life in lives.items()
            if number >= FIRST_LOAD and night - life["changed"] >= QUIET_DAYS
        ]
        for number, life in lives.items():
            before = [lives[n]["asins"] for n in range(number - 8, number) if n in lives]
            usual = median(before) if before else None
            current = expected_state(own, life, usual and int(usual + 0.5), night)
            outcomes[night, number] = (usual and int(usual + 0.5), life["restatements"], current)
    return outcomes


@given(st.lists(LIFE, min_size=5, max_size=8))
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_each_night_each_week_is_what_the_rule_says(migrated_database, lives):
    nights = planned(lives)
    last = max(nights) + QUIET_DAYS + 1
    sunday = date(2029, 12, 30) - timedelta(weeks=FIRST_LOAD)
    with psycopg.connect(migrated_database) as connection:
        connection.execute("CREATE TEMPORARY TABLE plan (night integer, week date, asins integer)")
        connection.execute(
            "CREATE TEMPORARY TABLE outcomes (night integer, week date, usual integer,"
            " restatements integer, state text, latest date)"
        )
        connection.cursor().executemany(
            "INSERT INTO plan VALUES (%s, %s, %s)",
            [
                (night, sunday + timedelta(weeks=number), asins)
                for night, of_night in nights.items()
                for number, asins in of_night.items()
            ],
        )
        simulation = SIMULATION.format(
            nights=ARRIVING_NIGHTS, quiet=QUIET_DAYS, own=OWN_WEEKS, last=last
        )
        connection.execute(simulation.encode())
        outcomes = connection.execute("SELECT * FROM outcomes").fetchall()
        connection.rollback()

    expected = simulated(nights, last)
    assert {
        (night, (week - sunday).days // 7): (usual, restatements, current)
        for night, week, usual, restatements, current, _ in outcomes
    } == expected
    # What is named as final had been quiet for as long as the rule asks for.
    for night, week, *_, current, latest in outcomes:
        if week == latest:
            assert current == WeekState.FINAL
            assert expected[night, (week - sunday).days // 7][2] == "final"
