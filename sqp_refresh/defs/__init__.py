"""Wire the steps into Dagster: what to run, when, and what its users see of it."""
