"""Define what Dagster runs, when it runs it, and what its UI shows."""
