"""Run Postgres and BigQuery from wheels, with a realistic year of reports to refresh."""
