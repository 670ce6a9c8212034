"""Send an alert to a service that people read: Slack, e-mail and whatever else Apprise knows."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqp_refresh.alerts.outbox import DeliveryResult
from sqp_refresh.model.events import Event, Severity
from sqp_refresh.model.text import listing, utc_minute
from sqp_refresh.schema_name import SCHEMA

_SUBJECT = {
    Event.FAILED: "the refresh of {} failed",
    Event.WARNING: "the refresh of {} needs a look",
    Event.COMPLETED: "{} was refreshed",
    Event.QUALITY_FAILED: "{} does not pass its checks",
    Event.OVERDUE: "{} is overdue",
    Event.RECOVERED: "{} is refreshed again",
    Event.WEEK_ARRIVED: "a week of {} arrived",
    Event.WEEK_FINAL: "a week of {} is final",
    Event.DIGEST: "the week of {}",
    Event.TEST: "a test of {}",
}
_NOTIFY_TYPE = {Severity.HIGH: "failure", Severity.MEDIUM: "warning", Severity.LOW: "info"}


def notify(url: str, payload: dict[str, Any]) -> DeliveryResult:
    """Send an alert to a service; whatever goes wrong is in the result, without a secret.

    Args:
        url: The service's address, as Apprise understands it.
        payload: The alert, as a webhook receives it.
    """
    import apprise

    title, body = format_message(payload)
    with _silenced("apprise", "urllib3"):
        service = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
        if not service.add(url):
            return DeliveryResult("is not an address that Apprise understands", is_final=True)
        sent = service.notify(
            body=body,
            title=title,
            notify_type=_NOTIFY_TYPE[payload["severity"]],
            body_format=apprise.NotifyFormat.TEXT,
        )
    if sent:
        return DeliveryResult()
    return _refusal("\n".join(entry.message for entry in sent.logs()))


def format_message(payload: dict[str, Any]) -> tuple[str, str]:
    """Return the title and the text of an alert, as a person reads it.

    An alert that an earlier release wrote says less.
    """
    first, *others = payload.get("tables") or [payload["table_name"]]
    subject = _SUBJECT[Event(payload["event"])].format(first)
    title = f"{SCHEMA}_refresh: {subject}"
    weeks, command, dataset = (payload.get(name) for name in ("weeks", "command", "dataset"))
    run = f"audit_log_id {payload['audit_log_id']}, run {payload['run_id']}"
    lines = (
        payload["error_message"],
        f"also {', '.join(others)}" if others else None,
        f"weeks: {listing(weeks)}" if weeks else None,
        f"next: {command}" if command else None,
        payload.get("run_url"),
        run if payload["audit_log_id"] else None,
        f"dataset {dataset}" if dataset else None,
        _minute(payload["occurred_at"]),
    )
    return title, "\n".join(line for line in lines if line)


def _minute(instant: str) -> str:
    return utc_minute(datetime.fromisoformat(instant).astimezone(UTC))


def _refusal(log: str) -> DeliveryResult:
    # What Apprise logs quotes addresses, so no more than the status is taken from it.
    status = re.search(r"\berror=(\d{3})\b", log)
    if status is None:
        return DeliveryResult("was not accepted, or the service cannot be reached")
    return DeliveryResult(f"answered {status[1]}", int(status[1]))


@contextmanager
def _silenced(*names: str) -> Iterator[None]:
    """Keep what libraries log to themselves: they quote addresses, and a token is part of one."""
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.propagate, logger.level) for logger in loggers]
    handler = logging.NullHandler()
    for logger in loggers:
        logger.propagate = False
        # Apprise logs as a warning why a service refused, and that is needed at any level.
        logger.setLevel(logging.WARNING)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, (propagate, level) in zip(loggers, before, strict=True):
            logger.propagate = propagate
            logger.setLevel(level)
            logger.removeHandler(handler)
