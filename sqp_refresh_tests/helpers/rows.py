"""Make rows of the source, valid unless a test changes them, and write them into its table."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa
from google.cloud.bigquery import Table

from sqp_refresh.demo.servers import Emulator, bigquery_client
from sqp_refresh.demo.source_table import BIGQUERY_TYPES, call_deadline, columns_of
from sqp_refresh.demo.source_table import create_source as create
from sqp_refresh.demo.source_table import load_rows as load
from sqp_refresh.demo.year import SCHEMA
from sqp_refresh.model.tables import DATE_TITLE, SPEEDS

Row = dict[str, Any]
Pair = tuple[int, int]
"""Market total and own count."""


def row(
    others: Row | None = None,
    /,
    *,
    day: date = date(2025, 8, 10),
    asin: str | None = "B000000001",
    query: str = "blue widget",
    marketplace: str = "US",
    parent_asin: str | None = "B00PARENT1",
    brand: str | None = "Brightwater",
    title: str | None = "Brightwater Blue Widget",
    category: str | None = "Kitchen",
    score: int = 1,
    volume: int = 800,
    impressions: Pair = (20_110, 230),
    clicks: Pair = (542, 5),
    cart_adds: Pair = (120, 2),
    purchases: Pair = (48, 1),
    price: str = "24.99",
    market_price: str = "22.49",
) -> Row:
    """Return a row of the source by column title; shares, rates and prices follow the counts.

    Any other value, also a wrong one, is given by its title: `{"Total Click Rate": 7}`.
    """
    made: Row = {
        "Marketplace": marketplace,
        DATE_TITLE: day,
        "Child ASIN": asin,
        "Search Query": query,
        "Parent ASIN": parent_asin,
        "Client Name": brand,
        "Product Name": title,
        "Category": category,
        "Search Query Score": score,
        "Search Query Volume": volume,
        "Total Query Impression Count": impressions[0],
        "ASIN Impression Count": impressions[1],
        "ASIN Impression Share": percent(impressions[1], impressions[0]),
    }
    for stage, pair in {"Click": clicks, "Cart Add": cart_adds, "Purchase": purchases}.items():
        made |= _stage(stage, pair, volume, price, market_price)
    others = others or {}
    assert others.keys() <= made.keys(), "the source has no such column"
    return made | others


def percent(part: int, whole: int) -> float | None:
    """Return a percentage as Amazon reports it: two decimals, half away from zero, or None."""
    if not whole:
        return None
    exact = Decimal(100 * part) / whole
    return float(exact.quantize(Decimal("0.01"), ROUND_HALF_UP))


def _stage(stage: str, pair: Pair, volume: int, price: str, market_price: str) -> Row:
    total, own = pair
    return {
        f"Total {stage} Count": total,
        f"Total {stage} Rate": percent(total, volume),
        f"ASIN {stage} Count": own,
        f"ASIN {stage} Share": percent(own, total),
        f"Total Median {stage} Price Amount": Decimal(market_price) if total else None,
        f"ASIN Median {stage} Price Amount": Decimal(price) if own else None,
        **{f"Total {speed} Day Shipping {stage} Count": total // 4 for speed in SPEEDS},
    }


def source_table(
    rows: Sequence[Row],
    *,
    date_type: str = "TIMESTAMP",
    as_string: Collection[str] = (),
    without: Collection[str] = (),
) -> pa.Table:
    """Return rows as the vendor would deliver them.

    Args:
        rows: By column title, as `row` makes them.
        date_type: BigQuery type of `Date`: TIMESTAMP, DATETIME or DATE.
        as_string: Titles of the columns that are STRING instead, in which any text may be.
        without: Titles of the columns that are missing.
    """
    types = {field.name: field.type for field in SCHEMA if field.name not in without}
    types |= {title: pa.string() for title in as_string}
    types[DATE_TITLE] = {name: type_ for type_, name in BIGQUERY_TYPES.items()}[date_type]
    return pa.table(
        {
            title: pa.array([_as(type_, values[title]) for values in rows], type_)
            for title, type_ in types.items()
        }
    )


def _as(type_: pa.DataType, value: object) -> object:
    if isinstance(value, date) and not isinstance(value, datetime) and type_ != pa.date32():
        zone = UTC if type_ == pa.timestamp("us", "UTC") else None
        return datetime.combine(value, time(), zone)
    return str(value) if value is not None and type_ == pa.string() else value


@dataclass(frozen=True, slots=True)
class SourceTable:
    """The source of one test; its table does not exist until rows are written."""

    emulator: Emulator
    dataset: str
    table: str

    @property
    def name(self) -> str:
        """Return project.dataset.table."""
        return f"{self.emulator.project}.{self.dataset}.{self.table}"

    def write(self, rows: Sequence[Row] | pa.Table, **shape: Any) -> None:
        """Append rows; the first call creates the table. `shape` is `source_table`'s."""
        delivered = source_table(rows, **shape) if isinstance(rows, Sequence) else rows
        with bigquery_client(self.emulator) as client:
            if self.table not in [table.table_id for table in client.list_tables(self.dataset)]:
                create(client, self.dataset, self.table, schema=columns_of(delivered.schema))
            load(client, self.name, delivered)

    def replace(self, rows: Sequence[Row] | pa.Table, **shape: Any) -> None:
        """Write to a new table, in place of the earlier one."""
        with bigquery_client(self.emulator) as client:
            client.delete_table(self.name, not_found_ok=True, **call_deadline())
        self.write(rows, **shape)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement, in which `{table}` is the source, quoted; return its rows."""
        with bigquery_client(self.emulator) as client:
            job = client.query(statement.format(table=f"`{self.name}`"), **call_deadline())
            return [tuple(values) for values in job.result(**call_deadline())]

    def make_view(self, name: str, *, with_schema: bool) -> None:
        """Create a view of all columns in the same dataset, with or without a schema of its own."""
        view = f"{self.emulator.project}.{self.dataset}.{name}"
        if with_schema:
            self.sql(f"CREATE VIEW `{view}` AS SELECT * FROM {{table}}")
            return
        created = Table(view)
        created.view_query = f"SELECT * FROM `{self.name}`"
        with bigquery_client(self.emulator) as client:
            client.create_table(created, **call_deadline())
