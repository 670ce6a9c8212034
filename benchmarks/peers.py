"""Load the same rows by other tools, each with its best documented settings, and by COPY alone.

Everybody gets rows that need no validation, in the target's own names and types, and in the form
that suits it; making that form is not measured.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
from psycopg import sql

from benchmarks.command import Command, Load
from benchmarks.rows import Rows
from sqp_refresh.model.tables import SCHEMA, SEARCH_QUERY_PERFORMANCE

TABLE = SEARCH_QUERY_PERFORMANCE.name
KEY = [column.name for column in SEARCH_QUERY_PERFORMANCE.key]
VALUES = [column.name for column in SEARCH_QUERY_PERFORMANCE.values]

_TARGET = sql.Identifier(SCHEMA, TABLE)


def _listed(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


_COPY_FILE = sql.SQL("COPY {} ({}) FROM {} (FORMAT binary)")
_UPSERT = sql.SQL("INSERT INTO {} ({}) {} ON CONFLICT ({}) DO UPDATE SET {}")
_EXCLUDED = sql.SQL(", ").join(
    sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in VALUES
)


def limit(url: str, rows: Rows) -> Load:
    """The server's own COPY BINARY from a file into an empty table, then its key and indexes."""
    with psycopg.connect(url) as connection:
        indexes = _without_indexes(connection)

    def load() -> None:
        with psycopg.connect(url) as connection:
            connection.execute(_copied(_TARGET, rows))
            for index in indexes:
                connection.execute(index)

    return load


def copy_and_upsert(url: str, rows: Rows) -> Load:
    """The same COPY into an unlogged staging table, then INSERT … ON CONFLICT of all of it."""
    staging = sql.Identifier("staging")
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(staging))
        unlogged = sql.SQL("CREATE UNLOGGED TABLE {} AS SELECT {} FROM {} WITH NO DATA")
        connection.execute(unlogged.format(staging, _listed(KEY + VALUES), _TARGET))

    def load() -> None:
        with psycopg.connect(url) as connection:
            connection.execute(_copied(staging, rows))
            connection.execute(_upsert(sql.SQL("SELECT * FROM {}").format(staging)))

    return load


def dlt(url: str, rows: Rows) -> Load:
    """dlt: an Arrow table as Parquet over ADBC, write disposition merge, strategy upsert."""
    import dlt as library

    home = tempfile.mkdtemp(prefix="sqp_refresh_dlt_")
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    pipeline = library.pipeline(
        "benchmark",
        pipelines_dir=home,
        destination=library.destinations.postgres(url),
        dataset_name=SCHEMA,
    )
    table = _with_floats(rows.of_target())

    def load() -> None:
        pipeline.run(
            table,
            table_name=TABLE,
            write_disposition={"disposition": "merge", "strategy": "upsert"},
            primary_key=KEY,
            loader_file_format="parquet",
        )

    return load


def sling(url: str, rows: Rows) -> Command:
    """Sling: a CSV file, mode incremental with the primary key, which upserts."""
    from pyarrow.csv import write_csv
    from sling_linux_amd64 import SLING_BIN

    file = Path(tempfile.mkdtemp(prefix="sqp_refresh_sling_"), "rows.csv")
    write_csv(_with_floats(rows.of_target()), file)
    where = ("--src-stream", f"file://{file}", "--tgt-conn", f"{url}?sslmode=disable")
    how = ("--tgt-object", f"{SCHEMA}.{TABLE}", "--mode", "incremental")
    return Command(
        (SLING_BIN, "run", *where, *how, "--primary-key", ",".join(KEY)),
        {"SLING_DISABLE_TELEMETRY": "TRUE", "HOME": str(file.parent)},
    )


def pandas(url: str, rows: Rows) -> Load:
    """pandas: to_sql in chunks of 10,000 rows by psycopg, its method an INSERT … ON CONFLICT."""
    import sqlalchemy
    from sqlalchemy.dialects.postgresql import insert

    engine = sqlalchemy.create_engine(urlsplit(url)._replace(scheme="postgresql+psycopg").geturl())
    frame = _with_floats(rows.of_target()).to_pandas()

    def upsert(
        table: Any,  # noqa: ANN401, pandas gives no type for it
        connection: sqlalchemy.Connection,
        keys: list[str],
        values: Iterator[tuple[Any, ...]],
    ) -> None:
        inserted = insert(table.table)
        excluded = {name: inserted.excluded[name] for name in VALUES}
        statement = inserted.on_conflict_do_update(index_elements=KEY, set_=excluded)
        connection.execute(statement, [dict(zip(keys, row, strict=True)) for row in values])

    def load() -> None:
        with engine.begin() as connection:
            how = {"if_exists": "append", "index": False, "chunksize": 10_000, "method": upsert}
            frame.to_sql(TABLE, connection, schema=SCHEMA, **how)

    return load


def executemany(url: str, rows: Rows) -> Load:
    """psycopg: executemany of an INSERT … ON CONFLICT, 500 rows a commit, as what this replaced."""
    values = list(zip(*(column.to_pylist() for column in rows.of_target().columns), strict=True))
    marks = sql.SQL(", ").join([sql.Placeholder()] * len(KEY + VALUES))
    statement = _upsert(sql.SQL("VALUES ({})").format(marks))

    def load() -> None:
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            for start in range(0, len(values), 500):
                cursor.executemany(statement, values[start : start + 500])
                connection.commit()

    return load


def export(url: str, rows: Rows) -> None:
    """Let the server write the rows of the target's weeks into the file that it copies from."""
    weeks = rows.weeks()
    query = sql.SQL("SELECT {} FROM {} WHERE start_date BETWEEN {} AND {} ORDER BY start_date")
    select = query.format(_listed(KEY + VALUES), _TARGET, weeks[0].start, weeks[-1].start)
    with psycopg.connect(url) as connection:
        copy = sql.SQL("COPY ({}) TO {} (FORMAT binary)")
        connection.execute(copy.format(select, _server_file(rows)))


def _copied(into: sql.Identifier, rows: Rows) -> sql.Composed:
    return _COPY_FILE.format(into, _listed(KEY + VALUES), _server_file(rows))


def _server_file(rows: Rows) -> sql.Literal:
    # In a directory that the server's user may write.
    return sql.Literal(str(rows.path.parent / "server" / rows.path.with_suffix(".copy").name))


def _upsert(source: sql.Composable) -> sql.Composed:
    columns = _listed(KEY + VALUES)
    return _UPSERT.format(_TARGET, columns, source, _listed(KEY), _EXCLUDED)


def _without_indexes(connection: psycopg.Connection) -> list[sql.SQL | sql.Composed]:
    """Drop the target's key and indexes; return the statements that create them again."""
    query = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s AND tablename = %s"
    indexes = connection.execute(query, (SCHEMA, TABLE)).fetchall()
    drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
    connection.execute(drop.format(_TARGET, sql.Identifier(f"{TABLE}_pkey")))
    statements: list[sql.SQL | sql.Composed] = []
    statements.append(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(_TARGET, _listed(KEY)))
    for name, definition in indexes:
        if not name.endswith("_pkey"):
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(SCHEMA, name)))
            statements.append(sql.SQL(definition))
    return statements


def _with_floats(table: pa.Table) -> pa.Table:
    """Convert prices to floating point, which most libraries handle faster than decimals."""
    fields = [
        pa.field(field.name, pa.float64() if pa.types.is_decimal(field.type) else field.type)
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))
