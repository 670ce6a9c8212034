"""Let a role read the tables that hold data, and none of those that steer or record refreshes."""

from psycopg import sql

from sqp_refresh.errors import AccessDenied, NotFound, SettingsError
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.model.text import listing
from sqp_refresh.postgres.session import Session

# A view of a control table tells what that does, and so does a view of such a view.
_RELATIONS = """
WITH RECURSIVE control (oid) AS (
    SELECT oid FROM pg_class
    WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
        AND relname ~ '^(refresh_|webhook_|alembic_version$)'
    UNION
    SELECT ev_class FROM control
    JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = control.oid
        AND classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite ON pg_rewrite.oid = objid
)
SELECT relname::text, oid IN (SELECT oid FROM control) AS is_control,
    has_table_privilege(%(role)s, oid, 'SELECT') AS is_readable
FROM pg_class
WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY relname
"""
_ROLE = """
SELECT rolsuper, pg_has_role(rolname, nspowner, 'MEMBER'),
    has_table_privilege(rolname, (%(schema)s || '.refresh_audit_log')::regclass, 'INSERT')
FROM pg_roles, pg_namespace WHERE rolname = %(role)s AND nspname = %(schema)s
"""
# Who creates a table later is the owner of the schema, or whoever grants now.
_CREATORS = """
SELECT DISTINCT rolname::text FROM pg_roles, pg_namespace
WHERE nspname = %(schema)s AND (rolname = current_user OR pg_roles.oid = nspowner)
    AND pg_has_role(pg_roles.oid, 'MEMBER')
"""
# Whoever gets new tables to read, and not to write.
_READERS = """
SELECT rolname::text
FROM pg_default_acl CROSS JOIN LATERAL aclexplode(defaclacl) AS acl
JOIN pg_roles ON pg_roles.oid = grantee
WHERE defaclnamespace = %(schema)s::regnamespace AND defaclobjtype = 'r'
GROUP BY rolname HAVING bool_and(privilege_type = 'SELECT')
"""
_GRANT_SCHEMA = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}")
_GRANT = sql.SQL("GRANT SELECT ON {} TO {}")
_REVOKE = sql.SQL("REVOKE ALL ON {} FROM {}")
# All that those who read the data know of control: it runs with the rights of its owner.
_GRANT_FINAL_WEEKS = sql.SQL("GRANT EXECUTE ON FUNCTION {}() TO {}")
_GRANT_LATER = sql.SQL(
    "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT SELECT ON TABLES TO {}"
)


def grant_read(session: Session, role: str) -> list[str]:
    """Let a role read every table and view of data, those that are made later, too.

    What it may do with the control tables, and with views of them, is revoked.

    Args:
        session: A session in a transaction, of the owner of the schema.
        role: Who is to read.

    Returns:
        The tables and views that it may read.

    Raises:
        NotFound: there is no such role.
        SettingsError: the role refreshes the tables.
        AccessDenied: the role may read control tables all the same, through another role.
    """
    _require_reader(session, role)
    data, control = _relations(session, role)
    reader = sql.Identifier(role)
    session.execute(_GRANT_SCHEMA.format(sql.Identifier(SCHEMA), reader))
    session.execute(_GRANT.format(_named(data), reader))
    session.execute(_GRANT_FINAL_WEEKS.format(sql.Identifier(SCHEMA, "final_weeks"), reader))
    session.execute(_REVOKE.format(_named(control), reader))
    for (creator,) in session.fetch_all(_CREATORS, {"schema": SCHEMA}):
        later = _GRANT_LATER.format(sql.Identifier(creator), sql.Identifier(SCHEMA), reader)
        session.execute(later)
    _require_no_control(session, role)
    return data


def settle_readers(session: Session) -> None:
    """Give those who read the data what a new release has for them, and nothing of its control.

    Its views and tables of data they have by default privileges, by which they also got its control
    tables; its function they have not.

    Args:
        session: A session in a transaction, after a migration.
    """
    for (role,) in session.fetch_all(_READERS, {"schema": SCHEMA}):
        _, control = _relations(session, role)
        reader = sql.Identifier(role)
        session.execute(_REVOKE.format(_named(control), reader))
        session.execute(_GRANT_FINAL_WEEKS.format(sql.Identifier(SCHEMA, "final_weeks"), reader))


def is_control(session: Session, relation: str) -> bool:
    """Return whether a relation of the schema is a control table, or a view of one."""
    _, control = _relations(session, "public")
    return relation in control


def _require_reader(session: Session, role: str) -> None:
    params = {"schema": SCHEMA, "role": role}
    roles = session.fetch_all(_ROLE, params)
    if not roles:
        raise NotFound(f"there is no role {role!r}; create it first, as by CREATE ROLE … NOLOGIN")
    ((is_superuser, is_owner, refreshes),) = roles
    if is_superuser or is_owner or refreshes:
        raise SettingsError(
            f"{role} may write the control tables, which refreshes need, so that nothing was "
            "changed; name a role that only reads"
        )


def _require_no_control(session: Session, role: str) -> None:
    params = {"schema": SCHEMA, "role": role}
    readable = [
        name
        for name, is_control, is_readable in session.fetch_all(_RELATIONS, params)
        if is_control and is_readable
    ]
    if readable:
        raise AccessDenied(
            f"{role} may read {listing(readable)} through PUBLIC or a role that it is a member of, "
            f"so that nothing was changed; revoke that first"
        )


def _relations(session: Session, role: str) -> tuple[list[str], list[str]]:
    """Return the names of the tables and views of data, and of those of control."""
    rows = session.fetch_all(_RELATIONS, {"schema": SCHEMA, "role": role})
    data = [name for name, is_control, _ in rows if not is_control]
    return data, [name for name, is_control, _ in rows if is_control]


def _named(relations: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(SCHEMA, name) for name in relations)
