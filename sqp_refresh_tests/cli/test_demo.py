"""The demo's four nights happen in servers, and its options say what they need."""

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from sqp_refresh.cli.demo import Story
from sqp_refresh.demo.environment import ENVIRONMENT, Demo, require_free_port
from sqp_refresh.demo.servers import owned
from sqp_refresh.demo.vendor import BAD_ROWS, Vendor, weeks_later_by
from sqp_refresh.demo.year import SUNDAYS, week_of_rows
from sqp_refresh.errors import SettingsError
from sqp_refresh.postgres.session import read_clock
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh_tests.helpers.commands import one_line, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows

QUERIES = "search_query_performance"


WIDTH = 60


def test_four_nights_happen_and_are_told_in_lines_that_fit(
    environment, source, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr("sqp_refresh.cli.common._Terminal.breaks_lines", True)
    url = environment.database_url
    # The story is that of one table; all eight would take eight times as long.
    execute(url, f"UPDATE sqp.refresh_config SET is_enabled = table_name = '{QUERIES}'")
    later = weeks_later_by(read_clock(url).date())
    vendor = Vendor(source.emulator, source.dataset, source.table, later, count=6)
    vendor.deliver_year(with_late_week=False)
    story = Story(Demo(environment, vendor), read_catalog(environment))

    story.tell_first_load()
    first = capsys.readouterr().out
    story.tell_the_nights_after()
    lines = capsys.readouterr().out.splitlines()

    assert all(len(line) <= WIDTH for line in [*first.splitlines(), *lines])
    nights = [line for line in lines if line.startswith("Night ")]
    assert [line.partition(":")[0] for line in nights] == ["Night 2", "Night 3", "Night 4"]
    assert len(lines) <= 3 * len(nights)
    assert lines[1] == "  0 rows changed"
    assert f"{BAD_ROWS} bad rows" in nights[1]
    assert f"{vendor.late} came" in lines[3]
    late = f"SELECT count(*) FROM sqp.{QUERIES} WHERE start_date = '{vendor.late}'"
    assert rows(url, late) == [(week_of_rows(SUNDAYS[-3]).num_rows,)]
    quarantined = "SELECT count(*), count(replayed_at) FROM sqp.refresh_quarantine"
    assert rows(url, quarantined) == [(BAD_ROWS, BAD_ROWS)]
    history = (
        f"SELECT DISTINCT period_start FROM sqp.refresh_history WHERE table_name = '{QUERIES}'"
    )
    assert sorted(rows(url, history)) == [(vendor.restated.start,), (vendor.late.start,)]
    runs = (
        "SELECT rows_inserted + rows_updated + rows_deleted FROM sqp.refresh_audit_log"
        f" WHERE table_name = '{QUERIES}' ORDER BY id"
    )
    written = [count for (count,) in rows(url, runs)]
    assert [count > 0 for count in written] == [True, False, True, True, False]
    freshness = (
        f"SELECT newest_period_start FROM sqp.refresh_freshness WHERE table_name = '{QUERIES}'"
    )
    assert rows(url, freshness) == [(SUNDAYS[-1] + timedelta(weeks=later),)]


def test_a_port_that_is_taken_is_one_line(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        line = one_line(sqp_refresh("demo", "--ui", "--port", str(port), "--dir", str(tmp_path)))
    assert f"port {port} of 127.0.0.1 cannot be used" in line
    assert "PORT=N" in line
    require_free_port(port)
    with pytest.raises(SettingsError, match="port 70000 of"):
        require_free_port(70000)


def test_the_environment_is_that_of_servers_that_are_held_up(tmp_path: Path):
    directory = tmp_path / "demo"
    command = ("demo", "--env", "--dir", str(directory))
    assert "`sqp-refresh demo --serve` in another terminal does" in one_line(sqp_refresh(*command))

    (directory / "bigquery").mkdir(parents=True)
    (directory / ENVIRONMENT).write_text("export DATABASE_URL=postgresql://there\n")
    assert "nothing holds the servers" in one_line(sqp_refresh(*command))
    with owned(directory / "bigquery"):
        done = sqp_refresh(*command)
    assert (done.returncode, done.stdout) == (0, "export DATABASE_URL=postgresql://there\n")


def test_one_thing_is_done_at_a_time():
    assert "choose one of" in one_line(sqp_refresh("demo", "--short", "--env"))
