"""Conform batches of the source to those that staging takes: our names, and types of Postgres."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.model.contract import BLANKS
from sqp_refresh.model.tables import CHILD_ASIN_TITLE, PARENT_ASIN_TITLE, SourceColumn, SourceSpec
from sqp_refresh.model.types import logical_type, nulls, try_cast


@dataclass(frozen=True, slots=True)
class Conformed:
    """One batch in our names and types.

    Attributes:
        rows: All columns of the contract; null what could not be cast.
        unreadable: Which rows hold a value that could not be cast, by the column's title.
    """

    rows: pa.RecordBatch
    unreadable: dict[str, pa.BooleanArray] = field(default_factory=dict)

    def reasons(self, spec: SourceSpec) -> dict[str, pa.BooleanArray]:
        """Return what is wrong with the values that could not be cast, and in which rows."""
        kinds = {column.title: logical_type(column.type) for column in spec.columns}
        return {f"{title} is not {kinds[title]}": mask for title, mask in self.unreadable.items()}


def conform(spec: SourceSpec, batch: pa.RecordBatch, constants: Mapping[str, str]) -> Conformed:
    """Rename, cast and complete one batch.

    Args:
        spec: The columns that the batch is to have.
        batch: Rows by title, in the types of the source.
        constants: The value of a column that the source does not have, by its title.

    Raises:
        SchemaMismatch: a column has not one value in each row, or one that is no text or number.
    """
    # To BigQuery, a column's name is the same in any case.
    sent = {name.lower(): batch.column(number) for number, name in enumerate(batch.schema.names)}
    columns: dict[str, pa.Array] = {}
    unreadable: dict[str, pa.BooleanArray] = {}
    for column in spec.columns:
        array = _sent(spec, column, sent)
        if array is None:
            columns[column.name] = _default(column, constants, batch.num_rows)
            continue
        columns[column.name], lost = try_cast(array, column.type)
        if lost is not None:
            unreadable[column.title] = lost
    return Conformed(pa.RecordBatch.from_pydict(columns), unreadable)


def _default(column: SourceColumn, constants: Mapping[str, str], rows: int) -> pa.Array:
    if column.title in constants:
        return pa.array([constants[column.title]] * rows, pa.string())
    return nulls(rows, column.type)


def _sent(spec: SourceSpec, column: SourceColumn, sent: dict[str, pa.Array]) -> pa.Array | None:
    array = sent.get(column.title.lower())
    if array is not None and not _has_one_value(array.type):
        raise SchemaMismatch(
            f"column {column.title!r} of the source comes as {array.type}, which does not convert "
            f"to {column.type}; ask the vendor, or read a view that converts it"
        )
    if array is None or not spec.is_missing_when_blank(column):
        return array
    is_asin = column.title == CHILD_ASIN_TITLE
    instead = sent[PARENT_ASIN_TITLE.lower()] if is_asin else pa.scalar(None, array.type)
    trimmed = pc.call_function("ascii_trim", [array], pc.TrimOptions(BLANKS))
    is_blank = pc.call_function("equal", [trimmed, pa.scalar("", array.type)])
    # Of a null, it is not known whether it is blank.
    return pc.call_function("if_else", [is_blank.fill_null(True), instead, array])


def _has_one_value(type_: pa.DataType) -> bool:
    """Return whether a value is none of several, and no bytes, which Arrow would take for text."""
    is_bytes = pa.types.is_binary(type_) or pa.types.is_fixed_size_binary(type_)
    return not (pa.types.is_nested(type_) or is_bytes or pa.types.is_large_binary(type_))
