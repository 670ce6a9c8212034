"""Define the command that verifies the tables against their source and their certificates."""

import json as json_format
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from sqp_refresh.cli.common import (
    FirstDay,
    Json,
    LastDay,
    Tables,
    console,
    load_settings_and_catalog,
    requested_weeks,
)
from sqp_refresh.model.text import listing

if TYPE_CHECKING:
    from sqp_refresh.refresh.verify import VerifiedPeriod, VerifiedTable


def verify(
    table: Tables = None, first: FirstDay = None, last: LastDay = None, json: Json = False
) -> None:
    """Add up every column in BigQuery and Postgres now, compare both, and follow the certificates.

    All published weeks by default; nothing is written. Exit status 1 if a column differs, or a
    certificate was altered or removed.
    """
    from sqp_refresh.refresh import verify as verification

    settings, catalog = load_settings_and_catalog()
    weeks = requested_weeks(settings, first, last) if first or last else None
    names = [catalog.table(name).name for name in table or catalog.tables]
    verified = list(verification.verify(settings, catalog, names, weeks))
    if json:
        typer.echo(json_format.dumps([of_table.as_json() for of_table in verified], indent=2))
    else:
        _print(verified)
    if not all(of_table.is_verified for of_table in verified):
        raise typer.Exit(1)


def _print(verified: "Sequence[VerifiedTable]") -> None:
    for of_table in verified:
        good = sum(period.is_verified for period in of_table.periods)
        chain = of_table.chain
        line = f"{of_table.table}: {good} of {len(of_table.periods)} periods verified"
        if chain.sha256:
            line += f"; {chain.entries:,} certificates, the last is {chain.sha256}"
        console.print(line, markup=False, soft_wrap=True, highlight=False)
        bad = [period for period in of_table.periods if not period.is_verified]
        for text in (*map(_in_words, bad), *chain.faults):
            console.print(f"  {text}", style="red", markup=False, soft_wrap=True)
        without = [period for period in of_table.periods if period.proof is None]
        if without:
            text = f"{len(without)} of them were published without a certificate"
            console.print(f"  {text}", style="yellow", markup=False, soft_wrap=True)
        if pinned := [period.period for period in of_table.periods if period.is_pinned]:
            text = f"{listing(pinned)}: pinned, so that it is not compared with its source"
            console.print(f"  {text}", style="yellow", markup=False, soft_wrap=True)


def _in_words(period: "VerifiedPeriod") -> str:
    what = [f"{', '.join(period.differing)} differ from the source"] if period.differing else []
    what += [f"the {side} changed since it was certified" for side in period.changed]
    return f"{period.period}: {'; '.join(what)}"
