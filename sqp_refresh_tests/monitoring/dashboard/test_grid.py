"""Each week of each table is in the grid as it stands, with its numbers."""

from datetime import timedelta

import pytest

from sqp_refresh.model.periods import Period
from sqp_refresh.monitoring.dashboard.formatting import format_compact
from sqp_refresh.monitoring.dashboard.grid import CellState, Grid, read_grid
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.monitoring.dashboard.history import AT, History

QUERIES, MONTHLY, OTHER = "search_query_performance", "monthly_summary", "another_source"
TODAY = AT.date()
NEWEST = Period.week_of(TODAY - timedelta(weeks=2)).start


def sunday(back: int):
    return NEWEST - timedelta(weeks=back)


@pytest.fixture
def grid(filled: History, migrated_database: str):
    def of(*tables: str) -> Grid:
        with connect(migrated_database) as session, session.transaction():
            return read_grid(session, tables, AT)

    return of


def changed(filled: History, back: int, days: int, found_as: str | None = None, asins: int = 9):
    """Enter a week as changed so many days ago."""
    filled.connection.execute(
        "INSERT INTO sqp.refresh_week_changes VALUES ('US', %s, %s, 100, %s, %s)",
        (sunday(back), AT - timedelta(days=days), asins, found_as),
    )


def test_every_state_is_told_from_the_others(filled, grid):
    filled.holds(QUERIES, NEWEST, 4_050)
    run = filled.run(QUERIES, AT, "failed")
    for back in range(20):
        changed(filled, back, 90)
    changed(filled, 0, 1, "arriving", asins=4)
    changed(filled, 1, 1, "complete")
    changed(filled, 2, 30, "final")
    update = "UPDATE sqp.refresh_periods SET {} WHERE period_start = %s"
    for back, assignment in (
        (3, "needs_reload = true"),
        (4, "held_state = 'x'"),
        (5, "row_count = 0"),
        (6, "source_state = NULL"),
    ):
        filled.connection.execute(update.format(assignment).encode(), (sunday(back),))
    filled.connection.execute(
        "INSERT INTO sqp.refresh_pins (table_name, period_start, reason) VALUES (%s, %s, 'why')",
        (QUERIES, sunday(7)),
    )
    filled.connection.execute(
        "INSERT INTO sqp.refresh_quarantine (audit_log_id, table_name, raw_row, reasons,"
        " period_start) VALUES (%s, %s, '{}', '{x}', %s)",
        (run, QUERIES, sunday(8)),
    )
    filled.connection.execute(
        "UPDATE sqp.refresh_finality SET looked_at = %s", (AT - timedelta(hours=2),)
    )

    shown = grid(QUERIES)

    newest, earlier = shown.parts
    states = {row.week.start: row.cells[QUERIES] for row in newest}
    assert len(newest) == 13
    assert len(earlier) == 52 + 1 - 13
    assert [states[sunday(back)].state for back in range(-1, 10)] == [
        CellState.AWAITED,
        CellState.ARRIVING,
        CellState.RESTATED,
        CellState.RESTATED,
        CellState.DIFFERS,
        CellState.HELD,
        CellState.MISSING,
        CellState.HELD,
        CellState.PINNED,
        CellState.QUARANTINED,
        CellState.FRESH,
    ]
    assert states[sunday(8)].quarantined == 1
    assert states[sunday(1)].restatements == 1
    lines = states[sunday(0)].label.split("\n")
    assert lines[1] == "4,050 rows"
    assert lines[-1] == "US: arriving, 4 ASINs of 9 that are usual"


def test_a_month_is_one_cell_beside_its_weeks_and_a_table_without_rows_misses_all(filled, grid):
    filled.holds(QUERIES, NEWEST, 4_050)
    filled.holds(MONTHLY, NEWEST, 30_000)

    (newest, _), tables = grid(QUERIES, MONTHLY, OTHER).parts, (QUERIES, MONTHLY, OTHER)

    for table in tables:
        assert sum(row.cells[table].height for row in newest if table in row.cells) == 13
    months = [row.cells[MONTHLY] for row in newest if MONTHLY in row.cells]
    of_rows = [cell for cell in months if cell.rows]
    assert all(cell.period.start.day == 1 and cell.height <= 5 for cell in of_rows)
    assert 3 <= len(of_rows) <= 5
    assert {row.cells[OTHER].state for row in newest} <= {CellState.MISSING, CellState.AWAITED}


def test_before_the_first_week_there_is_no_grid(grid):
    assert grid(QUERIES).parts == ()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.0k"),
        (4_059, "4.1k"),
        (9_950, "10k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (210_111, "210k"),
        (12_300_000, "12M"),
    ],
)
def test_a_compact_number_has_four_characters_at_the_most(number, text):
    assert format_compact(number) == text
