"""Classify what Postgres and poolers answer with: by SQLSTATE, or by their words."""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import conninfo, sql

from sqp_refresh.errors import ReadOnly, RefreshError, Transient
from sqp_refresh.monitoring.doctor.postgres_checks import check_writable
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.helpers.database import execute

AGAIN, RIGHTS, SCHEMA, DATA, CODE, SETTINGS = (
    ("transient", True),
    ("credentials", False),
    ("schema", False),
    ("data", False),
    ("code", False),
    ("settings", False),
)
BY_SQLSTATE = [
    ("08006", AGAIN),
    ("08P01", AGAIN),
    ("0A000", CODE),
    ("21000", DATA),
    ("22003", DATA),
    ("23505", DATA),
    ("25006", ("read-only", False)),
    ("25P03", AGAIN),
    ("25P04", AGAIN),
    ("28P01", RIGHTS),
    ("3D000", SCHEMA),
    ("3F000", SCHEMA),
    ("40001", AGAIN),
    ("40P01", AGAIN),
    ("42501", RIGHTS),
    ("42601", CODE),
    ("42703", SCHEMA),
    ("42883", SCHEMA),
    ("42P01", SCHEMA),
    ("53000", AGAIN),
    ("53100", AGAIN),
    ("53200", AGAIN),
    ("53300", AGAIN),
    ("53400", AGAIN),
    ("54000", DATA),
    ("55P03", AGAIN),
    ("57014", AGAIN),
    ("57P01", AGAIN),
    ("57P03", AGAIN),
    ("57P04", SCHEMA),
    ("58000", AGAIN),
    ("58030", AGAIN),
    ("58P01", AGAIN),
    ("P0001", DATA),
    ("XX000", AGAIN),
    ("XX001", DATA),
    ("XX002", DATA),
]
REFUSALS = [
    ("Tenant or user not found", RIGHTS),
    ("(ENOTFOUND) tenant/user postgres.abc not found", RIGHTS),
    ("Address not in tenant allow_list: {10, 0, 0, 1}", RIGHTS),
    ("SSL connection is required", SETTINGS),
    ("no such user", RIGHTS),
    ("no such user: sqp", RIGHTS),
    ("no such database: sqp", SCHEMA),
    ("unsupported startup parameter: search_path", SETTINGS),
    ("no more connections allowed (max_client_conn)", AGAIN),
    ("MaxClientsInSessionMode: max clients reached", AGAIN),
    ("query_wait_timeout", AGAIN),
    ("(ECHECKOUTTIMEOUT) unable to check out connection from the pool after 15000ms", AGAIN),
    ("Network is unreachable", AGAIN),
    ("transaction blocks not allowed in statement pooling mode", SETTINGS),
    ('password authentication failed for user "x"', RIGHTS),
    ("Passwort-Authentifizierung für Benutzer »x« fehlgeschlagen", RIGHTS),
    ("Rolle »x« existiert nicht", RIGHTS),
    ("Datenbank »x« existiert nicht", SCHEMA),
    ("kein pg_hba.conf-Eintrag für Host »1.2.3.4«, Benutzer »x«, Datenbank »y«", RIGHTS),
    ("keine Berechtigung für Datenbank »x«", RIGHTS),
    ("authentification par mot de passe échouée pour l'utilisateur « x »", RIGHTS),
    ("le rôle « x » n'existe pas", RIGHTS),
    ("la base de données « x » n'existe pas", SCHEMA),
    ("aucune entrée dans pg_hba.conf pour l'hôte « 1.2.3.4 »", RIGHTS),
    ("droit refusé pour la base de données « x »", RIGHTS),
    ("la autentificación password falló para el usuario «x»", RIGHTS),
    ("sorry, too many clients already", AGAIN),
    ("tut mir leid, schon zu viele Verbindungen", AGAIN),
    ("the database system is starting up", AGAIN),
    ("le système de bases de données se lance", AGAIN),
]


SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def meaning(error: RefreshError) -> tuple[str, bool]:
    assert "\n" not in str(error)
    return error.kind.value, isinstance(error, Transient)


