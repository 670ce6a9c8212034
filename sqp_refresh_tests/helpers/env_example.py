"""Write `.env.example` from the settings: `python -m sqp_refresh_tests.helpers.env_example`."""

from pathlib import Path

from sqp_refresh.settings import Settings

FILE = Path(__file__).parents[2] / ".env.example"

# The client of Google reads these too, and takes an empty one for an address.
NOT_TO_BE_EMPTY = {"BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST"}

_HEAD = """\
# The settings, for work on one machine: copy this file to .env, and fill it in. Dagster's commands
# (dg dev, dg launch, ...) and sqp-refresh read .env in the working directory. What it sets prevails
# over the environment; what it leaves empty has its default: delete what you set elsewhere.
# docs/reference.md says more of each. A value with spaces or quotes goes between single quotes.

# where Dagster keeps its runs, an absolute path; without it, they are gone when Dagster ends
# DAGSTER_HOME=
"""


def text() -> str:
    """Return what the file must hold: every setting with what it means and its default."""
    return _HEAD + "".join(map(_entry, Settings.model_fields))


def _entry(name: str) -> str:
    setting = Settings.model_fields[name]
    value = "" if setting.default is None else str(setting.default)
    value = f"'{value}'" if " " in value else value
    off = "# " if name in NOT_TO_BE_EMPTY else ""
    return f"\n# {setting.description}\n{off}{name}={value}\n"


if __name__ == "__main__":
    FILE.write_text(text())
