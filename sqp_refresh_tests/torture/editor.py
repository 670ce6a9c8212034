"""Write to the tables as somebody else does: one row at a time, at random, and sometimes undone."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from sqp_refresh.model.tables import (
    COUNT,
    DATE,
    SCHEMA,
    SEARCH_QUERY_PERFORMANCE,
    TABLES,
    TEXT,
    Column,
    Table,
)
from sqp_refresh.postgres.session import Session

LONGEST_DELAY_S = 0.01
# Of a lock that the refresh itself holds: it cannot go on before the edit is given up.
PATIENCE = "SET lock_timeout = '50ms'"
STATEMENTS = ("execute", "fetch_all", "copy", "commit")
PHASES = ("before", "during", "after")

Written = Mapping[str, Sequence[tuple[Any, ...]]]
"""The rows that a refresh leaves in each table, in the order of the table's columns."""

_CHANGED = {COUNT: "coalesce({0}, 0) + 1", TEXT: "{0} || 'x'", DATE: "{0} + 7"}
_ANY_ROW = sql.SQL("SELECT ctid, {columns} FROM {table} ORDER BY random() LIMIT 1")


@dataclass(slots=True)
class Editor:
    """Somebody else, with a connection of his own for the moments of one refresh.

    Attributes:
        url: The database.
        chance: Chooses what is edited.
        written: What a refresh writes, so that he may enter the same keys before it does.
        done: How often he did what, by kind and by table.
        undo: What takes some of it back.
    """

    url: str
    chance: random.Random
    written: Written
    done: Counter[str] = field(default_factory=Counter)
    undo: list[Callable[[psycopg.Connection], None]] = field(default_factory=list)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def edit(self, current: Table, longest_s: float = 0) -> bool:
        """Edit one row and commit; returns whether there was one, and it could be edited in time.

        Args:
            current: The table that is being refreshed.
            longest_s: How long the transaction stays open at the most after the edit (s).
        """
        with self._one_at_a_time, psycopg.connect(self.url) as connection:
            connection.execute(PATIENCE)
            connection.commit()
            table = self._table(current)
            kind, act = self.chance.choice(
                [
                    ("UPDATE", self._update),
                    ("UPDATE", self._update),
                    ("DELETE", self._delete),
                    ("INSERT", self._insert),
                    ("undone", self._take_back),
                ]
            )
            try:
                if not act(connection, table):
                    return False
                if longest_s:
                    threading.Event().wait(self.chance.uniform(0, longest_s))
                connection.commit()
            except (psycopg.errors.LockNotAvailable, psycopg.errors.IntegrityError):
                return False
            except psycopg.errors.DeadlockDetected:
                return False
        self.done[kind] += 1
        self.done[f"{'derived' if table.source is None else 'filled'} tables"] += 1
        return True

    def _table(self, current: Table) -> Table:
        near = [current, current, *(TABLES[name] for name in current.parents)]
        return self.chance.choice([*near, self.chance.choice(list(TABLES.values()))])

    def _any_row(self, connection: psycopg.Connection, table: Table) -> tuple[Any, ...] | None:
        query = _ANY_ROW.format(columns=_names(table.columns), table=_name(table))
        return connection.execute(query).fetchone()

    def _update(self, connection: psycopg.Connection, table: Table) -> bool:
        row = self._any_row(connection, table)
        if row is None:
            return False
        ctid, *before = row
        # A title that the source does not have stays, whoever wrote it.
        known = [
            column
            for column, value in zip(table.columns, before, strict=True)
            if value is not None or column.type != TEXT
        ]
        column = self.chance.choice([c for c in known if c in table.values or c.type == TEXT])
        if not self._set(connection, table, column, ctid):
            return False
        if column in table.values:
            old = before[table.columns.index(column)]
            key = before[: len(table.key)]
            self.undo.append(lambda again: _set_back(again, table, column, old, key))
        return True

    def _set(self, connection: psycopg.Connection, table: Table, column: Column, ctid: str) -> bool:
        changed = _CHANGED.get(column.type, "coalesce({0}, 0) + 1").format(f'"{column.name}"')
        statement = sql.SQL("UPDATE {} SET {} = {} WHERE ctid = %s").format(
            _name(table),
            sql.Identifier(column.name),
            sql.SQL(changed),  # type: ignore[arg-type]
        )
        return connection.execute(statement, [ctid]).rowcount == 1

    def _delete(self, connection: psycopg.Connection, table: Table) -> bool:
        row = self._any_row(connection, table)
        if row is None:
            return False
        statement = sql.SQL("DELETE FROM {} WHERE ctid = %s").format(_name(table))
        deleted = connection.execute(statement, [row[0]]).rowcount == 1
        if deleted and self.chance.random() < 0.5:
            self.undo.append(lambda again: _enter(again, table, row[1:]))
        return deleted

    def _insert(self, connection: psycopg.Connection, table: Table) -> bool:
        """Enter a row that the refresh writes too, one of the same key, or one that is not due."""
        row = list(self.chance.choice(self.written[table.name]))
        column = self.chance.choice([None, "asin", *(c.name for c in table.values)])
        for place, of_table in enumerate(table.columns):
            if (
                of_table.name == column
                and of_table.type in (TEXT, COUNT)
                and row[place] is not None
            ):
                row[place] = row[place] + ("x" if of_table.type == TEXT else 1)
        _enter(connection, table, row)
        self.undo.append(lambda again: _remove(again, table, row[: len(table.key)]))
        return True

    def _take_back(self, connection: psycopg.Connection, table: Table) -> bool:
        if not self.undo:
            return self._update(connection, table)
        self.undo.pop(self.chance.randrange(len(self.undo)))(connection)
        return True


