"""Read the settings of a file `.env` in the working directory, as Dagster's own commands do."""

import os
from pathlib import Path

FILE = Path(".env")


def read_env_file() -> None:
    """Set the variables of the file, if there is one; what it sets prevails over the environment.

    So does it in `dg dev` and `dg launch`: both work on the same servers as this command.

    Raises:
        SystemExit: the file cannot be read.
    """
    if not (FILE.is_file() or FILE.is_fifo()):
        return
    from dotenv import dotenv_values

    try:
        values = dotenv_values(FILE)
        os.environ |= {name: value for name, value in values.items() if value is not None}
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"sqp-refresh: {FILE} cannot be read: {error}; make it a text of NAME=value lines that "
            "this user may read, or move it away"
        ) from None
