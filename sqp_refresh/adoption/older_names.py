"""Say under which names the older system keeps what our tables hold.

Its summaries have the ASIN's own counts under names that begin with `total_`.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from sqp_refresh.errors import SettingsError
from sqp_refresh.model.periods import Grain

_SUMMARY = {
    "query": "search_query",
    "total_impressions": "asin_impressions",
    "total_clicks": "asin_clicks",
    "total_purchases": "asin_purchases",
    "cart_adds": "asin_cart_adds",
    "avg_ctr": "ctr",
    "avg_cvr": "cvr",
}
_WEEKLY = {
    "total_query_impression_count": "market_impressions",
    "total_click_count": "market_clicks",
    "total_cart_add_count": "market_cart_adds",
    "total_purchase_count": "market_purchases",
}
_LONGER = {"active_weeks": "weeks_count"}
OLDER_NAMES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "weekly_summary": _SUMMARY | _WEEKLY,
        "monthly_summary": _SUMMARY | _LONGER,
        "quarterly_summary": _SUMMARY | _LONGER,
        "yearly_summary": _SUMMARY | _LONGER,
        "daily_sqp_data": {
            "date": "report_date",
            "query": "search_query",
            "impressions": "asin_impressions",
            "clicks": "asin_clicks",
            "purchases": "asin_purchases",
            "click_through_rate": "ctr",
            "conversion_rate": "cvr",
        },
    }
)
"""By table, what of ours each column of the older system is."""

PERIOD_NUMBERS: Mapping[Grain, Mapping[str, str]] = MappingProxyType(
    {
        Grain.MONTH: {"year": "year", "month": "month"},
        Grain.QUARTER: {"year": "year", "quarter": "quarter"},
        Grain.YEAR: {"year": "year"},
    }
)
"""By grain, the columns that number a period, and the field of its first day that each is."""


def candidates(table: str, column: str, added: Mapping[str, str]) -> Iterator[str]:
    """Yield the names that a column of ours may have there, the likeliest first.

    Args:
        table: Name of our table.
        column: Name of our column.
        added: What the user says each older column is.
    """
    yield from (older for older, ours in added.items() if ours == column)
    yield column
    for names in (OLDER_NAMES.get(table, {}), *OLDER_NAMES.values()):
        yield from (older for older, ours in names.items() if ours == column)


def parse_map(pairs: Iterable[str]) -> dict[str, str]:
    """Return what the user says each older column is.

    Args:
        pairs: OLD=NEW each.

    Raises:
        SettingsError: one is malformed.
    """
    added = {}
    for pair in pairs:
        older, equals, ours = pair.partition("=")
        if not (equals and older.strip() and ours.strip()):
            raise SettingsError(
                f"--map {pair!r} must be OLD=NEW: the column there, and the one here that it is"
            )
        added[older.strip()] = ours.strip()
    return added
