"""Decide which runs to request: scheduled, failed before, or for restated weeks."""
