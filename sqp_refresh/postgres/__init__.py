"""Talk to Postgres: sessions and transactions, its errors, and the revisions of the schema."""
