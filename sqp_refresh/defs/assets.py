"""Define one asset for each table, from the catalog."""

from typing import Any

import dagster as dg

from sqp_refresh.defs.external_assets import source_key
from sqp_refresh.defs.io_managers import SourceHandle
from sqp_refresh.defs.metadata import (
    REGISTRY_PROBLEMS,
    accepted_as_beta,
    column_lineage,
    column_schema,
    dashboard_link,
    freshness,
    place_in_postgres,
    with_unit,
)
from sqp_refresh.defs.partitions import weekly_partitions, weeks_of_run
from sqp_refresh.defs.run_instant import instant_of_run
from sqp_refresh.ledger.ledger import definition_hash
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.refresh.sources import Source
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh.settings import Settings

GROUP = "sqp"
"""The group of the tables, whatever their schema is called."""


def table_assets(settings: Settings, catalog: Catalog) -> list[dg.AssetsDefinition]:
    """Define the assets of all tables."""
    # A range of weeks as one step depends on a policy of backfills.
    with accepted_as_beta():
        return [
            _derived(table, _attributes(table, settings, catalog))
            if table.source is None
            else _from_bigquery(
                table, source_key(settings, table.source), _attributes(table, settings, catalog)
            )
            for table in catalog.tables.values()
        ]


def _from_bigquery(
    table: Table, source_key: dg.AssetKey, attributes: dict[str, Any]
) -> dg.AssetsDefinition:
    source = dg.AssetIn(key=source_key, input_manager_key="bigquery")

    def rows(context: dg.AssetExecutionContext, source: SourceHandle) -> Source:
        weeks = weeks_of_run(context.op_execution_context)
        return source.read(table, weeks, instant_of_run(context))

    return dg.asset(**attributes, ins={"source": source}, deps=_parents(table))(rows)


def _derived(table: Table, attributes: dict[str, Any]) -> dg.AssetsDefinition:
    def rows(context: dg.AssetExecutionContext) -> RollupSource:
        return RollupSource(table, weeks_of_run(context.op_execution_context))

    return dg.asset(**attributes, deps=_parents(table))(rows)


def _parents(table: Table) -> list[dg.AssetKey]:
    return [dg.AssetKey([SCHEMA, parent]) for parent in table.parents]


def pool_of(table: Table, settings: Settings) -> str:
    """Return the pool of a table, whose one slot makes a second writer queue before it starts.

    Agencies that share a Dagster instance have datasets or schemas of their own, so that none waits
    for another.
    """
    dataset = [settings.BIGQUERY_DATASET] if settings.BIGQUERY_DATASET else []
    return "/".join([*dataset, SCHEMA, table.name])


def _attributes(table: Table, settings: Settings, catalog: Catalog) -> dict[str, Any]:
    """Return the arguments of a table's asset, whatever fills it."""
    weekly = table.grain.published is Grain.WEEK
    return {
        "key": [SCHEMA, table.name],
        "description": f"One row is {table.row}. Filled from {table.origin}.",
        "group_name": GROUP,
        "kinds": {"bigquery", "postgres"} if table.source else {"postgres"},
        "owners": settings.owners,
        "tags": {"grain": table.grain.value, "filled_from": table.origin.name.lower()},
        "code_version": definition_hash(table),
        "freshness_policy": freshness(settings, table),
        "op_tags": {"dagster/priority": str(table.priority)},
        "pool": pool_of(table, settings),
        "io_manager_key": "postgres",
        "partitions_def": weekly_partitions(settings.REFRESH_START_DATE) if weekly else None,
        # A range of weeks is one step; the command line refuses a range of any asset without it.
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "metadata": _metadata(table, settings, catalog),
    }


def _metadata(table: Table, settings: Settings, catalog: Catalog) -> dict[str, Any]:
    """Return what the UI shows of a table that does not change from run to run."""
    source = source_key(settings, table.source) if table.source else None
    problems = [problem for problem in catalog.problems if table.name in problem]
    return (
        place_in_postgres(settings, table.name)
        | {
            "dagster/column_schema": column_schema(
                (column.name, column.type, with_unit(column)) for column in table.columns
            ),
            "dagster/column_lineage": column_lineage(table, source),
            "sqp/dashboard": dashboard_link(settings),
        }
        | ({REGISTRY_PROBLEMS: "; ".join(problems)} if problems else {})
    )
