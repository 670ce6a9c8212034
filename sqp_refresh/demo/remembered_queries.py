"""Have the emulator translate a query once, whatever dataset and instant it names.

The emulator translates BigQuery's SQL into DuckDB's by dozens of passes over the statement, which
takes seconds for the longest queries of a refresh. Those of the next refresh are the same text, but
for the names of tables and the instant as of which they are read.
"""

import re
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from bqemulator.api.dependencies import AppContext
    from bqemulator.row_access.identity import CallerIdentity
    from bqemulator.sql.translator import SQLTranslator

_Result = TypeVar("_Result")

REMEMBERED = 512
"""How many texts; each has as many translations as there were types of the columns it reads."""

A_QUERY = "SELECT 1"
ASKING_FOR_THE_KIND = {
    "jobs.executor": (
        "_parse_script_or_raise",
        "classify_statement_type",
        "detect_drop_routine",
        "is_versioning_ddl",
        "_reject_dml_on_immutable",
        "assert_drop_schema_allowed",
        "_capture_dml_snapshots",
        "sync_created_schema",
        "sync_created_table",
        "sync_created_view",
        "sync_dropped_object",
    ),
    "catalog.ddl_sync": ("_detect_plain_create_table",),
}
"""The functions that parse a statement to see whether it changes anything, by their module."""

_QUERY = re.compile(r"\s*(?:SELECT|WITH)\b")
_TABLE = re.compile(
    r"`([\w-]+)\.(\w+)\.([^`.*\n]+)`((?: AS `?\w+`?)?)"
    r"(?: FOR SYSTEM_TIME AS OF TIMESTAMP '(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?\+00:00)')?"
)
_NAME_IN_DUCKDB = re.compile(r'"[^"_ ][^" ]*__\w+"\."|_bqemulator_\w+"\."\w')


@dataclass(frozen=True, slots=True)
class _NamedTable:
    """A table as a query names it."""

    project: str
    dataset: str
    table: str
    instant: str

    def translated(self, ctx: "AppContext") -> tuple[str, Hashable] | None:
        """Return its name in DuckDB, and what the translation of a query of it depends on.

        None stands for what is no table: a view is replaced by its own query.
        """
        meta = ctx.catalog.get_table(self.project, self.dataset, self.table)
        if meta is None or meta.table_type != "TABLE":
            return None
        types = tuple((column.name, column.type) for column in meta.schema_.fields)
        if self.instant:
            instant = datetime.fromisoformat(self.instant)
            snapshot = ctx.snapshots.resolve_time_travel(
                self.project, self.dataset, self.table, instant
            )
            if snapshot:
                return snapshot.duckdb_table, "a snapshot"
        return f'"{self.project}__{self.dataset}"."{self.table}"', types


@dataclass(frozen=True, slots=True)
class _Query:
    """A query without the names of its tables.

    Attributes:
        text: The query, with a number in place of each table.
        tables: The tables, by that number.
    """

    text: str
    tables: tuple[_NamedTable, ...]


class _Finished(str):
    """A statement in DuckDB's SQL in which every table has its name in DuckDB."""

    __slots__ = ()


@dataclass(slots=True)
class RememberedQueries:
    """Translates queries, and remembers each translation without the names of its tables.

    Attributes:
        translate: The emulator's function, which leaves BigQuery's names of tables.
        with_names: The emulator's function that replaces these names.
    """

    translate: Callable[..., Awaitable[str]]
    with_names: Callable[[str, str], str]
    _by_text: dict[str, dict[Hashable, str]] = field(default_factory=dict)

    def knows(self, statement: str) -> bool:
        """Return whether the statement is a query that was translated before."""
        query = without_names(statement)
        return query is not None and query.text in self._by_text

    def asked_of_a_short_one(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Call a function with a short query in place of a query that was translated before."""
        return function(
            *(
                A_QUERY if isinstance(argument, str) and self.knows(argument) else argument
                for argument in arguments
            )
        )

    async def finished(
        self,
        statement: str,
        *,
        project_id: str,
        ctx: "AppContext",
        caller: "CallerIdentity",
        translator: "SQLTranslator",
    ) -> str:
        """Return a statement in DuckDB's SQL; that of a query has DuckDB's names of tables."""
        translated = partial(
            self.translate,
            statement,
            project_id=project_id,
            ctx=ctx,
            caller=caller,
            translator=translator,
        )
        query = without_names(statement)
        tables = [table.translated(ctx) for table in query.tables] if query else []
        if query is None or None in tables:
            return await translated()
        names, differences = zip(*filter(None, tables), strict=True)
        key = (differences, project_id, caller)
        remembered = self._by_text.get(query.text, {}).get(key)
        if remembered is None:
            finished = self.with_names(await translated(), project_id)
            remembered = _replaced(finished, {name: _mark(n) for n, name in enumerate(names)})
            if _is_about_others(remembered, len(names)):
                return _Finished(finished)
            self._remember(query.text, key, remembered)
        return _Finished(_replaced(remembered, {_mark(n): name for n, name in enumerate(names)}))

    def named(self, statement: str, project: str) -> str:
        """Return a statement with DuckDB's names of tables, which it may have already."""
        return (
            statement if isinstance(statement, _Finished) else self.with_names(statement, project)
        )

    def _remember(self, text: str, key: Hashable, translation: str) -> None:
        if len(self._by_text) >= REMEMBERED:
            self._by_text.clear()
        self._by_text.setdefault(text, {})[key] = translation


def translate_each_query_once() -> None:
    """Have the emulator of this process remember its translations."""
    # Imported by name: it exports none of what is replaced here.
    executor: Any = import_module("bqemulator.jobs.executor")
    queries = RememberedQueries(
        executor.rewrite_and_translate_statement, executor.rewrite_table_refs
    )
    executor.rewrite_and_translate_statement = queries.finished
    executor.rewrite_table_refs = queries.named
    for module, names in ASKING_FOR_THE_KIND.items():
        of_emulator = import_module(f"bqemulator.{module}")
        for name in names:
            function = getattr(of_emulator, name)
            setattr(of_emulator, name, partial(queries.asked_of_a_short_one, function))


@lru_cache(8)
def without_names(statement: str) -> _Query | None:
    """Return a query without the names of its tables; None for any other statement."""
    if not _QUERY.match(statement) or ";" in statement:
        return None
    tables: list[_NamedTable] = []

    def numbered(match: re.Match[str]) -> str:
        project, dataset, name, alias, instant = match.groups("")
        table = _NamedTable(project, dataset, name, instant)
        if table not in tables:
            tables.append(table)
        return f"`{name}`{_mark(tables.index(table))}{alias}"

    text = _TABLE.sub(numbered, statement)
    datasets = "|".join(re.escape(table.dataset) for table in tables)
    if not tables or re.search(rf"\b(?:{datasets}|SYSTEM_TIME)\b", text):
        return None
    return _Query(text, tuple(tables))


def _is_about_others(translation: str, tables: int) -> bool:
    """Return whether a translation names a table that its query does not name as a whole."""
    if not all(_mark(number) in translation for number in range(tables)):
        return True
    return bool(_NAME_IN_DUCKDB.search(translation))


def _mark(number: int) -> str:
    """Return what stands in place of a table; it is in no statement."""
    return f"\0{number}\0"


def _replaced(text: str, names: dict[str, str]) -> str:
    for name, other in names.items():
        text = text.replace(name, other)
    return text
