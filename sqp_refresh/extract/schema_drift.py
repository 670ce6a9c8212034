"""How a source's schema differs from the one that the last refresh found.

A column that is missing, or does not convert any more, stops a table before anything is written;
that is `extract`'s to say, and so does a scale that is not percent. Other changes are told of.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SourceSpec


@dataclass(frozen=True, slots=True)
class Drift:
    """What has changed about a source.

    Attributes:
        notes: Changes that make no difference to the rows.
        warnings: Changes that do.
    """

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def drift(spec: SourceSpec | None, before: Mapping[str, str], now: Mapping[str, str]) -> Drift:
    """What has changed between two schemas, each the types of the columns by title.

    Nothing has, where there is no source or nobody has looked before.
    """
    found = Drift()
    if spec is None or not before or not now:
        return found
    read = {column.title.lower() for column in spec.columns}
    for title in sorted(before.keys() | now.keys()):
        was, is_now = before.get(title), now.get(title)
        if was == is_now:
            continue
        if was is None:
            found.notes.append(f"the source has a new column {title!r} ({is_now})")
        elif is_now is None:
            changed = found.warnings if title.lower() in read else found.notes
            changed.append(f"the source no longer has a column {title!r} ({was})")
        else:
            found.notes.append(f"column {title!r} of the source is {is_now} now, and was {was}")
    return found


def explained(
    mismatch: SchemaMismatch, spec: SourceSpec | None, before: Mapping[str, str]
) -> SchemaMismatch:
    """A mismatch together with what has changed about the source since an earlier look at it."""
    changes = drift(spec, before, mismatch.details.get("source_schema") or {})
    said = "; ".join(changes.warnings + changes.notes)
    if not said:
        return mismatch
    return SchemaMismatch(f"{mismatch}; since the last refresh: {said}", **mismatch.details)


def require_percentages(weeks_of_fractions: Iterable[Period]) -> None:
    """Stop a table before anything is written where shares go from 0 to 1, told from their counts.

    Raises:
        SchemaMismatch: there are such weeks.
    """
    weeks = [str(week) for week in weeks_of_fractions]
    if weeks:
        raise SchemaMismatch(
            f"the shares of {', '.join(weeks[:3])} are fractions from 0 to 1, told from the counts "
            "beside them, where percentages from 0 to 100 were expected; ask the vendor, or read a "
            "view that multiplies them by 100"
        )
