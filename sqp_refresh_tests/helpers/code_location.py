"""Assemble the code location once, as a process that stays does, until its making changes."""

import dagster as dg

from sqp_refresh.definitions import build_definitions
from sqp_refresh.registry.catalog import Catalog, read_catalog
from sqp_refresh.settings import Settings

_assembled: list[tuple[Settings, Catalog, dg.Definitions]] = []


def code_location() -> dg.Definitions:
    """Return the definitions for the settings and the registry as they are now."""
    settings = Settings.read()
    catalog = read_catalog(settings)
    for of_settings, of_catalog, definitions in _assembled:
        if (of_settings, of_catalog) == (settings, catalog):
            return definitions
    _assembled[:] = [*_assembled[-1:], (settings, catalog, build_definitions(settings, catalog))]
    return _assembled[-1][2]
