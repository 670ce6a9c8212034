"""Measure speed: this project, its peers and the physical limit on the same rows and server.

`cases` lists who is measured at what. `ours`, `night` and `peers` are the contenders, each run in a
process of its own (`worker`) on a Postgres with durable settings (`server`). `targets` are the
figures to reach; `report` and `plot` show the results. Run it with `make bench`.
"""
