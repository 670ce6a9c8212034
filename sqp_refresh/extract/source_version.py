"""What each week of the source is made from: one aggregate query, at the instant of the run.

Equal states make equal rows, so a week whose state is that of its last publish need not be read.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.casts import keeps_contract, quoted
from sqp_refresh.extract.client import call_deadline, rest_client, translated_errors
from sqp_refresh.extract.jobs import run_query
from sqp_refresh.extract.query_cache import Answer, QueryCache, Question
from sqp_refresh.extract.sql import WEEK, as_of, key_count, key_counts, listed, place, typed_rows
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.rows import State
from sqp_refresh.model.tables import OWN_COUNTS, SHARES, Origin, SourceSpec, Table
from sqp_refresh.settings import Settings

FINGERPRINT_PARTS = 3

# Of rows with one key, one lands: of the latest date, and of those the first.
LANDS_ON_ITS_DAY = "kept AND day_place = 1"
LANDS = f"{LANDS_ON_ITS_DAY} AND is_latest"


@dataclass(frozen=True, slots=True)
class SourceStates:
    """What the source holds.

    Attributes:
        by_week: The state of every week that has rows, by its Sunday.
        undated: Rows without a date, which no week can claim.
    """

    by_week: dict[date, dict[str, Any]]
    undated: int


_questions: QueryCache[SourceStates] = QueryCache()


def ask(
    settings: Settings, source: BigQueryTable, weeks: tuple[Period, ...]
) -> Question[SourceStates]:
    """Have BigQuery begin to count what these weeks are made from.

    The tables of one run ask for the same weeks at the same instant, which has one answer.
    """
    key = (settings, source, weeks) if source.instant else None
    return _questions.ask(key, lambda: _ask(settings, source, weeks))


def state_of(table: Table, week: Period, states: SourceStates, marketplace: str) -> State:
    """What one week of a table is made from, and what that must become in the table.

    A week without rows has a state too.
    """
    known = states.by_week.get(week.start, {"source_rows": 0, "landing": 0})
    if table.origin is Origin.SOURCE_ROWS:
        rows, counted, prefix = known["source_rows"], "landing", ""
    else:
        prefix = "day_" if table.grain is Grain.DAY else ""
        counted = key_count(table)
        rows = known.get(counted, 0)
    expected = {"row_count": known.get(counted, 0)}
    if "distinct_asins" in known:
        expected["distinct_asin_count"] = known["distinct_asins"]
        expected |= {f"sum_{count}": known[f"{prefix}{count}"] for count in OWN_COUNTS}
    return State(known | {"marketplace": marketplace, "expected": expected}, rows)


def _ask(
    settings: Settings, source: BigQueryTable, weeks: tuple[Period, ...]
) -> Answer[SourceStates]:
    with translated_errors(source.name), rest_client(settings) as client:
        jobs = [run_query(client, settings, state_query(source), source, weeks, purpose="state")]
        if source.spec.week_title:
            query = undated_query(source)
            jobs.append(run_query(client, settings, query, source, weeks, purpose="undated"))
        weekly, *undated = [
            [dict(row.items()) for row in job.result(**call_deadline())] for job in jobs
        ]
    states = SourceStates(
        by_week={row.pop(WEEK): row for row in weekly},
        undated=sum(row["undated"] for (row,) in undated),
    )
    return Answer(states, sum(job.total_bytes_billed or 0 for job in jobs))


def state_query(source: BigQueryTable) -> str:
    """What each week is made from: rows, distinct keys, exact sums, and a fingerprint of all rows.

    Equal numbers make equal rows. Digests are added, not combined by XOR, under which two equal
    rows would cancel out; each of the three parts has room for two thousand million rows. The
    sums are over the rows that land: those that keep their contract and are not superseded.
    """
    whole = listed([column.title for column in source.columns])
    rows = typed_rows(source, digest=f"TO_HEX(MD5(TO_JSON_STRING(STRUCT({whole}))))")
    key = [WEEK, "kept", *source.spec.key]
    if source.spec.is_vendor_report:
        ranked = f"""{place([*key, "report_date"], source)} AS day_place,
        MAX(`report_date`) OVER (PARTITION BY {listed(key)}) = `report_date` AS is_latest"""
    else:
        ranked = f"{place(key, source)} AS day_place, TRUE AS is_latest"
    counts = ",\n    ".join(f"{e} AS {quoted(name)}" for name, e in _counted(source).items())
    return f"""
WITH source AS (
    {rows}
), judged AS (
    SELECT *, {keeps_contract(source)} AS kept
    FROM source
), ranked AS (
    SELECT *, {ranked}
    FROM judged
)
SELECT {WEEK},
    {counts}
FROM ranked
GROUP BY {WEEK}"""


def undated_query(source: BigQueryTable) -> str:
    """How many rows have no date: no week is asked for them, so they would be lost silently."""
    assert source.spec.week_title, "a table without weeks is read whole"
    title = quoted(source.spec.week_title)
    return f"SELECT COUNT(*) AS undated FROM {as_of(source)} WHERE {title} IS NULL"


def _counted(source: BigQueryTable) -> dict[str, str]:
    parts = (1 + 8 * number for number in range(FINGERPRINT_PARTS))
    counted = {
        f"digest_{start}": f"SUM(CAST(CONCAT('0x', SUBSTR(`digest`, {start}, 8)) AS INT64))"
        for start in parts
    }
    counted |= {
        "source_rows": "COUNT(*)",
        "broken": "COUNTIF(NOT kept)",
        "landing": f"COUNTIF({LANDS})",
    }
    return counted | (_figures(source.spec) if source.spec.is_vendor_report else {})


def _figures(spec: SourceSpec) -> dict[str, str]:
    """Keys and sums of the vendor's report, and how many shares look like which scale."""
    counted = key_counts(spec) | {"distinct_asins": "COUNT(DISTINCT IF(kept, `asin`, NULL))"}
    for prefix, lands in (("", LANDS), ("day_", LANDS_ON_ITS_DAY)):
        counted |= {
            f"{prefix}{count}": f"COALESCE(SUM(IF({lands}, {quoted(count)}, 0)), 0)"
            for count in OWN_COUNTS
        }
    scales = {"percents": "100.0", "fractions": "1.0"}
    for name, other in zip(scales, reversed(scales), strict=True):
        counted[name] = " + ".join(
            f"COUNTIF({_error(share, scales[name])} < {_error(share, scales[other])})"
            for share in SHARES
        )
    return counted


def _error(share: str, scale: str) -> str:
    own, total = SHARES[share]
    return f"ABS(`{share}` - {scale} * `{own}` / NULLIF(`{total}`, 0))"
