"""Run the queries of docs/data.md as whoever may read the data, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sqp_refresh.postgres.read_access import grant_read
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.data_views.loaded import Loaded
from sqp_refresh_tests.helpers.database import execute

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
SECTION = re.search(r"^## Ten questions$(.*?)^## ", PAGE.read_text(), re.MULTILINE | re.DOTALL)
QUERIES = re.findall(r"^```sql\n(.*?)^```", SECTION[1] if SECTION else "", re.M | re.DOTALL)


@pytest.fixture(scope="module")
def reader(loaded: Loaded) -> Iterator[str]:
    execute(loaded.url, "CREATE ROLE sqp_analyst")
    try:
        with connect(loaded.url) as session, session.transaction():
            grant_read(session, "sqp_analyst")
        yield "sqp_analyst"
    finally:
        execute(loaded.url, "DROP OWNED BY sqp_analyst; DROP ROLE sqp_analyst")


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_a_query_of_the_page_has_an_answer(loaded: Loaded, reader: str, number: int):
    with psycopg.connect(loaded.url) as connection:
        connection.execute(f"SET ROLE {reader}".encode())
        answer = connection.execute(QUERIES[number].encode()).fetchall()
    assert answer
    assert not any(None in row for row in answer[:1]), "the first row has nothing unknown"


def test_the_page_has_ten_queries_and_names_every_view():
    assert len(QUERIES) == 10
    asked = "\n".join(QUERIES)
    for view in (
        "brand_query_weekly",
        "brand_query_monthly",
        "period_comparisons",
        "query_trends",
        "funnel_leaks",
        "movements",
    ):
        assert f"sqp.{view}\n" in asked
        assert f"| `{view}` |" in PAGE.read_text()
