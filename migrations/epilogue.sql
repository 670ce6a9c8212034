-- Every version has been taken back. Without CASCADE: what is not ours stops the whole downgrade,
-- and is named.
DROP TABLE sqp.alembic_version;
DROP SCHEMA sqp;
