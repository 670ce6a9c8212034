"""Take the place of a system that filled the same tables before: compare with it, replace it."""
