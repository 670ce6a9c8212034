"""Look for what would make a refresh fail, before it does."""
