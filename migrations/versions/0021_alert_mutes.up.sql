-- What is known to be wrong need not be alerted of until a day; a receiver may have a secret of its
-- own, and ask for the weekly digest; and whoever switches a table off is on record.

CREATE TABLE sqp.refresh_mutes (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_schema text NOT NULL DEFAULT 'sqp',
    table_name   text,
    period_start date,
    muted_until  date NOT NULL,
    reason       text NOT NULL DEFAULT '',
    muted_by     text NOT NULL DEFAULT session_user,
    muted_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (table_name IS NOT NULL OR period_start IS NOT NULL)
);

COMMENT ON TABLE sqp.refresh_mutes IS
    'What receivers are not alerted of: a table, a week, or a week of a table';
COMMENT ON COLUMN sqp.refresh_mutes.table_name IS 'The table; null is every table';
COMMENT ON COLUMN sqp.refresh_mutes.period_start IS
    'First day of the week or period; null is whatever is wrong with the table';
COMMENT ON COLUMN sqp.refresh_mutes.muted_until IS 'The last day of it, in UTC';
COMMENT ON COLUMN sqp.refresh_mutes.reason IS 'Why, for people';
COMMENT ON COLUMN sqp.refresh_mutes.muted_by IS 'Who muted it: a user of the database';
COMMENT ON COLUMN sqp.refresh_mutes.muted_at IS 'When it was muted';

CREATE TABLE sqp.refresh_switches (
    table_schema text NOT NULL DEFAULT 'sqp',
    table_name   text NOT NULL,
    is_enabled   boolean NOT NULL,
    switched_by  text NOT NULL DEFAULT session_user,
    switched_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_schema, table_name)
);

COMMENT ON TABLE sqp.refresh_switches IS
    'Who last switched a table on or off, by whatever statement; a trigger keeps it';
COMMENT ON COLUMN sqp.refresh_switches.is_enabled IS 'What it was switched to';
COMMENT ON COLUMN sqp.refresh_switches.switched_by IS 'The user of the database who did it';
COMMENT ON COLUMN sqp.refresh_switches.switched_at IS 'When';

-- It runs with its owner's rights: whoever may use the kill switch need not be allowed to write
-- here, and must not be stopped.
CREATE FUNCTION sqp.note_switch() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO sqp.refresh_switches (table_schema, table_name, is_enabled)
    VALUES (NEW.table_schema, NEW.table_name, NEW.is_enabled)
    ON CONFLICT (table_schema, table_name) DO UPDATE
    SET is_enabled = excluded.is_enabled, switched_by = excluded.switched_by,
        switched_at = excluded.switched_at;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION sqp.note_switch() FROM PUBLIC;

CREATE TRIGGER refresh_config_note_switch
    AFTER UPDATE OF is_enabled ON sqp.refresh_config
    FOR EACH ROW WHEN (OLD.is_enabled IS DISTINCT FROM NEW.is_enabled)
    EXECUTE FUNCTION sqp.note_switch();

-- Of a secret, only the name of its environment variable is in the database; and only of variables
-- that are called so, else whoever may write here could have anything signed with any of them.
ALTER TABLE sqp.webhook_configs
    ADD COLUMN secret_names text[],
    ADD CONSTRAINT webhook_configs_names_secrets CHECK (
        cardinality(secret_names) BETWEEN 1 AND 2
        AND array_to_string(secret_names, ',', '')
            ~ '^[A-Za-z0-9_]*SECRET[A-Za-z0-9_]*(,[A-Za-z0-9_]*SECRET[A-Za-z0-9_]*)?$'
    );

COMMENT ON COLUMN sqp.webhook_configs.secret_names IS
    'Environment variables that hold the secrets that sign what it receives, two while they are '
    'changed; null is REFRESH_WEBHOOK_SECRET';

ALTER TABLE sqp.webhook_configs DROP CONSTRAINT webhook_configs_events_are_known;
ALTER TABLE sqp.webhook_configs
    ADD CONSTRAINT webhook_configs_events_are_known CHECK (events <@ ARRAY[
        'refresh.failed', 'refresh.warning', 'refresh.completed', 'quality.failed',
        'refresh.overdue', 'refresh.recovered', 'week.arrived', 'week.final', 'refresh.digest'
    ]) NOT VALID;

DO $$
DECLARE
    outsider text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sqp.refresh_mutes, sqp.refresh_switches
            TO service_role;
        GRANT USAGE, SELECT ON SEQUENCE sqp.refresh_mutes_id_seq TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON sqp.refresh_mutes, sqp.refresh_switches FROM ' || outsider;
        EXECUTE 'REVOKE ALL ON SEQUENCE sqp.refresh_mutes_id_seq FROM ' || outsider;
        EXECUTE 'REVOKE ALL ON FUNCTION sqp.note_switch() FROM ' || outsider;
    END LOOP;
END
$$;
