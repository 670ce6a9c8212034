"""Jobs and read sessions are those of BIGQUERY_JOB_PROJECT_ID; the table stays where it is."""

from contextlib import closing

import pyarrow as pa
import pytest
from google.api_core import exceptions

from sqp_refresh.errors import QuotaExceeded, SettingsError
from sqp_refresh.extract import source as source_module
from sqp_refresh.extract.client import rest_client, storage_client, subject_of, translated_errors
from sqp_refresh.extract.storage_read import open_session
from sqp_refresh.monitoring.doctor import bigquery_checks
from sqp_refresh.settings import Settings
from sqp_refresh_tests.extract.fake_storage import FakeStorage, serving
from sqp_refresh_tests.helpers.nights import queries, refresh_all
from sqp_refresh_tests.helpers.weeks import three_weeks

PAYER = "project-that-pays"


@pytest.fixture
def payer(environment, monkeypatch) -> Settings:
    monkeypatch.setenv("BIGQUERY_JOB_PROJECT_ID", PAYER)
    return Settings.read()


def test_jobs_and_sessions_are_the_other_project_s_and_rows_are_the_table_s(
    payer, source, monkeypatch
):
    source.write(three_weeks())
    sessions, open_session = [], source_module.open_session

    def opened(client, table, **options):
        sessions.append((table, options["job_project"]))
        return open_session(client, table, **options)

    monkeypatch.setattr(source_module, "open_session", opened)
    results = refresh_all(payer)

    assert results["search_query_performance"].counts.inserted == len(three_weeks())
    assert set(sessions) == {(source.name, PAYER)}
    with closing(rest_client(payer)) as client:
        assert {job.project for job in client.list_jobs(max_results=5)} == {PAYER}
    assert queries(payer)
    assert all(f"`{source.name}`" in text for text in queries(payer))


def test_the_doctor_says_both_projects(payer, source):
    source.write(three_weeks())

    message = f"{source.name} (jobs in project {PAYER}) has every column"
    assert message in bigquery_checks.check_columns(payer)
    assert "a read session may be opened" in bigquery_checks.check_storage_read(payer)


def test_a_session_s_parent_is_the_job_project():
    fake = FakeStorage(pa.table({"number": [1]}))
    with serving(fake) as host:
        client = storage_client(Settings(BIGQUERY_STORAGE_EMULATOR_HOST=host))
        for job_project in (PAYER, None):
            open_session(client, "p.d.seller-sqp", job_project=job_project)
        client.transport.close()

    assert [request.parent for request in fake.sessions] == [f"projects/{PAYER}", "projects/p"]
    assert {request.read_session.table for request in fake.sessions} == {
        "projects/p/datasets/d/tables/seller-sqp"
    }


def test_a_quota_is_that_of_the_job_project():
    subject = subject_of("theirs.d.t", PAYER)
    with (
        pytest.raises(QuotaExceeded, match=rf"requests for theirs\.d\.t \(jobs in project {PAYER}"),
        translated_errors(subject),
    ):
        raise exceptions.Forbidden("full", errors=[{"reason": "quotaExceeded"}])
    assert subject_of("a.d.t", "a") == subject_of("a.d.t", None) == "a.d.t"
    assert subject_of("example.com:a.d.t", "example.com:a") == "example.com:a.d.t"


def test_without_it_the_project_of_the_dataset_pays(monkeypatch):
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "theirs")
    assert Settings.read().job_project == "theirs"
    monkeypatch.setenv("BIGQUERY_JOB_PROJECT_ID", "a/b")
    with pytest.raises(SettingsError, match="BIGQUERY_JOB_PROJECT_ID 'a/b' must be the ID"):
        Settings.read()
