"""Put into words what is odd about a source although its rows were loaded."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from sqp_refresh.model.rows import OutOfReach
from sqp_refresh.model.text import listing
from sqp_refresh.model.versions import SourceVersion, Version


def warn_of_versions(versions: Iterable[Version | None]) -> Iterator[str]:
    """Say what is odd about the weeks that were loaded, by what each of them is made from."""
    loaded = [version for version in versions if isinstance(version, SourceVersion)]
    if keys := sum(version.shared_keys or 0 for version in loaded):
        clients = sorted({client for version in loaded for client in version.clients})
        yield (
            f"{keys:,} {'key has' if keys == 1 else 'keys have'} rows of several clients "
            f"({listing(map(repr, clients))}), and only one of them shows; read each "
            "client through a view of its own"
        )
    if rows := sum(version.off_midnight or 0 for version in loaded):
        times = sorted({time for version in loaded for time in version.times})
        yield (
            f"{rows:,} {'row is' if rows == 1 else 'rows are'} not dated at midnight UTC but at "
            f"{listing(times)}; they count for the day and the week that this is in UTC, so read a "
            "view with the dates that are meant"
        )


def warn_of_out_of_reach(now: OutOfReach | None, before: Mapping[str, Any]) -> list[str]:
    """Say how many rows no refresh will look at, if there are more of them than the last time.

    A row that nobody mends would be the same news every night; the check of them goes on to warn.

    Args:
        now: What there is; None where nobody has looked.
        before: What sync_metadata keeps of the last refresh that did not fail.
    """
    if now is None:
        return []
    warnings = []
    if now.undated > before.get("undated", 0):
        warnings.append(f"{now.undated:,} rows of the source have no date, and reach no week")
    if now.misdated > before.get("misdated", 0):
        warnings.append(
            f"{now.misdated:,} {'row' if now.misdated == 1 else 'rows'} of the source "
            f"{'is' if now.misdated == 1 else 'are'} dated {_between(now.first, now.last)}, "
            "before REFRESH_START_DATE or in a week to come, where no refresh looks"
        )
    return warnings


def _between(first: date | None, last: date | None) -> str:
    return f"from {first} to {last}" if first != last else str(first)


def counts_of_versions(versions: Iterable[Version | None]) -> dict[str, int]:
    """Count the same over the weeks that were loaded, as sync_metadata keeps it."""
    loaded = [version for version in versions if isinstance(version, SourceVersion)]
    return {
        "shared_keys": sum(version.shared_keys or 0 for version in loaded),
        "off_midnight": sum(version.off_midnight or 0 for version in loaded),
    }
