"""Speed, measured: this project, its peers and the physical limit on the same rows and server.

`cases` says who is measured at what, `contenders` and `peers` are what is measured, each run in a
process of its own (`worker`), on a Postgres with durable settings (`server`). `targets` are the
figures to reach; `report` and `plot` show what came out. Run it with `make bench`.
"""
