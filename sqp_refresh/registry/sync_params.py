"""`custom_sync_params` of `sqp.refresh_config`: what one table does differently, in SQL."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from sqp_refresh.errors import SettingsError
from sqp_refresh.model.tables import SCHEMA


class Threshold(BaseModel):
    """The thresholds of one quality metric, where they differ from the usual ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: float | None = None
    max: float | None = None


class SyncParams(BaseModel):
    """What an operator set for one table; everything else has the switch's value.

    Attributes:
        batch_size: Rows per Arrow batch.
        lookback_weeks: Weeks before today that every night looks at.
        quality: Thresholds by the name of a quality metric; `quarantined_ratio` also limits how
            many bad rows a week may have before all of it is rejected.
        source_table: The table in BigQuery that fills a table registered without code.
        key: Its key columns.
        columns: Title in BigQuery to column in Postgres, for every column that is filled.
        week_column: Title of the column that places a row in its week; all rows at once without.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    batch_size: PositiveInt | None = None
    lookback_weeks: PositiveInt | None = None
    quality: dict[str, Threshold] = {}
    source_table: str | None = None
    key: list[str] = []
    columns: dict[str, str] = {}
    week_column: str | None = None

    def only(self, metric: str) -> dict[str, Threshold]:
        """The thresholds of one metric, as `quality` has those of all."""
        return {name: bounds for name, bounds in self.quality.items() if name == metric}

    @classmethod
    def read(cls, table: str, params: dict[str, Any]) -> Self:
        """The parameters of a table.

        Raises:
            SettingsError: one line that names each malformed parameter.
        """
        try:
            return cls.model_validate(params)
        except ValidationError as error:
            problems = (
                f"{'.'.join(map(str, problem['loc']))} ({problem['msg']})"
                for problem in error.errors(include_input=False, include_url=False)
            )
            raise SettingsError(
                f"custom_sync_params of {SCHEMA}.{table} in sqp.refresh_config is malformed: "
                f"{'; '.join(problems)}"
            ) from None
