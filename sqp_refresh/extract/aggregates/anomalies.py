"""Compose the SQL that finds what is odd about a source's rows although they keep their contract.

    several clients   rows of one key that differ in Client Name, and the table shows one of them
    a time of day     a `Date` that is no midnight in UTC: midnight elsewhere is on another day

The state query, which every refresh runs, only counts: it has one expression for the clients of
ASINs, which are few, and three for times of day. Where an ASIN has several clients, a query of its
own finds the keys that they share, and two names.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.casts import KEPT, keeps_contract, quoted, uncollated
from sqp_refresh.extract.sql import ROW, WEEK, listed, typed_rows
from sqp_refresh.model.tables import DATE, Table, aggregated_from, ours

_CLIENT = ours("client")
_SECONDS = ours("seconds_of_day")
_SEVERAL_CLIENTS = "several_clients"

_DAY_S = 24 * 60 * 60
_QUARTER_HOUR_S = 15 * 60  # zones differ by no less
_EPOCH_SECONDS = {
    "TIMESTAMP": "UNIX_SECONDS({})",
    "DATETIME": "DATETIME_DIFF({}, DATETIME '1970-01-01', SECOND)",
}


def anomaly_columns(source: BigQueryTable) -> dict[str, str]:
    """Return what is needed of each row beside its columns, over the source's own columns."""
    columns = _client(source)
    if _has_times(source):
        title = source.spec.week_title or ""
        seconds = _EPOCH_SECONDS[source.types[title]].format(quoted(title))
        columns[_SECONDS] = f"MOD({seconds}, {_DAY_S})"
    return columns


def anomaly_counts(source: BigQueryTable) -> dict[str, str]:
    """Return the aggregates of a week over those columns, and the column KEPT."""
    counts = {}
    if _client(source):
        asin = "`marketplace`, ' ', `asin`"
        each = [f"CONCAT({asin}, ' ', `{_CLIENT}`)", f"CONCAT({asin})"]
        counts[_SEVERAL_CLIENTS] = " - ".join(
            f"COUNT(DISTINCT IF({KEPT} AND `{_CLIENT}` IS NOT NULL, {text}, NULL))" for text in each
        )
    if _has_times(source):
        counts["off_midnight"] = f"COUNTIF(`{_SECONDS}` <> 0)"
        counts["first_time"] = f"MIN(NULLIF(`{_SECONDS}`, 0))"
        counts["last_time"] = f"MAX(NULLIF(`{_SECONDS}`, 0))"
    return counts


def has_shared_asins(row: Mapping[str, Any]) -> bool:
    """Return whether a week has an ASIN of several clients, so that it takes the other query."""
    return row.get(_SEVERAL_CLIENTS, 0) > 0


def clients_query(source: BigQueryTable) -> str:
    """Compose the count of keys that several clients share, by week, with two names each.

    Where a key has several clients, some row of it has another than the first by name.
    """
    keys = _keys(source)
    first = ",\n        ".join(
        f"MIN(`{_CLIENT}`) OVER (PARTITION BY {listed([WEEK, *key])}) AS `{_first_of(name)}`"
        for name, key in keys.items()
    )
    counts = []
    for name, key in keys.items():
        is_other = f"`{_first_of(name)}` < `{_CLIENT}`"
        for value, column in (
            (
                f"COUNT(DISTINCT IF({is_other}, TO_JSON_STRING(STRUCT({listed(key)})), NULL))",
                "keys",
            ),
            (
                f"MIN(IF({is_other}, TO_JSON_STRING([`{_first_of(name)}`, `{_CLIENT}`]), NULL))",
                "names",
            ),
        ):
            counts.append(f"{value} AS `{column}_of_{name}`")
    return f"""
WITH source AS (
    {typed_rows(source, **_client(source))}
), named AS (
    SELECT *, {first}
    FROM source AS {ROW}
    WHERE {keeps_contract(source)} AND `{_CLIENT}` IS NOT NULL
)
SELECT {WEEK}, {", ".join(counts)}
FROM named AS {ROW}
GROUP BY {WEEK}"""


def anomalies_of(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the rows of these queries say of a week, by the names of a version's fields."""
    assert table.source, "only rows of a source are odd"
    name = _name(table.group_key)
    times = [row[time] for time in ("first_time", "last_time") if row.get(time) is not None]
    off_midnight = row.get("off_midnight")
    if off_midnight and not (table.source.is_vendor_report or _is_midnight_elsewhere(row)):
        off_midnight, times = 0, []
    return {
        "shared_keys": row.get(f"keys_of_{name}", 0) if _SEVERAL_CLIENTS in row else None,
        "clients": tuple(json.loads(row.get(f"names_of_{name}") or "[]")),
        "off_midnight": off_midnight,
        "times": tuple(dict.fromkeys(map(_time_of_day, times))),
    }


def _client(source: BigQueryTable) -> dict[str, str]:
    """Return the client of a row; a missing name is no other client's."""
    title = source.title_of("brand") if source.spec.is_vendor_report else None
    if title not in source.types:
        return {}
    return {_CLIENT: f"NULLIF(TRIM({uncollated(source, title)}), '')"}


def _keys(source: BigQueryTable) -> dict[str, tuple[str, ...]]:
    """Return the keys of tables that only one client should have, each by its name."""
    keys = [source.spec.key, *(table.group_key for table in aggregated_from(source.spec))]
    # A table without ASINs is meant to sum up clients.
    return {_name(key): key for key in keys if "asin" in key}


def _first_of(key: str) -> str:
    return ours(f"first_of_{key}")


def _name(key: tuple[str, ...]) -> str:
    return "_".join(key)


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
