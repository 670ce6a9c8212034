"""Analyse and run queries by Google's own implementation of its SQL, as BigQuery would."""

import ctypes
import fcntl
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter
from google.protobuf.timestamp_pb2 import Timestamp
from wasmtime import Config, Engine, Linker, Module, Store, WasiConfig
from zetasql import types as zetasql
from zetasql.api import TypeFactory
from zetasql.core import ZetaSqlLocalService
from zetasql.core.wasm_client import WasmClient, get_tzinfo_dir
from zetasql.wasi import get_wasm_path

from sqp_refresh.extract.bigquery_table import BigQueryTable

Parameter = ArrayQueryParameter | ScalarQueryParameter
Row = Mapping[str, Any]

_KINDS = {
    "INTEGER": "INT64",
    "FLOAT": "DOUBLE",
    "NUMERIC": "NUMERIC",
    "BIGNUMERIC": "BIGNUMERIC",
    "STRING": "STRING",
    "BOOLEAN": "BOOL",
    "DATE": "DATE",
    "DATETIME": "DATETIME",
    "TIMESTAMP": "TIMESTAMP",
}
_EPOCH = date(1970, 1, 1)
_AS_OF = re.compile(r" FOR SYSTEM_TIME AS OF TIMESTAMP '[^']*'")


def without_instant(query: str) -> str:
    """Return a query of its source as that is now."""
    return _AS_OF.sub("", query)


class GoogleSql:
    """Google's implementation of its SQL, with the tables that queries are about.

    Args:
        sources: The tables; each has a name of its own.
        cache: Folder of the compiled program, which takes a minute to make.
    """

    def __init__(self, sources: Iterable[BigQueryTable], cache: Path) -> None:
        # Not its own client, which compiles the program each time; all that it answers is optional.
        self._service: Any = ZetaSqlLocalService.__new__(ZetaSqlLocalService)
        self._service.wasm_client = _Client(cache)
        self._language = self._service.get_language_options(maximum_features=True)
        self._language.product_mode = zetasql.ProductMode.PRODUCT_EXTERNAL
        # BigQuery has collations; here they are not yet among all features.
        self._language.enabled_language_features += [
            zetasql.LanguageFeature.FEATURE_ANNOTATION_FRAMEWORK,
            zetasql.LanguageFeature.FEATURE_COLLATION_SUPPORT,
        ]
        catalog = zetasql.SimpleCatalog(
            name="catalog",
            table=[_table(source) for source in sources],
            builtin_function_options=zetasql.ZetaSQLBuiltinFunctionOptions(
                language_options=self._language
            ),
        )
        # Registered once, because it takes seconds to make one of all functions.
        self._catalog = self._service.register_catalog(simple_catalog=catalog).registered_id

    def analyse(self, query: str, parameters: Sequence[Parameter]) -> None:
        """Check a query, its names and types too.

        Raises:
            ServerError: BigQuery would refuse the query.
        """
        request = zetasql.AnalyzeRequest(
            sql_statement=query,
            options=self._options([(str(p.name), _type(p)) for p in parameters], "UTC"),
            registered_catalog_id=self._catalog,
        )
        # Its answer is the whole query as a tree, which nobody reads here.
        self._service.wasm_client.call_grpc_func("ZetaSqlLocalService_Analyze", request.to_proto())

    def run(
        self,
        query: str,
        source: BigQueryTable,
        rows: Sequence[Row],
        parameters: Sequence[Parameter],
        zone: str = "UTC",
    ) -> list[dict[str, Any]]:
        """Run a query over these rows of its source.

        Args:
            query: The query.
            source: What it reads.
            rows: The rows of that, by title.
            parameters: The values that it takes.
            zone: The project's default time zone.
        """
        values = {str(parameter.name): _bound(parameter) for parameter in parameters}
        declared = [(str(parameter.name), _type(parameter)) for parameter in parameters]
        # It has no history of its tables, and rows of its own only as a parameter.
        text = without_instant(query).replace(f"`{source.name}`", "UNNEST(@rows)")
        values["rows"] = _rows(source, rows)
        declared.append(("rows", TypeFactory.create_array_type(_row_type(source))))
        prepared = self._service.prepare_query(
            sql=text,
            options=self._options(declared, zone),
            registered_catalog_id=self._catalog,
        ).prepared
        result = self._service.evaluate_query(
            prepared_query_id=prepared.prepared_query_id,
            params=[zetasql.Parameter(name=name, value=value) for name, value in values.items()],
        )
        names = [column.name for column in prepared.columns]
        return [
            dict(zip(names, map(_read, row.cell), strict=True))
            for row in result.content.table_data.row
        ]

    def _options(
        self, parameters: Iterable[tuple[str, zetasql.Type]], zone: str
    ) -> zetasql.AnalyzerOptions:
        return zetasql.AnalyzerOptions(
            language_options=self._language,
            default_timezone=zone,
            query_parameters=[
                zetasql.AnalyzerOptions.QueryParameter(name=name, type=type_)
                for name, type_ in parameters
            ],
        )


