"""The doctor recognises Supabase, and says what applies to the role and the address."""

import pytest

from sqp_refresh.errors import AccessDenied
from sqp_refresh.monitoring.doctor.supabase import check_supabase, is_supabase, route_of
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.helpers.database import ensure_role, execute


@pytest.mark.parametrize(
    ("host", "port", "route"),
    [
        ("aws-0-eu-central-1.pooler.supabase.com", "6543", "its pooler of transactions"),
        ("aws-0-eu-central-1.pooler.supabase.com", "5432", "its pooler of sessions"),
        ("db.abcdefgh.supabase.co", "5432", "IPv6 only"),
        ("db.abcdefgh.supabase.co", "6543", "the project's own pooler of transactions"),
        ("db.example.com", "5432", None),
        ("notsupabase.co", "5432", None),
    ],
)
def test_an_address_tells_the_way_to_the_database(host, port, route):
    route_found = route_of(host, port)

    assert route_found is None if route is None else route in str(route_found)


def test_its_roles_tell_a_project_and_who_may_not_refresh(migrated_database):
    with connect(migrated_database) as session:
        assert not is_supabase(session, migrated_database)
        ensure_role(migrated_database, "anon")
        execute(migrated_database, "CREATE ROLE supabase_admin")
        execute(migrated_database, "ALTER ROLE anon SET statement_timeout = '3s'")
        execute(migrated_database, "ALTER ROLE anon SET pgrst.db_schemas = 'public, sqp'")
        try:
            session.rollback()
            assert is_supabase(session, migrated_database)
            message = check_supabase(session, migrated_database)
            session.rollback()
            session.execute("SET LOCAL ROLE anon")
            with pytest.raises(AccessDenied, match="anon is a role of Supabase's REST"):
                check_supabase(session, migrated_database)
        finally:
            session.rollback()
            execute(migrated_database, "DROP ROLE supabase_admin; ALTER ROLE anon RESET ALL")

    assert message == (
        "Supabase, as postgres, by another address than Supabase's own; REST shows schema sqp; "
        "statements of anon 3s end sooner than a refresh's; docs/supabase.md"
    )
