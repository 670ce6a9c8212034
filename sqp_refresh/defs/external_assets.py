"""Define the assets that no run makes: the sources in BigQuery, and the views in Postgres."""

import re
from datetime import UTC
from typing import Any

import dagster as dg

from sqp_refresh.defs.metadata import (
    REGISTRY_PROBLEMS,
    accepted_as_beta,
    column_schema,
    place_in_bigquery,
    place_in_postgres,
)
from sqp_refresh.defs.partitions import weekly_partitions, weeks_of_run
from sqp_refresh.extract.aggregates.observation import SourceObservation
from sqp_refresh.model.tables import SCHEMA, SourceSpec, Table
from sqp_refresh.postgres.release_definitions import release_definitions
from sqp_refresh.refresh.sources import observe_source
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.schema_name import DEFAULT_SCHEMA
from sqp_refresh.settings import Settings

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
    return [_source(settings, key, table) for key, table in by_key.items()]


def _source(settings: Settings, key: dg.AssetKey, table: Table) -> dg.AssetsDefinition:
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
    weeks = weekly_partitions(settings.REFRESH_START_DATE) if spec.week_title else None

    name = f"observe_{key.to_python_identifier()}"

    def look(context: dg.AssetExecutionContext) -> dg.ObserveResult:
        seen = observe_source(Settings.read(), table, weeks_of_run(context.op_execution_context))
        return dg.ObserveResult(
            metadata=observed_metadata(seen), data_version=dg.DataVersion(seen.data_version)
        )

    with accepted_as_beta():
        define = dg.multi_observable_source_asset(specs=[asset], name=name, partitions_def=weeks)
        return define(look)


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


def source_key(settings: Settings, spec: SourceSpec) -> dg.AssetKey:
    """Return the asset key of a table in BigQuery, without what the settings say of its name.

    Agencies name their tables alike; so of another schema than `sqp`, the key has the schema.
    """
    place = ["bigquery"] if SCHEMA == DEFAULT_SCHEMA else ["bigquery", SCHEMA]
    return dg.AssetKey([*place, *(spec.name or settings.BIGQUERY_SOURCE_TABLE).split(".")])


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
