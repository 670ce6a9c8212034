"""Describe an asset to the UI: where it is, its links, its columns, and when it is late."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import quote

import dagster as dg
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from sqp_refresh.defs.cron import longest_pause
from sqp_refresh.errors import SettingsError
from sqp_refresh.extract.aggregates.observation import SourceObservation
from sqp_refresh.model.lineage import origins
from sqp_refresh.model.tables import PERCENT, PRICE, SCHEMA, Column, SourceSpec, Table
from sqp_refresh.schema_name import DEFAULT_SCHEMA
from sqp_refresh.settings import Settings

REGISTRY_PROBLEMS = "sqp/registry_differs"
"""Where the registry cannot be followed: of one asset, or of the whole code location."""

# A night may take this long before a table counts as late, and this long before it counts as lost.
LATE, LOST = timedelta(hours=2), timedelta(hours=12)


@contextmanager
def accepted_as_beta() -> Iterator[None]:
    """Define something by what Dagster calls beta, without its word of warning at each start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield


def dashboard_link(settings: Settings) -> dg.MetadataValue:
    """Return a link to the dashboard: its address where it is served, else its file."""
    if settings.REFRESH_DASHBOARD_URL:
        return dg.MetadataValue.url(settings.REFRESH_DASHBOARD_URL)
    return dg.MetadataValue.path(settings.dashboard_path)


def place_in_postgres(settings: Settings, name: str) -> dict[str, Any]:
    """Return where a table or view of the schema is: its full name, and its address, no password.

    Without a DATABASE_URL, which a code location loads without, that is its name in the database.
    """
    place: dict[str, Any] = {
        "dagster/table_name": f"{SCHEMA}.{name}",
        "dagster/storage_kind": "postgres",
    }
    url = settings.DATABASE_URL.get_secret_value() if settings.DATABASE_URL else ""
    try:
        server = conninfo_to_dict(url)
    except ProgrammingError:
        return place
    if database := server.get("dbname"):
        place["dagster/table_name"] = f"{database}.{SCHEMA}.{name}"
        host, port = quote(str(server.get("host", "")), safe=",:"), server.get("port", 5432)
        host = f"[{host}]" if ":" in host else host
        path = "/".join(quote(str(part), safe="") for part in (database, SCHEMA, name))
        place["dagster/uri"] = f"postgresql://{host}:{port}/{path}"
    return place


def place_in_bigquery(settings: Settings, name: str | None) -> dict[str, Any]:
    """Return where a source is: its full name, as far as it is known, and its address.

    Args:
        settings: The project and the dataset, unless the name has them.
        name: The name that a table was registered with; None is that of the vendor's table.
    """
    table = name or settings.BIGQUERY_SOURCE_TABLE
    place: dict[str, Any] = {"dagster/table_name": table, "dagster/storage_kind": "bigquery"}
    try:
        full = settings.source_named(table)
    except SettingsError:
        return place
    return place | {
        "dagster/table_name": full,
        "dagster/uri": f"bigquery://{'/'.join(full.rsplit('.', 2))}",
    }


def with_code_references(
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec],
) -> Sequence[Any]:
    """Have each asset that is computed say where its code is."""
    with accepted_as_beta():
        return dg.with_source_code_references(assets)


def source_key(settings: Settings, spec: SourceSpec) -> dg.AssetKey:
    """Return the asset key of a table in BigQuery, without what the settings say of its name.

    Agencies name their tables alike; so of another schema than `sqp`, the key has the schema.
    """
    place = ["bigquery"] if SCHEMA == DEFAULT_SCHEMA else ["bigquery", SCHEMA]
    return dg.AssetKey([*place, *(spec.name or settings.BIGQUERY_SOURCE_TABLE).split(".")])


def observed_metadata(seen: SourceObservation) -> dict[str, Any]:
    """Return what the UI shows of a look at a source."""
    known = {
        "dagster/row_count": seen.table_rows,
        "sqp/rows_in_weeks": seen.rows,
        "sqp/newest_week": str(seen.newest_week) if seen.newest_week else None,
        "sqp/last_change": seen.changed_at
        and dg.MetadataValue.timestamp(seen.changed_at.astimezone(UTC)),
    }
    return {name: value for name, value in known.items() if value is not None}


def freshness(settings: Settings, table: Table) -> dg.FreshnessPolicy:
    """Return when a table is late: some hours after the night that should have refreshed it.

    Every night refreshes a table, whether or not the source has anything new, so this says that
    the nights go on. How late Amazon and the vendor are is for the check `data_is_fresh`.
    """
    usual = max(longest_pause(settings), timedelta(hours=table.frequency_hours))
    return dg.FreshnessPolicy.time_window(fail_window=usual + LOST, warn_window=usual + LATE)


def with_unit(column: Column) -> str:
    """Return what a column means, with its unit where the words do not say it."""
    unit = {PERCENT: "percent", PRICE: "in the marketplace's currency"}.get(column.type)
    return f"{column.description} ({unit})" if unit else column.description


def column_schema(columns: Iterable[tuple[str, str, str]]) -> dg.TableSchema:
    """Return the columns of a table: the name, the type and the meaning of each."""
    return dg.TableSchema(
        [dg.TableColumn(name, type_, description=text) for name, type_, text in columns]
    )


def column_lineage(table: Table, source: dg.AssetKey | None) -> dg.TableColumnLineage:
    """Return the columns that each column is made from.

    Args:
        table: The table.
        source: The key of the table in BigQuery that fills it; None for a derived table.
    """

    def key_of(parent: str | None) -> dg.AssetKey:
        if parent is not None:
            return dg.AssetKey([SCHEMA, parent])
        assert source is not None, "a derived table has no column from BigQuery"
        return source

    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(key_of(parent), name) for parent, name in made_from]
            for column, made_from in origins(table).items()
        }
    )
