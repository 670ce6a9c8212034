-- What steers a refresh (registry, dependencies, checkpoints) and what records it (audit log,
-- quality, quarantine, alerts). Columns are an interface: operators, dashboards and receivers use
-- them by name.

COMMENT ON SCHEMA sqp IS
    'Amazon Search Query Performance, refreshed every night, and the record of each refresh';

-- An operator's UPDATE moves updated_at too, so that the column tells when a switch was thrown.
CREATE FUNCTION sqp.touch_updated_at() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

REVOKE ALL ON FUNCTION sqp.touch_updated_at() FROM PUBLIC;


-- Registry ----------------------------------------------------------------------------------------

CREATE TABLE sqp.refresh_config (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_schema            text NOT NULL DEFAULT 'sqp',
    table_name              text NOT NULL,
    is_enabled              boolean NOT NULL DEFAULT true,
    refresh_frequency_hours integer NOT NULL DEFAULT 24 CHECK (refresh_frequency_hours > 0),
    priority                integer NOT NULL DEFAULT 100,
    last_refresh_at         timestamptz,
    next_refresh_at         timestamptz NOT NULL DEFAULT now(),
    custom_sync_params      jsonb NOT NULL DEFAULT '{}'
        CHECK (jsonb_typeof(custom_sync_params) = 'object'),
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now(),
    UNIQUE (table_schema, table_name),
    -- The machinery never refreshes itself.
    CONSTRAINT refresh_config_is_no_control_table
        CHECK (table_schema <> 'sqp' OR table_name !~ '^(refresh_|webhook_|alembic_version$)')
);

CREATE TRIGGER refresh_config_touch_updated_at
    BEFORE UPDATE ON sqp.refresh_config
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION sqp.touch_updated_at();

COMMENT ON TABLE sqp.refresh_config IS
    'One table that is kept up to date, and how; a change takes effect at the next run';
COMMENT ON COLUMN sqp.refresh_config.is_enabled IS 'The kill switch: false starts no new work';
COMMENT ON COLUMN sqp.refresh_config.refresh_frequency_hours IS 'Hours between two refreshes';
COMMENT ON COLUMN sqp.refresh_config.priority IS
    'Among tables that are ready, the higher number is refreshed first';
COMMENT ON COLUMN sqp.refresh_config.last_refresh_at IS 'When a refresh last succeeded';
COMMENT ON COLUMN sqp.refresh_config.next_refresh_at IS 'From when on the table is due';
COMMENT ON COLUMN sqp.refresh_config.custom_sync_params IS
    'What this table does differently: batch_size, lookback_weeks, quality thresholds; for a table '
    'that an operator registered, its source table, key columns and column map';

CREATE TABLE sqp.refresh_dependencies (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent_config_id    bigint NOT NULL REFERENCES sqp.refresh_config ON DELETE CASCADE,
    dependent_config_id bigint NOT NULL REFERENCES sqp.refresh_config ON DELETE CASCADE,
    dependency_type     text NOT NULL DEFAULT 'hard' CHECK (dependency_type IN ('hard', 'soft')),
    created_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (parent_config_id, dependent_config_id),
    CHECK (parent_config_id <> dependent_config_id)
);

CREATE INDEX refresh_dependencies_dependent_idx ON sqp.refresh_dependencies (dependent_config_id);

COMMENT ON TABLE sqp.refresh_dependencies IS
    'The parent must be fresh before the dependent is refreshed';
COMMENT ON COLUMN sqp.refresh_dependencies.dependency_type IS
    'Where the parent failed: hard refreshes nothing, soft refreshes with a warning';


-- Audit log ---------------------------------------------------------------------------------------

