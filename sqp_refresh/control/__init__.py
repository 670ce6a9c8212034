"""Keep log, lock, checkpoints and quarantine: the control tables that make a refresh operable.

Every function takes a session and leaves the transaction to its caller, so that a week and its
checkpoint are committed together.
"""
