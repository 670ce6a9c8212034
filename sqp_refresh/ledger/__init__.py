"""Record what each period was loaded from, and decide which periods must be loaded again."""
