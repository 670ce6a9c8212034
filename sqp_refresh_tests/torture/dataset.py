"""Give a rack its source: a dataset of an emulator, and the rows of a few ASINs."""

import os

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.demo.servers import Emulator, bigquery_client
from sqp_refresh.demo.source_table import call_deadline
from sqp_refresh.settings import Settings

DATASET = "torture"


def use_dataset(emulator: Emulator) -> None:
    """Create the dataset, and set the settings of this process to it; all others are removed."""
    for name in Settings.model_fields:
        os.environ.pop(name, None)
    os.environ |= {
        "BIGQUERY_PROJECT_ID": emulator.project,
        "BIGQUERY_DATASET": DATASET,
        "BIGQUERY_EMULATOR_HOST": emulator.rest_url,
        "BIGQUERY_STORAGE_EMULATOR_HOST": emulator.storage_host,
    }
    with bigquery_client(emulator) as client:
        client.create_dataset(DATASET, **call_deadline())


def rows_of(delivered: pa.Table, asins: int) -> pa.Table:
    """Return the rows of so many ASINs, those that come first."""
    chosen = pc.call_function("unique", [delivered["Child ASIN"]]).slice(0, asins)
    among = pc.call_function("is_in", [delivered["Child ASIN"]], pc.SetLookupOptions(chosen))
    return delivered.filter(among)
