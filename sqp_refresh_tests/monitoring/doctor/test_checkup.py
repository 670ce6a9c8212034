"""The doctor looks at Postgres through any pool, and keeps none of its connections."""

import pytest

from sqp_refresh.monitoring.doctor.checkup import check_postgres
from sqp_refresh.monitoring.doctor.postgres_checks import check_pooler
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.monitoring.doctor.small_pool import PGBOUNCER, small_pool

OPEN = (
    "SELECT query FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'sqp_refresh' AND state ~ 'in transaction'"
)
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="there is no pgbouncer")


def test_no_check_leaves_a_transaction_open_for_the_next(environment):
    subjects = []
    for diagnosis in check_postgres(environment):
        assert diagnosis.is_ok, diagnosis
        assert rows(environment.database_url, OPEN) == [], diagnosis.subject
        subjects.append(diagnosis.subject)

    assert {"pooler", "indexes", "tables"} <= set(subjects)


@needs_pgbouncer
def test_behind_a_pool_of_two_connections_nobody_waits(environment, monkeypatch):
    with small_pool(environment.database_url, 2) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        diagnoses = list(check_postgres(Settings.read()))

    assert [diagnosis for diagnosis in diagnoses if not diagnosis.is_ok] == []
    (pooler,) = [diagnosis for diagnosis in diagnoses if diagnosis.subject == "pooler"]
    assert "transactions are pooled" in pooler.message


@needs_pgbouncer
def test_a_pool_of_one_connection_is_told_without_waiting(migrated_database):
    with small_pool(migrated_database, 1) as url:
        assert "transactions are pooled" in check_pooler(url)


def test_where_the_registry_cannot_be_read_the_column_that_it_lacks_is_named(environment):
    execute(environment.database_url, "ALTER TABLE sqp.refresh_config DROP COLUMN priority CASCADE")

    wrong = {each.subject: each.message for each in check_postgres(environment) if not each.is_ok}

    assert "sqp.refresh_config lacks column priority; ALTER TABLE " in wrong["postgres"]
    assert 'column "priority" does not exist' in wrong["registry"]
