"""Recognise Supabase by its roles and its addresses, and say what applies there."""

from dataclasses import dataclass

from psycopg.rows import class_row

from sqp_refresh.errors import AccessDenied
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.session import Session, address_of

PAGE = "docs/supabase.md"

_ADMIN = "SELECT count(*) > 0 FROM pg_roles WHERE rolname = 'supabase_admin'"
# The roles that its REST takes, the one that it logs in as, and that of the user itself.
_ROLES = """
SELECT rolname::text AS name, rolname = current_user AS is_user, (
        SELECT split_part(setting, '=', 2) FROM unnest(rolconfig) AS setting
        WHERE setting LIKE 'statement_timeout=%'
    ) AS statement_timeout, (
        SELECT split_part(setting, '=', 2) FROM unnest(rolconfig) AS setting
        WHERE setting LIKE 'pgrst.db_schemas=%'
    ) AS exposed
FROM pg_roles
WHERE rolname IN ('anon', 'authenticated', 'authenticator', 'service_role', current_user)
ORDER BY rolname
"""
_OF_REST = ("anon", "authenticated", "authenticator")
_TRANSACTION_PORT = "6543"


@dataclass(frozen=True, slots=True)
class _Role:
    """A role of the database.

    Attributes:
        is_user: Whether it is the role of this session.
        statement_timeout: What ends its statements, e.g. "8s"; None where it has none of its own.
        exposed: The schemas that REST shows, where the role of REST says so.
    """

    name: str
    is_user: bool
    statement_timeout: str | None
    exposed: str | None


def is_supabase(session: Session, database_url: str) -> bool:
    """Return whether a database is one of Supabase, or an address is."""
    (has_admin,) = session.fetch_one(_ADMIN)
    return has_admin or route_of(_host(database_url), "") is not None


def check_supabase(session: Session, database_url: str) -> str:
    """Return a message with what applies to this user and address on Supabase.

    Raises:
        AccessDenied: the user is one of those that REST requests run as.
    """
    roles = session.fetch_all(_ROLES, row_factory=class_row(_Role))
    (user,) = (role for role in roles if role.is_user)
    if user.name in _OF_REST:
        raise AccessDenied(
            f"{user.name} is a role of Supabase's REST, which may write nothing; refresh as a role "
            f"of deploy/grants.sql, as postgres or as service_role: {PAGE}"
        )
    host, port = _host(database_url), str(address_of(database_url).get("port", "5432"))
    route = route_of(host, port) or "another address than Supabase's own"
    limits = [
        f"{role.name} {role.statement_timeout}"
        for role in roles
        if role.statement_timeout and not role.is_user
    ]
    ending = f"; statements of {', '.join(limits)} end sooner than a refresh's" if limits else ""
    return f"Supabase, as {user.name}, by {route}{_exposure(roles)}{ending}; {PAGE}"


def route_of(host: str, port: str) -> str | None:
    """Return by what way an address of Supabase leads to the database; None for any other.

    Args:
        host: The host of DATABASE_URL.
        port: Its port.
    """
    is_by_transaction = port == _TRANSACTION_PORT
    if host.endswith(".pooler.supabase.com"):
        if is_by_transaction:
            return "its pooler of transactions, which has IPv4"
        return "its pooler of sessions, which has IPv4 and keeps a connection for each session"
    if host.endswith((".supabase.co", ".supabase.net")):
        if is_by_transaction:
            return "the project's own pooler of transactions"
        return "the direct address, which has IPv6 only, unless the project has the IPv4 add-on"
    return None


def _exposure(roles: list[_Role]) -> str:
    exposed = next((role.exposed for role in roles if role.exposed), None)
    if exposed is None:
        return ""
    names = [name.strip() for name in exposed.split(",")]
    return f"; REST shows schema {SCHEMA}" if SCHEMA in names else f"; REST does not show {SCHEMA}"


def _host(database_url: str) -> str:
    return str(address_of(database_url).get("host", "")).lower()
