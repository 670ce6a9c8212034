-- How a period was made, and that it must be made again, are columns of the ledger. What it was made
-- from is, for a table that BigQuery fills, the rows of the source, those that break their contract,
-- those that are superseded, what the table must hold, and a digest of all rows.

ALTER TABLE sqp.refresh_periods
    ADD COLUMN definition_hash text,
    ADD COLUMN needs_reload boolean NOT NULL DEFAULT false;

UPDATE sqp.refresh_periods
SET definition_hash = source_state->>'definition',
    needs_reload = source_state ? 'doubted',
    source_state = CASE WHEN source_state ? 'weeks'
        THEN jsonb_build_object('weeks', source_state->'weeks')
        ELSE jsonb_build_object(
            'rows', coalesce(source_state->'source_rows', '0'),
            'rejected', coalesce(source_state->'broken', '0'),
            'superseded', coalesce((source_state->>'source_rows')::bigint, 0)
                - coalesce((source_state->>'broken')::bigint, 0)
                - coalesce((source_state->>'landing')::bigint, 0),
            'expected', coalesce(source_state->'expected', '{"row_count": 0}'),
            'digest', concat_ws(' ', source_state->>'digest_1', source_state->>'digest_9',
                source_state->>'digest_17'),
            'marketplace', coalesce(source_state->>'marketplace', '')
        )
    END
WHERE source_state IS NOT NULL;

COMMENT ON COLUMN sqp.refresh_periods.source_state IS
    'What the period was made from; null where it came empty and its rows were kept';
COMMENT ON COLUMN sqp.refresh_periods.definition_hash IS
    'A hash of how the period was made: the release, columns, computations and the row contract';
COMMENT ON COLUMN sqp.refresh_periods.needs_reload IS
    'Whether it did not equal its source, so that the next refresh loads it again';

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
    SELECT table_name, period_start, period_end, source_state, needs_reload, row_count, published_at,
        published_by, changed_by
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
        WHEN needs_reload THEN 'doubted'
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
