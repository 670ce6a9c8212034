"""Read BigQuery as Arrow batches, week by week, and what version each week has there."""
