"""Read the settings: every environment variable of the project, its default and its meaning.

No other module of the package reads a setting from the environment, but for `schema_name.py`, which
is made of SQP_SCHEMA from the first import on; here it is judged. A secret is a `SecretStr`, so
that printing the settings, or an error about them, never shows it.
"""

import base64
import binascii
import os
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sqp_refresh.errors import SettingsError
from sqp_refresh.model.events import SUBSCRIBABLE
from sqp_refresh.model.periods import Period
from sqp_refresh.schema_name import DEFAULT_SCHEMA, SCHEMA, problem_of

WEBHOOK = "REFRESH_WEBHOOK_URL"
"""The setting that names a webhook; the outbox calls this receiver by the same name."""

_OWNER = re.compile(r"team:\S+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
"""What Dagster takes for an owner."""

BASE64_SECRET = "whsec_"
"""Prefix of a secret that is written in base64, as Standard Webhooks define it."""


class Executor(StrEnum):
    """The Dagster executor that runs the steps of one run."""

    IN_PROCESS = "in_process"
    MULTIPROCESS = "multiprocess"


class MaterializedViews(StrEnum):
    """Whether the materialized views that read our tables are refreshed when these change."""

    AUTO = "auto"
    OFF = "off"


class Settings(BaseSettings):
    """The environment, typed and checked; read it with `Settings.read()`."""

    model_config = SettingsConfigDict(
        case_sensitive=True,
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        # A file or a store of secrets often ends a value with a newline.
        str_strip_whitespace=True,
    )

    BIGQUERY_PROJECT_ID: str | None = Field(
        default=None, description="project that holds the dataset"
    )
    BIGQUERY_JOB_PROJECT_ID: str | None = Field(
        default=None, description="project whose jobs read it; BIGQUERY_PROJECT_ID if not set"
    )
    BIGQUERY_DATASET: str | None = Field(
        default=None, description="dataset that holds the source table"
    )
    BIGQUERY_SOURCE_TABLE: str = Field(
        default="seller-search_query_performance", description="table or view that the vendor fills"
    )
    BIGQUERY_LOCATION: str | None = Field(default=None, description="where query jobs run, e.g. US")
    BIGQUERY_MAX_BYTES_BILLED: int | None = Field(
        default=None, gt=0, description="most bytes that one query may bill"
    )
    BIGQUERY_EMULATOR_HOST: str | None = Field(
        default=None, description="URL of an emulator's REST port"
    )
    BIGQUERY_STORAGE_EMULATOR_HOST: str | None = Field(
        default=None, description="host:port of an emulator's Storage Read port"
    )
    GOOGLE_APPLICATION_CREDENTIALS_JSON: SecretStr | None = Field(
        default=None,
        description="service account key as JSON; application default credentials if not set",
    )
    DATABASE_URL: SecretStr | None = Field(default=None, description="postgresql://… of the target")
    SQP_SCHEMA: str = Field(
        default=DEFAULT_SCHEMA, description="schema of the target; each has tables of its own"
    )
    SQP_MARKETPLACE: str = Field(
        default="US", min_length=1, description="marketplace of a source that has no such column"
    )
    REFRESH_BATCH_SIZE: int = Field(default=50_000, gt=0, description="rows per Arrow batch")
    REFRESH_WRITERS: int = Field(
        default=2, gt=0, le=16, description="weeks of a table that are published at the same time"
    )
    REFRESH_TIMEOUT_WARNING_MS: int = Field(
        default=240_000, gt=0, description="ms after which a table's refresh is marked as a warning"
    )
    REFRESH_CRON: str = Field(default="0 2 * * *", description="when the nightly job runs, in UTC")
    REFRESH_LOOKBACK_WEEKS: int = Field(
        default=9, gt=0, description="weeks before today that every night reads again"
    )
    REFRESH_START_DATE: date = Field(
        default=date(2024, 8, 18),
        # What reaches beyond the calendar of Python is no week.
        ge=date(1000, 1, 1),
        le=date(9000, 1, 1),
        description="Sunday of the first week",
    )
    REFRESH_DASHBOARD_PATH: Path | None = Field(
        default=None, description="file that the dashboard is written to"
    )
    REFRESH_DASHBOARD_URL: str | None = Field(
        default=None, description="URL that serves this file, for links to it"
    )
    REFRESH_RUNBOOK_URL: str | None = Field(
        default=None, description="where your runbook is, for the dashboard's link to it"
    )
    REFRESH_KEEP_DELIVERIES_DAYS: int = Field(
        default=30, gt=0, description="days to keep alerts that were delivered or given up"
    )
    REFRESH_KEEP_DAGSTER_RUNS_DAYS: int = Field(
        default=90, gt=0, description="days to keep runs and their events in Dagster's own storage"
    )
    REFRESH_KEEP_QUARANTINE_DAYS: int = Field(
        default=365, gt=0, description="days to keep quarantined rows that were checked again"
    )
    REFRESH_KEEP_HISTORY_DAYS: int = Field(
        default=90, ge=0, description="days to keep rows as they were before a change; 0 keeps none"
    )
    REFRESH_MATERIALIZED_VIEWS: MaterializedViews = Field(
        default=MaterializedViews.AUTO,
        description="auto, or off: whether your materialized views follow the tables they read",
    )
    FINALITY_ARRIVING_NIGHTS: int = Field(
        default=3, ge=0, description="a week that changed in one of so many last nights is arriving"
    )
    FINALITY_ASINS_RATIO: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="part of the usual ASINs without which a week is arriving (0 to 1)",
    )
    FINALITY_ARRIVAL_DAYS: int = Field(
        default=28, ge=0, description="days after its end by which a week has come"
    )
    FINALITY_QUIET_DAYS: int = Field(
        default=40, gt=0, description="days without a change after which a week is final"
    )
    FINALITY_QUANTILE: float = Field(
        default=0.95,
        ge=0,
        le=1,
        description="part of a source's own weeks that took no longer than what makes one final",
    )
    FINALITY_OWN_WEEKS: int = Field(
        default=20, gt=0, description="own weeks that it takes to tell how long they took"
    )
    REFRESH_EXECUTOR: Executor = Field(
        default=Executor.IN_PROCESS, description="where the steps of one run are executed"
    )
    REFRESH_OWNERS: str = Field(
        default="team:data-engineering",
        description="owners of the assets in Dagster: e-mail addresses, or team:NAME",
    )
    REFRESH_WEBHOOK_URL: SecretStr | None = Field(
        default=None, description="webhook that receives alerts"
    )
    REFRESH_WEBHOOK_SECRET: SecretStr | None = Field(
        default=None, description="secret that signs alerts"
    )
    REFRESH_WEBHOOK_SECRET_PREVIOUS: SecretStr | None = Field(
        default=None, description="secret that signs alerts, too, while receivers change to a new"
    )
    REFRESH_WEBHOOK_ALLOW_PRIVATE: bool = Field(
        default=False, description="whether webhooks may go to addresses that are not public"
    )
    REFRESH_NOTIFY_URLS: SecretStr | None = Field(
        default=None, description="Apprise URLs of Slack, e-mail and other services"
    )
    REFRESH_ALERT_EVENTS: str = Field(
        default="refresh.failed,refresh.warning,quality.failed,refresh.overdue,refresh.recovered",
        description="events that are sent to the receivers in these settings",
    )
    REFRESH_HEARTBEAT_URL: SecretStr | None = Field(
        default=None, description="URL that is called while the nights go on, and go well"
    )
    DAGSTER_WEBSERVER_URL: str | None = Field(
        default=None, description="where the Dagster UI is served, for links to runs"
    )

    @field_validator("SQP_SCHEMA")
    @classmethod
    def _is_a_schema_of_its_own(cls, name: str) -> str:
        if problem := problem_of(name):
            raise ValueError(problem)
        return name

    @field_validator("REFRESH_START_DATE")
    @classmethod
    def _starts_on_a_sunday(cls, day: date) -> date:
        if Period.week_of(day).start != day:
            raise ValueError(f"must be a Sunday; the week of {day} opens on {Period.week_of(day)}")
        return day

    @field_validator("DATABASE_URL")
    @classmethod
    def _is_a_postgres_url(cls, secret: SecretStr | None) -> SecretStr | None:
        url = secret.get_secret_value() if secret else ""
        if secret and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError(f"must start with postgresql://{_not_like(url)}")
        return secret

    @field_validator("REFRESH_WEBHOOK_URL", "REFRESH_HEARTBEAT_URL")
    @classmethod
    def _is_a_web_address(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and not secret.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must start with https://")
        return secret

    @field_validator("REFRESH_WEBHOOK_SECRET", "REFRESH_WEBHOOK_SECRET_PREVIOUS")
    @classmethod
    def _can_sign(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and not _is_key(secret):
            raise ValueError(f"must be base64 after {BASE64_SECRET}")
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

    @field_validator("REFRESH_OWNERS")
    @classmethod
    def _are_owners(cls, names: str) -> str:
        wrong = [name for name in _words(names) if not _OWNER.fullmatch(name)]
        if wrong:
            raise ValueError(f"has {wrong[0]!r}; write an e-mail address, or team:NAME")
        return names

    @field_validator("REFRESH_DASHBOARD_URL", "REFRESH_RUNBOOK_URL", "DAGSTER_WEBSERVER_URL")
    @classmethod
    def _is_a_link(cls, url: str | None) -> str | None:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("must start with https:// or http://")
        return url

    @field_validator("BIGQUERY_DATASET", "BIGQUERY_SOURCE_TABLE")
    @classmethod
    def _is_a_bare_name(cls, name: str | None) -> str | None:
        if name and any(mark in name for mark in ".:/`'\"\\ "):
            raise ValueError(f"{name!r} must be a bare name, without dots, spaces or quotes")
        return name

    @field_validator("BIGQUERY_PROJECT_ID", "BIGQUERY_JOB_PROJECT_ID")
    @classmethod
    def _is_a_project(cls, name: str | None) -> str | None:
        if name and any(mark in name for mark in "/`'\"\\ "):
            raise ValueError(f"{name!r} must be the ID of a project, as in my-project-123")
        return name

    @classmethod
    def read(cls) -> Self:
        """Read the settings of this process from its environment.

        Raises:
            SettingsError: a variable is malformed; the message names each one, and what it must be.
        """
        return cls._read(frozenset(os.environ.items()))

    @classmethod
    @lru_cache(maxsize=1)
    def _read(cls, environment: frozenset[tuple[str, str]]) -> Self:
        """Read the settings anew where the environment has changed: it takes milliseconds."""
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
        """Return the URL of the target database, with its password.

        Raises:
            SettingsError: DATABASE_URL is not set; or SQP_SCHEMA was set after this process began.
        """
        if "SQP_SCHEMA" in self.model_fields_set and self.SQP_SCHEMA != SCHEMA:
            raise SettingsError(
                f"SQP_SCHEMA was set to {self.SQP_SCHEMA} when this process already worked in "
                f"{SCHEMA}; set it before the process starts"
            )
        if self.DATABASE_URL is None:
            raise _missing("DATABASE_URL", "postgresql://user:password@host:5432/database")
        return self.DATABASE_URL.get_secret_value()

    @property
    def dashboard_path(self) -> Path:
        """Return the dashboard's file, by default in DAGSTER_HOME or the working directory."""
        name = "dashboard" if SCHEMA == DEFAULT_SCHEMA else f"dashboard_{SCHEMA}"
        default = Path(os.environ.get("DAGSTER_HOME", ""), f"{name}.html")
        return (self.REFRESH_DASHBOARD_PATH or default).absolute()

    @property
    def source_table(self) -> str:
        """Return the vendor's table as project.dataset.table.

        Raises:
            SettingsError: BIGQUERY_PROJECT_ID or BIGQUERY_DATASET is not set.
        """
        return self.source_named(self.BIGQUERY_SOURCE_TABLE)

    def source_named(self, name: str) -> str:
        """Return a table as project.dataset.table, with the settings for the parts it leaves out.

        Args:
            name: The table as table, dataset.table or project.dataset.table.

        Raises:
            SettingsError: BIGQUERY_PROJECT_ID or BIGQUERY_DATASET is not set.
        """
        if self.BIGQUERY_PROJECT_ID is None:
            raise _missing("BIGQUERY_PROJECT_ID", "the project that holds the source table")
        if self.BIGQUERY_DATASET is None:
            raise _missing("BIGQUERY_DATASET", "dataclient_amzatlas_agency_85 in the guide")
        defaults = [self.BIGQUERY_PROJECT_ID, self.BIGQUERY_DATASET]
        parts = name.rsplit(".", 2)
        return ".".join([*defaults[: 3 - len(parts)], *parts])

    @property
    def job_project(self) -> str | None:
        """Return the project that runs jobs, opens read sessions, and is billed for them."""
        return self.BIGQUERY_JOB_PROJECT_ID or self.BIGQUERY_PROJECT_ID

    @property
    def alert_events(self) -> frozenset[str]:
        """Return the events that are sent to the receivers in these settings."""
        return frozenset(_words(self.REFRESH_ALERT_EVENTS))

    @property
    def owners(self) -> list[str]:
        """Return the owners of the assets."""
        return _words(self.REFRESH_OWNERS)

    @property
    def signing_secrets(self) -> list[SecretStr]:
        """Return the secrets that sign what webhooks receive: the one in use comes first."""
        secrets = (self.REFRESH_WEBHOOK_SECRET, self.REFRESH_WEBHOOK_SECRET_PREVIOUS)
        return [secret for secret in secrets if secret]

    def run_url(self, run_id: str | None) -> str | None:
        """Return the address of a run in the Dagster UI; None where that is not known."""
        if run_id is None or self.DAGSTER_WEBSERVER_URL is None:
            return None
        return f"{self.DAGSTER_WEBSERVER_URL.rstrip('/')}/runs/{run_id}"

    @property
    def receivers(self) -> dict[str, SecretStr]:
        """Return the URLs of the receivers in these settings, by names without secrets."""
        webhook = {WEBHOOK: self.REFRESH_WEBHOOK_URL} if self.REFRESH_WEBHOOK_URL else {}
        return webhook | dict(_services(self.REFRESH_NOTIFY_URLS))


def read_secret(name: str) -> SecretStr:
    """Read a secret that a receiver of alerts names by its environment variable.

    Raises:
        SettingsError: the variable is not set, or malformed.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        raise _missing(name, "the secret that the receiver verifies alerts by")
    secret = SecretStr(value)
    if not _is_key(secret):
        raise SettingsError(f"{name} must be base64 after {BASE64_SECRET}")
    return secret


def _is_key(secret: SecretStr) -> bool:
    """Return whether a secret can sign: any text, or base64 after its prefix."""
    value = secret.get_secret_value()
    if not value.startswith(BASE64_SECRET):
        return True
    try:
        base64.b64decode(value.removeprefix(BASE64_SECRET), validate=True)
    except binascii.Error:
        return False
    return True


def _services(notify_urls: SecretStr | None) -> Iterator[tuple[str, SecretStr]]:
    """Name each URL after its service, and number the second and later ones of a service."""
    count: Counter[str] = Counter()
    for url in _addresses(notify_urls) if notify_urls else ():
        service = url.partition("://")[0].lower()
        count[service] += 1
        yield f"{service} {count[service]}" if count[service] > 1 else service, SecretStr(url)


def _addresses(notify_urls: SecretStr) -> list[str]:
    # A comma may also be part of an address: it separates two only where a scheme follows.
    return re.split(r"[\s,]+(?=\w+://)", notify_urls.get_secret_value().strip(" ,\n"))


def _not_like(url: str) -> str:
    """Say what a URL wrongly begins with: a driver's name, a quote; nothing that may be secret."""
    scheme = re.match(r"(jdbc:)?[a-z]+(\+[a-z0-9]+)?://", url, re.IGNORECASE)
    if scheme:
        return f", not with {scheme[0]}"
    return ", without quotes" if url.startswith(("'", '"')) else ""


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _missing(name: str, example: str) -> SettingsError:
    return SettingsError(f"{name} is not set; set it to {example}")
