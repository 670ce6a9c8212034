"""A part's rows held against their contract on their way: good ones go on, bad ones are kept."""

import base64
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from sqp_refresh.errors import Rejected
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, SourceBatches
from sqp_refresh.model.tables import SourceSpec, Table
from sqp_refresh.validate.conform import conform

InvalidRow = tuple[dict[str, Any], list[str]]
"""A row's values as the source sent them, by title, as JSON can hold them; and what is wrong."""


@dataclass(slots=True)
class RowValidator:
    """One part on its way; what it has counted is complete once its rows are read.

    Attributes:
        table: Where the good rows go.
        raw: The rows.
        most: How many bad rows are kept; more are only counted. None keeps them all.
        read: How many came.
        bad: How many broke the contract.
        refused: Those that did.
        reasons: How many rows broke each rule.
    """

    table: Table
    raw: SourceBatches
    most: int | None = None
    read: int = 0
    bad: int = 0
    refused: list[InvalidRow] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def spec(self) -> SourceSpec:
        """The columns that the contract speaks of."""
        assert self.table.source, "only rows of a source have a contract"
        return self.table.source

    def batches(self) -> pa.RecordBatchReader:
        """The good rows, in our names and types, as they are read."""
        empty = pa.RecordBatch.from_pylist([], self.raw.schema)
        return pa.RecordBatchReader.from_batches(
            self._projected(conform(self.spec, empty, self.raw.constants).rows).schema,
            map(self._validated, self.raw.batches),
        )

    @property
    def bad_ratio(self) -> float:
        """The part of the rows that broke the contract, from 0 to 1."""
        return self.bad / self.read if self.read else 0.0

    def _validated(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        # Pandera takes a while to import, and only rows need it.
        from sqp_refresh.validate.pandera_model import model_of

        conformed = conform(self.spec, batch, self.raw.constants)
        unreadable = conformed.reasons(self.spec)
        reasons = model_of(self.spec).reasons(conformed.rows)
        for reason, mask in unreadable.items():
            for place in (number for number, lost in enumerate(mask.to_pylist()) if lost):
                missing = f"{reason.rpartition(' is not ')[0]} is missing"
                known = [one for one in reasons.get(place, ()) if one != missing]
                reasons[place] = [reason, *known]
        self.read += batch.num_rows
        rows = self._projected(conformed.rows)
        if not reasons:
            return rows
        self._refuse(batch, reasons)
        return rows.filter(pa.array([place not in reasons for place in range(rows.num_rows)]))

    def _refuse(self, batch: pa.RecordBatch, reasons: dict[int, list[str]]) -> None:
        places = sorted(reasons)
        self.bad += len(places)
        self.reasons.update(reason for place in places for reason in reasons[place])
        if self.most is not None:
            places = places[: self.most - len(self.refused)]
        raw = as_json(batch.take(pa.array(places, pa.int64())))
        self.refused += zip(raw, (reasons[place] for place in places), strict=True)

    def _projected(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        # `report_date` tells which of two rows with one key is the later one.
        wanted = {column.name for column in self.table.columns} | {"report_date"}
        return rows.select([name for name in rows.schema.names if name in wanted])


@dataclass(frozen=True, slots=True)
class ValidatedRows(PeriodRows):
    """The good rows of a part.

    Attributes:
        sieve: What keeps the bad ones back.
    """

    sieve: RowValidator


def validated(table: Table, part: PeriodRows, most: int | None = None) -> PeriodRows:
    """The good rows of a part, as they are read; itself where Postgres or BigQuery computed it.

    Args:
        table: Where they go.
        part: The part.
        most: How many bad rows are kept; more are only counted.
    """
    if not isinstance(part.rows, SourceBatches):
        return part
    sieve = RowValidator(table, part.rows, most)
    return ValidatedRows(part.period, sieve.batches(), sieve)


def rejection(
    week: Period, bad: int, read: int, tolerated: float, reasons: Mapping[str, int] | None = None
) -> Rejected:
    """Why a week with too many bad rows is not published.

    Args:
        week: The week.
        bad: How many of its rows break their contract.
        read: How many rows it has.
        tolerated: The part of them that may, from 0 to 1.
        reasons: How many rows break each rule, the commonest first, where that is known.
    """
    reasons = reasons or {}
    often = "; ".join(f"{reason} ({rows:,})" for reason, rows in list(reasons.items())[:3])
    return Rejected(
        f"the week of {week} is rejected: {bad:,} of its {read:,} rows break their contract, "
        f"and {tolerated:.2%} may{f': {often}' if often else ''}",
        bad=bad,
        read=read,
        tolerated=tolerated,
        reasons=reasons,
    )


def as_json(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch as JSON, and Postgres's jsonb, can hold them."""
    titles = list(map(_plain, rows.schema.names))
    columns = [map(_plain, _values(column)) for column in rows.columns]
    return [dict(zip(titles, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_string(column.type):
        raw = column.cast(pa.binary()).to_pylist()
        return [None if one is None else one.decode(errors="backslashreplace") for one in raw]
    try:
        return column.to_pylist()
    except OverflowError:  # a date that Python has none for
        return column.cast(pa.string()).to_pylist()


def _plain(value: Any) -> Any:  # noqa: ANN401, JSON in, JSON out
    match value:
        case str():
            # jsonb has no NUL.
            return value.replace("\0", "\\u0000")
        case float() if value != value or abs(value) == float("inf"):
            return str(value)
        case Decimal() | date() | time():
            return str(value) if isinstance(value, Decimal) else value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {_plain(key): _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
    return value
