"""One asset for each table, made from `tables.py`, and the vendor's table that they come from."""

import warnings
from collections.abc import Iterable
from typing import Any

import dagster as dg

from sqp_refresh.defs.io_managers import BigQueryReader
from sqp_refresh.defs.partitions import weekly_partitions, weeks_of_run
from sqp_refresh.extract import BigQueryFeed
from sqp_refresh.rollup import Rollup
from sqp_refresh.settings import Settings
from sqp_refresh.tables import SCHEMA, SOURCE_COLUMNS, TABLES, Origin, Table
from sqp_refresh.weeks import Grain

OWNERS = ["team:data-engineering"]


def source_asset(settings: Settings) -> dg.AssetSpec:
    """The vendor's table, which this project only reads."""
    return dg.AssetSpec(
        source_key(settings),
        description=(
            "Amazon's Search Query Performance report as the vendor exports it: one row for each "
            "client, marketplace, child ASIN, search query and week. A week arrives ASIN by ASIN, "
            "two to four weeks late, and is restated for at least 40 days."
        ),
        kinds={"bigquery"},
        group_name="source",
        metadata={
            "dagster/column_schema": _column_schema(
                (column.title, column.type, column.about) for column in SOURCE_COLUMNS
            )
        },
    )


def source_key(settings: Settings) -> dg.AssetKey:
    """The asset key of the vendor's table."""
    return dg.AssetKey(["bigquery", settings.BIGQUERY_SOURCE_TABLE])


def table_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of all tables."""
    with warnings.catch_warnings():
        # A range of weeks as one step depends on it, beta or not.
        warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)
        return [
            _derived(table, settings)
            if table.origin is Origin.POSTGRES
            else _from_bigquery(table, settings)
            for table in TABLES.values()
        ]


def _from_bigquery(table: Table, settings: Settings) -> dg.AssetsDefinition:
    source = dg.AssetIn(key=source_key(settings), input_manager_key="bigquery")

    def rows(context: dg.AssetExecutionContext, source: BigQueryReader) -> BigQueryFeed:
        return source.read(table, weeks_of_run(context))

    return dg.asset(**_described(table, settings), ins={"source": source})(rows)


def _derived(table: Table, settings: Settings) -> dg.AssetsDefinition:
    parents = [dg.AssetKey([SCHEMA, parent]) for parent in table.parents]

    def rows(context: dg.AssetExecutionContext) -> Rollup:
        return Rollup(table, weeks_of_run(context))

    return dg.asset(**_described(table, settings), deps=parents)(rows)


def _described(table: Table, settings: Settings) -> dict[str, Any]:
    weekly = table.grain.published is Grain.WEEK
    return {
        "key": [SCHEMA, table.name],
        "description": f"One row is {table.row}. Filled from {table.origin}.",
        "group_name": SCHEMA,
        "kinds": {"postgres"} if table.origin is Origin.POSTGRES else {"bigquery", "postgres"},
        "owners": OWNERS,
        "tags": {"grain": table.grain.value},
        "op_tags": {"dagster/priority": str(table.priority)},
        "io_manager_key": "postgres",
        "partitions_def": weekly_partitions(settings.REFRESH_START_DATE) if weekly else None,
        # A range of weeks is one step; the command line refuses a range of any asset without it.
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "metadata": {
            "dagster/table_name": f"{SCHEMA}.{table.name}",
            "dagster/column_schema": _column_schema(
                (column.name, column.type, column.about) for column in table.columns
            ),
        },
    }


def _column_schema(columns: Iterable[tuple[str, str, str]]) -> dg.TableSchema:
    return dg.TableSchema(
        [dg.TableColumn(name, type_, description=about) for name, type_, about in columns]
    )
