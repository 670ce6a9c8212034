"""Load a part of the year into one database, for all tests of views."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from sqp_refresh_tests.data_views.loaded import NEWEST, Loaded, load, source_rows
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.database import database_like, execute
from sqp_refresh_tests.helpers.view_oracle import weeks_of
from sqp_refresh_tests.servers.running import NEWEST as NEWEST_SERVER
from sqp_refresh_tests.servers.running import Servers

# In US the newest week is not final yet.
FINAL = {"US": NEWEST - timedelta(7), "DE": NEWEST, "CA": NEWEST}
STATED = """
CREATE OR REPLACE FUNCTION sqp.final_weeks() RETURNS TABLE (marketplace text, week date)
LANGUAGE sql STABLE ROWS 5 AS $$ VALUES {weeks} $$
"""


@pytest.fixture(scope="package")
def loaded(servers: Servers) -> Iterator[Loaded]:
    """Return a database that holds a part of the year; nothing is to be changed in it."""
    server = servers[NEWEST_SERVER]
    tables = oracle.expected_tables(source_rows())
    with database_like(server.url, servers.migrated(server)) as url:
        load(url, tables)
        stated = ", ".join(f"('{place}', date '{week}')" for place, week in FINAL.items())
        execute(url, STATED.replace("{weeks}", stated))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ANALYZE")
        yield Loaded(url, weeks_of(tables), FINAL)
