"""Describe a database that cannot be reached in one line, without the password."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import conninfo, sql

from sqp_refresh.errors import AccessDenied, NotFound, RefreshError, SettingsError, Unavailable
from sqp_refresh.postgres import migrate
from sqp_refresh_tests.migrations.servers import VERSIONS, Database, Server

PASSWORD = "p%41ss:w/o@r d#?%"
STRANGERS = "local all guarded,locked_out scram-sha-256\nlocal all unlisted reject\n"


@pytest.fixture
def guarded(server_18: Server) -> Iterator[Database]:
    """Create a database whose user has a password full of characters with a meaning in URLs."""
    server_18.clear()
    database = server_18.create_database()
    hba = Path(database.rows("SHOW hba_file")[0][0])
    trusting = hba.read_text()
    hba.write_text(STRANGERS + trusting)
    with psycopg.connect(database.url, autocommit=True) as connection:
        for user in ("guarded", "unlisted"):
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), PASSWORD)
            )
        connection.execute("CREATE ROLE nologin")
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO guarded").format(name))
        connection.execute("SELECT pg_reload_conf()")
    yield database
    hba.write_text(trusting)
    database.run("SELECT pg_reload_conf()")


def url(database: Database, password: str, *, user: str = "guarded", name: str = "") -> str:
    parameters = conninfo.conninfo_to_dict(database.url)
    address = quote(str(parameters["host"]), safe="")
    return f"postgresql://{user}:{password}@/{name or parameters['dbname']}?host={address}"


def refused(address: str) -> RefreshError:
    with pytest.raises(RefreshError) as caught:
        migrate.upgrade(address)
    with pytest.raises(type(caught.value)):
        migrate.require_newest_revision(address)
    chain = [caught.value, caught.value.__cause__]
    messages = "".join(str(error) for error in chain if error)
    assert "\n" not in str(caught.value)
    for secret in (PASSWORD, quote(PASSWORD, safe=""), "w/o", "o@r", "r d#", "s3cret"):
        assert secret not in messages
    return caught.value


def test_a_password_may_hold_any_character(guarded: Database):
    address = url(guarded, quote(PASSWORD, safe=""))
    assert migrate.upgrade(address) == VERSIONS
    assert migrate.current_revision(address) == VERSIONS[-1]
    assert migrate.downgrade(address.replace("postgresql://", "postgres://"))[-1] == "0001"


def test_a_wrong_password(guarded: Database):
    error = refused(url(guarded, "s3cret"))
    assert isinstance(error, AccessDenied)
    assert 'password authentication failed for user "guarded"; check the user' in str(error)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nobody", 'role "nobody" does not exist'),
        ("nologin", 'role "nologin" is not permitted to log in'),
        ("unlisted", "pg_hba.conf rejects connection"),
    ],
)
def test_a_wrong_user(guarded: Database, user: str, message: str):
    error = refused(url(guarded, "s3cret", user=user))
    assert isinstance(error, AccessDenied)
    assert message in str(error)


def test_a_missing_database(guarded: Database):
    error = refused(url(guarded, quote(PASSWORD, safe=""), name="nowhere"))
    assert isinstance(error, NotFound)
    assert 'database "nowhere" does not exist; create it' in str(error)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:s3cret@127.0.0.1:1/sqp",
        "postgresql://user:s3cret@/sqp?host=/nowhere",
        "postgresql://user:s3cret@no-such-host.invalid/sqp",
    ],
)
def test_a_server_that_is_down(address: str):
    error = refused(address)
    assert isinstance(error, Unavailable)
    assert "check that it is up" in str(error)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ("pgbouncer=true&connection_limit=1", "pgbouncer, connection_limit;"),
        ("sslmode=require&pgbouncer=true", "know: pgbouncer;"),
        ("schema=public", "know: schema;"),
        ("ssl=require", "sslmode=require"),
        ("supa=base-pooler.x", "know: supa;"),
        ("statement-cache-size=0", "know: statement-cache-size;"),
        ("sslmode", "sslmode without a value"),
        ("sslmode=no-verify", 'invalid sslmode value: "no-verify"; check sslmode'),
        ("connect_timeout=soon", "connect_timeout: 'soon'; correct it in DATABASE_URL"),
        ("channel_binding=x", 'invalid channel_binding value: "x"; correct it in DATABASE_URL'),
        ("keepalives_idle=x", 'option "keepalives_idle"; correct it in DATABASE_URL'),
        ("service=x", 'definition of service "x" not found; correct it in DATABASE_URL'),
        ("port=x", 'option "port"; correct it in DATABASE_URL'),
    ],
)
def test_a_parameter_that_is_none_is_named(parameters: str, named: str):
    error = refused(f"postgresql://user:s3cret@127.0.0.1:1/sqp?{parameters}")

    assert isinstance(error, SettingsError)
    assert named in str(error)
    assert "password" not in str(error)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:a/b?s3cret=c@host/sqp?schema=public",
        "postgresql://user:%zzs3cret@host/sqp",
        "postgresql://user:a@s3cret@host/sqp",
        "postgresql://user:a/s3cret@host/sqp",
        "postgresql://user:12/s3cret@host/sqp",
        "postgresql://user:a s3cret@host/sqp",
    ],
)
def test_a_password_that_is_not_encoded(address: str):
    error = refused(address)
    assert isinstance(error, SettingsError)
    assert "percent-encoded" in str(error)
