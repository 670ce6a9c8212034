"""Refreshes killed at the worst of moments, and whether one more run makes everything right."""
