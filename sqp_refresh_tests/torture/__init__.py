"""Kill refreshes at the worst moments, and check that one more run makes everything right."""
