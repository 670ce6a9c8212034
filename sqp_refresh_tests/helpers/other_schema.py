"""Work in another schema than `sqp`, as an agency of its own does: in a process of its own."""

import json
import os
import subprocess
import sys
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from sqp_refresh.schema_name import SCHEMA, SETTING, render

_COMMANDS = """
import json, sys
from sqp_refresh_tests.helpers.commands import sqp_refresh
done = [sqp_refresh(*words) for words in json.loads(sys.argv[1])]
print(json.dumps([[each.returncode, each.stdout, each.stderr] for each in done]))
"""


def run_python(schema: str, program: str, *arguments: str) -> str:
    """Run a program in a schema, with the settings of this process; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {SETTING: schema},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_commands(schema: str, *commands: tuple[str, ...]) -> list[tuple[int, str, str]]:
    """Run commands of `sqp-refresh` one after another; return how each ended and what it printed.

    All are run by one process, as each would take seconds to start.
    """
    printed = run_python(schema, _COMMANDS, json.dumps(commands))
    return [(code, out, err) for code, out, err in json.loads(printed)]


def shared_names(definitions: dg.Definitions) -> dict[str, list[str]]:
    """Return the names of a code location that an instance may share with another's."""
    graph = definitions.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    tables = [node.assets_def for node in nodes if node.is_executable]
    names = {
        "assets": (node.key.to_user_string() for node in nodes),
        "pools": (definition.op.pool for definition in tables if definition.op.pool),
        "groups": (node.group_name for node in nodes if node.group_name),
        "jobs": (job.name for job in definitions.resolve_all_job_defs()),
        "sensors": (sensor.name for sensor in definitions.sensors or ()),
    }
    return {kind: sorted(set(of_kind)) for kind, of_kind in names.items()}


def have_tests_speak_of_this_schema(patched: pytest.MonkeyPatch) -> None:
    """Have the SQL that tests write for `sqp` run in the schema of this process.

    Only what a test itself sends is changed: what the package sends has to be right as it is.
    """
    for class_ in (psycopg.Connection, psycopg.Cursor):
        patched.setattr(class_, "execute", _for_this_schema(class_.execute))


def _for_this_schema(execute: Any) -> Any:
    def executed(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        sender = sys._getframe(1).f_globals["__name__"]
        if sender.startswith("sqp_refresh_tests."):
            query = _rendered(query, self)
        return execute(self, query, *arguments, **options)

    return executed


def _rendered(query: Any, context: Any) -> Any:
    if isinstance(query, sql.Composable):
        query = query.as_string(context)
    text = query.decode() if isinstance(query, bytes) else query
    return render(text, SCHEMA).encode()
