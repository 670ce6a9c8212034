"""The demo: Postgres and BigQuery from wheels, and a realistic year of reports to refresh."""
