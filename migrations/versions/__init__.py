"""One version of the schema per number; the SQL beside each file says what it holds."""
