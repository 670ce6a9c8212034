"""Write one period's rows into its table, in one transaction, by the strategy chosen for it."""
