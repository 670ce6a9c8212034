"""Keep which tables there are: those that are shipped, and those that operators register in SQL."""
