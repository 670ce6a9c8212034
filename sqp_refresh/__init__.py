"""Refresh Amazon Search Query Performance data in Postgres from BigQuery, every night.

The folders in the order in which a row passes through them:

    defs        Dagster: an asset for each table, the nightly schedule, sensors that repair
    refresh     the refresh of one table; `refresh/run.py` is all of its steps on one page
    extract     reads BigQuery: the version of each week, then the rows of those that changed
    ledger      what each period was last loaded from; decides which to load again, and why
    validate    checks every row against its contract
    rollup      replaces `extract` and `validate` for tables computed from others in Postgres
    load        writes a period by one of four strategies: append, delta, merge, incremental
    checks      compares the table with its source, and measures the quality of its data
    control     audit log, checkpoints, quarantine, the lock of each table, re-runs
    alerts      puts alerts into an outbox, and delivers them

A period is a week or, of some tables, a month, a quarter or a year. One transaction publishes all
of it: rows, reconciliation, ledger entry and checkpoint. The other folders:

    model       what things are: tables, periods, contract, types, events; without I/O
    postgres    sessions, errors and migrations
    registry    which tables there are: those in `model/tables.py`, and those operators register
    monitoring  status, doctor and dashboard, from the monitoring views
    cli         the command `sqp-refresh`
    demo        a BigQuery and a Postgres of its own, with a realistic year

Where to look for

    comparing a week's rows with the table    `load/merge.py` (all rows), `load/delta.py` (changed
                                              rows only), `checks/reconcile.py` (afterwards)
    the look-back, the weeks of a night       `refresh/lookback.py`
    why a week is loaded, or is not           `ledger/decide.py`
    a bad row                                 `model/contract.py` (the rules),
                                              `validate/row_validator.py` (checks them),
                                              `control/quarantine.py` (keeps the row)
    what happens after a kill                 `control/checkpoints.py` (where to continue),
                                              `control/audit_log.py` (closes the dead run),
                                              `defs/run_requests/failed.py` (runs it again)
    what is tried again                       `errors.py` (what may pass), `retrying.py` (how often)
    settings, and where Dagster begins        `settings.py`, `definitions.py`
"""

__version__ = "0.1.0"
