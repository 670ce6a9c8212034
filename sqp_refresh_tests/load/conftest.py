"""A session for the tests of the load."""

from collections.abc import Iterator

import pytest

from sqp_refresh.postgres.session import Session, connect


@pytest.fixture
def session(migrated_database: str) -> Iterator[Session]:
    """A session with a database in which nothing was refreshed."""
    with connect(migrated_database) as session:
        yield session
