"""Say with which command an operator begins, for each sort of trouble that an alert is about."""

from collections.abc import Sequence

from sqp_refresh.errors import Kind

_KINDS_FOR_DOCTOR = {Kind.SETTINGS, Kind.CREDENTIALS, Kind.SCHEMA, Kind.READ_ONLY}
"""What keeps any refresh from going through: doctor names it with its remedy."""

_KINDS_THAT_PASS = {Kind.TRANSIENT, Kind.QUOTA}
"""What may have passed by the time that somebody reads of it."""

DOCTOR = "sqp-refresh doctor"
WAITING_ROWS = "sqp-refresh quarantine list"


def after_failure(table: str, kind: str | None, *, is_rejected: bool) -> str:
    """Return the command to begin with after a refresh has failed.

    Args:
        table: The table.
        kind: What sort of failure it is, as in `errors.Kind`.
        is_rejected: Whether a week has too many bad rows.
    """
    if is_rejected:
        return WAITING_ROWS
    if kind in _KINDS_FOR_DOCTOR:
        return DOCTOR
    if kind in _KINDS_THAT_PASS:
        return f"sqp-refresh refresh --table {table}"
    return history(table)


def after_warning(table: str, message: str) -> str:
    """Return the command to begin with after a warning: the one that it names itself, if any."""
    _, _, named = message.partition("`sqp-refresh ")
    command, closing, _ = named.partition("`")
    return f"sqp-refresh {command}" if closing else history(table)


def after_failed_checks(table: str, weeks: Sequence[str]) -> str:
    """Return the command that judges the weeks again which have failed a check."""
    chosen = f" --from {min(weeks)} --to {max(weeks)}" if weeks else ""
    return f"sqp-refresh check --table {table}{chosen}"


def history(table: str) -> str:
    """Return the command that shows the table's last runs."""
    return f"sqp-refresh history {table}"