CREATE TABLE sqp.refresh_audit_log (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The history outlives the table's registration.
    refresh_config_id    bigint REFERENCES sqp.refresh_config ON DELETE SET NULL,
    table_schema         text NOT NULL DEFAULT 'sqp',
    table_name           text NOT NULL,
    refresh_started_at   timestamptz NOT NULL DEFAULT now(),
    refresh_completed_at timestamptz,
    status               text NOT NULL DEFAULT 'running'
        CHECK (status IN ('running', 'success', 'failed', 'warning')),
    -- Null is unknown, which is not 0: a run that failed early counted nothing.
    rows_processed       bigint CHECK (rows_processed >= 0),
    rows_inserted        bigint CHECK (rows_inserted >= 0),
    rows_updated         bigint CHECK (rows_updated >= 0),
    rows_deleted         bigint CHECK (rows_deleted >= 0),
    execution_time_ms    bigint CHECK (execution_time_ms >= 0),
    memory_used_mb       numeric(12,2) CHECK (memory_used_mb >= 0),
    error_message        text,
    error_details        jsonb,
    bigquery_job_id      text,
    sync_metadata        jsonb NOT NULL DEFAULT '{}',
    created_at           timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX refresh_audit_log_table_idx
    ON sqp.refresh_audit_log (table_name, refresh_started_at DESC);
CREATE INDEX refresh_audit_log_started_idx ON sqp.refresh_audit_log (refresh_started_at);
CREATE INDEX refresh_audit_log_running_idx
    ON sqp.refresh_audit_log (refresh_started_at) WHERE status = 'running';

COMMENT ON TABLE sqp.refresh_audit_log IS
    'One run of one table, also where nothing had changed';
COMMENT ON COLUMN sqp.refresh_audit_log.status IS
    'running, success, failed, or warning: done or going on, but not as it should';
COMMENT ON COLUMN sqp.refresh_audit_log.rows_processed IS
    'Rows read from BigQuery, or computed for a table derived in Postgres (count)';
COMMENT ON COLUMN sqp.refresh_audit_log.rows_inserted IS 'Rows new to the table (count)';
COMMENT ON COLUMN sqp.refresh_audit_log.rows_updated IS 'Rows of which a value changed (count)';
COMMENT ON COLUMN sqp.refresh_audit_log.rows_deleted IS
    'Rows that the source no longer has (count)';
COMMENT ON COLUMN sqp.refresh_audit_log.execution_time_ms IS 'Wall time (milliseconds)';
COMMENT ON COLUMN sqp.refresh_audit_log.memory_used_mb IS 'Peak memory of the process (megabytes)';
COMMENT ON COLUMN sqp.refresh_audit_log.sync_metadata IS
    'run_id, weeks, unchanged, quarantined, superseded, bytes_billed, rows_per_second';

CREATE TABLE sqp.refresh_audit_log_archive (
    LIKE sqp.refresh_audit_log INCLUDING COMMENTS,
    data_quality jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(data_quality) = 'array'),
    archived_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);

COMMENT ON TABLE sqp.refresh_audit_log_archive IS
    'Runs older than the audit log keeps, unchanged, each with its quality metrics';
COMMENT ON COLUMN sqp.refresh_audit_log_archive.data_quality IS
    'The run''s rows of refresh_data_quality, as objects';


-- Checkpoints -------------------------------------------------------------------------------------

CREATE TABLE sqp.refresh_checkpoints (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    function_name      text NOT NULL,
    table_schema       text NOT NULL DEFAULT 'sqp',
    table_name         text NOT NULL,
    checkpoint_data    jsonb NOT NULL DEFAULT '{}',
    last_processed_row bigint NOT NULL DEFAULT 0 CHECK (last_processed_row >= 0),
    total_rows         bigint CHECK (total_rows >= 0),
    status             text NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'completed', 'expired')),
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    expires_at         timestamptz NOT NULL DEFAULT now() + interval '24 hours'
);

CREATE UNIQUE INDEX refresh_checkpoints_one_active
    ON sqp.refresh_checkpoints (function_name, table_schema, table_name) WHERE status = 'active';
CREATE INDEX refresh_checkpoints_expires_idx ON sqp.refresh_checkpoints (expires_at);

CREATE TRIGGER refresh_checkpoints_touch_updated_at
    BEFORE UPDATE ON sqp.refresh_checkpoints
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION sqp.touch_updated_at();

COMMENT ON TABLE sqp.refresh_checkpoints IS
    'How far a refresh has come; written in the transaction that publishes a week';
COMMENT ON COLUMN sqp.refresh_checkpoints.status IS
    'Set active to expired, and the refresh stops cleanly at its next week';
COMMENT ON COLUMN sqp.refresh_checkpoints.last_processed_row IS 'Rows published so far (count)';
COMMENT ON COLUMN sqp.refresh_checkpoints.total_rows IS
    'Rows the refresh has to read (count); null where that is not known';
COMMENT ON COLUMN sqp.refresh_checkpoints.expires_at IS
    'After this a broken-off refresh starts anew instead of resuming';


-- Quality and quarantine --------------------------------------------------------------------------

