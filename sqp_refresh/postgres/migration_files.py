"""Know where the migrations are; quick to import, as Alembic and SQLAlchemy are not."""

from pathlib import Path

# A wheel carries the folder inside the package, a checkout beside it.
_PLACES = (Path(__file__).parents[1] / "migrations", Path(__file__).parents[2] / "migrations")
FOLDER = _PLACES[0] if _PLACES[0].is_dir() else _PLACES[1]
