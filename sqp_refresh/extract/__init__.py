"""Step 1: BigQuery into Arrow batches, week by week."""

from sqp_refresh.extract.feed import BigQueryFeed
from sqp_refresh.extract.source import Source

__all__ = ["BigQueryFeed", "Source"]
