-- service_role may use everything in the schema; anon and authenticated may not touch a control
-- table or a view of one. The data tables are left to whoever publishes them: nothing is granted.
--
-- There is no row level security on the control tables. It would hide rows from every role without
-- a policy, and a registry that reads as empty is a refresh that silently does nothing. A missing
-- privilege is an error that says so.

-- Roles belong to the whole server, so one that is there already is used as it is. One that is made
-- here is marked with a comment, because only such a role may be dropped when this is taken back.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['service_role', 'anon', 'authenticated'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            CONTINUE;
        END IF;
        IF NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
            RAISE NOTICE 'role % does not exist and % may not create it; once it exists, downgrade '
                'to 0004 and upgrade again to give it its rights', wanted, current_user;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXECUTE format(
                'COMMENT ON ROLE %I IS %L', wanted, 'created by the migrations of schema sqp'
            );
        EXCEPTION
            -- Another database of the server is being migrated, and was faster.
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT USAGE ON SCHEMA sqp TO service_role;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sqp TO service_role;
        GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA sqp TO service_role;
        ALTER DEFAULT PRIVILEGES IN SCHEMA sqp
            GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO service_role;
        ALTER DEFAULT PRIVILEGES IN SCHEMA sqp
            GRANT USAGE, SELECT ON SEQUENCES TO service_role;
    END IF;
END
$$;

-- A hosted database may give new tables to everybody by its default privileges, so what was never
-- granted here is revoked all the same. Every sequence in the schema numbers a control table.
DO $$
DECLARE
    outsider text;
BEGIN
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE
            'REVOKE ALL ON '
            'sqp.refresh_config, '
            'sqp.refresh_dependencies, '
            'sqp.refresh_audit_log, '
            'sqp.refresh_audit_log_archive, '
            'sqp.refresh_checkpoints, '
            'sqp.refresh_data_quality, '
            'sqp.refresh_quarantine, '
            'sqp.webhook_configs, '
            'sqp.webhook_deliveries, '
            'sqp.refresh_success_rate, '
            'sqp.data_quality_overview, '
            'sqp.alembic_version '
            'FROM ' || outsider;
        EXECUTE 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA sqp FROM ' || outsider;
        EXECUTE
            'REVOKE ALL ON FUNCTION sqp.touch_updated_at(), sqp.register_new_table() '
            'FROM ' || outsider;
    END LOOP;
END
$$;
