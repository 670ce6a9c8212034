"""Ten thousand bad rows of every kind: none is lost, none lands, each is told what is wrong."""

from collections.abc import Sequence
from datetime import date
from random import Random

import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sqp_refresh.model.periods import Period
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.deliveries import Delivery, tolerate
from sqp_refresh_tests.helpers.rows import Row
from sqp_refresh_tests.validate.dirty import (
    DELIVERIES,
    KINDS,
    NUMBER,
    bad_row,
    delivered,
    good_row,
    kinds_of,
)

SUNDAY = date(2025, 8, 10)
WEEK = Period.week_of(SUNDAY)
EXAMPLES = 10
BAD_ROWS = 1000
BATCH = 256


def test_there_are_enough_kinds_and_rows():
    assert len(KINDS) >= 25
    assert EXAMPLES * BAD_ROWS >= 10_000


@given(st.data())
@settings(
    max_examples=EXAMPLES,
    # A failure names its rows; to look for fewer of them would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_bad_row_is_refused_for_what_is_wrong_and_every_good_one_lands(
    migrated_database, data
):
    delivery = data.draw(st.sampled_from(list(DELIVERIES)))
    kinds = st.sampled_from(kinds_of(delivery))
    drawn = data.draw(st.lists(kinds, min_size=BAD_ROWS, max_size=BAD_ROWS))
    random = Random(data.draw(st.integers(0, 2**32 - 1)))
    bad = {number: bad_row(kind, number, random, SUNDAY) for number, kind in enumerate(drawn)}
    good = good_rows(random, first=len(bad))
    rows = [made for made, _ in bad.values()] + good
    random.shuffle(rows)
    tolerate(migrated_database, 1)

    summary = refreshed(migrated_database, rows, delivery)

    lost = sum(oracle.superseded(good).values())
    counts = summary.counts
    assert (counts.read, counts.quarantined, counts.superseded) == (len(rows), len(bad), lost)
    assert counts.read == counts.landed + counts.quarantined + counts.superseded
    with psycopg.connect(migrated_database) as connection:
        quarantined = connection.execute(
            "SELECT (raw_row->>%s)::int, reasons FROM sqp.refresh_quarantine"
            " WHERE audit_log_id = %s",
            [NUMBER, summary.audit_log_id],
        ).fetchall()
        loaded = oracle.read_table(connection, "search_query_performance")
    assert len(quarantined) == len(bad)
    for number, reasons in quarantined:
        assert set(reasons) == bad[number][1], (drawn[number], bad[number][0])
    expected = oracle.expected_tables(good)["search_query_performance"]
    oracle.assert_equal(loaded, expected)


def good_rows(random: Random, first: int) -> list[Row]:
    """Some good rows, a few of which carry the key of another one."""
    made = [good_row(first + place, random, day=SUNDAY) for place in range(40)]
    again = [row | {NUMBER: first + 50 + place} for place, row in enumerate(made[:3])]
    later = [row | {"Date": date(2025, 8, 13)} for row in made[3:6]]
    differs = [row | {"Search Query Volume": 9001} for row in made[6:9]]
    return made + again + later + differs


def refreshed(url: str, rows: Sequence[Row], delivery: str) -> RefreshResult:
    whole = delivered(rows, delivery)
    batches = [whole.slice(first, BATCH) for first in range(0, whole.num_rows, BATCH)]
    return refresh(url, Delivery({WEEK: batches}), RefreshRequest("dirty"))
