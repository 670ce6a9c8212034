"""The versions of schema `sqp`, oldest first: what each adds, and how it is taken back.

A version is three files in `versions`: the SQL that brings it in (`.up.sql`), the SQL that takes it
back (`.down.sql`), and the Python that tells Alembic their order. `prologue.sql` runs before any of
them, `epilogue.sql` when the last has been taken back. `sqp_refresh.postgres.migrate` runs them.

Every version is plain SQL without psql's own commands, so that its text can be applied by anything
that speaks to Postgres. It is written for the schema `sqp`: the word by itself is the schema and
nothing else, and is replaced where SQP_SCHEMA names another one. A version that adds a target also
enables it in `sqp.refresh_config`; one that adds a control table or view revokes it from PUBLIC,
anon and authenticated.
"""
