"""What somebody changed of the schema is named, and the remedy that is printed mends it."""

from collections.abc import Iterator

import pytest

from sqp_refresh.postgres.schema_catalog import read_schema
from sqp_refresh.postgres.schema_differences import (
    Difference,
    column_differences,
    key_differences,
)
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.helpers.database import execute

DAILY = "sqp.daily_sqp_data"
INDEX = "daily_sqp_data_asin_idx"
INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'sqp.{}'::regclass"
CASES = {
    f"ALTER TABLE {DAILY} DROP COLUMN ctr": ["lacks column ctr"],
    f"ALTER TABLE {DAILY} RENAME COLUMN ctr TO click_rate": ["lacks column ctr"],
    f"ALTER TABLE {DAILY} RENAME COLUMN asin TO product": ["lacks column asin, and has product"],
    f"ALTER TABLE {DAILY} DROP COLUMN asin": [
        *("lacks column asin, without which", "lacks its PRIMARY KEY", f"lacks its index {INDEX}")
    ],
    f"ALTER TABLE {DAILY} DROP COLUMN created_at": ["lacks column created_at"],
    f"ALTER TABLE {DAILY} ALTER created_at DROP DEFAULT": ["created_at has no default"],
    f"ALTER TABLE {DAILY} ALTER created_at DROP NOT NULL": ["created_at may be null"],
    f"ALTER TABLE {DAILY} ALTER ctr SET NOT NULL": ["ctr may not be null"],
    f"ALTER TABLE {DAILY} ALTER ctr TYPE numeric(10,2)": ["is numeric(10,2), not numeric(10,4)"],
    f"ALTER TABLE {DAILY} ALTER asin_clicks TYPE text": ["asin_clicks is text, not bigint"],
    f"ALTER TABLE {DAILY} ALTER asin TYPE varchar(10)": ["is character varying(10), not text"],
    f'ALTER TABLE {DAILY} ALTER asin TYPE text COLLATE "C"': ["asin is text COLLATE "],
    f"ALTER TABLE {DAILY} ADD note text NOT NULL": ["no row can be entered"],
    f"ALTER TABLE {DAILY} DROP COLUMN ctr,"
    " ADD ctr numeric(10,4) GENERATED ALWAYS AS (asin_clicks / 100.0) STORED": [
        "ctr is computed by Postgres"
    ],
    "ALTER TABLE sqp.refresh_indexes DROP COLUMN set_aside_at": ["lacks column set_aside_at"],
    "ALTER TABLE sqp.refresh_audit_log ALTER id DROP IDENTITY": ["id is no identity any more"],
    f"ALTER TABLE {DAILY} DROP CONSTRAINT daily_sqp_data_pkey": ["lacks its PRIMARY KEY (report"],
    "ALTER TABLE sqp.refresh_config DROP CONSTRAINT refresh_config_is_no_control_table": [
        "lacks its CHECK"
    ],
    "ALTER TABLE sqp.refresh_dependencies DROP CONSTRAINT"
    " refresh_dependencies_parent_config_id_fkey": ["lacks its FOREIGN KEY (parent_config_id)"],
    f"DROP INDEX sqp.{INDEX}": [f"lacks its index {INDEX};"],
    "DROP INDEX sqp.yearly_summary_asin_idx;"
    " CREATE INDEX yearly_summary_asin_idx ON sqp.weekly_summary (weeks_count)": [
        "lacks its index yearly_summary_asin_idx, and another index, of sqp.weekly_summary, has its"
    ],
    "DROP INDEX sqp.monthly_summary_asin_idx;"
    " CREATE INDEX monthly_summary_asin_idx ON sqp.monthly_summary (asin DESC)": [
        "lacks its index monthly_summary_asin_idx, and another index, of sqp.monthly_summary, has"
    ],
    "DROP INDEX sqp.weekly_summary_asin_idx; CREATE VIEW sqp.weekly_summary_asin_idx AS SELECT 1": [
        "lacks its index weekly_summary_asin_idx, and sqp.weekly_summary_asin_idx has its name"
    ],
    INVALID.format(INDEX): [f"index {INDEX} of {DAILY} is invalid"],
    f"CREATE INDEX broken ON {DAILY} (ctr); {INVALID.format('broken')}": ["index broken of"],
    f"CREATE INDEX twin ON {DAILY} (asin, report_date); {INVALID.format('twin')}": ["twin of"],
}
NO_DIFFERENCE = """
ALTER TABLE sqp.daily_sqp_data ADD note text, ADD at timestamptz NOT NULL DEFAULT now();
DROP INDEX sqp.daily_sqp_data_asin_idx;
CREATE INDEX wider ON sqp.daily_sqp_data (asin, report_date, marketplace) INCLUDE (ctr);
CREATE TABLE sqp.theirs (id int PRIMARY KEY);
ALTER INDEX sqp.refresh_audit_log_pkey RENAME TO renamed
"""


@pytest.fixture(scope="module")
def url(postgres_url, _migrated) -> Iterator[str]:
    """One database for all cases: the remedy of each leaves it as it was."""
    from sqp_refresh_tests.helpers.database import database_like

    with database_like(postgres_url, _migrated) as url:
        yield url


def differences(url: str) -> list[Difference]:
    with connect(url) as session:
        relations = read_schema(session)
        return [*column_differences(relations), *key_differences(relations)]


@pytest.mark.parametrize("statement", CASES)
def test_a_difference_is_named_and_its_remedy_mends_it(url, statement):
    execute(url, statement)

    for words in CASES[statement]:
        difference = differences(url)[0]
        assert words in str(difference)
        execute(url, difference.remedy.rpartition("to be filled again: ")[2])
    assert differences(url) == []


def test_what_somebody_added_is_no_difference(migrated_database):
    execute(migrated_database, NO_DIFFERENCE)

    assert differences(migrated_database) == []


def test_a_table_or_view_that_is_gone_is_named(migrated_database):
    execute(
        migrated_database,
        "DROP TABLE sqp.refresh_comparisons; DROP VIEW sqp.refresh_success_rate;"
        "DROP TABLE sqp.daily_sqp_data",
    )

    assert [difference.what for difference in differences(migrated_database)] == [
        "there is no table sqp.daily_sqp_data",
        "there is no table sqp.refresh_comparisons",
        "there is no view sqp.refresh_success_rate",
    ]
