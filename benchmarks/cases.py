"""List who is measured, at what, and in which order."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.command import Load

if TYPE_CHECKING:
    from benchmarks.rows import Rows


class Case(StrEnum):
    """A task. On one database, each finds what the one before it left."""

    FIRST = "first load"
    AGAIN = "same rows again"
    CHANGED = "2 % changed"
    WEEK = "one week of 4,000"
    SLOPE = "five times the rows"
    UNCHANGED_NIGHT = "night, nothing changed"
    NEW_WEEK_NIGHT = "night, one new week"


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that is measured.

    Attributes:
        name: As the tables show it.
        source: Module and function that prepare a run. The function's docstring describes it.
    """

    name: str
    source: str

    @property
    def prepare(self) -> "Callable[[str, Rows], Load]":
        """Make a run ready: from a database's URL and some rows to what is then measured."""
        module, function = self.source.split(":")
        return getattr(import_module(f"benchmarks.{module}"), function)

    @property
    def description(self) -> str:
        """Return what it does, by which settings."""
        return (self.prepare.__doc__ or "").strip()


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("sqp_refresh", "ours:engine"),
        Contender("one writer", "ours:one_writer"),
        Contender("writes nothing", "ours:bystander"),
        Contender("validation", "ours:validation"),
        Contender("staging COPY", "ours:staging"),
        Contender("limit", "peers:limit"),
        Contender("COPY and upsert", "peers:copy_and_upsert"),
        Contender("dlt", "peers:dlt"),
        Contender("Sling", "peers:sling"),
        Contender("pandas", "peers:pandas"),
        Contender("executemany", "peers:executemany"),
        Contender("nightly job", "night:night"),
        Contender("empty job", "night:empty_job"),
    )
}

Lane = tuple[tuple[str, Case], ...]
"""Runs one after the other on one database: who does what."""

_LOADS = (Case.FIRST, Case.AGAIN, Case.CHANGED, Case.WEEK)

LANES: tuple[Lane, ...] = (
    (
        ("sqp_refresh", Case.FIRST),
        ("sqp_refresh", Case.AGAIN),
        ("writes nothing", Case.AGAIN),
        ("staging COPY", Case.AGAIN),
        ("validation", Case.AGAIN),
        ("sqp_refresh", Case.CHANGED),
        ("sqp_refresh", Case.WEEK),
    ),
    (("one writer", Case.FIRST),),
    (("limit", Case.FIRST),),
    *(tuple((name, case) for case in _LOADS) for name in ("COPY and upsert", "dlt", "Sling")),
    # An hour each, if they had to do everything.
    *(((name, Case.FIRST), (name, Case.AGAIN)) for name in ("pandas", "executemany")),
)
SLOPE: Lane = (("sqp_refresh", Case.SLOPE),)
NIGHTS: Lane = (
    ("empty job", Case.UNCHANGED_NIGHT),
    ("nightly job", Case.UNCHANGED_NIGHT),
    ("nightly job", Case.NEW_WEEK_NIGHT),
)
