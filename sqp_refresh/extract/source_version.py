"""Read the version of each week of the source: one aggregate query, at the instant of the run.

Equal versions make equal rows, so a week whose version is that of its last load need not be read.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqp_refresh.extract.aggregates.anomalies import (
    anomalies_of,
    anomaly_columns,
    anomaly_counts,
    clients_query,
    has_shared_asins,
)
from sqp_refresh.extract.aggregates.observation import SourceObservation, observe
from sqp_refresh.extract.aggregates.source_sums import (
    DOWN,
    LANDS,
    LANDS_ON_ITS_DAY,
    UP,
    column_sums,
    landing_columns,
    own_sum,
    raw_columns,
    read_column_sums,
    sums_on_days,
)
from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.casts import KEPT, keeps_contract, quoted, typed_columns
from sqp_refresh.extract.client import call_deadline, rest_client, subject_of, translated_errors
from sqp_refresh.extract.jobs import run_query
from sqp_refresh.extract.query_cache import PendingQuery, QueryResult, RunQueries
from sqp_refresh.extract.sql import (
    ROW,
    WEEK,
    as_of,
    bounds,
    key_count,
    key_counts,
    listed,
    named_rows,
    place,
    week_of,
)
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.rows import OutOfReach
from sqp_refresh.model.tables import OWN_COUNTS, SHARES, Origin, SourceSpec, Table, ours
from sqp_refresh.model.versions import ROW_COUNT, SourceVersion
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from google.cloud.bigquery import QueryJob

DIGEST_PARTS = 3

# Of rows with one key, one lands: of the latest date, and of those the first.
_PLACE_ON_DAY = ours("place")
_IS_LATEST = ours("latest")
_DIGEST = ours("digest")
# Of each share, the middle between what it is as a fraction and as a percentage, by its counts.
_MIDDLES = {share: ours(f"middle_of_{share}") for share in SHARES}


@dataclass(frozen=True, slots=True)
class SourceState:
    """What the source holds of the weeks that were asked for.

    Attributes:
        by_week: The row of the state query for every week that has rows, by its Sunday.
        out_of_reach: Rows that no refresh will look at; None where there are no weeks to be out of.
        instant: When that was so; None for a view, which is read as it is.
    """

    by_week: Mapping[date, Mapping[str, Any]]
    out_of_reach: OutOfReach | None
    instant: datetime | None


def start_state_query(
    queries: RunQueries, settings: Settings, source: BigQueryTable, weeks: Sequence[Period]
) -> PendingQuery[SourceState]:
    """Begin to count what these weeks are made from.

    The tables of one run ask for the same weeks at the same instant, which has one result. A view
    is read as it is at the moment, so that each table asks for itself.
    """
    key = ("state", settings, source, tuple(weeks)) if source.instant else None
    return queries.start(key, lambda: _query_state(settings, source, tuple(weeks)))


def version_of(table: Table, week: Period, state: SourceState, marketplace: str) -> SourceVersion:
    """Return what one week of a table is made from, and what that must become in the table.

    A week without rows has a version, too.
    """
    row = state.by_week.get(week.start, _NO_ROWS)
    rows, rejected = row["source_rows"], row["broken"]
    return SourceVersion(
        rows=rows,
        rejected=rejected,
        superseded=rows - rejected - row["landing"],
        expected=_expected(table, row),
        digest=" ".join(str(row[name]) for name in _DIGESTS if name in row),
        marketplace=marketplace,
        has_fractions=row.get("fractions", 0) > row.get("percents", 0),
        columns=read_column_sums(table, week, row),
        instant=state.instant,
        **anomalies_of(table, row),
    )


def observation_of(source: BigQueryTable, state: SourceState) -> SourceObservation:
    """Return what the state query says of the source as a whole."""
    return observe(source, state.by_week, _DIGESTS)


_NO_ROWS = {"source_rows": 0, "broken": 0, "landing": 0}


def _expected(table: Table, row: Mapping[str, Any]) -> dict[str, int]:
    """Return the totals that the table must have, by the names of their metrics."""
    is_daily = table.origin is not Origin.SOURCE_ROWS and table.grain is Grain.DAY
    counted = "landing" if table.origin is Origin.SOURCE_ROWS else key_count(table)
    expected = {ROW_COUNT: row.get(counted, 0)}
    if "distinct_asins" in row:
        expected["distinct_asin_count"] = row["distinct_asins"]
        assert table.source, "only a source has ASINs"
        expected |= {
            f"sum_{count}": own_sum(table.source, row, count, on_days=is_daily)
            for count in OWN_COUNTS
        }
    return expected


def _query_state(
    settings: Settings, source: BigQueryTable, weeks: Sequence[Period]
) -> QueryResult[SourceState]:
    subject = subject_of(source.name, settings.job_project)
    with translated_errors(subject), rest_client(settings) as client:
        jobs = [run_query(client, settings, state_query(source), source, weeks, purpose="state")]
        if source.spec.week_title:
            query, reach = undated_query(source), _weeks_in_reach(settings, source, weeks)
            jobs.append(run_query(client, settings, query, source, reach, purpose="undated"))
        weekly, *outside = map(_rows, jobs)
        by_week = {row[WEEK]: row for row in weekly}
        if any(map(has_shared_asins, weekly)):
            query = clients_query(source)
            jobs.append(run_query(client, settings, query, source, weeks, purpose="clients"))
            # A view may have changed meanwhile.
            shared = {row[WEEK]: row for row in _rows(jobs[-1]) if row[WEEK] in by_week}
            by_week |= {week: by_week[week] | row for week, row in shared.items()}
    out_of_reach = _out_of_reach(outside[0][0]) if outside else None
    state = SourceState(by_week, out_of_reach, source.instant)
    return QueryResult(state, sum(job.total_bytes_billed or 0 for job in jobs))


def _rows(job: "QueryJob") -> list[dict[str, Any]]:
    return [dict(row.items()) for row in job.result(**call_deadline())]


def state_query(source: BigQueryTable) -> str:
    """Compose the state query: rows, distinct keys, exact sums, and a digest of all rows.

    Equal numbers make equal rows. Digests are added, not combined by XOR, under which two equal
    rows would cancel out; each of the three parts has room for two thousand million rows. The
    sums are over the rows that land: those that keep their contract and are not superseded.

    The steps, each a WITH clause:

        named   the weeks' rows as they are, every column under our name
        source  every column in its type, and what is needed of the row beside
        judged  whether it keeps its contract
        ranked  its place among the rows of one key
        landed  whether the target should hold it
    """
    key = [WEEK, KEPT, *source.spec.key]
    if source.spec.is_vendor_report:
        ranked = f"""{place([*key, "report_date"], source)} AS {_PLACE_ON_DAY},
