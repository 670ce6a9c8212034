-- When each week of the source came, what each refresh that changed it has found, and whether it is
-- final. The rule for that is in one function, and its thresholds are in one row, which a refresh of
-- search_query_performance writes as the settings have them.

CREATE TABLE sqp.refresh_week_changes (
    marketplace  text NOT NULL,
    week         date NOT NULL,
    changed_at   timestamptz NOT NULL DEFAULT now(),
    rows         bigint NOT NULL CHECK (rows >= 0),
    asins        bigint NOT NULL CHECK (asins >= 0),
    found_as     text CHECK (found_as IN ('arriving', 'complete', 'final', 'restated')),
    -- Runs are archived one day, so this is no foreign key.
    audit_log_id bigint,
    PRIMARY KEY (marketplace, week, changed_at)
);

CREATE TABLE sqp.refresh_finality (
    id              boolean PRIMARY KEY DEFAULT true CHECK (id),
    arriving_nights integer NOT NULL DEFAULT 3,
    asins_ratio     numeric NOT NULL DEFAULT 0.9,
    arrival_days    integer NOT NULL DEFAULT 28,
    quiet_days      integer NOT NULL DEFAULT 40,
    quantile        float8 NOT NULL DEFAULT 0.95,
    own_weeks       integer NOT NULL DEFAULT 20,
    looked_at       timestamptz
);

-- Of weeks that were published before, the rows tell when the first came and the last was changed.
INSERT INTO sqp.refresh_week_changes (marketplace, week, changed_at, rows, asins)
SELECT marketplace, start_date, min(created_at), count(*), count(DISTINCT asin)
FROM sqp.search_query_performance
GROUP BY marketplace, start_date;

INSERT INTO sqp.refresh_week_changes (marketplace, week, changed_at, rows, asins)
SELECT marketplace, start_date, max(updated_at), count(*), count(DISTINCT asin)
FROM sqp.search_query_performance
GROUP BY marketplace, start_date
HAVING max(updated_at) > min(created_at);

INSERT INTO sqp.refresh_finality (looked_at)
SELECT max(last_refresh_at) FILTER (WHERE isfinite(last_refresh_at))
FROM sqp.refresh_config
WHERE table_schema = 'sqp' AND table_name = 'search_query_performance';

COMMENT ON TABLE sqp.refresh_week_changes IS
    'One refresh that changed a week of a marketplace in search_query_performance, and what it held then';
COMMENT ON COLUMN sqp.refresh_week_changes.week IS 'Sunday';
COMMENT ON COLUMN sqp.refresh_week_changes.changed_at IS
    'When the transaction that changed it began';
COMMENT ON COLUMN sqp.refresh_week_changes.rows IS 'Rows that the week had then (count)';
COMMENT ON COLUMN sqp.refresh_week_changes.asins IS 'ASINs that it had then (count)';
COMMENT ON COLUMN sqp.refresh_week_changes.found_as IS
    'What it was before, as week_finality.state; null where it was new, or that is not known';
COMMENT ON COLUMN sqp.refresh_week_changes.audit_log_id IS
    'The run that changed it, by its id in refresh_audit_log; null where that is not known';
COMMENT ON TABLE sqp.refresh_finality IS
    'When the source was last looked at, and the thresholds of week_finality, which the settings FINALITY_… set at each refresh';
COMMENT ON COLUMN sqp.refresh_finality.id IS 'True: there is one row';
COMMENT ON COLUMN sqp.refresh_finality.arriving_nights IS
    'A week that changed in one of so many last nights is arriving (count)';
COMMENT ON COLUMN sqp.refresh_finality.asins_ratio IS
    'A week with less than this part of the ASINs that are usual is arriving (0 to 1)';
COMMENT ON COLUMN sqp.refresh_finality.arrival_days IS
    'How long after its end a week comes at the latest; tells when those of a first load did (days)';
COMMENT ON COLUMN sqp.refresh_finality.quiet_days IS
    'A week that has not changed for so long is final (days)';
COMMENT ON COLUMN sqp.refresh_finality.quantile IS
    'So is one that is longer unchanged than this part of the marketplace''s own weeks took from their first row to their last change (0 to 1)';
COMMENT ON COLUMN sqp.refresh_finality.own_weeks IS
    'How many such weeks it takes to tell (count)';
COMMENT ON COLUMN sqp.refresh_finality.looked_at IS
    'When a refresh last compared the newest weeks with the source; null if none ever did';

COMMENT ON COLUMN sqp.webhook_configs.events IS
    'Events it receives; null is every event but those that are sent only to who names them';

