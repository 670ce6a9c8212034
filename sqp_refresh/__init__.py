"""The nightly refresh of Amazon Search Query Performance data, from BigQuery into Postgres.

A row's way is read down the folders: `extract` reads BigQuery as Arrow batches, week by week;
`validate` holds every row against its contract; `load` copies a week into a staging table and
publishes only what differs, in one transaction; `rollup` computes the tables that are derived
inside Postgres; `control` keeps the registry, the audit log, the checkpoints, the quarantine, the
kill switch and the outbox of `alerts`, which sends them. `refresh` walks one table down that way,
reading `ahead` of what it publishes.
`health` and `dashboard` tell how the nights went. `tables`, `weeks`, `contract`, `errors` and
`events` are the vocabulary that all of them share. `defs` is the Dagster wiring around it, `demo`
brings a BigQuery and a Postgres of its own.
"""

__version__ = "0.1.0"
