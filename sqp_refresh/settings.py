"""The switches: every environment variable that the project reads, its default and its meaning.

Nothing else in the package reads the environment. A secret is a `SecretStr`, so that printing the
settings, or an error about them, never shows it.
"""

import os
from datetime import date
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sqp_refresh.errors import SettingsError
from sqp_refresh.weeks import Period


class Settings(BaseSettings):
    """The environment, typed and checked; read it with `Settings.read()`."""

    model_config = SettingsConfigDict(
        case_sensitive=True, extra="ignore", frozen=True, env_ignore_empty=True
    )

    BIGQUERY_PROJECT_ID: str | None = Field(
        default=None, description="project that holds the dataset"
    )
    BIGQUERY_DATASET: str | None = Field(
        default=None, description="dataset that holds the source table"
    )
    BIGQUERY_SOURCE_TABLE: str = Field(
        default="seller-search_query_performance", description="the vendor's table or view"
    )
    BIGQUERY_LOCATION: str | None = Field(default=None, description="where query jobs run, e.g. US")
    BIGQUERY_MAX_BYTES_BILLED: int | None = Field(
        default=None, gt=0, description="bytes a query may bill before BigQuery refuses it"
    )
    BIGQUERY_EMULATOR_HOST: str | None = Field(
        default=None, description="URL of an emulator's REST port"
    )
    BIGQUERY_STORAGE_EMULATOR_HOST: str | None = Field(
        default=None, description="host:port of an emulator's Storage Read port"
    )
    GOOGLE_APPLICATION_CREDENTIALS_JSON: SecretStr | None = Field(
        default=None,
        description="service account key, the JSON itself; else the application default",
    )
    DATABASE_URL: SecretStr | None = Field(default=None, description="postgresql://… of the target")
    SQP_MARKETPLACE: str = Field(
        default="US", min_length=1, description="marketplace of a source that has no such column"
    )
    REFRESH_BATCH_SIZE: int = Field(default=50_000, gt=0, description="rows per Arrow batch")
    REFRESH_TIMEOUT_WARNING_MS: int = Field(
        default=240_000, gt=0, description="ms after which a table's refresh is marked as a warning"
    )
    REFRESH_CRON: str = Field(default="0 2 * * *", description="when the nightly job runs, in UTC")
    REFRESH_LOOKBACK_WEEKS: int = Field(
        default=9, gt=0, description="weeks before today that every night reads again"
    )
    REFRESH_START_DATE: date = Field(
        default=date(2024, 8, 18), description="Sunday of the first week"
    )
    REFRESH_DASHBOARD_PATH: Path | None = Field(
        default=None, description="file that the dashboard is drawn into"
    )
    REFRESH_DASHBOARD_URL: str | None = Field(
        default=None, description="where that file is served, for links to it"
    )
    REFRESH_KEEP_DELIVERIES_DAYS: int = Field(
        default=30, gt=0, description="days that alerts, delivered or given up, are kept"
    )
    REFRESH_KEEP_QUARANTINE_DAYS: int = Field(
        default=365, gt=0, description="days that quarantined rows, judged again, are kept"
    )
    REFRESH_WEBHOOK_URL: SecretStr | None = Field(default=None, description="receiver of alerts")
    REFRESH_WEBHOOK_SECRET: SecretStr | None = Field(default=None, description="signs the alerts")

    @field_validator("REFRESH_START_DATE")
    @classmethod
    def _starts_on_a_sunday(cls, day: date) -> date:
        if Period.week_of(day).start != day:
            raise ValueError(f"must be a Sunday; the week of {day} opens on {Period.week_of(day)}")
        return day

    @field_validator("DATABASE_URL")
    @classmethod
    def _is_a_postgres_url(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and not secret.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return secret

    @field_validator("REFRESH_DASHBOARD_URL")
    @classmethod
    def _is_a_web_address(cls, url: str | None) -> str | None:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("must start with https:// or http://")
        return url

    @field_validator("BIGQUERY_DATASET", "BIGQUERY_SOURCE_TABLE")
    @classmethod
    def _is_a_bare_name(cls, name: str | None) -> str | None:
        if name and any(mark in name for mark in ".`\\ "):
            raise ValueError(f"{name!r} must be a bare name, without dots, spaces or quotes")
        return name

    @classmethod
    def read(cls) -> Self:
        """The settings of this process.

        Raises:
            SettingsError: one line that names each malformed variable and what it should be.
        """
        try:
            return cls()
        except ValidationError as error:
            problems = (
                f"{problem['loc'][0]} {problem['msg'].removeprefix('Value error, ')}"
                for problem in error.errors(include_input=False, include_url=False)
            )
            raise SettingsError("; ".join(problems)) from None

    @property
    def database_url(self) -> str:
        """The target's URL, with its password.

        Raises:
            SettingsError: where DATABASE_URL is not set.
        """
        if self.DATABASE_URL is None:
            raise _missing("DATABASE_URL", "postgresql://user:password@host:5432/database")
        return self.DATABASE_URL.get_secret_value()

    @property
    def dashboard_path(self) -> Path:
        """The file of the dashboard: dashboard.html beside Dagster's own files, or here."""
        beside = Path(os.environ.get("DAGSTER_HOME", ""), "dashboard.html")
        return (self.REFRESH_DASHBOARD_PATH or beside).absolute()

    @property
    def source_table(self) -> str:
        """The vendor's table as project.dataset.table.

        Raises:
            SettingsError: where BIGQUERY_PROJECT_ID or BIGQUERY_DATASET is not set.
        """
        return self.source_named(self.BIGQUERY_SOURCE_TABLE)

    def source_named(self, name: str) -> str:
        """A table as project.dataset.table, given as much of that as differs from the switches.

        Raises:
            SettingsError: where BIGQUERY_PROJECT_ID or BIGQUERY_DATASET is not set.
        """
        if self.BIGQUERY_PROJECT_ID is None:
            raise _missing("BIGQUERY_PROJECT_ID", "the project that holds the source table")
        if self.BIGQUERY_DATASET is None:
            raise _missing("BIGQUERY_DATASET", "dataclient_amzatlas_agency_85 in the guide")
        known = [self.BIGQUERY_PROJECT_ID, self.BIGQUERY_DATASET]
        given = name.rsplit(".", 2)
        return ".".join([*known[: 3 - len(given)], *given])


def _missing(name: str, example: str) -> SettingsError:
    return SettingsError(f"{name} is not set; set it to {example}")
