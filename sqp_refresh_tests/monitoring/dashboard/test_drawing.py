"""Check the file that the dashboard is drawn into, and the command that draws it."""

import pytest
from psycopg import conninfo

from sqp_refresh.errors import NotFound, SettingsError
from sqp_refresh.monitoring.dashboard.drawing import draw
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.commands import one_line, output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute
from sqp_refresh_tests.monitoring.dashboard.history import AT


@pytest.fixture
def settings(monkeypatch, migrated_database, tmp_path) -> Settings:
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    (tmp_path / "dagster").mkdir()
    return Settings.read()


def test_the_command_draws_beside_dagsters_own_files(filled, settings, tmp_path):
    filled.register("weekly_summary")

    assert output("dashboard") == f"{tmp_path}/dagster/dashboard.html: No refresh in 60 days"
    assert (tmp_path / "dagster" / "dashboard.html").read_text().startswith("<!doctype html>")


def test_the_command_draws_where_it_is_asked_to(filled, settings, monkeypatch, tmp_path):
    monkeypatch.setenv("REFRESH_DASHBOARD_PATH", str(tmp_path / "page.html"))

    assert output("dashboard", "--days", "30") == f"{tmp_path}/page.html: No table is enabled"
    # Without writes no run is on record, so that the tables look as they did.
    name = conninfo.conninfo_to_dict(settings.database_url)["dbname"]
    execute(settings.database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    other = tmp_path / "other.html"
    assert output("dashboard", "-o", str(other)) == f"{other}: Nothing is refreshed"
    assert "the database is read-only, so that nothing is refreshed" in other.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dagster",
        "other.html",
        "page.html",
    ]


def test_a_file_that_cannot_be_written_is_one_line(filled, settings, tmp_path):
    (tmp_path / "file").touch()

    line = one_line(sqp_refresh("dashboard", "--output", f"{tmp_path}/file/page.html"))

    assert line == (
        f"sqp-refresh: the dashboard cannot be written to {tmp_path}/file/page.html: "
        "Not a directory; choose another file with --output, or REFRESH_DASHBOARD_PATH"
    )


def test_a_page_that_cannot_be_replaced_leaves_nothing_behind(filled, settings, tmp_path):
    page = tmp_path / "page.html"
    page.mkdir()

    with pytest.raises(SettingsError, match=r"Is a directory"):
        draw(settings.database_url, page, AT)

    assert sorted(tmp_path.iterdir()) == [tmp_path / "dagster", page]


def test_where_the_figures_cannot_be_read_the_old_page_stays(database, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("the old page")

    with pytest.raises(NotFound, match="sqp-refresh doctor"):
        draw(database, page, AT)

    assert page.read_text() == "the old page"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "dashboard.html", "file:///etc/passwd"])
def test_a_link_to_anything_but_the_web_is_refused(monkeypatch, url):
    monkeypatch.setenv("REFRESH_DASHBOARD_URL", url)

    with pytest.raises(SettingsError, match="REFRESH_DASHBOARD_URL must start with https://"):
        Settings.read()