@dataclass(slots=True)
class Moments:
    """The statements of a refresh, in all of its tables, and what happens at some of them.

    Attributes:
        table: The table that is being refreshed.
        passed: Statements so far (count).
        at: What to do by number of the statement and phase; called in the phase "during" while the
            statement is at work.
    """

    at: Mapping[tuple[int, str], Callable[[Table, float], bool]] = field(default_factory=dict)
    passed: int = 0
    table: Table = SEARCH_QUERY_PERFORMANCE

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Have every statement of every session pass by here."""
        original = {name: getattr(Session, name) for name in STATEMENTS}
        try:
            for name, function in original.items():
                setattr(Session, name, self._passing_by(function))
            yield
        finally:
            for name, function in original.items():
                setattr(Session, name, function)

    def _passing_by(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def observed(*args: Any, **named: Any) -> Any:
            number = self.passed
            self.passed += 1
            self._act(number, "before")
            beside = threading.Thread(target=self._act, args=(number, "during", LONGEST_DELAY_S))
            if (number, "during") in self.at:
                beside.start()
            try:
                return function(*args, **named)
            finally:
                if beside.ident is not None:
                    beside.join()
                self._act(number, "after")

        return observed

    def _act(self, number: int, phase: str, longest_s: float = 0) -> None:
        if act := self.at.get((number, phase)):
            act(self.table, longest_s)


def _name(table: Table) -> sql.Identifier:
    return sql.Identifier(SCHEMA, table.name)


def _names(columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)


def _is_key(table: Table) -> sql.Composed:
    return sql.SQL("({}) = ({})").format(
        _names(table.key), sql.SQL(", ").join([sql.Placeholder()] * len(table.key))
    )


def _enter(connection: psycopg.Connection, table: Table, row: Sequence[Any]) -> None:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        _name(table),
        _names(table.columns),
        sql.SQL(", ").join([sql.Placeholder()] * len(table.columns)),
    )
    connection.execute(statement, list(row))


def _remove(connection: psycopg.Connection, table: Table, key: Sequence[Any]) -> None:
    statement = sql.SQL("DELETE FROM {} WHERE {}").format(_name(table), _is_key(table))
    connection.execute(statement, list(key))


def _set_back(
    connection: psycopg.Connection, table: Table, column: Column, old: object, key: Sequence[Any]
) -> None:
    statement = sql.SQL("UPDATE {} SET {} = %s WHERE {}").format(
        _name(table), sql.Identifier(column.name), _is_key(table)
    )
    connection.execute(statement, [old, *key])
