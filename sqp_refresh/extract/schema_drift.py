"""Compare a source's schema with the one that the last refresh saw.

A column that is missing, or does not convert any more, stops a table before anything is written,
and so does a scale that is not percent. Other changes are notes or warnings of the audit row.
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
    """Compare two schemas, each the types of the columns by title.

    Nothing has, where there is no source or nobody has looked before.
    """
    changes = Drift()
    if spec is None or not before or not now:
        return changes
    read = {column.title.lower() for column in spec.columns}
    for title in sorted(before.keys() | now.keys()):
        was, is_now = before.get(title), now.get(title)
        if was == is_now:
            continue
        if was is None:
            changes.notes.append(f"the source has a new column {title!r} ({is_now})")
        elif is_now is None:
            changed = changes.warnings if title.lower() in read else changes.notes
            changed.append(f"the source no longer has a column {title!r} ({was})")
        else:
            changes.notes.append(f"column {title!r} of the source is {is_now} now, and was {was}")
    return changes


def explained(
    mismatch: SchemaMismatch, spec: SourceSpec | None, before: Mapping[str, str]
) -> SchemaMismatch:
    """Return a mismatch, with what has changed about the source since an earlier look at it."""
    changes = drift(spec, before, mismatch.details.get("source_schema") or {})
    message = "; ".join(changes.warnings + changes.notes)
    if not message:
        return mismatch
    return SchemaMismatch(f"{mismatch}; since the last refresh: {message}", **mismatch.details)


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
