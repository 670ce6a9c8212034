"""What a contender makes ready to be measured: a call in the worker, or another program."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A run that is another program's: its arguments, and the environment it needs beside ours."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


Load = Callable[[], None] | Command
