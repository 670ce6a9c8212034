"""Request runs: those of a night, of failed runs, and of restated weeks."""
