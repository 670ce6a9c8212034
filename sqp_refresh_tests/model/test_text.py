"""Show control characters in messages, wherever they end up, and never send them."""

from datetime import UTC, datetime

import pytest

from sqp_refresh.alerts.outbox import Alert
from sqp_refresh.checks.evaluate import Measurement, evaluate
from sqp_refresh.checks.metrics import METRICS
from sqp_refresh.errors import DataError, one_line
from sqp_refresh.model.events import Event
from sqp_refresh.model.text import printable

RED, SHOWN = "\x1b[31m", r"\x1b[31m"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb\x08\x00\x7f", r"a\rb\x08\x00\x7f"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("half \ud83d", r"half \ud83d"),
        ("a\u2028b", r"a\u2028b"),
        ("kept:\ta\nb é 日本 👩\u200d🔧 عربى", "kept:\ta\nb é 日本 👩\u200d🔧 عربى"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(raw, shown):
    assert printable(raw) == shown
    assert str(DataError(raw)) == shown.replace("\n", " ")


def test_a_message_of_another_library_is_written_out_in_one_line():
    assert one_line(ValueError(f"{RED}bad\nmore")) == f"{SHOWN}bad"


def test_alerts_and_verdicts_write_out_what_they_quote():
    at = datetime.now(UTC)

    assert Alert(Event.FAILED, "t", f"{RED}x", "", at).payload["error_message"] == f"{SHOWN}x"
    assert Alert(Event.FAILED, "t", None, "", at).payload["error_message"] is None

    metric = METRICS["volume_ratio"]
    (verdict,) = evaluate({metric: [Measurement("volume_ratio", "w", 0, None, f"{RED}DE")]})
    assert f"w of {SHOWN}DE" in str(verdict)
