"""Test the core of a night on every server that is supported, and behind a pooler."""
