"""How a source's schema differs from the one that the last refresh found.

A column that is missing, or does not convert any more, stops a table before anything is written;
that is `extract`'s to say. What is told here is what goes on, and is worth knowing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqp_refresh.tables import SourceSpec


@dataclass(frozen=True, slots=True)
class Drift:
    """What has changed about a source.

    Attributes:
        notes: Changes that make no difference to the rows.
        warnings: Changes that do.
    """

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def drift(spec: SourceSpec, before: Mapping[str, str], now: Mapping[str, str]) -> Drift:
    """What has changed between two schemas, each the types of the columns by title."""
    found = Drift()
    if not before or not now:
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
