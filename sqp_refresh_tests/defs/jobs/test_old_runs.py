"""Old runs are deleted from Dagster's storage, and it still knows which weeks are filled."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from sqp_refresh.defs.jobs.maintenance_job import DAGSTER_RUNS, Duties, maintenance
from sqp_refresh.defs.jobs.old_runs import delete_old_runs
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.commands import output

WEEKS = ("2026-01-04", "2026-01-11")


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(WEEKS))
def weekly() -> None:
    """A table of weeks."""


@dg.asset
def whole() -> None:
    """A table without weeks."""


def materialize(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, week: str | None) -> str:
    return dg.materialize([asset], instance=instance, partition_key=week).run_id


def filled(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_materialized_partitions(weekly.key))


def test_a_run_stays_while_it_is_the_last_that_filled_a_week(
    instance_on_disk, migrated_database, monkeypatch
):
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    instance, settings = instance_on_disk, Settings.read()
    first, second, again = (materialize(instance, weekly, week) for week in (*WEEKS, WEEKS[0]))
    outdated, last = (materialize(instance, whole, None) for _ in range(2))
    assert delete_old_runs(instance, settings) == 0

    # What has ended by now is old in a while.
    later = datetime.now(UTC) + timedelta(days=settings.REFRESH_KEEP_DAGSTER_RUNS_DAYS, hours=1)
    assert delete_old_runs(instance, settings, now=later) == 2
    assert {*instance.get_run_ids()} == {second, again, last}
    assert filled(instance) == {*WEEKS}
    assert instance.get_latest_materialization_event(whole.key).run_id == last
    assert not instance.get_run_by_id(first) and not instance.get_run_by_id(outdated)

    assert "0 dagster runs deleted" in output("maintain")
    config = dg.RunConfig({"keep_control_tables_small": Duties(duties=[DAGSTER_RUNS])})
    assert maintenance.execute_in_process(instance=instance, run_config=config).success
