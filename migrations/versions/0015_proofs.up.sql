-- What the source and the table said of every column of a period when it was published. Each entry
-- of a table holds the hash of the one before it, so that none can be altered or removed unseen.

CREATE TABLE sqp.refresh_proofs (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_schema    text NOT NULL DEFAULT 'sqp',
    table_name      text NOT NULL,
    period_start    date NOT NULL,
    period_end      date NOT NULL CHECK (period_end >= period_start),
    -- Runs are archived one day, so this is no foreign key.
    audit_log_id    bigint NOT NULL,
    source_instant  timestamptz,
    source          jsonb NOT NULL CHECK (jsonb_typeof(source) = 'object'),
    target          jsonb NOT NULL CHECK (jsonb_typeof(target) = 'object'),
    is_equal        boolean NOT NULL,
    previous_sha256 text,
    sha256          text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX refresh_proofs_chain ON sqp.refresh_proofs (table_schema, table_name, id);
CREATE INDEX refresh_proofs_sha256 ON sqp.refresh_proofs (sha256);

ALTER TABLE sqp.refresh_periods ADD COLUMN proof_sha256 text;

COMMENT ON TABLE sqp.refresh_proofs IS
    'One certificate: what source and table said of each column of a period when it was published';
COMMENT ON COLUMN sqp.refresh_proofs.id IS 'Key; within a table, certificates are in its order';
COMMENT ON COLUMN sqp.refresh_proofs.audit_log_id IS
    'The run that published the period, by its id in refresh_audit_log';
COMMENT ON COLUMN sqp.refresh_proofs.source_instant IS
    'When the source was read as of; null for a view, which is read as it is';
COMMENT ON COLUMN sqp.refresh_proofs.source IS
    'By column, nulls (count) and the sum of what the table must hold';
COMMENT ON COLUMN sqp.refresh_proofs.target IS
    'By column, nulls (count) and the sum of what the table held, as its transaction saw it';
COMMENT ON COLUMN sqp.refresh_proofs.is_equal IS 'Whether they agree in every column';
COMMENT ON COLUMN sqp.refresh_proofs.previous_sha256 IS
    'sha256 of the certificate before it in the same table; null for the first';
COMMENT ON COLUMN sqp.refresh_proofs.sha256 IS 'SHA-256 over all other columns but id, in hexadecimal';
COMMENT ON COLUMN sqp.refresh_periods.proof_sha256 IS
    'sha256 of its certificate in refresh_proofs; null if it was published without one';

DO $$
DECLARE
    outsider text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sqp.refresh_proofs TO service_role;
        GRANT USAGE, SELECT ON SEQUENCE sqp.refresh_proofs_id_seq TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON sqp.refresh_proofs FROM ' || outsider;
        EXECUTE 'REVOKE ALL ON SEQUENCE sqp.refresh_proofs_id_seq FROM ' || outsider;
    END LOOP;
END
$$;
