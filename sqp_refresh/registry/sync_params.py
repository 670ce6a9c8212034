"""Read `custom_sync_params` of `sqp.refresh_config`: what an operator set for one table."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from sqp_refresh.errors import SettingsError
from sqp_refresh.model.tables import SCHEMA

MOST_ROWS = 10**9
"""The most rows that a batch may have."""


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
        quality: Thresholds by the name of a quality metric; `quarantined_ratio` also limits which
            share of a week's rows may be bad before all of the week is rejected.
        source_table: The table in BigQuery that fills a table registered without code.
        key: The columns of its primary key.
        columns: Title in BigQuery to column in Postgres, for every column that is filled.
        week_column: Title of the column that places a row in its week; without it, all rows are
            read at once.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    batch_size: Annotated[PositiveInt, Field(le=MOST_ROWS)] | None = None
    lookback_weeks: PositiveInt | None = None
    quality: dict[str, Threshold] = {}
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
