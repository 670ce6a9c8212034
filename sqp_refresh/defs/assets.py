"""Define one asset for each table, from the catalog, and those of what no night makes.

These are the sources in BigQuery, which are observed, and the views in Postgres.
"""

import re
from typing import Any

import dagster as dg

from sqp_refresh.defs.io_managers import SourceHandle
from sqp_refresh.defs.metadata import (
    REGISTRY_PROBLEMS,
    accepted_as_beta,
    column_lineage,
    column_schema,
    dashboard_link,
    freshness,
    observed_metadata,
    place_in_bigquery,
    place_in_postgres,
    source_key,
    with_unit,
)
from sqp_refresh.defs.partitions import weekly_partitions, weeks_of_run
from sqp_refresh.defs.run_instant import instant_of_run
from sqp_refresh.ledger.ledger import definition_hash
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.release_definitions import release_definitions
from sqp_refresh.refresh.sources import Source, observe_source
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh.settings import Settings

GROUP = "sqp"
"""The group of the tables, whatever their schema is called."""

REPORT = (
    "Amazon's Search Query Performance report as the vendor exports it: one row for each "
    "client, marketplace, child ASIN, search query and week. A week arrives ASIN by ASIN, "
    "two to four weeks late, and is restated for at least 40 days."
)


def source_assets(settings: Settings, catalog: Catalog) -> list[dg.AssetsDefinition]:
    """Define the vendor's table and those that operators registered, all of which are only read.

    A night observes them by the way. Whoever observes one on purpose asks BigQuery once more.
    """
    tables = [table for table in catalog.tables.values() if table.source]
    # Of the tables that one source fills, any will do to look at it.
    by_key = {source_key(settings, table.source): table for table in tables if table.source}
    return [
        # Not named by their keys, of which two may be alike but for a hyphen.
        _source(settings, key, table, f"observe_source_{number}")
        for number, (key, table) in enumerate(by_key.items(), start=1)
    ]


def _source(settings: Settings, key: dg.AssetKey, table: Table, name: str) -> dg.AssetsDefinition:
    spec = table.source
    assert spec, "only a table that is filled from BigQuery has a source"
    asset = dg.AssetSpec(
        key,
        description=REPORT if spec.is_vendor_report else f"Registered as {spec.name}.",
        kinds={"bigquery"},
        group_name="source",
        owners=settings.owners,
        metadata=place_in_bigquery(settings, spec.name)
        | {
            "dagster/column_schema": column_schema(
                (column.title, column.type, column.description) for column in spec.columns
            )
        },
    )

    def look(context: dg.AssetExecutionContext) -> dg.ObserveResult:
        seen = observe_source(Settings.read(), table, weeks_of_run(context.op_execution_context))
        return dg.ObserveResult(
            metadata=observed_metadata(seen), data_version=dg.DataVersion(seen.data_version)
        )

    # Without partitions: Dagster lets no run without a range of weeks read a source that has some.
    with accepted_as_beta():
        return dg.multi_observable_source_asset(specs=[asset], name=name)(look)


def unusable_assets(settings: Settings, catalog: Catalog) -> list[dg.AssetSpec]:
    """Define the registered tables that cannot be refreshed, so that the UI shows why."""
    return [
        dg.AssetSpec(
            dg.AssetKey([SCHEMA, name]),
            description=f"It is not refreshed. {problem}",
            kinds={"postgres"},
            group_name="unusable",
            owners=settings.owners,
            metadata={REGISTRY_PROBLEMS: problem},
        )
        for name, problem in catalog.unusable.items()
    ]


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


def view_assets(settings: Settings, catalog: Catalog) -> list[dg.AssetSpec]:
    """Define the views that the migrations make: of the data, and of how the nights went."""
    views = {
        subject.removeprefix("view "): statement
        for subject, statement in release_definitions().items()
        if subject.startswith("view ")
    }
    return [
        _view(settings, name, statement, _read_by(statement, {*views, *catalog.tables} - {name}))
        for name, statement in views.items()
        if name not in catalog.tables and name not in catalog.unusable
    ]


def _view(settings: Settings, name: str, statement: str, reads: list[str]) -> dg.AssetSpec:
    return dg.AssetSpec(
        dg.AssetKey([SCHEMA, name]),
        deps=[dg.AssetKey([SCHEMA, parent]) for parent in reads],
        description="A view, which is computed whenever it is read.",
        kinds={"postgres", "view"},
        group_name="views",
        owners=settings.owners,
        metadata=place_in_postgres(settings, name)
        | {"sqp/definition": dg.MetadataValue.md(f"```sql\n{statement}\n```")},
    )


def _read_by(statement: str, relations: set[str]) -> list[str]:
    """List the tables and views, of these, that a view reads."""
    return sorted({*re.findall(rf"\b{SCHEMA}\.(\w+)", statement)} & relations)