class _Client(WasmClient):
    """Runs the program, which is compiled once for all processes, and copies whole messages."""

    def __init__(self, cache: Path) -> None:
        config = Config()
        config.shared_memory = True
        engine = Engine(config)
        wasi = WasiConfig()
        wasi.preopen_dir(str(get_tzinfo_dir()), "/usr/share/zoneinfo")
        self.store = Store(engine)
        self.store.set_wasi(wasi)
        versions = f"{version('zetasql')}-{version('wasmtime')}"
        self.module = _compiled(engine, cache / f"zetasql-{versions}.compiled")
        linker = Linker(engine)
        linker.define_wasi()
        self.instance = linker.instantiate(self.store, self.module)
        # What a program exports has no types.
        self.exports: Any = self.instance.exports(self.store)
        self.exports["_initialize"](self.store)
        self.memory: Any = self.exports["memory"]

    def write_bytes(self, ptr: int, data: bytes) -> None:
        ctypes.memmove(self._address + ptr, data, len(data))

    def read_bytes(self, ptr: int, size: int) -> bytes:
        return ctypes.string_at(self._address + ptr, size)

    @property
    def _address(self) -> int:
        # It moves when the memory grows.
        return ctypes.addressof(self.memory.data_ptr().contents)


def _compiled(engine: Engine, file: Path) -> Module:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():
            return Module.deserialize_file(engine, str(file))
        module = Module.from_file(engine, str(get_wasm_path()))
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_bytes(module.serialize())
        unfinished.replace(file)
        return module


def _table(source: BigQueryTable) -> zetasql.SimpleTable:
    columns = [
        zetasql.SimpleColumn(name=title, type=_simple(type_))
        for title, type_ in source.types.items()
    ]
    return zetasql.SimpleTable(name=source.name, column=columns)


def _row_type(source: BigQueryTable) -> zetasql.Type:
    fields = [(title, _simple(type_)) for title, type_ in source.types.items()]
    return TypeFactory.create_struct_type(fields)


def _rows(source: BigQueryTable, rows: Sequence[Row]) -> zetasql.Value:
    structs = [
        [_value(row.get(title), type_) for title, type_ in source.types.items()] for row in rows
    ]
    elements = [
        zetasql.Value(struct_value=zetasql.Value.Struct(field=fields)) for fields in structs
    ]
    return zetasql.Value(array_value=zetasql.Value.Array(element=elements))


def _simple(type_: str) -> zetasql.Type:
    return TypeFactory.create_simple_type(zetasql.TypeKind[f"TYPE_{_KINDS[type_]}"])


def _type(parameter: Parameter) -> zetasql.Type:
    if isinstance(parameter, ArrayQueryParameter):
        return TypeFactory.create_array_type(_simple(str(parameter.array_type)))
    return _simple(str(parameter.type_))


def _bound(parameter: Parameter) -> zetasql.Value:
    if isinstance(parameter, ArrayQueryParameter):
        elements = [_value(value, str(parameter.array_type)) for value in parameter.values]
        return zetasql.Value(array_value=zetasql.Value.Array(element=elements))
    return _value(parameter.value, str(parameter.type_))


def _value(value: Any, type_: str) -> zetasql.Value:
    if value is None:
        return zetasql.Value()
    match type_:
        case "INTEGER":
            return zetasql.Value(int64_value=int(value))
        case "FLOAT":
            return zetasql.Value(double_value=float(value))
        case "NUMERIC":
            return zetasql.Value(numeric_value=_scaled(value, 9))
        case "BIGNUMERIC":
            return zetasql.Value(bignumeric_value=_scaled(value, 38))
        case "BOOLEAN":
            return zetasql.Value(bool_value=value)
        case "DATE":
            return zetasql.Value(date_value=(value - _EPOCH).days)
        case "TIMESTAMP":
            at = Timestamp()
            at.FromDatetime(_instant(value))
            return zetasql.Value(timestamp_value=at)  # type: ignore[arg-type]
        case "DATETIME":
            return zetasql.Value(datetime_value=_datetime(_instant(value)))
    return zetasql.Value(string_value=str(value))


def _scaled(value: Any, scale: int) -> bytes:
    """Encode a decimal number: a whole number of its smallest units, little end first."""
    whole = int(Decimal(str(value)).scaleb(scale))
    return whole.to_bytes((whole.bit_length() + 8) // 8, "little", signed=True)


def _instant(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time(), UTC)


def _datetime(at: datetime) -> zetasql.Value.Datetime:
    """Encode a date and time, each part of it in bits of its own."""
    seconds = (at.year << 26) | (at.month << 22) | (at.day << 17)
    seconds |= (at.hour << 12) | (at.minute << 6) | at.second
    return zetasql.Value.Datetime(bit_field_datetime_seconds=seconds, nanos=0)


def _read(cell: zetasql.Value) -> Any:
    values = {name: value for name, value in vars(cell).items() if value is not None}
    for name, value in values.items():
        if name == "date_value":
            return date.fromordinal(_EPOCH.toordinal() + value)
        if name in ("numeric_value", "bignumeric_value"):
            scale = 9 if name == "numeric_value" else 38
            return Decimal(int.from_bytes(value, "little", signed=True)).scaleb(-scale)
        if name.endswith("_value"):
            return value
    return None
