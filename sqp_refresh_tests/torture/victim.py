"""Refresh the eight tables in a process of its own, and print a line when a moment has come.

The arguments are the run's id, the first and the last week, and, where the process is to be killed,
the name of a moment and a number: the line is printed at that occurrence of the moment. Without a
moment all of them are counted, and the counts are printed as JSON at the end.
"""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqp_refresh.control import audit_log, checkpoints
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.load import strategy
from sqp_refresh.load.strategy import Strategy
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.model.periods import weeks_between
from sqp_refresh.model.tables import TABLES
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.settings import Settings


@dataclass(frozen=True, slots=True)
class Moment:
    """A call in the middle of which a process can be killed."""

    owner: Any
    function: str
    counts: Callable[..., bool] = lambda *_: True


def _is_derived(_: Session, __: Strategy, target: TargetPeriod, *___: object) -> bool:
    return target.table.source is None


MOMENTS = {
    "copy": Moment(Session, "copy"),
    "publish": Moment(strategy, "load", lambda *args: not _is_derived(*args)),
    "rollup": Moment(strategy, "load", _is_derived),
    "checkpoint": Moment(checkpoints, "save"),
    "commit": Moment(Session, "commit"),
    "audit": Moment(audit_log, "close"),
}


def main() -> None:
    """Refresh all tables, parents first; each sees what its parents published."""
    run_id, first, last, *awaited = sys.argv[1:]
    passed = observed(*awaited)
    settings = Settings.read()
    weeks = list(weeks_between(date.fromisoformat(first), date.fromisoformat(last)))
    instant, queries = datetime.now(UTC), RunQueries()
    for table in TABLES.values():
        source = source_for(settings, table, weeks, instant, queries=queries)
        request = RefreshRequest(run_id, writers=settings.REFRESH_WRITERS)
        refresh(settings.database_url, source, request)
    if not awaited:
        sys.stdout.write(json.dumps(passed))


def observed(moment: str = "", number: str = "0") -> Counter[str]:
    """Count the moments from now on, and print a line when the awaited one has come."""
    passed: Counter[str] = Counter()
    one_by_one = threading.Lock()

    def pass_by(name: str) -> None:
        with one_by_one:
            passed[name] += 1
            is_awaited = name == moment and passed[name] == int(number)
        if is_awaited:
            sys.stdout.write("now\n")
            sys.stdout.flush()

    for name, place in MOMENTS.items():
        _observe(name, place, pass_by)
    return passed


def _observe(name: str, place: Moment, pass_by: Callable[[str], None]) -> None:
    function = getattr(place.owner, place.function)

    def watched(*args: Any, **named: Any) -> Any:
        if place.counts(*args):
            pass_by(name)
        return function(*args, **named)

    setattr(place.owner, place.function, watched)


if __name__ == "__main__":
    main()
