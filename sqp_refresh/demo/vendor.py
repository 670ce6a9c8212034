"""Deliver the demo's year as vendors do: one week late, another restated, and rows that are bad."""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import pyarrow as pa

from sqp_refresh.demo.servers import Emulator, bigquery_client
from sqp_refresh.demo.source_table import call_deadline, fill_source, load_rows
from sqp_refresh.demo.year import SUNDAYS, hundredths_of_percent, week_of_rows, weeks_of_rows
from sqp_refresh.model.periods import DAYS_IN_WEEK, Period
from sqp_refresh.model.tables import DATE_TITLE

DELIVERED_AFTER_DAYS = 3
"""Amazon publishes a week about this long after its Saturday, and the vendor delivers it then."""

BAD_ROWS = 5
# The newest complete week of a first load is the fifth last; another than that is restated.
LATE, RESTATED = SUNDAYS[-3], SUNDAYS[-6]
_RESTATED_EVERY = 10
"""One in so many rows of the week is restated."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """Who fills the demo's source.

    Attributes:
        emulator: Where the source is.
        dataset: A bare name.
        table: A bare name.
        weeks_later: How many weeks later than the generator's its year is.
        count: Weeks to deliver, the newest ones; all of the year by default.
    """

    emulator: Emulator
    dataset: str
    table: str
    weeks_later: int
    count: int = len(SUNDAYS)

    @property
    def weeks(self) -> list[Period]:
        """Return the weeks of the year, in order."""
        return [self._week(sunday) for sunday in SUNDAYS[-self.count :]]

    @property
    def late(self) -> Period:
        """Return the week that comes late."""
        return self._week(LATE)

    @property
    def restated(self) -> Period:
        """Return the week that is restated."""
        return self._week(RESTATED)

    def deliver_year(self, *, with_late_week: bool) -> bool:
        """Deliver the year unless the source has rows; return whether it was delivered."""
        sundays = [day for day in SUNDAYS[-self.count :] if with_late_week or day != LATE]
        rows = partial(weeks_of_rows, sundays, weeks_later=self.weeks_later)
        return fill_source(self.emulator, self.dataset, self.table, rows)

    def deliver_late_week(self) -> None:
        """Deliver the week that was late, with a few rows that break their contract."""
        rows = week_of_rows(LATE, weeks_later=self.weeks_later)
        title = "ASIN Click Count"
        counts = rows[title].to_numpy().copy()
        # More than everybody's clicks together.
        counts[:BAD_ROWS] = rows["Total Click Count"].to_numpy()[:BAD_ROWS] + 1
        spoiled = pa.array(counts)
        with bigquery_client(self.emulator) as client:
            load_rows(client, self._name, _with_column(rows, title, spoiled))

    def correct_late_week(self) -> None:
        """Deliver the same week again, with every row as it should have been."""
        self._replace(LATE, week_of_rows(LATE, weeks_later=self.weeks_later))

    def restate_week(self) -> None:
        """Deliver another week again, in which Amazon has counted more impressions."""
        rows = week_of_rows(RESTATED, weeks_later=self.weeks_later)
        counts, share = "ASIN Impression Count", "ASIN Impression Share"
        total = rows["Total Query Impression Count"].to_numpy()
        before = rows[counts].to_numpy()
        after = before.copy()
        after[::_RESTATED_EVERY] = (before + 1 + before // 10)[::_RESTATED_EVERY]
        after = after.clip(max=total)
        rows = _with_column(rows, counts, pa.array(after))
        percent = hundredths_of_percent(after, total)
        shares = pa.array(percent / 100, mask=percent < 0)
        self._replace(RESTATED, _with_column(rows, share, shares))

    @property
    def _name(self) -> str:
        return f"{self.emulator.project}.{self.dataset}.{self.table}"

    def _week(self, sunday: date) -> Period:
        return Period.week_of(sunday + timedelta(weeks=self.weeks_later))

    def _replace(self, sunday: date, rows: pa.Table) -> None:
        from google.cloud.bigquery import QueryJobConfig, ScalarQueryParameter

        day = ScalarQueryParameter("day", "DATE", self._week(sunday).start)
        config = QueryJobConfig(query_parameters=[day])
        statement = f"DELETE FROM `{self._name}` WHERE DATE(`{DATE_TITLE}`) = @day"  # noqa: S608
        with bigquery_client(self.emulator) as client:
            job = client.query(statement, config, **call_deadline())
            job.result(**call_deadline())
            load_rows(client, self._name, rows)


def weeks_later_by(today: date) -> int:
    """Return how many weeks later a year ends whose newest week was just delivered by this day."""
    newest = Period.week_of(today - timedelta(days=DELIVERED_AFTER_DAYS + DAYS_IN_WEEK - 1))
    return weeks_later_of(newest.start)


def weeks_later_of(last_sunday: date) -> int:
    """Return how many weeks later a year is that ends with this week."""
    return (last_sunday - SUNDAYS[-1]).days // DAYS_IN_WEEK


def read_last_sunday(emulator: Emulator, dataset: str, table: str) -> date | None:
    """Read the newest week that a source holds; None where it has no rows, or is not there."""
    from google.api_core.exceptions import NotFound

    name = f"{emulator.project}.{dataset}.{table}"
    statement = f"SELECT MAX(DATE(`{DATE_TITLE}`)) FROM `{name}`"  # noqa: S608
    with bigquery_client(emulator) as client:
        try:
            ((newest,),) = client.query(statement, **call_deadline()).result(**call_deadline())
        except NotFound:
            return None
    return newest and Period.week_of(newest).start


def _with_column(rows: pa.Table, title: str, values: pa.Array) -> pa.Table:
    number = rows.column_names.index(title)
    return rows.set_column(number, rows.schema.field(number), values)
