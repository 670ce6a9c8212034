"""The doctor asks BigQuery as a refresh does: for the rows of weeks."""

from sqp_refresh.monitoring.doctor import bigquery_checks
from sqp_refresh_tests.helpers.weeks import three_weeks


def test_a_table_that_requires_a_filter_of_its_partitions_is_no_alarm(
    environment, source, monkeypatch
):
    source.write(three_weeks())
    filters = []
    start_query, open_session = bigquery_checks.start_query, bigquery_checks.open_session

    def query(client, text, config):
        filters.append(text.partition(" WHERE ")[2])
        return start_query(client, text, config)

    def read(client, table, *, restriction, **options):
        filters.append(restriction)
        return open_session(client, table, restriction=restriction, **options)

    monkeypatch.setattr(bigquery_checks, "start_query", query)
    monkeypatch.setattr(bigquery_checks, "open_session", read)

    assert "a query may run" in bigquery_checks.check_query(environment)
    assert "a read session may be opened" in bigquery_checks.check_storage_read(environment)
    assert len(filters) == 2
    assert all("`Date` >= TIMESTAMP '" in text for text in filters)
