"""Write `migrations/schema.json`: `python -m sqp_refresh_tests.migrations.schema_file`.

What a database is once every migration was applied, for `sqp-refresh doctor` to compare with; its
views, functions and triggers are in `migrations/definitions.json`.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sqp_refresh.demo.servers import embedded_postgres
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.release_definitions import DEFINITIONS_FILE, read_definitions
from sqp_refresh.postgres.schema_catalog import SCHEMA_FILE, Relation, read_schema
from sqp_refresh.postgres.session import connect


def as_file(relations: Mapping[str, Relation]) -> str:
    """Return the text of the file, with a line for each column, constraint and index."""
    values = {name: relation.to_json() for name, relation in sorted(relations.items())}
    return f"{{{_lines(values, 1, _relation)}\n}}\n"


def as_json(statements: Mapping[str, str]) -> str:
    """Return the text of the file of definitions."""
    return json.dumps(statements, indent=2) + "\n"


def _relation(parts: Mapping[str, object]) -> str:
    return f"{{{_lines(parts, 2, _part)}\n  }}"


def _part(part: object) -> str:
    match part:
        case dict() if part:
            return f"{{{_lines(part, 3, json.dumps)}\n    }}"
        case list() if part:
            lines = ",".join(f"\n      {json.dumps(item)}" for item in part)
            return f"[{lines}\n    ]"
        case _:
            return json.dumps(part)


def _lines(values, depth, text) -> str:
    indent = "\n" + "  " * depth
    return ",".join(f"{indent}{json.dumps(name)}: {text(value)}" for name, value in values.items())


def main() -> None:
    """Migrate an empty database of a server of its own, and write what it is."""
    with (
        tempfile.TemporaryDirectory(prefix="sqp_schema_") as directory,
        embedded_postgres(Path(directory, "postgres")) as url,
    ):
        migrate.upgrade(url)
        with connect(url) as session:
            SCHEMA_FILE.write_text(as_file(read_schema(session)), encoding="utf-8")
            DEFINITIONS_FILE.write_text(as_json(read_definitions(session)), encoding="utf-8")


if __name__ == "__main__":
    main()
