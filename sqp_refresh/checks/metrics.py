"""Define what is measured of each period of a table, what it should be, and how much that matters.

The names and the thresholds are those of spec section 7; an operator moves a threshold in
`custom_sync_params`, as {"quality": {"volume_ratio": {"min": 0.3, "max": 3}}}.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from sqp_refresh.errors import SettingsError
from sqp_refresh.model.tables import OWN_COUNTS


class CheckSeverity(StrEnum):
    """What it means that a metric is not within its thresholds."""

    BLOCKS = "blocks the tables downstream"
    FAILS = "is an error, and blocks nothing"
    WARNS = "is a warning"


class Threshold(Protocol):
    """The bounds that an operator set for one metric; None leaves the default."""

    min: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured.

    Attributes:
        name: As in sqp.refresh_data_quality.
        check: The asset check that evaluates it.
        description: What it tells of the data, with its unit.
        severity: What it means where it is not as it should be.
        minimum: The least that is within its threshold.
        maximum: The most that is.
        fails_above: Above this a warning becomes an error.
        is_compared: Whether it must equal what the source says, instead.
        is_added: Whether a run's weeks are added up; of the others the worst is recorded.
        is_of_table: Whether it is measured of the table, and not of each period.
    """

    name: str
    check: str
    description: str
    severity: CheckSeverity
    minimum: float | None = None
    maximum: float | None = None
    fails_above: float | None = None
    is_compared: bool = False
    is_added: bool = False
    is_of_table: bool = False


def _compared(name: str, check: str, description: str) -> Metric:
    return Metric(name, check, description, CheckSeverity.BLOCKS, is_compared=True, is_added=True)


QUARANTINED_RATIO = Metric(
    "quarantined_ratio",
    "few_rows_quarantined",
    "rows that break their contract, among those of the source (0 to 1)",
    CheckSeverity.FAILS,
    maximum=0.01,
)
METRICS = {
    metric.name: metric
    for metric in (
        _compared("row_count", "row_count_matches_source", "rows"),
        _compared("distinct_asin_count", "distinct_asins_match_source", "different ASINs"),
        *(
            _compared(f"sum_{count}", "sums_match_source", f"sum of {count}")
            for count in OWN_COUNTS
        ),
        _compared(
            "matching_columns",
            "columns_match_source",
            "columns whose nulls and sum are what the source says",
        ),
        Metric(
            "unmatched_asin_weeks",
            "asin_weeks_agree",
            "ASINs of a week that only one of asin_performance_data and search_query_performance "
            "has (count)",
            CheckSeverity.BLOCKS,
            maximum=0,
            is_added=True,
        ),
        QUARANTINED_RATIO,
        Metric(
            "shared_keys",
            "one_client_per_key",
            "keys that rows of several clients have, of which one shows (count)",
            CheckSeverity.WARNS,
            maximum=0,
            is_added=True,
        ),
        Metric(
            "off_midnight",
            "dates_are_midnight_utc",
            "rows of the source whose date has a time of day, in UTC (count)",
            CheckSeverity.WARNS,
            maximum=0,
            is_added=True,
        ),
        Metric(
            "out_of_reach",
            "no_rows_out_of_reach",
            "rows of the source without a date, or dated where no refresh looks (count)",
            CheckSeverity.WARNS,
            maximum=0,
            is_added=True,
            is_of_table=True,
        ),
        Metric(
            "null_ratio",
            "key_measures_are_known",
            "nulls among an ASIN's own counts and the search volume (0 to 1)",
            CheckSeverity.WARNS,
            maximum=0.01,
        ),
        Metric(
            "volume_ratio",
            "volume_is_as_usual",
            "rows, as a multiple of the median of the eight weeks before",
            CheckSeverity.WARNS,
            minimum=0.5,
            maximum=2,
        ),
        Metric(
            "freshness_days",
            "data_is_fresh",
            "days since the newest complete week ended; a week comes two to four weeks late",
            CheckSeverity.WARNS,
            # Four weeks until a week is there, three nights until it is complete, and seven days
            # until the next one is; four weeks more are an error.
            maximum=38,
            fails_above=66,
            is_of_table=True,
        ),
        Metric(
            "missing_weeks",
            "no_missing_weeks",
            "weeks without a row between the first and the last (count)",
            CheckSeverity.FAILS,
            maximum=0,
            is_added=True,
            is_of_table=True,
        ),
        Metric(
            "funnel_violations",
            "funnel_narrows",
            "rows with more clicks than impressions, cart adds than clicks, or purchases than cart "
            "adds (count)",
            CheckSeverity.WARNS,
            maximum=0,
            is_added=True,
        ),
        Metric(
            "all_zero_measures",
            "measures_are_not_all_zero",
            "weeks in which every count of every ASIN is 0 (count)",
            CheckSeverity.FAILS,
            maximum=0,
            is_added=True,
        ),
        Metric(
            "fraction_scale_detected",
            "shares_are_percentages",
            "weeks whose shares go from 0 to 1, not to 100, told from their counts (count)",
            CheckSeverity.FAILS,
            maximum=0,
            is_added=True,
        ),
        Metric(
            "rate_agreement",
            "rates_agree_with_volume",
            "rates that are 100 * total / search volume within 0.01 (0 to 1)",
            CheckSeverity.WARNS,
            minimum=0.99,
        ),
        Metric(
            "rerun_changes",
            "rerun_changes_nothing",
            "rows changed although their source had not (count)",
            CheckSeverity.WARNS,
            maximum=0,
            is_added=True,
            is_of_table=True,
        ),
    )
}


def with_thresholds(metrics: Iterable[Metric], thresholds: Mapping[str, Threshold]) -> list[Metric]:
    """Return the metrics with the thresholds that an operator set.

    Raises:
        SettingsError: a threshold is set for something that is not measured, or compared exactly.
    """
    for name in thresholds:
        if name not in METRICS or METRICS[name].is_compared:
            free = ", ".join(metric.name for metric in METRICS.values() if not metric.is_compared)
            raise SettingsError(
                f"custom_sync_params sets a quality threshold for {name!r}; choose from {free}"
            )
    return [_with_threshold(metric, thresholds.get(metric.name)) for metric in metrics]


def _with_threshold(metric: Metric, threshold: Threshold | None) -> Metric:
    if threshold is None:
        return metric
    minimum = metric.minimum if threshold.min is None else threshold.min
    maximum = metric.maximum if threshold.max is None else threshold.max
    return replace(metric, minimum=minimum, maximum=maximum)
