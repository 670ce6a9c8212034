"""Read `custom_sync_params` of `sqp.refresh_config`: what an operator set for one table."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from sqp_refresh.errors import SettingsError
from sqp_refresh.ledger.guard import MAX_DELETE_RATIO
from sqp_refresh.model.tables import SCHEMA

MOST_ROWS = 10**9
"""The most rows that a batch may have."""
MOST_WRITERS = 16
"""The most connections that one refresh publishes by."""


class Threshold(BaseModel):
    """The thresholds of one quality metric, where they differ from the usual ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: float | None = None
    max: float | None = None


class SyncParams(BaseModel):
    """The parameters of one table; where one is not set, the setting of all tables counts.

    Attributes:
        batch_size: Rows per Arrow batch.
        lookback_weeks: Number of weeks before today that every night looks at.
        writers: How many weeks are published at the same time.
        quality: Thresholds by the name of a quality metric; `quarantined_ratio` also limits which
            share of a week's rows may be bad before all of the week is rejected.
        max_delete_ratio: The part of a week's rows that its source may delete or change before the
            week is held back, from 0 to 1.
        source_table: The table in BigQuery that fills a table registered without code.
        key: The columns of its primary key.
        columns: Title in BigQuery to column in Postgres, for every column that is filled.
        week_column: Title of the column that places a row in its week; without it, all rows are
            read at once.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    batch_size: Annotated[PositiveInt, Field(le=MOST_ROWS)] | None = None
    lookback_weeks: PositiveInt | None = None
    writers: Annotated[PositiveInt, Field(le=MOST_WRITERS)] | None = None
    quality: dict[str, Threshold] = {}
    max_delete_ratio: Annotated[float, Field(ge=0, le=1)] = MAX_DELETE_RATIO
    source_table: str | None = None
    key: list[str] = []
    columns: dict[str, str] = {}
    week_column: str | None = None

    def thresholds_of(self, metric: str) -> dict[str, Threshold]:
        """Return the thresholds of one metric by its name; empty where it has the usual ones."""
        return {metric: self.quality[metric]} if metric in self.quality else {}

    @classmethod
    def read(cls, table: str, params: object) -> Self:
        """Validate the parameters of a table.

        Args:
            table: Name of the table in schema sqp, for the message.
            params: Its `custom_sync_params`.

        Raises:
            SettingsError: one line that names each malformed parameter.
        """
        try:
            return cls.model_validate(params)
        except ValidationError as error:
            problems = (
                f"{'.'.join(map(str, problem['loc']))} ({problem['msg']})".lstrip()
                for problem in error.errors(include_input=False, include_url=False)
            )
            raise SettingsError(
                f"custom_sync_params of {SCHEMA}.{table} in {SCHEMA}.refresh_config is malformed: "
                f"{'; '.join(problems)}"
            ) from None
