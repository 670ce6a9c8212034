"""Hold every row against its contract: good rows go on to `load`, bad ones to quarantine."""
