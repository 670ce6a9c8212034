"""Compute the tables that are derived inside Postgres, as SQL over those that BigQuery fills."""
