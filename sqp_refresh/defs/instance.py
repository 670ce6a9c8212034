"""What the Dagster instance says of itself: whether its daemon lives, and what is switched off."""

import os
from collections.abc import Collection
from datetime import UTC, datetime

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus


def daemon_problems(names: Collection[str]) -> list[str] | None:
    """One line for each thing that keeps nights from starting; None where there is no instance.

    A daemon counts as dead half an hour after its last heartbeat, as in the Dagster UI.

    Args:
        names: The schedules and sensors that must not be switched off.
    """
    if not os.environ.get("DAGSTER_HOME"):
        return None
    with dg.DagsterInstance.get() as instance:
        return [*_dead(instance), *_switched_off(instance, names)]


def _dead(instance: dg.DagsterInstance) -> list[str]:
    statuses = instance.get_daemon_statuses().values()
    dead = sorted(one.daemon_type.lower() for one in statuses if one.required and not one.healthy)
    if not dead:
        return []
    beats = [one.last_heartbeat.timestamp for one in statuses if one.last_heartbeat]
    since = f"since {_utc(max(beats))}" if beats else "and has never lived"
    return [
        f"the Dagster daemon is dead {since} ({', '.join(dead)}); start `dagster-daemon run`, or "
        "`dagster dev`, with this DAGSTER_HOME"
    ]


def _switched_off(instance: dg.DagsterInstance, names: Collection[str]) -> list[str]:
    states = instance.all_instigator_state(instigator_statuses={InstigatorStatus.STOPPED})
    stopped = {state.instigator_name for state in states} & set(names)
    return [
        f"{name} is switched off in Dagster; switch it on in the UI under Automation"
        for name in sorted(stopped)
    ]


def _utc(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M} UTC"
