"""Define the jobs: the nightly refresh, the maintenance of control tables, the dashboard."""
