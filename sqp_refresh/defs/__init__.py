"""Dagster wiring, and nothing else: what to run, when, and what its users see of it."""
