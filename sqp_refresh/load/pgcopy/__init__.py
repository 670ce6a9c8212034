"""Encode Arrow batches as the bytes of Postgres's binary COPY."""
