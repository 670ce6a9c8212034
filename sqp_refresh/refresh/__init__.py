"""Refresh one table from end to end."""
