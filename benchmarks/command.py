"""Define what is measured: a call in the worker, or another program."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A run of another program: its arguments, and what it needs in its environment."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


Load = Callable[[], None] | Command
