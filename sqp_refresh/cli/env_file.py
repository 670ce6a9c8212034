"""Read the settings of a file `.env` in the working directory, as Dagster's own commands do."""

import os
from pathlib import Path

FILE = Path(".env")


def read_env_file() -> None:
    """Set the variables of the file, if there is one; what it sets prevails over the environment.

    So does it in `dg dev` and `dg launch`: both work on the same servers as this command.
    """
    if not FILE.is_file():
        return
    from dotenv import dotenv_values

    os.environ |= {name: value for name, value in dotenv_values(FILE).items() if value is not None}
