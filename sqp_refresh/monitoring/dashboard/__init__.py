"""Draw one HTML page: each table now, and what the last nights did to it."""
