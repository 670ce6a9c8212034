"""State the figures to reach: each a ratio of two measurements of the same benchmark."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.cases import Case
from benchmarks.measure import Measurement

Who = tuple[str, Case]
Medians = Mapping[tuple[str, str], Measurement]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach.

    Attributes:
        name: In words.
        of: The run whose number is divided.
        by: The run by whose number it is divided; None takes the number as it is.
        most: It may be no more.
        least: It may be no less.
        number: Name of the measured number.
    """

    name: str
    of: Who
    by: Who | None
    most: float | None = None
    least: float | None = None
    number: str = "seconds"

    def value(self, medians: Medians) -> float | None:
        """Return the figure; None where one of the two was not measured."""
        of, by = medians.get(self.of), medians.get(self.by) if self.by else None
        if of is None or (self.by and by is None):
            return None
        return getattr(of, self.number) / (getattr(by, self.number) if by else 1)

    def holds(self, value: float) -> bool:
        """Return whether it is reached."""
        return (self.most is None or value <= self.most) and (
            self.least is None or value >= self.least
        )

    @property
    def bound(self) -> str:
        """Return the bound, as people write it."""
        return f"≤ {self.most:g}" if self.most is not None else f"≥ {self.least:g}"


_FIRST: Who = ("sqp_refresh", Case.FIRST)
_AGAIN: Who = ("sqp_refresh", Case.AGAIN)
_CHANGED: Who = ("sqp_refresh", Case.CHANGED)
_SLOPE: Who = ("sqp_refresh", Case.SLOPE)
_STAGING: Who = ("staging COPY", Case.AGAIN)
_EMPTY: Who = ("empty job", Case.UNCHANGED_NIGHT)
_NIGHT: Who = ("nightly job", Case.UNCHANGED_NIGHT)
_NEW_WEEK: Who = ("nightly job", Case.NEW_WEEK_NIGHT)

TARGETS = (
    Target("first load / limit", _FIRST, ("limit", Case.FIRST), most=2.0),
    Target("dlt / first load", ("dlt", Case.FIRST), _FIRST, least=5),
    Target("Sling / first load", ("Sling", Case.FIRST), _FIRST, least=3),
    Target("COPY and upsert / first load", ("COPY and upsert", Case.FIRST), _FIRST, least=1.5),
    Target("validation / first load", ("validation", Case.AGAIN), _FIRST, most=0.10),
    Target("same rows again / staging COPY", _AGAIN, _STAGING, most=1.3),
    Target("Sling again / same rows again", ("Sling", Case.AGAIN), _AGAIN, least=10),
    Target("dlt again / same rows again", ("dlt", Case.AGAIN), _AGAIN, least=10),
    Target(
        "WAL of same rows again / of writing nothing",
        _AGAIN,
        ("writes nothing", Case.AGAIN),
        most=1.05,
        number="wal_mb",
    ),
    Target("2 % changed / staging COPY", _CHANGED, _STAGING, most=1.5),
    Target("five times the rows / first load", _SLOPE, _FIRST, most=5.3),
    Target("their peak memory / its", _SLOPE, _FIRST, most=1.15, number="peak_mb"),
    Target("their peak memory, MB", _SLOPE, None, most=500, number="peak_mb"),
    Target("night, nothing changed / empty job", _NIGHT, _EMPTY, most=2.5),
    Target("night, one new week / empty job", _NEW_WEEK, _EMPTY, most=3),
)
