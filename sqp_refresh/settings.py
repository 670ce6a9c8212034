"""The switches: every environment variable that the project reads, its default and its meaning.

Nothing else in the package reads the environment. A secret is a `SecretStr`, so that printing the
settings, or an error about them, never shows it.
"""

import base64
import binascii
import os
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sqp_refresh.errors import SettingsError
from sqp_refresh.model.events import SUBSCRIBABLE
from sqp_refresh.model.periods import Period

WEBHOOK = "REFRESH_WEBHOOK_URL"
"""The switch that names a webhook, by which that receiver goes in the outbox too."""

BASE64_SECRET = "whsec_"
"""What a secret begins with that is written in base64, as the Standard Webhooks have it."""


class Executor(StrEnum):
    """Where the steps of one run are executed."""

    IN_PROCESS = "in_process"
    MULTIPROCESS = "multiprocess"


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
    REFRESH_EXECUTOR: Executor = Field(
        default=Executor.IN_PROCESS, description="where the steps of one run are executed"
    )
    REFRESH_WEBHOOK_URL: SecretStr | None = Field(default=None, description="receiver of alerts")
    REFRESH_WEBHOOK_SECRET: SecretStr | None = Field(default=None, description="signs the alerts")
    REFRESH_WEBHOOK_ALLOW_PRIVATE: bool = Field(
        default=False, description="whether webhooks may go to addresses that are not public"
    )
    REFRESH_NOTIFY_URLS: SecretStr | None = Field(
        default=None, description="Slack, e-mail and other services, as Apprise addresses them"
    )
    REFRESH_ALERT_EVENTS: str = Field(
        default="refresh.failed,refresh.warning,quality.failed,refresh.overdue,refresh.recovered",
        description="the events that the receivers of these switches are told of",
    )

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

    @field_validator("REFRESH_WEBHOOK_URL")
    @classmethod
    def _is_a_web_address(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and not secret.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must start with https://")
        return secret

    @field_validator("REFRESH_WEBHOOK_SECRET")
    @classmethod
    def _can_sign(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and secret.get_secret_value().startswith(BASE64_SECRET):
            try:
                base64.b64decode(
                    secret.get_secret_value().removeprefix(BASE64_SECRET), validate=True
                )
            except binascii.Error:
                raise ValueError(f"must be base64 after {BASE64_SECRET}") from None
        return secret

    @field_validator("REFRESH_NOTIFY_URLS")
    @classmethod
    def _are_addresses(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and not all(re.match(r"\w+://.", url) for url in _addresses(secret)):
            raise ValueError("must be addresses like slack://… or mailto://…, separated by spaces")
        return secret

    @field_validator("REFRESH_ALERT_EVENTS")
    @classmethod
    def _are_events(cls, names: str) -> str:
        unknown = [name for name in _words(names) if name not in SUBSCRIBABLE]
        if unknown:
            raise ValueError(f"knows no {unknown[0]!r}; choose from {', '.join(SUBSCRIBABLE)}")
        return names

    @field_validator("REFRESH_DASHBOARD_URL")
    @classmethod
    def _is_a_link(cls, url: str | None) -> str | None:
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

    @property
    def alert_events(self) -> frozenset[str]:
        """The events that the receivers of these switches are told of."""
        return frozenset(_words(self.REFRESH_ALERT_EVENTS))

    @property
    def receivers(self) -> dict[str, SecretStr]:
        """The receivers of alerts that switches name, by a name that gives nothing away."""
        webhook = {WEBHOOK: self.REFRESH_WEBHOOK_URL} if self.REFRESH_WEBHOOK_URL else {}
        return webhook | dict(_services(self.REFRESH_NOTIFY_URLS))


def _services(notify_urls: SecretStr | None) -> Iterator[tuple[str, SecretStr]]:
    """Each address under its service's name, with a number where there are several of one."""
    met: Counter[str] = Counter()
    for url in _addresses(notify_urls) if notify_urls else ():
        service = url.partition("://")[0].lower()
        met[service] += 1
        yield f"{service} {met[service]}" if met[service] > 1 else service, SecretStr(url)


def _addresses(notify_urls: SecretStr) -> list[str]:
    # A comma may also be part of an address, which then goes on without a scheme.
    return re.split(r"[\s,]+(?=\w+://)", notify_urls.get_secret_value().strip(" ,\n"))


def _words(listed: str) -> list[str]:
    return listed.replace(",", " ").split()


def _missing(name: str, example: str) -> SettingsError:
    return SettingsError(f"{name} is not set; set it to {example}")
