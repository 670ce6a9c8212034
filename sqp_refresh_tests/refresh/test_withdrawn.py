"""Published rows whose source turned bad are deleted, counted apart, and named by reason."""

import pytest

from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.helpers.audit_log import audit
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import deliver, tolerate
from sqp_refresh_tests.helpers.nights import refresh_all
from sqp_refresh_tests.helpers.rows import Row, row
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, three_weeks

NO_SCORE = "Search Query Score is not between 1 and 10^12"
NO_ROOM = "Total Click Rate does not fit into numeric(10,4)"


def spoiled(line: Row) -> Row:
    """Spoil one row of an ASIN that keeps another, and both of an ASIN in the last week."""
    if line["Date"] == LAST and line["Child ASIN"] == "B000000002":
        return line | {"Search Query Score": 0}
    if line["Search Query"] == "rare":
        return line | {"Search Query Score": 0, "Total Click Rate": 1e30}
    is_one = line["Date"] == FIRST and line["Child ASIN"] == "B000000001"
    return line | {"Search Query Score": 0} if is_one and line["Search Query"][0] == "b" else line


def test_rows_that_turn_bad_are_told_from_those_that_vanish(environment, source):
    url = environment.database_url
    vanishing = row(day=FIRST, query="vanishing")
    before = [*three_weeks(), row(day=MIDDLE, asin="B00000RARE", query="rare"), vanishing]
    source.write(before)
    refresh_all(environment)
    tolerate(url, 1)
    execute(
        url,
        "INSERT INTO sqp.webhook_configs (name, url, events)"
        " VALUES ('ops', 'https://example.com', '{refresh.warning}')",
    )
    source.replace([spoiled(line) for line in before if line is not vanishing])

    results = refresh_all(environment)

    counts = {name: (done.counts.deleted, done.withdrawn) for name, done in results.items()}
    assert counts == {
        "asin_performance_data": (2, 2),
        "search_query_performance": (5, 4),
        "search_performance_summary": (5, 4),
        "daily_sqp_data": (2, 2),
        "weekly_summary": (5, 4),
        "monthly_summary": (3, 2),
        "quarterly_summary": (2, 1),
        "yearly_summary": (2, 1),
    }
    for table in TABLES:
        deleted, withdrawn = counts[table]
        assert results[table].columns["rows_deleted"] == deleted
        status, message, _, metadata = audit(environment, table)
        assert (status, metadata["withdrawn"]) == ("warning", withdrawn)
        assert message is not None
        assert (
            f"{withdrawn} published rows were withdrawn, because their source breaks its contract "
            f"now: {NO_SCORE} ({withdrawn}), {NO_ROOM} (1)"
        ) in message
    alerts = rows(url, "SELECT payload->>'error_message' FROM sqp.webhook_deliveries")
    # Tables that say the same are one alert.
    alerted = "SELECT jsonb_array_elements_text(payload->'tables') FROM sqp.webhook_deliveries"
    assert sorted(table for (table,) in rows(url, alerted)) == sorted(TABLES)
    assert all("published rows were withdrawn" in message for (message,) in alerts)
    assert all(done.withdrawn == 0 for done in refresh_all(environment).values())


def test_a_row_whose_key_turns_bad_is_found_by_the_rest_of_it(migrated_database):
    tolerate(migrated_database, 1)
    good = [row(query=f"query {number}") for number in range(5)]
    asin = {"Child ASIN": "no ASIN", "Parent ASIN": None}
    waiting = row(query="query 3") | asin
    deliver(migrated_database, [*good, waiting])

    # The last two vanish; of the last but one, there was a bad row before.
    spoiled_key = [good[1] | asin, good[2] | {"Search Query": None}]
    done = deliver(migrated_database, [good[0], *spoiled_key, waiting])

    assert (done.counts.deleted, done.withdrawn) == (4, 2)
    assert done.withdrawn_for == {
        "Child ASIN is not ten capital letters and digits": 1,
        "Search Query is missing": 1,
    }


@pytest.mark.parametrize("column", ["Child ASIN", "Marketplace"])
def test_a_row_is_found_by_its_key_as_the_table_has_it(migrated_database, column):
    """The parent stands for a child that is null, and a setting for a marketplace."""
    tolerate(migrated_database, 1)
    made = row(query="red widget") | ({column: None} if column == "Child ASIN" else {})
    shape = {} if column == "Child ASIN" else {"without": [column]}
    deliver(migrated_database, [row(), made], **shape)

    done = deliver(migrated_database, [row(), made | {"Search Query Score": 0}], **shape)

    assert (done.counts.deleted, done.withdrawn, done.withdrawn_for) == (1, 1, {NO_SCORE: 1})