CREATE TABLE sqp.refresh_data_quality (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Deleting a run is refused while it has metrics: archive them with it.
    audit_log_id        bigint NOT NULL REFERENCES sqp.refresh_audit_log,
    metric_name         text NOT NULL,
    metric_value        numeric,
    expected_value      numeric,
    threshold_min       numeric,
    threshold_max       numeric,
    is_within_threshold boolean,
    created_at          timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX refresh_data_quality_audit_log_idx ON sqp.refresh_data_quality (audit_log_id);

COMMENT ON TABLE sqp.refresh_data_quality IS 'One metric of the data that a run published';
COMMENT ON COLUMN sqp.refresh_data_quality.metric_value IS
    'What Postgres holds, in the unit of the metric';
COMMENT ON COLUMN sqp.refresh_data_quality.expected_value IS
    'What BigQuery says, in the same unit; null where the metric has no counterpart';
COMMENT ON COLUMN sqp.refresh_data_quality.is_within_threshold IS
    'Null where there is nothing to judge by';

CREATE TABLE sqp.refresh_quarantine (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- A run stays in the audit log as long as a row that it refused is kept.
    audit_log_id bigint NOT NULL REFERENCES sqp.refresh_audit_log,
    table_name   text NOT NULL,
    raw_row      jsonb NOT NULL,
    reasons      text[] NOT NULL CHECK (cardinality(reasons) > 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    replayed_at  timestamptz
);

CREATE INDEX refresh_quarantine_audit_log_idx ON sqp.refresh_quarantine (audit_log_id);
CREATE INDEX refresh_quarantine_waiting_idx
    ON sqp.refresh_quarantine (table_name, created_at) WHERE replayed_at IS NULL;

COMMENT ON TABLE sqp.refresh_quarantine IS
    'One source row that broke its contract and reached no target';
COMMENT ON COLUMN sqp.refresh_quarantine.raw_row IS 'The row as the source sent it, by column title';
COMMENT ON COLUMN sqp.refresh_quarantine.reasons IS 'Every rule that the row breaks';
COMMENT ON COLUMN sqp.refresh_quarantine.replayed_at IS
    'When the row was accepted after all; null while it waits';


-- Alerts ------------------------------------------------------------------------------------------

CREATE TABLE sqp.webhook_configs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    url          text NOT NULL CHECK (url ~ '^https?://'),
    events       text[],
    is_enabled   boolean NOT NULL DEFAULT true,
    max_attempts integer NOT NULL DEFAULT 8 CHECK (max_attempts > 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TRIGGER webhook_configs_touch_updated_at
    BEFORE UPDATE ON sqp.webhook_configs
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION sqp.touch_updated_at();

COMMENT ON TABLE sqp.webhook_configs IS
    'One receiver of alerts, beside the one that REFRESH_WEBHOOK_URL names; '
    'the secret that signs them is never stored here';
COMMENT ON COLUMN sqp.webhook_configs.events IS 'Events it receives; null is every event';
COMMENT ON COLUMN sqp.webhook_configs.max_attempts IS 'Attempts before an alert is given up (count)';

CREATE TABLE sqp.webhook_deliveries (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_config_id bigint REFERENCES sqp.webhook_configs ON DELETE CASCADE,
    audit_log_id      bigint REFERENCES sqp.refresh_audit_log ON DELETE SET NULL,
    event             text NOT NULL,
    payload           jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
    status            text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'delivered', 'exhausted')),
    attempts          integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_retry_at     timestamptz NOT NULL DEFAULT now(),
    response_status   integer,
    last_error        text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    delivered_at      timestamptz
);

CREATE INDEX webhook_deliveries_pending_idx
    ON sqp.webhook_deliveries (next_retry_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_config_idx ON sqp.webhook_deliveries (webhook_config_id);
CREATE INDEX webhook_deliveries_audit_log_idx ON sqp.webhook_deliveries (audit_log_id);

COMMENT ON TABLE sqp.webhook_deliveries IS
    'The outbox: one alert to one receiver, tried until it is delivered or exhausted';
COMMENT ON COLUMN sqp.webhook_deliveries.webhook_config_id IS
    'The receiver; null is the one that REFRESH_WEBHOOK_URL names';
COMMENT ON COLUMN sqp.webhook_deliveries.audit_log_id IS
    'The run it is about; null once that is archived, the payload still names it';
COMMENT ON COLUMN sqp.webhook_deliveries.attempts IS 'Attempts so far (count)';
COMMENT ON COLUMN sqp.webhook_deliveries.next_retry_at IS 'Not tried again before this';
COMMENT ON COLUMN sqp.webhook_deliveries.response_status IS 'HTTP status of the last answer';
