"""The source table as BigQuery describes it, held against the columns that are needed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.extract.client import call_deadline, translated_errors
from sqp_refresh.tables import COUNT, DATE, PERCENT, PRICE, SOURCE_COLUMNS, TEXT, SourceColumn

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, SchemaField, Table

# BigQuery's names for one type, old and new.
_ALIASES = {"INT64": "INTEGER", "FLOAT64": "FLOAT"}

_NUMBERS = frozenset({"INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC", "STRING"})
_ACCEPTED = {
    TEXT: frozenset({"STRING"}),
    DATE: frozenset({"TIMESTAMP", "DATE", "DATETIME"}),
    COUNT: _NUMBERS,
    PERCENT: _NUMBERS,
    PRICE: _NUMBERS,
}


@dataclass(frozen=True, slots=True)
class Source:
    """One table or view in BigQuery, and the type that each column we need has there.

    Attributes:
        name: project.dataset.table.
        is_table: Whether the Storage Read API can read it directly; a view must be queried.
        types: BigQuery type by column title, only for columns that exist and are needed.
    """

    name: str
    is_table: bool
    types: dict[str, str]

    @property
    def columns(self) -> tuple[SourceColumn, ...]:
        """The columns that exist, in the order of `SOURCE_COLUMNS`."""
        return tuple(column for column in SOURCE_COLUMNS if column.title in self.types)


def describe(client: "Client", name: str) -> Source:
    """Look the source up.

    Raises:
        NotFound: there is no such project, dataset or table.
        SchemaMismatch: a required column is missing, or a type does not convert.
    """
    with translated_errors(name):
        table = client.get_table(name, **call_deadline())
        fields = table.schema or _schema_of(client, table)
    # To BigQuery, a column's name is the same in any case.
    found = {field.name.lower(): _type(field) for field in fields}
    types = {
        column.title: found[column.title.lower()]
        for column in SOURCE_COLUMNS
        if column.title.lower() in found
    }
    _check(name, types)
    return Source(name, table.table_type == "TABLE", types)


def _schema_of(client: "Client", table: "Table") -> "list[SchemaField]":
    """The schema of a view that was created without one; a dry run costs nothing."""
    from google.cloud.bigquery import QueryJobConfig

    query = f"SELECT * FROM `{table.project}.{table.dataset_id}.{table.table_id}`"  # noqa: S608, names BigQuery gave
    job = client.query(query, job_config=QueryJobConfig(dry_run=True), **call_deadline())
    return list(job.schema or ())


def _type(field: "SchemaField") -> str:
    return _ALIASES.get(field.field_type, field.field_type)


def _check(name: str, types: dict[str, str]) -> None:
    missing = [
        column.title
        for column in SOURCE_COLUMNS
        if column.title not in types and not column.optional
    ]
    if missing:
        raise SchemaMismatch(
            f"{name} has no column {', '.join(map(repr, missing))}; ask the vendor for it, or set "
            "BIGQUERY_SOURCE_TABLE to a view that has it"
        )
    for column in SOURCE_COLUMNS:
        found = types.get(column.title)
        if found and found not in _ACCEPTED[column.type]:
            raise SchemaMismatch(
                f"column {column.title!r} of {name} is {found}, which does not convert to "
                f"{column.type}; expected one of {', '.join(sorted(_ACCEPTED[column.type]))}"
            )
