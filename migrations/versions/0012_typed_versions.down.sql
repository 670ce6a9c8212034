-- Of what a period was made from, the earlier release knows more numbers than are kept: it makes each
-- period again, once.
CREATE OR REPLACE VIEW sqp.refresh_weeks AS
WITH rejection AS (
    SELECT
        run.id,
        run.table_name,
        week,
        CASE week WHEN 'the whole table' THEN date '0001-01-01' ELSE week::date END AS period_start
    FROM sqp.refresh_audit_log AS run
    CROSS JOIN LATERAL jsonb_array_elements_text(run.sync_metadata->'rejected') AS week
    WHERE run.table_schema = 'sqp'
      AND run.refresh_started_at > now() - interval '90 days'
), rejected AS (
    SELECT table_name, period_start, max(id) AS rejected_by
    FROM rejection
    WHERE NOT EXISTS (
        SELECT FROM sqp.refresh_audit_log AS later
        WHERE later.table_name = rejection.table_name
          AND later.id > rejection.id
          AND later.sync_metadata->'skipped' ? rejection.week
    )
    GROUP BY table_name, period_start
), published AS (
    SELECT table_schema, table_name, period_start, period_end, source_state, target_state,
        row_count, changed_by, published_by, published_at
    FROM sqp.refresh_periods WHERE table_schema = 'sqp'
), waiting AS (
    SELECT table_name, period_start, count(*) AS waiting_rows
    FROM sqp.refresh_quarantine
    WHERE replayed_at IS NULL
    GROUP BY table_name, period_start
)
SELECT
    table_name,
    period_start,
    coalesce(
        period_end,
        CASE period_start WHEN date '0001-01-01' THEN date '9999-12-31' ELSE period_start + 6 END
    ) AS period_end,
    CASE
        WHEN rejected_by > coalesce(published_by, 0) THEN 'rejected'
        WHEN source_state ? 'doubted' THEN 'doubted'
        WHEN source_state IS NULL THEN 'kept'
        WHEN row_count = 0 THEN 'empty'
        ELSE 'published'
    END AS status,
    coalesce(row_count, 0) AS row_count,
    coalesce(waiting_rows, 0) AS rows_in_quarantine,
    published_at,
    published_by,
    changed_by
FROM published
FULL JOIN rejected USING (table_name, period_start)
LEFT JOIN waiting USING (table_name, period_start);

-- To replace a view takes its options away.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        ALTER VIEW sqp.refresh_weeks SET (security_invoker = true);
    END IF;
END
$$;

UPDATE sqp.refresh_periods
SET source_state = source_state || jsonb_build_object('definition', definition_hash)
    || CASE WHEN needs_reload THEN '{"doubted": true}' ELSE '{}' END::jsonb
WHERE source_state IS NOT NULL;

COMMENT ON COLUMN sqp.refresh_periods.source_state IS
    'What the period was made from: counts, sums and a fingerprint; null copies it every time';

ALTER TABLE sqp.refresh_periods DROP COLUMN definition_hash, DROP COLUMN needs_reload;
