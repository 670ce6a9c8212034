"""See to the indexes of the tables: those that a first load left out, and those that are broken.

A first load drops plain indexes of its empty table, and notes them in `sqp.refresh_indexes` until
they are built again; see `load/indexes`. Where it was killed, the next refresh by an owner of the
table builds them, and so do `sqp-refresh migrate` and `maintain`. Until then they are named
wherever an operator looks.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from psycopg import sql
from psycopg.rows import class_row

from sqp_refresh.control.table_lock import try_lock
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.model.text import listing
from sqp_refresh.postgres.schema_catalog import (
    Index,
    Relation,
    read_indexes,
    read_schema,
    release_schema,
)
from sqp_refresh.postgres.schema_differences import key_differences
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

logger = logging.getLogger(__name__)

MAY_BUILD = sql.SQL(
    "pg_has_role(target.relowner, 'USAGE') AND has_schema_privilege(target.relnamespace, 'CREATE')"
)
# The definition is compared with those of the catalog, and never run: more users may write to the
# note than own the table.
_MISSING = sql.SQL(
    in_schema("""
SELECT table_name AS table, index_name AS name, column_names AS columns,
    pg_get_userbyid(relowner)::text AS owner, {may_build} AS may_build,
    format('CREATE INDEX ON %%I.%%I USING btree (%%s)', table_schema, table_name, (
        SELECT string_agg(quote_ident(name), ', ' ORDER BY place)
        FROM unnest(column_names) WITH ORDINALITY AS of_index (name, place)
    )) AS definition,
    to_regclass(format('%%I.%%I', table_schema, index_name)) IS NOT NULL AS is_name_taken
FROM sqp.refresh_indexes
JOIN pg_class AS target ON target.oid = to_regclass(format('%%I.%%I', table_schema, table_name))
WHERE table_schema = %(schema)s AND (%(table)s::text IS NULL OR table_name = %(table)s)
ORDER BY table_name, index_name
""")
).format(may_build=MAY_BUILD)
# By names and flags alone, which takes a tenth of the time that to compare what they are would.
_SEEMS_COMPLETE = in_schema("""
SELECT NOT EXISTS (
        SELECT FROM sqp.refresh_indexes WHERE table_schema = %(schema)s AND table_name = %(table)s
    ) AND coalesce(bool_and(indisvalid), true)
    AND (NOT %(has_key)s OR coalesce(bool_or(indisprimary), false))
    AND coalesce(array_agg(relname::text), '{}') @> %(names)s::text[]
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))
""")
_BUILD = sql.SQL("CREATE INDEX {name} ON {table} ({columns})")
_FINISH = sql.SQL("REINDEX INDEX {name}")
_FORGET = in_schema("""
DELETE FROM sqp.refresh_indexes WHERE table_schema = %(schema)s AND index_name = %(index)s
""")


@dataclass(frozen=True, slots=True)
class MissingIndex:
    """An index that was dropped for a first load, and was not built yet.

    Attributes:
        table: Its table.
        name: Its name.
        columns: The columns that it is of, in order.
        owner: The owner of the table.
        may_build: Whether the session's user may build it.
        definition: The statement that creates it, without its name.
        is_name_taken: Whether something in the schema has its name.
    """

    table: str
    name: str
    columns: Sequence[str]
    owner: str
    may_build: bool
    definition: str
    is_name_taken: bool


def seems_complete(session: Session, table: str) -> bool:
    """Return whether a table has its primary key, and an index of each name that it needs."""
    needed = release_schema().get(table, Relation(is_view=False))
    params = {
        "schema": SCHEMA,
        "table": table,
        "has_key": any(each.startswith("PRIMARY KEY") for each in needed.constraints),
        "names": [index.name for index in needed.indexes],
    }
    (is_complete,) = session.fetch_one(_SEEMS_COMPLETE, params)
    return is_complete


def list_missing(session: Session, table: str | None = None) -> list[MissingIndex]:
    """List the indexes that were dropped for a first load, of one table or of all."""
    params = {"schema": SCHEMA, "table": table}
    return session.fetch_all(_MISSING, params, row_factory=class_row(MissingIndex))


def build(session: Session, index: MissingIndex) -> None:
    """Build an index that was left out, unless its table has one meanwhile that does the same.

    Where something else has its name by now, Postgres finds another one for it.

    Args:
        session: A session with the target, in a transaction.
        index: The index.
    """
    indexes = [each for _, each in read_indexes(session, index.table)]
    unfinished = [
        each for each in indexes if not each.is_valid and each.definition == index.definition
    ]
    if not any(each.serves(index.definition) for each in indexes):
        if unfinished:
            name = sql.Identifier(SCHEMA, unfinished[0].name)
            session.execute(_FINISH.format(name=name))
        else:
            _create(session, index)
    session.execute(_FORGET, {"schema": SCHEMA, "index": index.name})


def build_missing(session: Session) -> int:
    """Build what first loads left out of every table that nobody fills; return how many indexes.

    Those of tables that the session's user does not own are left to their owner.

    Args:
        session: A session with the target, in a transaction.
    """
    built = 0
    for table, indexes in groupby(list_missing(session), key=lambda index: index.table):
        own = [index for index in indexes if index.may_build]
        if own and try_lock(session, table):
            for index in own:
                build(session, index)
            built += len(own)
    return built


def table_warnings(session: Session, table: str, missing: Sequence[MissingIndex]) -> list[str]:
    """Say what is wrong with the indexes and constraints of a table that nobody else fills.

    Args:
        session: A session with the target.
        table: Name of the table.
        missing: Those of its indexes that were dropped for its first load.
    """
    return [*_named(missing), *_others(session, table, missing)]


def warnings(session: Session) -> list[str]:
    """Say what is wrong with the indexes and constraints of all tables that nobody fills now.

    Args:
        session: A session with the target, in a transaction that takes locks of tables.
    """
    missing, filled = list_missing(session), tables_being_filled(session)
    abandoned = [index for index in missing if index.table not in filled]
    return [*_named(abandoned), *_others(session, None, missing)]


def tables_being_filled(session: Session) -> list[str]:
    """List the tables whose indexes are dropped while their first load fills them.

    A table that nobody has locked is not being filled: its first load was interrupted.
    """
    tables = dict.fromkeys(index.table for index in list_missing(session))
    return [table for table in tables if not try_lock(session, table)]


def _create(session: Session, index: MissingIndex) -> None:
    if index.is_name_taken:
        logger.warning(
            "something else has the name %s.%s, so that the index of %s gets another one",
            *(SCHEMA, index.name, index.table),
        )
    statement = _BUILD.format(
        name=sql.SQL("") if index.is_name_taken else sql.Identifier(index.name),
        table=sql.Identifier(SCHEMA, index.table),
        columns=sql.SQL(", ").join(map(sql.Identifier, index.columns)),
    )
    session.execute(statement)


def _named(missing: Iterable[MissingIndex]) -> Iterator[str]:
    for (table, owner), indexes in groupby(missing, key=lambda each: (each.table, each.owner)):
        yield (
            f"{SCHEMA}.{table} is without {listing(index.name for index in indexes)}, which an "
            f"interrupted first load left out; `sqp-refresh migrate`, as {owner}, who owns the "
            "table, builds them"
        )


def _others(session: Session, table: str | None, missing: Sequence[MissingIndex]) -> Iterator[str]:
    """Yield what else is otherwise than this release needs it, of one table or of all."""
    relations = read_schema(session, table)
    for index in missing:
        # Named already.
        relations[index.table].indexes.append(Index(index.name, index.definition))
    yield from map(str, key_differences(relations))
