"""Run every statement of the runbook, and roll it back."""

import re
from pathlib import Path

import psycopg
import pytest

from sqp_refresh.registry.sync_params import SyncParams

RUNBOOK = Path(__file__).parents[1] / "docs" / "runbook.md"
STATEMENTS = [
    statement.strip()
    for block in re.findall(r"^```sql\n(.*?)^```", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)
    for statement in re.split(r";$", block, flags=re.MULTILINE)
    if statement.strip()
]


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.split("\n")[0])
def test_a_statement_of_the_runbook_runs(migrated_database, statement):
    with psycopg.connect(migrated_database) as connection:
        done = connection.execute(statement.encode())
        if statement.startswith("UPDATE sqp.refresh_config"):
            assert done.rowcount > 0, "it names a table that there is"
        params = connection.execute("SELECT table_name, custom_sync_params FROM sqp.refresh_config")
        for table, sync_params in params:
            SyncParams.read(table, sync_params)
        connection.rollback()


def test_the_runbook_has_statements():
    assert len(STATEMENTS) > 20
