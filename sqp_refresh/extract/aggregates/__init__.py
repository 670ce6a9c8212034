"""Compose what the state query adds up and counts beside the version of each week."""
