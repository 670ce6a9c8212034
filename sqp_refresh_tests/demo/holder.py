"""A process that holds both servers, to be ended in every way: see `test_servers`."""

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from sqp_refresh.demo.servers import embedded_bigquery, embedded_postgres

if __name__ == "__main__":
    # A test run in the background of a shell has SIGINT ignored, and Dagster has SIGTERM follow it;
    # what is ignored is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    home = Path(sys.argv[1])
    with (
        embedded_postgres(home / "postgres") as url,
        embedded_bigquery(home / "bigquery", project="held") as emulator,
    ):
        print(json.dumps([url, asdict(emulator)]), flush=True)  # noqa: T201
        sys.stdin.read()
