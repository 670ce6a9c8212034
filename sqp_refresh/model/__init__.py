"""Define what things are: tables, periods, rows and their contract, events; no I/O."""
