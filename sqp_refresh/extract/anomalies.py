"""Compose the SQL that finds what is odd about a source's rows although they keep their contract.

    several clients   rows of one key that differ in Client Name, and the table shows one of them
    a time of day     a `Date` that is no midnight in UTC: midnight elsewhere is on another day

These are columns of the state query, which has a row for each week.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.casts import quoted
from sqp_refresh.extract.sql import WEEK, listed
from sqp_refresh.model.tables import CLIENT_TITLE, DATE, Table, aggregated_from

CLIENT = "client"
SECONDS = "seconds_of_day"

_DAY_S = 24 * 60 * 60
_QUARTER_HOUR_S = 15 * 60  # zones differ by no less
_EPOCH_SECONDS = {
    "TIMESTAMP": "UNIX_SECONDS({})",
    "DATETIME": "DATETIME_DIFF({}, DATETIME '1970-01-01', SECOND)",
}


def anomaly_columns(source: BigQueryTable) -> dict[str, str]:
    """Return what is needed of each row beside its columns, over the source's own columns."""
    columns = {}
    if _keys(source):
        # A missing name is no other client's.
        columns[CLIENT] = f"NULLIF(TRIM({quoted(CLIENT_TITLE)}), '')"
    if _has_times(source):
        title = source.spec.week_title or ""
        seconds = _EPOCH_SECONDS[source.types[title]].format(quoted(title))
        columns[SECONDS] = f"MOD({seconds}, {_DAY_S})"
    return columns


def clients_of_keys(source: BigQueryTable) -> dict[str, str]:
    """Return the first and the last client among the rows that share a row's key, for each key.

    The expressions are over rows that have a column `kept`.
    """
    columns = {}
    for name, key in _keys(source).items():
        window = f"OVER (PARTITION BY {listed([WEEK, 'kept', *key])})"
        columns[f"first_client_of_{name}"] = f"MIN(`{CLIENT}`) {window}"
        columns[f"last_client_of_{name}"] = f"MAX(`{CLIENT}`) {window}"
    return columns


def anomaly_counts(source: BigQueryTable) -> dict[str, str]:
    """Return the aggregates of a week over those columns, which `anomalies_of` reads."""
    counts = {}
    for name, key in _keys(source).items():
        first, last = f"`first_client_of_{name}`", f"`last_client_of_{name}`"
        shared = f"kept AND {first} < {last}"
        key_of_row = f"TO_JSON_STRING(STRUCT({listed(key)}))"
        counts[f"shared_keys_of_{name}"] = f"COUNT(DISTINCT IF({shared}, {key_of_row}, NULL))"
        clients = f"TO_JSON_STRING([{first}, {last}])"
        counts[f"clients_of_{name}"] = f"MIN(IF({shared}, {clients}, NULL))"
    if _has_times(source):
        counts["off_midnight"] = f"COUNTIF(`{SECONDS}` <> 0)"
        counts["first_time"] = f"MIN(NULLIF(`{SECONDS}`, 0))"
        counts["last_time"] = f"MAX(NULLIF(`{SECONDS}`, 0))"
    return counts


def anomalies_of(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a week's row of the state query says, by the names of a version's fields."""
    assert table.source, "only rows of a source are odd"
    name = _name(_key_of_week(table.group_key))
    times = [row[time] for time in ("first_time", "last_time") if row.get(time) is not None]
    off_midnight = row.get("off_midnight")
    if off_midnight and not (table.source.is_vendor_report or _is_midnight_elsewhere(row)):
        off_midnight, times = 0, []
    return {
        "shared_keys": row.get(f"shared_keys_of_{name}"),
        "clients": tuple(json.loads(row.get(f"clients_of_{name}") or "[]")),
        "off_midnight": off_midnight,
        "times": tuple(dict.fromkeys(map(_time_of_day, times))),
    }


def _keys(source: BigQueryTable) -> dict[str, tuple[str, ...]]:
    """Return the keys that only one client should have, within a week; each by its name."""
    if not source.spec.is_vendor_report or CLIENT_TITLE not in source.types:
        return {}
    aggregated = [_key_of_week(table.group_key) for table in aggregated_from(source.spec)]
    # A table without ASINs is meant to sum up clients.
    return {_name(key): key for key in [source.spec.key, *aggregated] if "asin" in key}


def _name(key: tuple[str, ...]) -> str:
    return "_".join(key)


def _key_of_week(key: tuple[str, ...]) -> tuple[str, ...]:
    """Return a key without the day: a week hardly ever has rows of two days."""
    return tuple(name for name in key if name != "report_date")


def _has_times(source: BigQueryTable) -> bool:
    """Return whether the date may have a time of day, which the table has no room for."""
    title = source.spec.week_title
    types = {column.title: column.type for column in source.spec.columns}
    return title is not None and types[title] == DATE and source.types[title] in _EPOCH_SECONDS


def _is_midnight_elsewhere(row: Mapping[str, Any]) -> bool:
    """Return whether all rows of a week have one time of day, which is midnight in some zone.

    A registered table may well be dated by the second, which the vendor's report never is.
    """
    has_one_time = (
        row["first_time"] == row["last_time"] and row["off_midnight"] == row["source_rows"]
    )
    return has_one_time and row["first_time"] % _QUARTER_HOUR_S == 0


def _time_of_day(seconds: int) -> str:
    return str(timedelta(seconds=seconds % _DAY_S)).rpartition(":")[0].zfill(5)
