"""One message to a service that people read: Slack, e-mail and whatever else Apprise speaks to."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqp_refresh.alerts.outbox import DeliveryResult
from sqp_refresh.model.events import Event, Severity

_SUBJECT = {
    Event.FAILED: "the refresh of {} failed",
    Event.WARNING: "the refresh of {} needs a look",
    Event.COMPLETED: "{} was refreshed",
    Event.QUALITY_FAILED: "{} does not pass its checks",
    Event.OVERDUE: "{} is overdue",
    Event.RECOVERED: "{} is refreshed again",
    Event.TEST: "a test of {}",
}


def notify(url: str, payload: str) -> DeliveryResult:
    """Send an alert to a service; whatever goes wrong is in the answer, without a secret."""
    import apprise

    title, body = written(payload)
    severity = json.loads(payload)["severity"]
    types = {Severity.HIGH: "failure", Severity.MEDIUM: "warning", Severity.LOW: "info"}
    with _silenced("apprise", "urllib3"):
        service = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
        if not service.add(url):
            return DeliveryResult("is not an address that Apprise understands", is_final=True)
        sent = service.notify(
            body=body,
            title=title,
            notify_type=types[severity],
            body_format=apprise.NotifyFormat.TEXT,
        )
    if sent:
        return DeliveryResult()
    return _refusal("\n".join(entry.message for entry in sent.logs()))


def written(payload: str) -> tuple[str, str]:
    """An alert as a person reads it: a title, and what there is to know."""
    alert = json.loads(payload)
    title = f"sqp_refresh: {_SUBJECT[Event(alert['event'])].format(alert['table_name'])}"
    run = f"audit_log_id {alert['audit_log_id']}, run {alert['run_id']}"
    told = (alert["error_message"], run if alert["audit_log_id"] else None, alert["occurred_at"])
    return title, "\n".join(line for line in told if line)


def _refusal(said: str) -> DeliveryResult:
    """What Apprise logs quotes addresses, so that no more than the status is taken from it."""
    answered = re.search(r"\berror=(\d{3})\b", said)
    if answered is None:
        return DeliveryResult("was not accepted, or the service cannot be reached")
    return DeliveryResult(f"answered {answered[1]}", int(answered[1]))


@contextmanager
def _silenced(*names: str) -> Iterator[None]:
    """Keep what libraries log to themselves: they quote addresses, and a token is part of one."""
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.propagate, logger.level) for logger in loggers]
    nowhere = logging.NullHandler()
    for logger in loggers:
        logger.propagate = False
        logger.setLevel(logging.WARNING)
        logger.addHandler(nowhere)
    try:
        yield
    finally:
        for logger, (propagate, level) in zip(loggers, before, strict=True):
            logger.propagate = propagate
            logger.setLevel(level)
            logger.removeHandler(nowhere)
