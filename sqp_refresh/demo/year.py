"""A year of Search Query Performance as an agency's vendor would export it; the same at every call.

The sizes are those of a real agency: 85 ASINs, 52 Sundays, about 210,000 rows, 40,000 queries.
Market figures belong to (query, week) and repeat on each ASIN's row; own figures are parts of them
that never add up to more than the market.

Everything comes from uniform random numbers by whole-number arithmetic, products and quotients,
which are the same on every machine; powers and logarithms are not.
"""

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

# An ASIN is known for these queries all year, but each week some are others.
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
    """All weeks of the year: about 210,000 rows in `SCHEMA`, week by week."""
    catalog = _Catalog.drawn()
    return pa.concat_tables(_week(catalog, week) for week in range(len(SUNDAYS)))


def week_of_rows(sunday: date) -> pa.Table:
    """The same rows of one week: about 4,050 in `SCHEMA`.

    Raises:
        ValueError: it is none of `SUNDAYS`.
    """
    return _week(_Catalog.drawn(), SUNDAYS.index(sunday))


# -- what does not change from week to week --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Catalog:
    """The products, in arrays with one value an ASIN, and the queries, with one value a query.

    A query's number is its line's times `QUERIES_PER_LINE`, plus its rank in popularity there.
    """

    texts: dict[str, pa.Array]  # by the source's column name
    line: Numbers
    weeks: Numbers  # in two rows, the first and the last with data
    size: Numbers  # queries in an ordinary week
    strength: Numbers  # how well it is found, 1 on average
    cents: Numbers  # its price
    known: Numbers  # in a row per ASIN, the ranks of its queries, the most relevant first
    query: pa.Array
    volume: Numbers  # searches in an ordinary week
    market_cents: Numbers  # what others ask

    @classmethod
    def drawn(cls) -> "_Catalog":
        random = np.random.default_rng(SEED)
        line = np.repeat(
            np.arange(len(vocabulary.LINES)), [one.products for one in vocabulary.LINES]
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
            known=_ranks(random, (len(line), _SLOTS)),
            query=pa.array(
                [query for one in vocabulary.LINES for query in vocabulary.queries(one)]
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
        "brand": pa.array([one.brand for one in lines]),
        "category": pa.array([one.category for one in lines]),
        "product_title": pa.array(
            # The vendor knows none for a third of them.
            None if number % 3 == 1 else vocabulary.title(one, number)
            for number, one in enumerate(lines)
        ),
    }


def _parents(codes: list[str]) -> list[str | None]:
    """A parent an ASIN: families of up to `FAMILY` within a line; one alone has none."""
    parents: list[str | None] = []
    for line in vocabulary.LINES:
        edges = [*range(0, line.products, FAMILY), line.products]
        for size in (end - start for start, end in pairwise(edges)):
            parents += [codes[len(parents)] if size > 1 else None] * size
    return parents


def _weeks_with_data(random: np.random.Generator, asins: int) -> Numbers:
    """Some products are launched during the year and some end, so that 68 sell in most weeks."""
    last_week = len(SUNDAYS) - 1
    some_week = random.integers(4, last_week - 4, asins)
    fate = random.random(asins)
    first = np.where(fate < 0.28, some_week, 0)
    last = np.where(fate > 0.82, some_week, last_week)
    return np.stack([first, last])


def _ranks(random: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """Ranks of queries: the popular ones often, each of the others rarely."""
    drawn = random.random(shape)
    return (drawn * drawn * drawn * vocabulary.QUERIES_PER_LINE).astype(np.int64)


# -- one week --------------------------------------------------------------------------------------


def _week(catalog: _Catalog, week: int) -> pa.Table:
    random = np.random.default_rng([SEED, week])
    asin, query = _asins_and_queries(catalog, random, week)
    asked, row = np.unique(query, return_inverse=True)
    busy = 1.5 if any(week in weeks for weeks in _BUSY_WEEKS) else 1.0
    market_of_query = _market(catalog, random, asked, busy)
    market = {name: values[row] for name, values in market_of_query.items()}
    own = _own(catalog, random, asin, market, rivals=np.bincount(row)[row])
    columns = {
        "marketplace": pa.repeat(MARKETPLACE, len(asin)),
        "report_date": pa.repeat(pa.scalar(SUNDAYS[week]), len(asin)),
        "search_query": catalog.query.take(pa.array(query)),
        "search_query_score": pa.array(_places(asin, own)),
        **{name: texts.take(pa.array(asin)) for name, texts in catalog.texts.items()},
        **{name: _arrow(name, values) for name, values in (market | own).items()},
    }
    by_title = {column.title: columns[column.name] for column in SOURCE_COLUMNS}
    return pa.table(by_title).cast(SCHEMA)


def _arrow(name: str, values: Numbers) -> pa.Array:
    """Cents and hundredths of a percent as what they stand for; -1 marks what is unknown."""
    if name.endswith(("_price", "_share", "_rate")):
        return pa.array(values / 100, mask=values < 0)
    return pa.array(values)


def _asins_and_queries(
    catalog: _Catalog, random: np.random.Generator, week: int
) -> tuple[Numbers, Numbers]:
    """The ASIN and the query of each row; no pair comes twice."""
    first, last = catalog.weeks
    selling = np.flatnonzero((first <= week) & (week <= last))
    shape = (len(selling), _SLOTS)
    # What is new in a week is of the rare kind.
    other = (random.random(shape) * vocabulary.QUERIES_PER_LINE).astype(np.int64)
    rank = np.where(random.random(shape) < _CHANGED, other, catalog.known[selling])
    query = catalog.line[selling][:, None] * vocabulary.QUERIES_PER_LINE + rank
    pairs = (selling[:, None] * _QUERIES + query).ravel()
    # The first of each pair, in the order of relevance, as many as the ASIN has this week.
    slot = np.sort(np.unique(pairs, return_index=True)[1])
    one = slot // _SLOTS
    place = np.arange(len(slot)) - np.searchsorted(one, one)
    wanted = catalog.size[selling] + random.integers(-9, 10, len(selling))
    chosen = pairs[slot[place < np.minimum(wanted, MOST_QUERIES)[one]]]
    return chosen // _QUERIES, chosen % _QUERIES


def _market(catalog: _Catalog, random: np.random.Generator, query: Numbers, busy: float) -> Figures:
    """The figures of each query, which all of its ASINs share."""

    def part(whole: Numbers, least: int, most: int) -> Numbers:
        return whole * random.integers(least, most, len(query)) // 1000

    volume = np.floor(part(catalog.volume[query], 800, 1200) * busy).astype(np.int64) + 1
    total = volume
    figures = {
        "search_query_volume": volume,
        "total_query_impression_count": part(volume, 20_000, 32_000),
    }
    usual = {"click": (250, 450), "cart_add": (400, 850), "purchase": (250, 700)}
    for stage in STAGES.values():
        total = part(total, *usual[stage])
        same = part(total, 0, 300)
        one = part(total - same, 0, 400)
        cents = part(catalog.market_cents[query], 950, 1050)
        figures |= {
            f"total_{stage}_count": total,
            f"total_{stage}_rate": hundredths_of_percent(total, volume),
            f"total_median_{stage}_price": np.where(total > 0, cents, -1),
            f"total_same_day_shipping_{stage}_count": same,
            f"total_one_day_shipping_{stage}_count": one,
            f"total_two_day_shipping_{stage}_count": part(total - same - one, 0, 500),
        }
    return figures


def _own(
    catalog: _Catalog, random: np.random.Generator, asin: Numbers, market: Figures, rivals: Numbers
) -> Figures:
    """Each row's part of the market; `rivals` of our ASINs share its query, itself included."""
    rows = len(asin)

    def drawn(mean: Numbers, total: Numbers) -> Numbers:
        # An equal part at most: all together, they stay below the market.
        return np.minimum(np.floor(mean + random.random(rows)).astype(np.int64), total // rivals)

    def part_at_most(total: Numbers) -> Numbers:
        # Nobody is seen in every place of a rare query's page.
        return np.floor(total * (0.05 + 0.4 * random.random(rows))).astype(np.int64)

    luck = random.random(rows)
    shown = catalog.strength[asin] * (18 + 68 * luck / (1.02 - luck))
    total = market["total_query_impression_count"]
    count = np.minimum(drawn(shown, total), part_at_most(total))
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
    """100 * part / whole with two decimals, half away from zero, times 100; -1 where whole is 0."""
    return np.where(whole > 0, (20_000 * part + whole) // np.maximum(2 * whole, 1), -1)


def _places(asin: Numbers, own: Figures) -> Numbers:
    """The score: 1 for an ASIN's best query, judged by what was put in the cart, and so on."""
    judged_by = ("impression", "purchase", "click", "cart_add")  # the last one first
    order = np.lexsort([*(-own[f"asin_{stage}_count"] for stage in judged_by), asin])
    place = np.empty(len(asin), np.int64)
    place[order] = np.arange(len(asin)) - np.searchsorted(asin[order], asin[order]) + 1
    return place
