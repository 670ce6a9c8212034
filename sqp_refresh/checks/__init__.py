"""Measure what the tables hold, compare it with what their source says, and record the verdicts."""
