"""Compute the views of the data a second time, in plain Python with exact fractions.

Everything is computed from the rows of one week each; nothing is taken from the summaries, and no
formula is that of the SQL: a trend is its deviations from the mean, a movement its substitutions.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from sqp_refresh_tests.helpers.oracle import SUMS, Row, Rows, percent, rounded, total

OWN = ("asin_impressions", "asin_clicks", "asin_cart_adds", "asin_purchases")
MARKET = ("market_impressions", "market_clicks", "market_cart_adds", "market_purchases")
VOLUME = "search_query_volume"
COUNTS = (*OWN, *MARKET, VOLUME)
SHARES = ("impression_share", "click_share", "cart_add_share", "purchase_share")
RATES = {
    "ctr": ("asin_clicks", "asin_impressions"),
    "cart_add_rate": ("asin_cart_adds", "asin_clicks"),
    "cvr": ("asin_purchases", "asin_clicks"),
    **dict(zip(SHARES, zip(OWN, MARKET, strict=True), strict=True)),
}
MONTHS = {"month": 1, "quarter": 3, "year": 12}
KEYS = {
    "brand_query_weekly": ("marketplace", "brand", "period_start", "search_query"),
    "brand_query_monthly": ("marketplace", "brand", "period_start", "search_query"),
    "period_comparisons": ("period", "period_start", "marketplace", "asin", "search_query"),
    "funnel_leaks": ("period", "period_start", "marketplace", "asin", "search_query"),
    "movements": ("period", "period_start", "marketplace", "asin", "search_query"),
    "query_trends": ("marketplace", "asin", "search_query"),
}
PARTS = (
    "from_market_volume",
    "from_impression_share",
    "from_click_index",
    "from_cart_index",
    "from_conversion_index",
)


@dataclass(frozen=True)
class Week:
    """What one ASIN did on one search query in one week."""

    sunday: date
    marketplace: str
    brand: str | None
    asin: str
    search_query: str
    score: int
    counts: dict[str, int | None]


def weeks_of(tables: dict[str, Rows]) -> list[Week]:
    """Return the weeks that the eight tables of `oracle.expected_tables` are made of."""
    return [
        Week(
            key[0],
            key[2],
            row["brand"],
            key[3],
            key[4],
            row["search_query_score"],
            {name: row[of] for name, of in SUMS.items()} | {VOLUME: row[VOLUME]},
        )
        for key, row in tables["search_performance_summary"].items()
    ]


# -- a brand on a query ----------------------------------------------------------------------------


def brand_queries(weeks: list[Week], period: str) -> Rows:
    """Return the rows of brand_query_weekly or brand_query_monthly."""
    grouped: dict[Any, dict[date, list[Week]]] = defaultdict(lambda: defaultdict(list))
    for week in weeks:
        start = start_of(period, week.sunday)
        key = (week.marketplace, week.brand, start, week.search_query)
        grouped[key][week.sunday].append(week)
    result: Rows = {}
    for key, by_sunday in grouped.items():
        members = [week for of_week in by_sunday.values() for week in of_week]
        # Each row of a week tells the same of the market: it is taken from the first.
        markets = [of_week[0] for of_week in by_sunday.values()]
        counts = {name: total(week.counts[name] for week in members) for name in OWN}
        counts |= {name: total(week.counts[name] for week in markets) for name in (*MARKET, VOLUME)}
        result[key] = {
            "period_end": end_of(period, key[2]),
            **counts,
            **{name: percent(counts[own], counts[all_]) for name, (own, all_) in _shares()},
            "best_rank": min(week.score for week in members),
            "asins": len({week.asin for week in members}),
        } | ({} if period == "week" else {"weeks_count": len(by_sunday)})
    return result


def _shares() -> Iterator[tuple[str, tuple[str, str]]]:
    return ((name, RATES[name]) for name in SHARES)


# -- periods ---------------------------------------------------------------------------------------


def start_of(period: str, day: date) -> date:
    """Return the first day of the period that a week belongs to, by its Sunday."""
    if period == "week":
        return day
    months = MONTHS[period]
    return date(day.year, day.month - (day.month - 1) % months, 1)


def months_later(day: date, months: int) -> date:
    """Return the first day of the month so many months later."""
    years, month = divmod(day.month - 1 + months, 12)
    return date(day.year + years, month + 1, 1)


def end_of(period: str, start: date) -> date:
    """Return the last day of a period."""
    after = start + timedelta(7) if period == "week" else months_later(start, MONTHS[period])
    return after - timedelta(1)


def before(period: str, start: date) -> date:
    """Return the first day of the period before."""
    return start - timedelta(7) if period == "week" else months_later(start, -MONTHS[period])


def year_before(period: str, start: date) -> date:
    """Return the first day of the period a year before; of a week, that of 52 weeks before."""
    return start - timedelta(364) if period == "week" else months_later(start, -12)


def period_summaries(weeks: list[Week]) -> Rows:
    """Return what the four summaries hold, by period."""
    grouped: dict[Any, list[Week]] = defaultdict(list)
    for week in weeks:
        for period in ("week", *MONTHS):
            start = start_of(period, week.sunday)
            grouped[period, start, week.marketplace, week.asin, week.search_query].append(week)
    result: Rows = {}
    for key, members in grouped.items():
        counts = {name: total(week.counts[name] for week in members) for name in COUNTS}
        result[key] = {
            "period_end": end_of(*key[:2]),
            **counts,
            **{name: percent(counts[own], counts[of]) for name, (own, of) in RATES.items()},
            "weeks_count": len(members),
        }
    return result


def period_comparisons(weeks: list[Week]) -> Rows:
    """Return the rows of period_comparisons."""
    summaries = period_summaries(weeks)
    result: Rows = {}
    for key, now in summaries.items():
        period, start, *rest = key
        row = {"period_end": now["period_end"], "weeks_count": now["weeks_count"]}
        for name, which in {"": before, "year_": year_before}.items():
            then = summaries.get((period, which(period, start), *rest))
            row[f"weeks_count_{name}before"] = then and then["weeks_count"]
            for measure in (*COUNTS, *RATES):
                row |= _compared(measure, name, now[measure], then and then[measure])
        result[key] = row
    return result


def _compared(measure: str, name: str, now: Any, then: Any) -> Row:
    difference = None if now is None or then is None else now - then
    row = {measure: now, f"{measure}_{name}before": then}
    if measure in RATES:
        return row | {f"{measure}_{name}points": difference}
    return row | {
        f"{measure}_{name}change": difference,
        f"{measure}_{name}percent": percent(difference, then),
    }


# -- the funnel ------------------------------------------------------------------------------------


def funnel_leaks(weeks: list[Week]) -> Rows:
    """Return the rows of funnel_leaks."""
    result: Rows = {}
    for key, row in period_summaries(weeks).items():
        own = [row[name] for name in OWN]
        market = [row[name] for name in MARKET]
        sold = [_times(own[stage], market[3], market[stage]) for stage in range(3)] + [own[3]]
        lost = [
            None
            if sold[stage] is None or sold[stage + 1] is None
            else sold[stage] - sold[stage + 1]
            for stage in range(3)
        ]
        worst = max((loss for loss in lost if loss is not None), default=0)
        if worst > 0:
            at = lost.index(worst)
            result[key] = {
                "period_end": row["period_end"],
                "stage": ("click", "cart_add", "purchase")[at],
                "purchases_lost": worst,
                "asin_rate": percent(own[at + 1], own[at]),
                "market_rate": percent(market[at + 1], market[at]),
                "lost_at_click": lost[0],
                "lost_at_cart_add": lost[1],
                "lost_at_purchase": lost[2],
                "asin_purchases": own[3],
                "purchases_at_market_rates": sold[0],
                "weeks_count": row["weeks_count"],
            }
    return result


def _times(own: int | None, purchases: int | None, of: int | None) -> Any:
    if own is None or purchases is None or not of:
        return None
    return rounded(Fraction(own * purchases, of), 4)


# -- why purchases changed -------------------------------------------------------------------------


def movements(weeks: list[Week]) -> Rows:
    """Return the rows of movements; the parts are not rounded."""
    summaries = period_summaries(weeks)
    result: Rows = {}
    for key, now in summaries.items():
        period, start, *rest = key
        then = summaries.get((period, before(period, start), *rest))
        change = then and now["asin_purchases"] - then["asin_purchases"]
        result[key] = {
            "period_end": now["period_end"],
            "asin_purchases": now["asin_purchases"],
            "asin_purchases_before": then and then["asin_purchases"],
            "asin_purchases_change": change,
            "weeks_count": now["weeks_count"],
            "weeks_count_before": then and then["weeks_count"],
            **dict(zip(PARTS, split(then, now) if then else [None] * 5, strict=True)),
        }
    return result


def split(then: Row, now: Row) -> list[Fraction]:
    """Split the change of purchases into its five parts: the mean of two orders."""
    old, new = _heads(then), _heads(now)
    down, up = [Fraction(old[5])], [Fraction(new[5])]
    for head_then, head_now in zip(old[1:5], new[1:5], strict=True):
        if head_then and head_now:
            # The factors up to here of one period, those after it of the other.
            down.append(head_now * old[5] / head_then)
            up.append(head_then * new[5] / head_now)
        else:
            down.append(Fraction(new[5]))
            up.append(Fraction(old[5]))
    down.append(Fraction(new[5]))
    up.append(Fraction(old[5]))
    return [((down[k] - down[k - 1]) + (up[k - 1] - up[k])) / 2 for k in range(1, 6)]


def _heads(row: Row) -> list[Any]:
    """Return the products of the first 0 to 5 factors; None where one has no value."""
    own, market = [row[name] for name in OWN], [row[name] for name in MARKET]
    shares = [Fraction(own[k], market[k]) if market[k] else None for k in range(3)]
    heads = [share and market[3] * share for share in shares]
    return [Fraction(1), Fraction(market[3]), *heads, Fraction(own[3])]


def factors(row: Row) -> list[Fraction]:
    """Return the five factors of purchases; every count has to be above 0."""
    own, market = [row[name] for name in OWN], [row[name] for name in MARKET]
    own_rates = [Fraction(own[k + 1], own[k]) for k in range(3)]
    market_rates = [Fraction(market[k + 1], market[k]) for k in range(3)]
    indices = [mine / theirs for mine, theirs in zip(own_rates, market_rates, strict=True)]
    return [Fraction(market[3]), Fraction(own[0], market[0]), *indices]


# -- trends ----------------------------------------------------------------------------------------


def query_trends(weeks: list[Week], final: dict[str, date]) -> Rows:
    """Return the rows of query_trends.

    Args:
        weeks: All weeks, final or not.
        final: The newest final week of each marketplace.
    """
    grouped: dict[Any, dict[int, Week]] = defaultdict(dict)
    first: dict[str, date] = {}
    for week in weeks:
        first[week.marketplace] = min(first.get(week.marketplace, week.sunday), week.sunday)
        age = (final[week.marketplace] - week.sunday).days // 7
        if 0 <= age < 12:
            grouped[week.marketplace, week.asin, week.search_query][age] = week
    result: Rows = {}
    for key, by_age in grouped.items():
        newest = final[key[0]]
        has_history = (newest - first[key[0]]).days >= 28
        result[key] = _trend(by_age, newest, has_history=has_history)
    return result


def _trend(by_age: dict[int, Week], final: date, *, has_history: bool) -> Row:
    recent = [week for age, week in by_age.items() if age < 4]
    counts = {name: total(week.counts[name] for week in by_age.values()) for name in COUNTS}
    own, all_ = {}, {}
    for rate, divisor, dividend in (("ctr", 0, 1), ("cvr", 1, 3)):
        own[rate] = counts[OWN[dividend]], counts[OWN[divisor]]
        all_[rate] = counts[MARKET[dividend]], counts[MARKET[divisor]]
    points = [(-age, week.counts["asin_clicks"]) for age, week in by_age.items()]
    row: Row = {
        "final_week": final,
        "last_week": max(week.sunday for week in by_age.values()),
        "weeks_4": len(recent),
        "weeks_12": len(by_age),
        **{
            f"{name}_mean_{weeks}": _mean(week.counts[name] for week in members)
            for name in (VOLUME, "asin_impressions", "asin_clicks", "asin_purchases")
            for weeks, members in ((4, recent), (12, list(by_age.values())))
        },
        "asin_clicks_slope": rounded(slope_of(points), 4),
    }
    for rate in ("ctr", "cvr"):
        row[rate] = percent(*own[rate])
        row[f"market_{rate}"] = percent(*all_[rate])
        mine, theirs = _ratio(*own[rate]), _ratio(*all_[rate])
        row[f"{rate}_index"] = None if mine is None or not theirs else rounded(mine / theirs, 4)
    return row | {"class": _class(points, has_history=has_history)}


def slope_of(points: list[tuple[int, Any]]) -> Fraction | None:
    """Return the slope of the least squares line; None for fewer than two points."""
    if len(points) < 2:
        return None
    mean_x, mean_y = (Fraction(sum(values), len(points)) for values in zip(*points, strict=True))
    spread = sum(((x - mean_x) ** 2 for x, _ in points), Fraction(0))
    return sum(((x - mean_x) * (y - mean_y) for x, y in points), Fraction(0)) / spread


def _class(points: list[tuple[int, Any]], *, has_history: bool) -> str | None:
    ages, clicks = [-x for x, _ in points], [y for _, y in points]
    if min(ages) >= 4:
        return "vanished"
    if max(ages) < 4 and has_history:
        return "new"
    n = len(points)
    if n < 4:
        return None
    slope = slope_of(points)
    assert slope is not None
    mean_x, mean_y = Fraction(sum(x for x, _ in points), n), Fraction(sum(clicks), n)
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    error_squared = rest / (n - 2) / sum((x - mean_x) ** 2 for x, _ in points)
    if slope and slope**2 >= 4 * error_squared and 11 * abs(slope) >= mean_y / 4:
        return "growth" if slope > 0 else "decline"
    variance = sum((y - mean_y) ** 2 for y in clicks) / n
    is_scattered = variance > 0 and variance - mean_y >= mean_y**2 / 4
    return "volatile" if is_scattered else "stable"


def _mean(values: Iterable[int | None]) -> Any:
    known = [value for value in values if value is not None]
    return rounded(Fraction(sum(known), len(known)), 4) if known else None


def _ratio(part: int | None, whole: int | None) -> Fraction | None:
    return None if part is None or not whole else Fraction(part, whole)


# -- comparing -------------------------------------------------------------------------------------


def read_view(connection: Any, view: str, where: str = "true") -> Rows:
    """Read a view, by its key."""
    cursor = connection.execute(f"SELECT * FROM sqp.{view} WHERE {where}".encode())
    names = [column.name for column in cursor.description]
    rows = [dict(zip(names, values, strict=True)) for values in cursor]
    read = {tuple(row.pop(name) for name in KEYS[view]): row for row in rows}
    assert len(read) == len(rows), f"{view} has a key twice"
    return read


def rounded_parts(expected: Rows, actual: Rows) -> Rows:
    """Return expected movements, with the parts of the actual ones where those are near enough.

    Which of the parts is rounded up, so that they add up, is not said.
    """
    least = Fraction(1, 10_000)
    result: Rows = {}
    for key, row in expected.items():
        parts = {}
        for name in PARTS:
            exact, written = row[name], actual.get(key, {}).get(name)
            parts[name] = exact
            if (
                exact is not None
                and written is not None
                and abs(Fraction(written) - exact) <= least
            ):
                parts[name] = written
        result[key] = row | parts
    return result


EXPECTED: dict[str, Callable[[list[Week], dict[str, date]], Rows]] = {
    "brand_query_weekly": lambda weeks, _: brand_queries(weeks, "week"),
    "brand_query_monthly": lambda weeks, _: brand_queries(weeks, "month"),
    "period_comparisons": lambda weeks, _: period_comparisons(weeks),
    "funnel_leaks": lambda weeks, _: funnel_leaks(weeks),
    "movements": lambda weeks, _: movements(weeks),
    "query_trends": query_trends,
}
"""What each view must hold, given all weeks and the newest final week of each marketplace."""
