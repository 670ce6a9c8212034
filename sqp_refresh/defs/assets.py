"""Define one asset for each table, from the catalog, and those of the tables in BigQuery."""

import warnings
from collections.abc import Iterable
from typing import Any

import dagster as dg

from sqp_refresh.defs.io_managers import SourceHandle
from sqp_refresh.defs.metadata import (
    OWNERS,
    REGISTRY_PROBLEMS,
    column_lineage,
    dashboard_link,
    freshness,
    with_unit,
)
from sqp_refresh.defs.partitions import weekly_partitions, weeks_of_run
from sqp_refresh.defs.run_instant import instant_of_run
from sqp_refresh.ledger.ledger import definition_hash
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.tables import SCHEMA, SourceSpec, Table
from sqp_refresh.refresh.sources import Source
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh.schema_name import DEFAULT_SCHEMA
from sqp_refresh.settings import Settings

GROUP = "sqp"
"""The group of the tables, whatever their schema is called."""

REPORT = (
    "Amazon's Search Query Performance report as the vendor exports it: one row for each "
    "client, marketplace, child ASIN, search query and week. A week arrives ASIN by ASIN, "
    "two to four weeks late, and is restated for at least 40 days."
)


def source_assets(settings: Settings, catalog: Catalog) -> list[dg.AssetSpec]:
    """Define the vendor's table and those that operators registered, all of which are only read."""
    sources = [table.source for table in catalog.tables.values() if table.source]
    specs = {source_key(settings, spec): spec for spec in sources}
    return [
        dg.AssetSpec(
            key,
            description=REPORT if spec.is_vendor_report else f"Registered as {spec.name}.",
            kinds={"bigquery"},
            group_name="source",
            owners=OWNERS,
            metadata={
                "dagster/column_schema": _column_schema(
                    (column.title, column.type, column.description) for column in spec.columns
                )
            },
        )
        for key, spec in specs.items()
    ]


def unusable_assets(catalog: Catalog) -> list[dg.AssetSpec]:
    """Define the registered tables that cannot be refreshed, so that the UI shows why."""
    return [
        dg.AssetSpec(
            dg.AssetKey([SCHEMA, name]),
            description=f"It is not refreshed. {problem}",
            kinds={"postgres"},
            group_name="unusable",
            owners=OWNERS,
            metadata={REGISTRY_PROBLEMS: problem},
        )
        for name, problem in catalog.unusable.items()
    ]


def source_key(settings: Settings, spec: SourceSpec) -> dg.AssetKey:
    """Return the asset key of a table in BigQuery, without what the settings say of its name.

    Agencies name their tables alike; so of another schema than `sqp`, the key has the schema.
    """
    place = ["bigquery"] if SCHEMA == DEFAULT_SCHEMA else ["bigquery", SCHEMA]
    return dg.AssetKey([*place, *(spec.name or settings.BIGQUERY_SOURCE_TABLE).split(".")])


def table_assets(settings: Settings, catalog: Catalog) -> list[dg.AssetsDefinition]:
    """Define the assets of all tables."""
    with warnings.catch_warnings():
        # A range of weeks as one step depends on it, beta or not.
        warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)
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
        "owners": OWNERS,
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
    return {
        "dagster/table_name": f"{SCHEMA}.{table.name}",
        "dagster/column_schema": _column_schema(
            (column.name, column.type, with_unit(column)) for column in table.columns
        ),
        "dagster/column_lineage": column_lineage(table, source),
        "sqp/dashboard": dashboard_link(settings),
    } | ({REGISTRY_PROBLEMS: "; ".join(problems)} if problems else {})


def _column_schema(columns: Iterable[tuple[str, str, str]]) -> dg.TableSchema:
    return dg.TableSchema(
        [dg.TableColumn(name, type_, description=text) for name, type_, text in columns]
    )
