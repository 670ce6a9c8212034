"""Report how the refreshes went and what would break them, from the monitoring views of `sqp`."""
