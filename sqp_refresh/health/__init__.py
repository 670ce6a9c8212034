"""Whether all is well: `doctor` looks for what would make a refresh fail, `status` at what was.

The figures come from the monitoring views of schema `sqp`, which anybody else may read too.
"""
