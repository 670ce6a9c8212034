"""Step 5: who may write, what was done, and how far it got, in the control tables.

Every function takes a session and leaves the transaction to its caller, so that a week and its
checkpoint are committed together.
"""
