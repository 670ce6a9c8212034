DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        ALTER DEFAULT PRIVILEGES IN SCHEMA sqp REVOKE ALL ON TABLES FROM service_role;
        ALTER DEFAULT PRIVILEGES IN SCHEMA sqp REVOKE ALL ON SEQUENCES FROM service_role;
        REVOKE ALL ON ALL TABLES IN SCHEMA sqp FROM service_role;
        REVOKE ALL ON ALL SEQUENCES IN SCHEMA sqp FROM service_role;
        REVOKE ALL ON SCHEMA sqp FROM service_role;
    END IF;
END
$$;

-- Of the roles that were made here, those are dropped that nobody uses: no other role is a member,
-- and nothing in any database of the server depends on them.
DO $$
DECLARE
    made record;
BEGIN
    FOR made IN
        SELECT oid, rolname
        FROM pg_roles
        WHERE rolname IN ('service_role', 'anon', 'authenticated')
          AND shobj_description(oid, 'pg_authid') = 'created by the migrations of schema sqp'
    LOOP
        IF EXISTS (
            SELECT FROM pg_auth_members
            WHERE member = made.oid
               OR (roleid = made.oid AND pg_get_userbyid(member) <> current_user)
        ) THEN
            RAISE NOTICE 'role % stays, because it has or is a member', made.rolname;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('DROP ROLE %I', made.rolname);
        EXCEPTION
            WHEN dependent_objects_still_exist OR insufficient_privilege THEN
                RAISE NOTICE 'role % stays: %', made.rolname, SQLERRM;
        END;
    END LOOP;
END
$$;
