"""Look up the source table, and compare its columns with those that are needed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.extract.client import (
    ServerTime,
    call_deadline,
    dated_answers,
    start_query,
    translated_errors,
)
from sqp_refresh.model.tables import SourceColumn, SourceSpec
from sqp_refresh.model.types import ACCEPTED, LogicalType, logical_type

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, SchemaField, Table

# BigQuery's names for one type, old and new.
_ALIASES = {"INT64": "INTEGER", "FLOAT64": "FLOAT"}
# The mode of a column that is an array. Its type is that of the elements.
REPEATED = "REPEATED"


@dataclass(frozen=True, slots=True)
class BigQueryTable:
    """One table or view in BigQuery, and the type of each column that is needed.

    Attributes:
        name: project.dataset.table.
        spec: The columns that are needed.
        types: BigQuery type by column title, of the columns that exist and are needed.
        schema: BigQuery type by column title, for all that there are.
        instant: When it is read as of; None for a view, which can only be read as it is.
        collated: Titles of the columns whose texts are not compared byte by byte.
        looked_up: When it was looked up, by BigQuery's clock.
        rows: All its rows (count), as they were then; None for a view.
        changed_at: When it was last written; None where BigQuery does not say.
    """

    name: str
    spec: SourceSpec
    types: dict[str, str] = field(hash=False)
    instant: datetime | None
    schema: dict[str, str] = field(default_factory=dict, hash=False)
    collated: frozenset[str] = frozenset()
    looked_up: ServerTime | None = field(default=None, compare=False)
    rows: int | None = field(default=None, compare=False)
    changed_at: datetime | None = field(default=None, compare=False)

    @property
    def is_table(self) -> bool:
        """Whether the Storage Read API can read it directly; a view must be queried."""
        return self.instant is not None

    @property
    def changed_before_instant(self) -> datetime | None:
        """When what is read of it was last written; None where that is not known."""
        if self.instant and self.changed_at and self.changed_at <= self.instant:
            return self.changed_at
        return None

    @property
    def columns(self) -> tuple[SourceColumn, ...]:
        """The columns that exist, in the order of the spec."""
        return tuple(column for column in self.spec.columns if column.title in self.types)

    def title_of(self, name: str) -> str:
        """Return the title of the column that has one of our names."""
        return next(column.title for column in self.spec.columns if column.name == name)

    def under_our_names(self) -> "BigQueryTable":
        """Return the same columns as a part of a query has them that calls each by our name."""
        names = {column.title: column.name for column in self.spec.columns}
        columns = (replace(column, title=column.name) for column in self.spec.columns)
        week = self.spec.week_title
        return replace(
            self,
            spec=replace(
                self.spec, columns=tuple(columns), week_title=names[week] if week else None
            ),
            types={names[title]: of for title, of in self.types.items()},
            collated=frozenset(names[title] for title in self.collated),
        )


def describe(
    client: "Client",
    name: str,
    spec: SourceSpec,
    decide_as_of: Callable[[ServerTime], datetime] | None = None,
) -> BigQueryTable:
    """Look the source up.

    Args:
        client: Where to look.
        name: project.dataset.table.
        spec: The columns that are needed.
        decide_as_of: What decides when to read it as of, by BigQuery's time, at most a week ago;
            None is now.

    Raises:
        NotFound: there is no such project, dataset or table.
        SchemaMismatch: a required column is missing, or a type does not convert; `source_schema` of
            its details is what there is instead.
    """
    with translated_errors(name):
        with dated_answers(client) as date:
            table = client.get_table(name, **call_deadline())
        time = date.time
        fields = table.schema or _schema_of(client, table)
    # To BigQuery, a column's name is the same in any case.
    by_name = {field.name.lower(): field for field in fields}
    by_title = {
        column.title: by_name[column.title.lower()]
        for column in spec.columns
        if column.title.lower() in by_name
    }
    types = {title: _type(field) for title, field in by_title.items()}
    schema = {field.name: _type(field) for field in fields}
    _check(name, spec, types, schema)
    # The dataset gives a new column its own, if it has one: most often, case is ignored then.
    collated = frozenset(t for t, of in by_title.items() if of.to_api_repr().get("collation"))
    instant = None
    # A view can only be read as it is.
    if table.table_type == "TABLE":
        instant = _instant(table, decide_as_of(time) if decide_as_of else time.now)
    rows = table.num_rows if instant else None
    return BigQueryTable(
        name,
        spec,
        types,
        instant,
        schema,
        collated,
        time,
        rows,
        table.modified if instant else None,
    )


def _instant(table: "Table", as_of: datetime) -> datetime:
    # A table that was made anew since has no state before that.
    return max(as_of, table.created) if table.created else as_of


def _schema_of(client: "Client", table: "Table") -> "list[SchemaField]":
    """Return the schema of a view that was created without one; a dry run costs nothing."""
    from google.cloud.bigquery import QueryJobConfig

    query = f"SELECT * FROM `{table.project}.{table.dataset_id}.{table.table_id}`"  # noqa: S608, names BigQuery gave
    job = start_query(client, query, QueryJobConfig(dry_run=True))
    return list(job.schema or ())


def _type(field: "SchemaField") -> str:
    """Return the type of a column as BigQuery names it; of one with several values a row, all."""
    type_ = _ALIASES.get(field.field_type.upper(), field.field_type.upper())
    return f"{REPEATED} {type_}" if (field.mode or "").upper() == REPEATED else type_


def _check(name: str, spec: SourceSpec, types: dict[str, str], schema: dict[str, str]) -> None:
    missing = [
        column.title for column in spec.columns if column.title not in types and not column.optional
    ]
    if missing:
        raise SchemaMismatch(
            f"{name} has no column {', '.join(map(repr, missing))}; ask the vendor for it, or set "
            "BIGQUERY_SOURCE_TABLE to a view that has it",
            source_schema=schema,
        )
    for column in spec.columns:
        actual, accepted = types.get(column.title), ACCEPTED[_reading(spec, column)]
        if actual and actual not in accepted:
            raise SchemaMismatch(
                f"column {column.title!r} of {name} is {actual}, which does not convert to "
                f"{column.type}; expected one of {', '.join(sorted(accepted))}; ask the vendor, or "
                "read a view that converts it",
                source_schema=schema,
            )


def _reading(spec: SourceSpec, column: SourceColumn) -> LogicalType:
    # A week is told from a date, whatever the date becomes.
    return LogicalType.DATE if column.title == spec.week_title else logical_type(column.type)
