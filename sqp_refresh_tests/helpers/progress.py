"""Wait until a refresh has published a week: its source is read ahead of that."""

import time

import psycopg

PATIENCE_S = 30


def wait_until_published(url: str, table: str, weeks: int) -> None:
    """Wait until a table's refresh has published so many weeks, or has ended."""
    deadline = time.monotonic() + PATIENCE_S
    with psycopg.connect(url, autocommit=True) as connection:
        while (published := _published(connection, table)) is not None and published < weeks:
            assert time.monotonic() < deadline, f"{table}: {weeks} weeks are not published"
            time.sleep(0.01)


def _published(connection: psycopg.Connection, table: str) -> int | None:
    row = connection.execute(
        "SELECT sum(jsonb_array_length(checkpoint_data->'published'))"
        " FROM sqp.refresh_checkpoints WHERE table_name = %s AND status = 'active'",
        [table],
    ).fetchone()
    return row[0] if row else None