MAX(`report_date`) OVER (PARTITION BY {listed(key)}) = `report_date` AS {_IS_LATEST}"""
    else:
        ranked = f"{place(key, source)} AS {_PLACE_ON_DAY}, TRUE AS {_IS_LATEST}"
    on_its_day = f"{KEPT} AND {_PLACE_ON_DAY}=1"
    middles = _middles() if source.spec.is_vendor_report else ""
    counts = ",\n".join(f"{value} AS {name}" for name, value in _counted(source).items())
    query = f"""
WITH named AS (
{named_rows(source)}
), source AS (
{_typed_rows(source.under_our_names())}
), judged AS (
SELECT *, {keeps_contract(source)} AS {KEPT}
FROM source AS {ROW}
), ranked AS (
SELECT *, {ranked}
FROM judged AS {ROW}
), landed AS (
SELECT *, {landing_columns(f"{on_its_day} AND {_IS_LATEST}", on_its_day)}{middles}
FROM ranked AS {ROW}
)
SELECT {WEEK},
{counts}
FROM landed AS {ROW}
GROUP BY {WEEK}"""
    return _with_short_names(source.spec, query)


def _typed_rows(named: BigQueryTable) -> str:
    """Return a SELECT of rows whose columns have our names: each in its type, and what is added."""
    expressions = typed_columns(named) | anomaly_columns(named) | raw_columns(named)
    expressions |= {
        WEEK: week_of(named),
        _DIGEST: f"TO_HEX(MD5(TO_JSON_STRING({ROW})))",
    }
    changed = {
        is_there: ",\n".join(
            f"{value} AS {quoted(name)}"
            for name, value in expressions.items()
            if (name in named.types) is is_there and value != quoted(name)
        )
        for is_there in (True, False)
    }
    replaced = f" REPLACE (\n{changed[True]})" if changed[True] else ""
    return f"SELECT *{replaced},\n{changed[False]}\nFROM named AS {ROW}"


def _middles() -> str:
    """Return the middles as columns: what is beyond one is nearer to 100 * own / total."""
    return "".join(
        f",\n50.5*NULLIF({quoted(own)},0)/NULLIF({quoted(total)},0) AS {_MIDDLES[share]}"
        for share, (own, total) in SHARES.items()
    )


def _with_short_names(spec: SourceSpec, query: str) -> str:
    """Name the report's columns c0, c1 and so on, as n0 and s0 are, and what else no query returns.

    Their names would be half of the text, some seventy times: whoever parses it has to read them
    all. None of the report's columns has such a name, and none of them is returned.
    """
    if not spec.is_vendor_report:
        return query
    short = {column.name: f"c{number}" for number, column in enumerate(spec.columns)}
    short |= {middle: f"m{number}" for number, middle in enumerate(_MIDDLES.values())}
    short |= {ROW: "r", KEPT: "k", LANDS: "l", LANDS_ON_ITS_DAY: "d", UP: "u", DOWN: "v"}
    short[WEEK] = WEEK

    def shorten(name: re.Match[str]) -> str:
        plain = name[0].strip("`")
        return short.get(plain, plain.removeprefix(ours("")))

    return re.sub(rf"`[a-z_]+`|\b{ours('[a-z_]+')}\b", shorten, query)


def undated_query(source: BigQueryTable) -> str:
    """Compose the count of the rows outside the weeks that any refresh may look at.

    It reads nothing but the dates, and those of no partition that lies within these weeks.
    """
    assert source.spec.week_title, "a table without weeks is read whole"
    title = quoted(source.spec.week_title)
    first, after = bounds(source)
    return f"""
