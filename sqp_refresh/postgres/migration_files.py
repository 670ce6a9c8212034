"""Know where the migrations are; quick to import, as Alembic and SQLAlchemy are not."""

from pathlib import Path

from sqp_refresh.schema_name import SCHEMA, render

# A wheel carries the folder inside the package, a checkout beside it.
_PLACES = (Path(__file__).parents[1] / "migrations", Path(__file__).parents[2] / "migrations")
FOLDER = _PLACES[0] if _PLACES[0].is_dir() else _PLACES[1]


def read_file(path: Path) -> str:
    """Return what a file of the migrations says, for the schema of this process.

    For the schema `sqp` that is the file itself, byte for byte.
    """
    return render(path.read_text(encoding="utf-8"), SCHEMA)
