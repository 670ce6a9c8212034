"""What each week of the source is made from: one aggregate query, at the instant of the run.

Equal states make equal rows, so a week whose state is that of its last publish need not be read.
"""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from sqp_refresh.extract.client import call_deadline, rest_client, translated_errors
from sqp_refresh.extract.job import run_query
from sqp_refresh.extract.query import WEEK, as_of, in_weeks, quoted, week_of
from sqp_refresh.extract.source import Source
from sqp_refresh.parts import State
from sqp_refresh.settings import Settings
from sqp_refresh.tables import (
    CHILD_ASIN_TITLE,
    DATE_TITLE,
    MARKETPLACE_TITLE,
    OWN_COUNTS,
    PARENT_ASIN_TITLE,
    Origin,
    Table,
)
from sqp_refresh.weeks import Grain, Period

FINGERPRINT_PARTS = 3


@dataclass(frozen=True, slots=True)
class SourceStates:
    """The state of every week that has rows, by its Sunday, and what asking for them cost."""

    by_week: dict[date, dict[str, Any]]
    bytes_billed: int


def source_states(
    settings: Settings, source: Source, weeks: tuple[Period, ...]
) -> tuple[SourceStates, bool]:
    """What these weeks are made from, and whether it had to be asked for.

    The tables of one run ask for the same weeks at the same instant, which has one answer.
    """
    if source.instant is None:
        return _ask(settings, source, weeks), True
    asked = _ask_once.cache_info().misses
    states = _ask_once(settings, source, weeks)  # type: ignore[arg-type], frozen, so it has a hash
    return states, _ask_once.cache_info().misses > asked


def state_of(table: Table, week: Period, states: SourceStates, marketplace: str) -> State:
    """What one week of a table is made from; a week without rows has a state too."""
    known = states.by_week.get(week.start, {"rows": 0})
    counted = "rows"
    if table.origin is Origin.SOURCE_AGGREGATE:
        counted = "days" if table.grain is Grain.DAY else "asins"
    return State(known | {"marketplace": marketplace}, known.get(counted, 0))


def _ask(settings: Settings, source: Source, weeks: tuple[Period, ...]) -> SourceStates:
    with translated_errors(source.name), rest_client(settings) as client:
        job = run_query(client, settings, state_query(source), source, weeks, purpose="state")
        rows = [dict(row.items()) for row in job.result(**call_deadline())]
    return SourceStates({row.pop(WEEK): row for row in rows}, job.total_bytes_billed or 0)


_ask_once = lru_cache(maxsize=4)(_ask)


def state_query(source: Source) -> str:
    """What each week is made from: rows, distinct keys, exact sums, and a fingerprint of all rows.

    Equal numbers make equal rows. Digests are added, not combined by XOR, under which two equal
    rows would cancel out; each of the three parts has room for two thousand million rows.
    """
    columns = ",\n        ".join(f"{e} AS {quoted(name)}" for name, e in _measured(source).items())
    parts = (1 + 8 * number for number in range(FINGERPRINT_PARTS))
    digests = ", ".join(
        f"SUM(CAST(CONCAT('0x', SUBSTR(`digest`, {start}, 8)) AS INT64)) AS `digest_{start}`"
        for start in parts
    )
    counts = "".join(f", {e} AS {quoted(name)}" for name, e in _counted(source).items())
    return f"""
WITH measured AS (
    SELECT {week_of(source)} AS {WEEK},
        {columns}
    FROM {as_of(source)}
    WHERE {in_weeks(source)}
)
SELECT {WEEK}, COUNT(*) AS `rows`{counts},
    {digests}
FROM measured
GROUP BY {WEEK}"""


def _measured(source: Source) -> dict[str, str]:
    """The columns that are counted and summed, and the digest of a row as it is delivered."""
    whole = ", ".join(quoted(column.title) for column in source.columns)
    measured = {"digest": f"TO_HEX(MD5(TO_JSON_STRING(STRUCT({whole}))))"}
    if source.spec.name is not None:
        return measured
    names = {column.name: column for column in source.columns}
    marketplace = [quoted(MARKETPLACE_TITLE)] if MARKETPLACE_TITLE in source.types else []
    asin = [*marketplace, f"COALESCE({quoted(CHILD_ASIN_TITLE)}, {quoted(PARENT_ASIN_TITLE)})"]
    day = [f"DATE({quoted(DATE_TITLE)})", *asin]
    measured["asin"] = f"TO_JSON_STRING(STRUCT({', '.join(asin)}))"
    measured["day"] = f"TO_JSON_STRING(STRUCT({', '.join(day)}))"
    return measured | {
        count: f"SAFE_CAST(TRIM(CAST({quoted(names[count].title)} AS STRING)) AS INT64)"
        for count in OWN_COUNTS
    }


def _counted(source: Source) -> dict[str, str]:
    if source.spec.name is not None:
        return {}
    distinct = {"asins": "COUNT(DISTINCT `asin`)", "days": "COUNT(DISTINCT `day`)"}
    return distinct | {count: f"SUM({quoted(count)})" for count in OWN_COUNTS}