ALTER TABLE sqp.webhook_configs DROP CONSTRAINT webhook_configs_events_are_known;
ALTER TABLE sqp.webhook_configs
    ADD CONSTRAINT webhook_configs_events_are_known CHECK (events <@ ARRAY[
        'refresh.failed', 'refresh.warning', 'refresh.completed', 'quality.failed',
        'refresh.overdue', 'refresh.recovered', 'week.arrived', 'week.final'
    ]) NOT VALID;

-- The rule. A week of a first load, or of one that goes back farther than those before it, was there
-- already when it was first looked at: it came by arrival_days after its end at the latest.
CREATE FUNCTION sqp.week_finality_at(looked_at timestamptz)
RETURNS TABLE (
    marketplace text, week date, rows bigint, asins bigint, asins_expected bigint,
    first_seen_at timestamptz, last_changed_at timestamptz, restatements bigint, state text,
    was_there_before boolean
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
WITH change AS (
    SELECT *,
        bool_or(found_as <> 'arriving') OVER life AS is_restatement,
        lead(changed_at) OVER life IS NULL AS is_last,
        min(changed_at) OVER life AS first_seen_at
    FROM sqp.refresh_week_changes
    WINDOW life AS (PARTITION BY marketplace, week ORDER BY changed_at)
), seen AS (
    SELECT marketplace, week, rows, asins, first_seen_at, changed_at AS last_changed_at,
        found_as IN ('final', 'restated') AS is_reopened,
        coalesce(min(first_seen_at) OVER (
            PARTITION BY marketplace ORDER BY week ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) > first_seen_at - interval '12 hours', true) AS was_there_before
    FROM change
    WHERE is_last
), restated AS (
    SELECT marketplace, week, count(*) AS restatements
    FROM change WHERE is_restatement
    GROUP BY marketplace, week
), usual AS (
    SELECT marketplace, week + 7 * later AS week,
        round((percentile_cont(0.5) WITHIN GROUP (ORDER BY asins))::numeric)::bigint
            AS asins_expected
    FROM seen CROSS JOIN generate_series(1, 8) AS later
    GROUP BY 1, 2
), quiet AS (
    SELECT seen.*, usual.asins_expected, coalesce(restatements, 0) AS restatements,
        greatest(
            0,
            (
                coalesce(week_finality_at.looked_at, last_changed_at) AT TIME ZONE 'UTC'
            )::date - CASE
                WHEN was_there_before AND last_changed_at = first_seen_at
                    THEN least((last_changed_at AT TIME ZONE 'UTC')::date, week + 6 + arrival_days)
                ELSE (last_changed_at AT TIME ZONE 'UTC')::date
            END
        ) AS quiet_days
    FROM seen
    CROSS JOIN sqp.refresh_finality AS rule
    LEFT JOIN usual USING (marketplace, week)
    LEFT JOIN restated USING (marketplace, week)
), own AS (
    SELECT marketplace, percentile_cont(rule.quantile) WITHIN GROUP (
        ORDER BY (last_changed_at AT TIME ZONE 'UTC')::date - (first_seen_at AT TIME ZONE 'UTC')::date
    ) AS took_days
    FROM quiet CROSS JOIN sqp.refresh_finality AS rule
    WHERE NOT was_there_before AND quiet.quiet_days >= rule.quiet_days
    GROUP BY marketplace, rule.quantile, rule.own_weeks
    HAVING count(*) >= rule.own_weeks
)
SELECT marketplace, week, rows, asins, asins_expected, first_seen_at, last_changed_at, restatements,
    CASE
        WHEN quiet.quiet_days >= rule.quiet_days THEN 'final'
        WHEN is_reopened THEN 'restated'
        WHEN quiet.quiet_days < arriving_nights OR asins < asins_ratio * asins_expected
            THEN 'arriving'
        WHEN quiet.quiet_days > took_days THEN 'final'
        ELSE 'complete'
    END,
    was_there_before
FROM quiet
CROSS JOIN sqp.refresh_finality AS rule
LEFT JOIN own USING (marketplace)
$function$;

COMMENT ON FUNCTION sqp.week_finality_at(timestamptz) IS
    'Whether each week is final, if the source was last looked at then; the one home of the rule';

CREATE VIEW sqp.week_finality AS
SELECT found.marketplace, found.week, found.rows, found.asins, found.asins_expected,
    found.first_seen_at, found.last_changed_at, found.restatements, found.state
FROM sqp.refresh_finality AS rule
CROSS JOIN LATERAL sqp.week_finality_at(rule.looked_at) AS found;

COMMENT ON VIEW sqp.week_finality IS
    'Each week of each marketplace in search_query_performance: when it came, how complete it is, how often it was restated, and whether it is final';
COMMENT ON COLUMN sqp.week_finality.week IS 'Sunday';
COMMENT ON COLUMN sqp.week_finality.rows IS 'Rows that it has (count)';
COMMENT ON COLUMN sqp.week_finality.asins IS 'ASINs that it has (count)';
COMMENT ON COLUMN sqp.week_finality.asins_expected IS
    'The median of the ASINs of the eight weeks before (count); null where none of them is there';
COMMENT ON COLUMN sqp.week_finality.first_seen_at IS 'When its first rows were published';
COMMENT ON COLUMN sqp.week_finality.last_changed_at IS
    'When a change of its source was last published';
COMMENT ON COLUMN sqp.week_finality.restatements IS
    'Refreshes that changed it after it was first complete (count)';
COMMENT ON COLUMN sqp.week_finality.state IS
    'arriving: it changed in one of the last nights, or has fewer ASINs than usual; complete; final: unchanged for long enough; restated: it changed after it was final, and is final again once it was unchanged for as long';

CREATE VIEW sqp.latest_final_week AS
SELECT found.marketplace, max(found.week) AS week
FROM sqp.refresh_finality AS rule
CROSS JOIN LATERAL sqp.week_finality_at(rule.looked_at) AS found
WHERE found.state = 'final'
GROUP BY found.marketplace;

COMMENT ON VIEW sqp.latest_final_week IS
    'The newest final week of each marketplace; none where no week is final';
COMMENT ON COLUMN sqp.latest_final_week.week IS 'Sunday';

CREATE OR REPLACE VIEW sqp.refresh_freshness AS
SELECT
    config.table_name,
    config.is_enabled,
    config.priority,
    held.newest_period_start,
    held.newest_period_end,
    CASE WHEN held.newest_period_end IS NOT NULL
        THEN greatest(0, (now() AT TIME ZONE 'UTC')::date - held.newest_period_end)
    END AS days_behind,
    coalesce(held.row_count, 0)::bigint AS row_count,
    config.last_refresh_at,
    runs.last_successful_refresh,
    config.next_refresh_at,
    config.refresh_frequency_hours,
    runs.last_started_at,
    latest.status AS last_status,
    latest.error_message AS last_message,
    landing.lag_hours AS landing_lag_hours
FROM sqp.refresh_config AS config
LEFT JOIN (
    SELECT
        table_name,
        max(period_start) FILTER (WHERE row_count > 0 AND period_end < date '9999-12-31')
            AS newest_period_start,
        max(period_end) FILTER (WHERE row_count > 0 AND period_end < date '9999-12-31')
            AS newest_period_end,
        sum(row_count) AS row_count
    FROM sqp.refresh_periods
    WHERE table_schema = 'sqp'
    GROUP BY table_name
) AS held USING (table_name)
LEFT JOIN (
    SELECT
        table_name,
        max(started_at) AS last_started_at,
        max(completed_at) FILTER (WHERE status = 'success') AS last_successful_refresh,
        max(audit_log_id) FILTER (WHERE completed_at IS NOT NULL) AS audit_log_id
    FROM sqp.refresh_runs
    GROUP BY table_name
) AS runs USING (table_name)
LEFT JOIN sqp.refresh_runs AS latest USING (audit_log_id)
LEFT JOIN LATERAL (
    SELECT round(extract(
        epoch FROM refresh_completed_at - (sync_metadata->>'source_changed_at')::timestamptz
    ) / 3600.0, 1) AS lag_hours
    FROM sqp.refresh_audit_log AS run
    WHERE run.table_schema = config.table_schema AND run.table_name = config.table_name
        AND run.sync_metadata->>'source_changed_at' IS NOT NULL
        AND run.rows_inserted + run.rows_updated + run.rows_deleted > 0
    ORDER BY run.id DESC
    LIMIT 1
) AS landing ON true
WHERE config.table_schema = 'sqp';

COMMENT ON COLUMN sqp.refresh_freshness.landing_lag_hours IS
    'From the last change of the vendor''s table to the end of the refresh that last brought one (hours); null for a table derived in Postgres, and where the source is a view';

DO $$
DECLARE
    made text;
    outsider text;
BEGIN
    -- Postgres 14 does not have it; to replace a view takes its options away.
    IF current_setting('server_version_num')::integer >= 150000 THEN
        FOREACH made IN ARRAY ARRAY['week_finality', 'latest_final_week', 'refresh_freshness'] LOOP
            EXECUTE format('ALTER VIEW sqp.%I SET (security_invoker = true)', made);
        END LOOP;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sqp.refresh_week_changes, sqp.refresh_finality
            TO service_role;
        GRANT SELECT ON sqp.week_finality, sqp.latest_final_week TO service_role;
        GRANT EXECUTE ON FUNCTION sqp.week_finality_at(timestamptz) TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON sqp.refresh_week_changes, sqp.refresh_finality, '
            'sqp.week_finality, sqp.latest_final_week FROM ' || outsider;
        EXECUTE 'REVOKE ALL ON FUNCTION sqp.week_finality_at(timestamptz) FROM ' || outsider;
    END LOOP;
END
$$;
