"""Run both servers in a process that `test_servers` ends in several ways."""

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from sqp_refresh.demo.servers import embedded_bigquery, embedded_postgres

if __name__ == "__main__":
    # In the background of a shell SIGINT is ignored, and Dagster handles SIGTERM as it does SIGINT;
    # a child inherits that a signal is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    home = Path(sys.argv[1])
    with (
        embedded_postgres(home / "postgres") as url,
        embedded_bigquery(home / "bigquery", project="holder") as emulator,
    ):
        print(json.dumps([url, asdict(emulator)]), flush=True)  # noqa: T201
        sys.stdin.read()
