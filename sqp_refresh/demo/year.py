"""Generate a year of Search Query Performance as an agency's vendor would export it.

The rows are the same at every call, but for their dates, which may be so many whole weeks later.
Their numbers are those of a real agency: 85 ASINs, 52 Sundays, about 210,000 rows, 40,000 queries.
Market figures belong to a query and a week and repeat on each ASIN's row. The ASINs' own figures
never add up to more than the market.

Everything is computed from uniform random numbers with integers, products and quotients, which are
the same on every machine; powers and logarithms are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa

from sqp_refresh.demo import vocabulary
from sqp_refresh.model.tables import COUNT, DATE, PERCENT, PRICE, SOURCE_COLUMNS, STAGES, TEXT

SEED = 20240818
SUNDAYS = tuple(date(2024, 8, 18) + timedelta(weeks=week) for week in range(52))
MARKETPLACE = "US"
MOST_QUERIES = 100  # Amazon reports no more for one ASIN and week
FAMILY = 4  # children of one parent

# Shoppers find an ASIN by these queries all year, but each week some of them are others.
_SLOTS = 150
_CHANGED = 0.3
_QUERIES = len(vocabulary.LINES) * vocabulary.QUERIES_PER_LINE
# More is bought before Christmas and in the week of Prime Day.
_BUSY_WEEKS = range(14, 18), range(47, 48)

Numbers = np.ndarray
Figures = dict[str, Numbers]

_ARROW_TYPE = {
    TEXT: pa.string(),
    DATE: pa.timestamp("us", "UTC"),
    COUNT: pa.int64(),
    PERCENT: pa.float64(),
    PRICE: pa.decimal128(38, 9),
}
SCHEMA = pa.schema([(column.title, _ARROW_TYPE[column.type]) for column in SOURCE_COLUMNS])


def year_of_rows() -> pa.Table:
    """Return all weeks of the year: about 210,000 rows in `SCHEMA`, week by week."""
    return weeks_of_rows(SUNDAYS)


def week_of_rows(sunday: date, *, weeks_later: int = 0) -> pa.Table:
    """Return the same rows of one week: about 4,050 in `SCHEMA`; see `weeks_of_rows`."""
    return weeks_of_rows([sunday], weeks_later=weeks_later)


def weeks_of_rows(sundays: Sequence[date], *, weeks_later: int = 0) -> pa.Table:
    """Return the same rows of some weeks, week by week.

    Args:
        sundays: Some of `SUNDAYS`.
        weeks_later: How many weeks later than that their rows are dated.

    Raises:
        ValueError: a day is none of `SUNDAYS`.
    """
    catalog = _Catalog.drawn()
    weeks = (_week(catalog, SUNDAYS.index(sunday), weeks_later) for sunday in sundays)
    return pa.concat_tables(weeks)


# -- what does not change from week to week --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Catalog:
    """The products, as arrays with one value per ASIN, and the queries, with one value per query.

    A query's number is its line's number times `QUERIES_PER_LINE`, plus its rank in that line.
    """

    texts: dict[str, pa.Array]  # by the source's column name
    line: Numbers
    weeks: Numbers  # in two rows, the first and the last with data
    size: Numbers  # queries in an ordinary week
    strength: Numbers  # how well it is found, 1 on average
    cents: Numbers  # its price
    query_ranks: Numbers  # one row per ASIN: the ranks of its queries, the most relevant first
    query: pa.Array
    volume: Numbers  # searches in an ordinary week
    market_cents: Numbers  # what others ask

    @classmethod
    def drawn(cls) -> "_Catalog":
        random = np.random.default_rng(SEED)
        line = np.repeat(
            np.arange(len(vocabulary.LINES)), [kind.products for kind in vocabulary.LINES]
        )
        price = random.integers(12, 45, len(vocabulary.LINES)) * 100 + 99
        rank = np.arange(_QUERIES) % vocabulary.QUERIES_PER_LINE
        return cls(
            texts=_texts(random, line),
            line=line,
            weeks=_weeks_with_data(random, len(line)),
            size=random.integers(30, 86, len(line)),
            strength=0.4 + 1.2 * random.random(len(line)),
            cents=price[line] + 100 * random.integers(-4, 5, len(line)),
            query_ranks=_ranks(random, (len(line), _SLOTS)),
            query=pa.array(
                [query for kind in vocabulary.LINES for query in vocabulary.queries(kind)]
            ),
            volume=150_000 // (rank + 4) + random.integers(0, 90, _QUERIES),
            market_cents=np.repeat(price, vocabulary.QUERIES_PER_LINE)
            * random.integers(800, 1200, _QUERIES)
            // 1000,
        )


def _texts(random: np.random.Generator, line: Numbers) -> dict[str, pa.Array]:
    lines = [vocabulary.LINES[number] for number in line]
    asins = [vocabulary.asin(int(number)) for number in random.integers(0, 36**8, 2 * len(line))]
    return {
        "asin": pa.array(asins[: len(line)]),
        "parent_asin": pa.array(_parents(asins[len(line) :])),
        "brand": pa.array([kind.brand for kind in lines]),
        "category": pa.array([kind.category for kind in lines]),
        "product_title": pa.array(
            # The vendor has no title for a third of them.
            None if number % 3 == 1 else vocabulary.title(kind, number)
            for number, kind in enumerate(lines)
        ),
    }


def _parents(codes: list[str]) -> list[str | None]:
    """Return a parent for each ASIN: up to `FAMILY` of a line share one; a single ASIN has none."""
    parents: list[str | None] = []
    for line in vocabulary.LINES:
        edges = [*range(0, line.products, FAMILY), line.products]
        for size in (end - start for start, end in pairwise(edges)):
            parents += [codes[len(parents)] if size > 1 else None] * size
    return parents


def _weeks_with_data(random: np.random.Generator, asins: int) -> Numbers:
    """Return first and last week of each ASIN, so that about 68 of them sell in most weeks."""
    last_week = len(SUNDAYS) - 1
    some_week = random.integers(4, last_week - 4, asins)
    fate = random.random(asins)
    first = np.where(fate < 0.28, some_week, 0)
    last = np.where(fate > 0.82, some_week, last_week)
    return np.stack([first, last])


def _ranks(random: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """Draw ranks of queries: the popular ones often, each of the others rarely."""
    drawn = random.random(shape)
    return (drawn * drawn * drawn * vocabulary.QUERIES_PER_LINE).astype(np.int64)


# -- one week --------------------------------------------------------------------------------------


def _week(catalog: _Catalog, week: int, weeks_later: int) -> pa.Table:
    random = np.random.default_rng([SEED, week])
    asin, query = _asins_and_queries(catalog, random, week)
    distinct_queries, row = np.unique(query, return_inverse=True)
    busy = 1.5 if any(week in weeks for weeks in _BUSY_WEEKS) else 1.0
    market_of_query = _market(catalog, random, distinct_queries, busy)
    market = {name: values[row] for name, values in market_of_query.items()}
    own = _own(catalog, random, asin, market, rivals=np.bincount(row)[row])
    columns = {
        "marketplace": pa.repeat(MARKETPLACE, len(asin)),
        "report_date": pa.repeat(
            pa.scalar(SUNDAYS[week] + timedelta(weeks=weeks_later)), len(asin)
        ),
        "search_query": catalog.query.take(pa.array(query)),
        "search_query_score": pa.array(_scores(asin, own)),
        **{name: texts.take(pa.array(asin)) for name, texts in catalog.texts.items()},
        **{name: _arrow(name, values) for name, values in (market | own).items()},
    }
    by_title = {column.title: columns[column.name] for column in SOURCE_COLUMNS}
    return pa.table(by_title).cast(SCHEMA)


def _arrow(name: str, values: Numbers) -> pa.Array:
    """Convert cents and hundredths of a percent to what they stand for; -1 becomes null."""
    if name.endswith(("_price", "_share", "_rate")):
        return pa.array(values / 100, mask=values < 0)
    return pa.array(values)


def _asins_and_queries(
    catalog: _Catalog, random: np.random.Generator, week: int
) -> tuple[Numbers, Numbers]:
    """Choose the ASIN and the query of each row; no pair comes twice."""
    first, last = catalog.weeks
    selling = np.flatnonzero((first <= week) & (week <= last))
    shape = (len(selling), _SLOTS)
    # A query that is new in a week is one of the rare ones.
    other = (random.random(shape) * vocabulary.QUERIES_PER_LINE).astype(np.int64)
    rank = np.where(random.random(shape) < _CHANGED, other, catalog.query_ranks[selling])
    query = catalog.line[selling][:, None] * vocabulary.QUERIES_PER_LINE + rank
    pairs = (selling[:, None] * _QUERIES + query).ravel()
    # The first of each pair, in the order of relevance, as many as the ASIN has this week.
    slot = np.sort(np.unique(pairs, return_index=True)[1])
    asin_row = slot // _SLOTS
    position = np.arange(len(slot)) - np.searchsorted(asin_row, asin_row)
    size = catalog.size[selling] + random.integers(-9, 10, len(selling))
    chosen = pairs[slot[position < np.minimum(size, MOST_QUERIES)[asin_row]]]
    return chosen // _QUERIES, chosen % _QUERIES


def _market(catalog: _Catalog, random: np.random.Generator, query: Numbers, busy: float) -> Figures:
    """Draw the figures of each query, which are the same for all of its ASINs."""

    def drawn_share(whole: Numbers, least: int, most: int) -> Numbers:
        # Between so many thousandths of the whole.
        return whole * random.integers(least, most, len(query)) // 1000

    volume = np.floor(drawn_share(catalog.volume[query], 800, 1200) * busy).astype(np.int64) + 1
    total = volume
    figures = {
        "search_query_volume": volume,
        "total_query_impression_count": drawn_share(volume, 20_000, 32_000),
    }
    usual = {"click": (250, 450), "cart_add": (400, 850), "purchase": (250, 700)}
    for stage in STAGES.values():
        total = drawn_share(total, *usual[stage])
        same_day = drawn_share(total, 0, 300)
        one_day = drawn_share(total - same_day, 0, 400)
        cents = drawn_share(catalog.market_cents[query], 950, 1050)
        figures |= {
            f"total_{stage}_count": total,
            f"total_{stage}_rate": hundredths_of_percent(total, volume),
            f"total_median_{stage}_price": np.where(total > 0, cents, -1),
            f"total_same_day_shipping_{stage}_count": same_day,
            f"total_one_day_shipping_{stage}_count": one_day,
            f"total_two_day_shipping_{stage}_count": drawn_share(
                total - same_day - one_day, 0, 500
            ),
        }
    return figures


def _own(
    catalog: _Catalog, random: np.random.Generator, asin: Numbers, market: Figures, rivals: Numbers
) -> Figures:
    """Draw each row's share of the market.

    Args:
        catalog: All products and queries.
        random: The random numbers of the week.
        asin: The ASIN of each row.
        market: The figures of each row's query.
        rivals: How many of the agency's ASINs have the row's query, this one included.
    """
    rows = len(asin)

    def drawn(mean: Numbers, total: Numbers) -> Numbers:
        # An equal share at most, so that the sum of all stays below the market.
        return np.minimum(np.floor(mean + random.random(rows)).astype(np.int64), total // rivals)

    def share_at_most(total: Numbers) -> Numbers:
        # No product has every position on the page of a rare query.
        return np.floor(total * (0.05 + 0.4 * random.random(rows))).astype(np.int64)

    luck = random.random(rows)
    shown = catalog.strength[asin] * (18 + 68 * luck / (1.02 - luck))
    total = market["total_query_impression_count"]
    count = np.minimum(drawn(shown, total), share_at_most(total))
    figures = {
        "asin_impression_count": count,
        "asin_impression_share": hundredths_of_percent(count, total),
    }
    usual = {"click": (0.01, 0.03), "cart_add": (0.1, 0.3), "purchase": (0.15, 0.3)}
    sold_at = catalog.cents * random.choice([1000, 1000, 950, 900], len(catalog.cents)) // 1000
    for stage in STAGES.values():
        total = market[f"total_{stage}_count"]
        least, more = usual[stage]
        count = drawn(count * (least + more * random.random(rows)), total)
        figures |= {
            f"asin_{stage}_count": count,
            f"asin_{stage}_share": hundredths_of_percent(count, total),
            f"asin_median_{stage}_price": np.where(count > 0, sold_at[asin], -1),
        }
    return figures


def hundredths_of_percent(part: Numbers, whole: Numbers) -> Numbers:
    """Return 100 * part / whole in hundredths, half away from zero; -1 where whole is 0."""
    return np.where(whole > 0, (20_000 * part + whole) // np.maximum(2 * whole, 1), -1)


def _scores(asin: Numbers, own: Figures) -> Numbers:
    """Rank the queries of each ASIN: 1 is the best, by what was added to the cart first."""
    ranked_by = ("impression", "purchase", "click", "cart_add")  # the last one first
    order = np.lexsort([*(-own[f"asin_{stage}_count"] for stage in ranked_by), asin])
    score = np.empty(len(asin), np.int64)
    score[order] = np.arange(len(asin)) - np.searchsorted(asin[order], asin[order]) + 1
    return score
