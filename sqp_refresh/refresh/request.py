"""Define who asks for a refresh, and how it is to be done."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Trigger(StrEnum):
    """What launched a run: only what a person did is a manual step."""

    SCHEDULE = "schedule"
    SENSOR = "sensor"
    RETRY = "retry"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """Who asks for a refresh, and how it is to be done.

    Attributes:
        run_id: The run that it belongs to.
        root_run_id: The run that that one is a re-run of, however often; None where it is none.
        force: Load also what has not changed.
        rollback_to: The instant as of which periods are published again, pinned or not; None where
            it is no rollback.
        accept: Hold no week back, however much of it has changed.
        tick: The tick of the schedule that asks for it; None where somebody else does.
        keeps_history: Whether each row that it changes is put on record as it was before.
        writers: How many periods are published at the same time, unless the table says otherwise.
        budget_ms: Milliseconds after which it is marked as a warning, and goes on.
        launched_by: What launched the run.
        rerun: How many times its work had been launched before.
    """

    run_id: str
    root_run_id: str | None = None
    force: bool = False
    rollback_to: datetime | None = None
    accept: bool = False
    tick: datetime | None = None
    keeps_history: bool = True
    writers: int = 1
    budget_ms: int | None = None
    launched_by: Trigger = Trigger.PERSON
    rerun: int = 0

    @property
    def origin(self) -> dict[str, Any]:
        """Where the refresh comes from, as in sync_metadata."""
        origin: dict[str, Any] = {"run_id": self.run_id, "launched_by": self.launched_by}
        if self.tick:
            origin["tick"] = self.tick.isoformat()
        if self.rollback_to:
            origin["rollback_to"] = self.rollback_to.isoformat()
        if self.root_run_id:
            origin["root_run_id"] = self.root_run_id
        return origin | ({"rerun": self.rerun} if self.rerun else {})
