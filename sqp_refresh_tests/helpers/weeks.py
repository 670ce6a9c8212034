"""Name the three weeks that most tests refresh, and make rows of the source for them."""

from datetime import date

from sqp_refresh.model.periods import weeks_between
from sqp_refresh_tests.helpers.rows import Row, row

FIRST = date(2025, 7, 27)
MIDDLE = date(2025, 8, 3)
LAST = date(2025, 8, 10)
WEEKS = list(weeks_between(FIRST, LAST))


def three_weeks(**changes) -> list[Row]:
    """Return rows of two ASINs with two queries each, in three weeks that span two months."""
    return [
        row(day=day, asin=asin, query=query, parent_asin="B00PARENT1", **changes)
        for day in (FIRST, MIDDLE, LAST)
        for asin in ("B000000001", "B000000002")
        for query in ("blue widget", "red widget")
    ]
