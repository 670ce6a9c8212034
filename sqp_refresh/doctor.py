"""What would make a refresh fail, looked for before it does."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from sqp_refresh.catalog import read_catalog
from sqp_refresh.errors import RefreshError
from sqp_refresh.extract.client import rest_client, translated_errors
from sqp_refresh.extract.source import describe
from sqp_refresh.migrate import newest, require_current
from sqp_refresh.settings import Settings
from sqp_refresh.tables import SQP_REPORT


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it is as it should be, and what there is to say."""

    about: str
    ok: bool
    said: str

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def examined() -> list[Finding]:
    """Everything that was looked at; what depends on something broken is left out."""
    return list(_examined())


def _examined() -> Iterator[Finding]:
    settings = None
    try:
        settings = Settings.read()
        yield Finding("settings", True, "every switch is well formed")
    except RefreshError as error:
        yield Finding("settings", False, str(error))
    if settings is None:
        return
    schema = _tried("postgres", lambda: _schema(settings))
    yield schema
    if schema.ok:
        yield from _registry(settings)
    yield _tried("bigquery", lambda: _source(settings))


def _tried(about: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(about, True, look())
    except RefreshError as error:
        return Finding(about, False, str(error))


def _schema(settings: Settings) -> str:
    require_current(settings.database_url)
    return f"schema sqp is at {newest()}, as this release needs it"


def _registry(settings: Settings) -> Iterator[Finding]:
    catalog = read_catalog(settings)
    if not catalog.problems:
        said = f"the graph of {len(catalog.tables)} tables is that of sqp.refresh_dependencies"
        yield Finding("registry", True, said)
    for problem in catalog.problems:
        yield Finding("registry", False, problem)


def _source(settings: Settings) -> str:
    name = settings.source_table
    with translated_errors(name), closing(rest_client(settings)) as client:
        source = describe(client, name, SQP_REPORT, None)
    return f"{name} has every column that is needed, as a {'table' if source.is_table else 'view'}"