SELECT COUNTIF({title} IS NULL) AS undated, COUNT({title}) AS misdated,
    MIN({title}) AS first_date, MAX({title}) AS last_date
FROM {as_of(source)}
WHERE {title} IS NULL OR {title} < {first} OR {title} >= {after}"""


def _weeks_in_reach(
    settings: Settings, source: BigQueryTable, weeks: Sequence[Period]
) -> list[Period]:
    """Return the first and the last of the weeks that a refresh looks at, now or once it ended."""
    now = source.looked_up.now if source.looked_up else source.instant
    assert now, "whatever was looked up was so at some time"
    today = (source.instant or now).date()
    first, last = Period.week_of(settings.REFRESH_START_DATE), Period.week_of(today)
    return [min(first, *weeks), max(last, *weeks)]


def _out_of_reach(row: Mapping[str, Any]) -> OutOfReach:
    # A moment comes in UTC.
    first, last = (
        day.date() if isinstance(day, datetime) else day
        for day in (row["first_date"], row["last_date"])
    )
    return OutOfReach(row["undated"], row["misdated"], first, last)


_DIGESTS = {f"digest_{1 + 8 * part}": 1 + 8 * part for part in range(DIGEST_PARTS)}
"""The sums over the parts of the rows' digests, and the hexadecimal digit that each begins at."""


def _counted(source: BigQueryTable) -> dict[str, str]:
    counted = {
        name: f"SUM(CAST(CONCAT('0x', SUBSTR({_DIGEST}, {start}, 8)) AS INT64))"
        for name, start in _DIGESTS.items()
    }
    counted |= {
        "source_rows": "COUNT(*)",
        "broken": f"COUNTIF(NOT {KEPT})",
        "landing": f"COUNT({LANDS})",
    }
    counted |= anomaly_counts(source) | column_sums(source)
    return counted | (_report_totals(source.spec) if source.spec.is_vendor_report else {})


def _report_totals(spec: SourceSpec) -> dict[str, str]:
    """Return keys and sums of the vendor's report, and how many shares look like which scale."""
    counted = key_counts(spec) | {"distinct_asins": f"COUNT(DISTINCT IF({KEPT}, `asin`, NULL))"}
    counted |= sums_on_days(spec)
    for name, sign in {"percents": ">", "fractions": "<"}.items():
        counted[name] = "+".join(
            f"COUNTIF({quoted(share)}{sign}{middle})" for share, middle in _MIDDLES.items()
        )
    return counted
