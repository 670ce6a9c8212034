"""Hold a period's rows against their contract as they are read: good ones go on, bad ones stay."""

import base64
from collections import Counter
from collections.abc import Iterator, Mapping
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
    """Validates the rows of one period while they are read.

        validator = RowValidator(table, rows)
        good = validator.batches().read_all()
        validator.bad, validator.invalid_rows

    What it counts is complete once the last batch was read, and cannot be asked for before.

    Attributes:
        table: The table that the good rows go to.
        rows: The rows.
        limit: How many bad rows are kept; more are only counted. None keeps them all.
    """

    table: Table
    rows: SourceBatches
    limit: int | None = None
    _read: int = 0
    _bad: int = 0
    _invalid_rows: list[InvalidRow] = field(default_factory=list)
    _reasons: Counter[str] = field(default_factory=Counter)
    _is_done: bool = False

    @property
    def spec(self) -> SourceSpec:
        """Return the source, whose columns the contract is about."""
        assert self.table.source, "only rows of a source have a contract"
        return self.table.source

    def batches(self) -> pa.RecordBatchReader:
        """Return the good rows, in our names and types, as they are read."""
        empty = pa.RecordBatch.from_pylist([], self.rows.schema)
        schema = self._select(conform(self.spec, empty, self.rows.constants).rows).schema
        return pa.RecordBatchReader.from_batches(schema, self._validate_all())

    @property
    def read(self) -> int:
        """Return how many rows were read, good and bad.

        Raises:
            RuntimeError: they were not all read yet, as for all properties below.
        """
        self._require_done()
        return self._read

    @property
    def bad(self) -> int:
        """Return how many rows break the contract."""
        self._require_done()
        return self._bad

    @property
    def bad_ratio(self) -> float:
        """Return the part of the rows that break the contract, from 0 to 1."""
        return self.bad / self.read if self.read else 0.0

    @property
    def reasons(self) -> Counter[str]:
        """Return how many rows break each rule."""
        self._require_done()
        return self._reasons

    @property
    def invalid_rows(self) -> list[InvalidRow]:
        """Return the bad rows, up to the limit."""
        self._require_done()
        return self._invalid_rows

    def _require_done(self) -> None:
        if not self._is_done:
            raise RuntimeError(
                f"the rows of {self.table.name} were not read to the end, so what is wrong with "
                "them is not known yet; read all batches first"
            )

    def _validate_all(self) -> Iterator[pa.RecordBatch]:
        for batch in self.rows.batches:
            yield self._validate(batch)
        # Only whoever asks for one batch more than there are comes here.
        self._is_done = True

    def _validate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        # Pandera takes a while to import, and only rows need it.
        from sqp_refresh.validate.pandera_model import model_of

        conformed = conform(self.spec, batch, self.rows.constants)
        reasons = model_of(self.spec).reasons(conformed.rows)
        for reason, mask in conformed.reasons(self.spec).items():
            # What could not be cast is null in the batch: that it is missing would mislead.
            missing = f"{reason.rpartition(' is not ')[0]} is missing"
            for place in (number for number, lost in enumerate(mask.to_pylist()) if lost):
                others = [other for other in reasons.get(place, ()) if other != missing]
                reasons[place] = [reason, *others]
        self._read += batch.num_rows
        rows = self._select(conformed.rows)
        if not reasons:
            return rows
        self._keep(batch, reasons)
        return rows.filter(pa.array([place not in reasons for place in range(rows.num_rows)]))

    def _keep(self, batch: pa.RecordBatch, reasons: dict[int, list[str]]) -> None:
        """Count the bad rows of a batch, and keep them as far as there is room.

        Args:
            batch: The rows as the source sent them.
            reasons: What is wrong with each bad one, by its place in the batch.
        """
        places = sorted(reasons)
        self._bad += len(places)
        self._reasons.update(reason for place in places for reason in reasons[place])
        if self.limit is not None:
            places = places[: self.limit - len(self._invalid_rows)]
        rows = as_json(batch.take(pa.array(places, pa.int64())))
        self._invalid_rows += zip(rows, (reasons[place] for place in places), strict=True)

    def _select(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        # `report_date` tells which of two rows with one key is the later one.
        names = self.table.names | {"report_date"}
        return rows.select([name for name in rows.schema.names if name in names])


@dataclass(frozen=True, slots=True)
class ValidatedRows(PeriodRows):
    """The good rows of a period.

    Attributes:
        validator: What validates them as they are read, and keeps the bad ones.
    """

    validator: RowValidator


def validated(table: Table, part: PeriodRows, limit: int | None = None) -> PeriodRows:
    """Return the good rows of a period; all of them where Postgres or BigQuery computed them.

    Args:
        table: The table that they go to.
        part: The rows.
        limit: How many bad rows are kept; more are only counted.
    """
    if not isinstance(part.rows, SourceBatches):
        return part
    validator = RowValidator(table, part.rows, limit)
    return ValidatedRows(part.period, validator.batches(), validator)


def rejection(
    week: Period, bad: int, read: int, tolerated: float, reasons: Mapping[str, int] | None = None
) -> Rejected:
    """Return the error for a week with too many bad rows, which is not published.

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
    """Return the rows of a batch as JSON, and Postgres's jsonb, can hold them."""
    titles = list(map(_plain, rows.schema.names))
    columns = [map(_plain, _values(column)) for column in rows.columns]
    return [dict(zip(titles, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_string(column.type):
        # A text may hold bytes that are no UTF-8, which is what is wrong with its row.
        texts = column.cast(pa.binary()).to_pylist()
        return [text if text is None else text.decode(errors="backslashreplace") for text in texts]
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
