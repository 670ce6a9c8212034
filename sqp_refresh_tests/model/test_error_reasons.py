"""The runbook lists every reason of an error, with its kind and what to do."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqp_refresh.errors import DataError
from sqp_refresh.model.error_reasons import (
    BIGQUERY_REASONS,
    BIGQUERY_WORDS,
    GRPC_STATUSES,
    HTTP_STATUSES,
    POOLER_WORDS,
    REFUSALS,
    SQLSTATES,
    ErrorReason,
    Words,
    reason_in,
)

RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
ROW = re.compile(r"^\| (`.+`) \| ([a-z-]+) \| (yes|no) \| (.+) \|$", re.MULTILINE)
LISTED = {
    (name, kind, again == "yes", remedy)
    for names, kind, again, remedy in ROW.findall(RUNBOOK)
    for name in re.findall(r"`([^`]+)`", names)
}


def known() -> Iterator[tuple[str, ErrorReason]]:
    """List every reason by the name that the runbook has for it."""
    yield from BIGQUERY_REASONS.items()
    yield from GRPC_STATUSES.items()
    yield from ((f"HTTP {status:x<3}", reason) for status, reason in HTTP_STATUSES.items())
    for sqlstate, reason in SQLSTATES.items():
        yield f"{sqlstate:x<5}", reason
    for words in (*BIGQUERY_WORDS, *POOLER_WORDS, *REFUSALS):
        yield words.words, words.reason


def test_the_runbook_lists_every_reason_and_no_other():
    expected = {
        (name, reason.error.kind.value, reason.is_transient, reason.remedy)
        for name, reason in known()
    }

    assert expected == LISTED
    assert all(reason.remedy for _, reason in known())


@pytest.mark.parametrize(
    ("message", "words", "are_in"),
    [
        ("FATAL: rolle »x« EXISTIERT nicht", "Rolle … existiert nicht", True),
        ("existiert nicht: Rolle", "Rolle … existiert nicht", False),
        ("no such user (x)", "no such user (x)", True),
        ("no such userx", "no such user.", False),
    ],
)
def test_words_are_looked_for_in_any_case_and_in_order(message, words, are_in):
    reason = ErrorReason(DataError, "")

    assert Words(words, reason).are_in(message) is are_in
    assert reason_in(message, [Words("y", reason), Words(words, reason)]) == (
        reason if are_in else None
    )
