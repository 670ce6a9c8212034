"""Answer the deployment guide's list of success from the data."""
