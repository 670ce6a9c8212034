"""Load the periods of a refresh: read ahead, publish, by several writers at once."""
