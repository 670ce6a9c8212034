"""Talk to Postgres: sessions and transactions, what its errors mean, and the schema's versions."""