@pytest.mark.parametrize(("sqlstate", "expected"), BY_SQLSTATE)
def test_a_sqlstate_counts_whatever_the_words_are(migrated_database, sqlstate, expected):
    fails = "DO $$ BEGIN RAISE EXCEPTION 'kaputt' USING ERRCODE = {}; END $$"

    with connect(migrated_database) as session, pytest.raises(RefreshError) as raised:
        session.execute(sql.SQL(fails).format(sql.Literal(sqlstate)))

    assert meaning(raised.value) == expected
    message, _, remedy = str(raised.value).partition("; ")
    assert message == "Postgres: kaputt"
    assert remedy or expected == CODE


def test_a_pooler_may_answer_in_a_session_with_the_state_of_a_defect(migrated_database):
    fails = "DO $$ BEGIN RAISE EXCEPTION 'Tenant or user not found' USING ERRCODE='XX000'; END $$"

    with connect(migrated_database) as session, pytest.raises(RefreshError) as raised:
        session.execute(fails)

    assert meaning(raised.value) == RIGHTS


@contextmanager
def refusing(message: str) -> Iterator[str]:
    """Refuse every connection as a server or a pooler does; yield the URL of the database."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if len(self.request.recv(1 << 16)) == len(SSL_REQUEST):
                self.request.sendall(b"N")
                return
            fields = f"SFATAL\0CXX000\0M{message}\0\0".encode()
            self.request.sendall(b"E" + struct.pack("!i", 4 + len(fields)) + fields)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        port = server.server_address[1]
        yield f"postgresql://u:s3cret@127.0.0.1:{port}/d?sslmode=disable&gssencmode=disable"
        server.shutdown()


@pytest.mark.parametrize(("message", "expected"), REFUSALS)
def test_a_refusal_to_connect_is_told_by_its_words(message, expected):
    with refusing(message) as url, pytest.raises(RefreshError) as raised, connect(url):
        pass

    assert meaning(raised.value) == expected
    assert message in str(raised.value)
    assert "; " in str(raised.value).removeprefix(f"Postgres: {message}")
    assert "s3cret" not in str(raised.value)


def test_limits_of_a_provider_end_no_migration(migrated_database):
    with psycopg.connect(migrated_database) as connection:
        for name in ("statement_timeout", "lock_timeout", "transaction_timeout"):
            limit = sql.SQL("ALTER DATABASE {} SET {} = 300")
            database = connection.info.dbname
            connection.execute(limit.format(sql.Identifier(database), sql.Identifier(name)))
        connection.commit()
        connection.execute("SET LOCAL transaction_timeout = 0")
        connection.execute("LOCK TABLE sqp.alembic_version IN ACCESS EXCLUSIVE MODE")
        release = threading.Timer(0.8, connection.rollback)
        release.start()

        assert migrate.current_revision(migrated_database) == migrate.newest_revision()
        release.join()


def test_a_server_without_ssl_is_a_setting():
    with (
        refusing("") as url,
        pytest.raises(RefreshError) as raised,
        connect(url.replace("sslmode=disable", "sslmode=require")),
    ):
        pass

    assert meaning(raised.value) == SETTINGS


def test_a_database_that_takes_no_writes_is_a_kind_of_its_own(migrated_database):
    with connect(migrated_database) as session:
        assert check_writable(session) == "the database takes writes"
    name = conninfo.conninfo_to_dict(migrated_database)["dbname"]
    execute(migrated_database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    with connect(migrated_database) as session:
        with pytest.raises(ReadOnly, match=r"a read-only transaction; enlarge the disk, "):
            session.execute("UPDATE sqp.refresh_config SET priority = 1")
        session.rollback()
        with pytest.raises(ReadOnly, match=r"the database is read-only, .*; enlarge the disk, "):
            check_writable(session)
    with pytest.raises(ReadOnly, match="enlarge the disk"):
        migrate.downgrade(migrated_database)


def test_a_limit_of_the_provider_on_transactions_is_lifted(migrated_database):
    name = conninfo.conninfo_to_dict(migrated_database)["dbname"]
    execute(migrated_database, f"ALTER DATABASE {name} SET transaction_timeout = '200ms'")

    with connect(migrated_database) as session:
        with session.transaction():
            assert session.fetch_one("SELECT pg_sleep(0.4)::text, 1") == ("", 1)
        assert session.fetch_one("SHOW transaction_timeout") == ("200ms",)
        with pytest.raises(Transient, match="transaction_timeout ended it"):
            session.fetch_one("SELECT pg_sleep(0.4)::text")
