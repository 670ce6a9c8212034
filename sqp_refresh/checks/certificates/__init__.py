"""Certify periods: what their source says of each column, beside what the table holds."""
