"""Step 4: the tables derived inside Postgres, from those that BigQuery fills."""

from sqp_refresh.rollup.feed import Rollup

__all__ = ["Rollup"]
