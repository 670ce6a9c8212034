"""Refresh two agencies by one release: a code location for each, one Dagster instance."""

import os
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import yaml

from sqp_refresh.demo.servers import Emulator, bigquery_client
from sqp_refresh.demo.source_table import call_deadline
from sqp_refresh.settings import Settings
from sqp_refresh_tests.deploy.machine import LOCATION, Machine, await_that
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.rows import Row, SourceTable, row
from sqp_refresh_tests.torture.rack import Rack

WEEK = str(date(2025, 8, 10))
AGENCIES = {LOCATION: "dataclient_amzatlas_agency_85", "agency_86": "dataclient_amzatlas_agency_86"}
ENDS_WITHIN_S = 600


def refresh_two_agencies(rack: Rack) -> None:
    """Refresh each from its dataset into its database, and check that neither has the other's rows.

    Raises:
        AssertionError: a database does not hold exactly the rows of its agency's source.
    """
    with (
        rack.database() as first_url,
        rack.database() as second_url,
        rack.database("template0") as storage,
        tempfile.TemporaryDirectory(prefix="sqp_refresh_") as home,
    ):
        urls = dict(zip(AGENCIES, (first_url, second_url), strict=True))
        delivered = {name: deliver(dataset) for name, dataset in AGENCIES.items()}
        machines = {
            name: machine_of(Path(home, name), name, url, storage) for name, url in urls.items()
        }
        first = machines[LOCATION]
        introduce(machines, first)
        with (
            machines["agency_86"].running("code"),
            first.running("code", "daemon", "webserver"),
        ):
            first.await_code()
            for name in AGENCIES:
                first.launch(WEEK, WEEK, location=name)
            await_that(lambda: not first.unfinished(), "both are refreshed", ENDS_WITHIN_S)
        for name, url in urls.items():
            with psycopg.connect(url) as connection:
                for table, expected in oracle.expected_tables(delivered[name]).items():
                    oracle.assert_equal(oracle.read_table(connection, table), expected, table)


def deliver(dataset: str) -> list[Row]:
    """Write rows that name their agency into a dataset of its own."""
    rows = [row(brand=dataset, asin=asin) for asin in ("B000000001", "B000000002")]
    project, rest, storage = (
        os.environ[name]
        for name in (
            "BIGQUERY_PROJECT_ID",
            "BIGQUERY_EMULATOR_HOST",
            "BIGQUERY_STORAGE_EMULATOR_HOST",
        )
    )
    emulator = Emulator(project, rest, storage)
    with bigquery_client(emulator) as client:
        client.create_dataset(dataset, **call_deadline())
    name = Settings.model_fields["BIGQUERY_SOURCE_TABLE"].default
    SourceTable(emulator, dataset, name).write(rows)
    return rows


def machine_of(home: Path, agency: str, url: str, storage: str) -> Machine:
    """Return a machine with the environment of one agency."""
    settings = {name: os.environ[name] for name in Settings.model_fields if name in os.environ}
    return Machine(
        home,
        storage,
        settings | {"DATABASE_URL": url, "BIGQUERY_DATASET": AGENCIES[agency]},
    )


def introduce(machines: dict[str, Machine], to: Machine) -> None:
    """Name the code servers of all agencies in the workspace of one machine."""
    servers: list[dict[str, Any]] = [
        {
            "grpc_server": {
                "host": "127.0.0.1",
                "port": int(machine.ports["4000"]),
                "location_name": name,
            }
        }
        for name, machine in machines.items()
    ]
    (to.home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": servers}))
