"""Time the views of the data in a database that has a year: `python -m benchmarks.data_views`.

The database is that of DATABASE_URL, such as the demo's. Each view is asked whole, for one ASIN and
for one search query, with every column; those with the most rows are taken. What is printed is
the median of some runs in ms, without sending the rows.
"""

import os
import sys
from statistics import median
from typing import LiteralString

import psycopg
from psycopg import sql

RUNS = 5
VIEWS = (
    "brand_query_weekly",
    "brand_query_monthly",
    "period_comparisons",
    "query_trends",
    "funnel_leaks",
    "movements",
)
_MOST: dict[str, LiteralString] = {
    "asin": "SELECT asin FROM sqp.weekly_summary GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1",
    "search_query": (
        "SELECT search_query FROM sqp.weekly_summary GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
    ),
}
_TIME = sql.SQL("EXPLAIN (ANALYZE, TIMING off, FORMAT json) SELECT * FROM sqp.{} WHERE {}")
_HAS = sql.SQL("{} = {}")


def main() -> None:
    """Print a line of Markdown for each view."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        sought = {}
        for column, query in _MOST.items():
            ((sought[column],),) = connection.execute(query).fetchall()
        sys.stdout.write("| view | rows | whole | one ASIN | one query |\n|---|---|---|---|---|\n")
        for view in VIEWS:
            rows, whole = measure(connection, view, sql.SQL("true"))
            cells = [f"`{view}`", f"{rows:,}", f"{whole:,.0f}"]
            for column, value in sought.items():
                if column == "asin" and view.startswith("brand_"):
                    cells.append("")
                    continue
                has = _HAS.format(sql.Identifier(column), sql.Literal(value))
                cells.append(f"{measure(connection, view, has)[1]:,.0f}")
            sys.stdout.write(f"| {' | '.join(cells)} |\n")


def measure(
    connection: psycopg.Connection, view: str, condition: sql.Composable
) -> tuple[int, float]:
    """Return the rows of a view where a condition holds, and what asking for them takes in ms."""
    times, rows = [], 0
    for _ in range(RUNS):
        query = _TIME.format(sql.Identifier(view), condition)
        (((plan,),),) = connection.execute(query).fetchall()
        times.append(plan["Planning Time"] + plan["Execution Time"])
        rows = plan["Plan"]["Actual Rows"]
    return int(rows), median(times)


if __name__ == "__main__":
    main()
