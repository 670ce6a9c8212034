-- Each row that a publish changed, as it was before. The statement that changes a row enters it here,
-- so that what a period held at any instant follows from what it holds now.

CREATE TABLE sqp.refresh_history (
    id                      bigint GENERATED ALWAYS AS IDENTITY,
    -- Runs are archived one day, so this is no foreign key.
    audit_log_id            bigint NOT NULL,
    table_schema            text NOT NULL DEFAULT 'sqp',
    table_name              text NOT NULL,
    period_start            date NOT NULL,
    key                     jsonb NOT NULL CHECK (jsonb_typeof(key) = 'object'),
    operation               text NOT NULL CHECK (operation IN ('insert', 'update', 'delete')),
    before                  jsonb CHECK ((before IS NULL) = (operation = 'insert')),
    changed_at              timestamptz NOT NULL DEFAULT now(),
    updated_at_before       timestamptz,
    asin_impressions_change numeric,
    asin_clicks_change      numeric,
    asin_cart_adds_change   numeric,
    asin_purchases_change   numeric,
    -- The rows of a period lie together in it, in the order in which they were changed.
    PRIMARY KEY (table_name, period_start, id)
);

-- Rows come in the order of time, so that a summary of each block finds those of age.
CREATE INDEX refresh_history_changed_at ON sqp.refresh_history USING brin (changed_at);

ALTER TABLE sqp.refresh_periods
    ADD COLUMN first_published_at timestamptz,
    ADD COLUMN history_since timestamptz,
    ADD COLUMN scope_column text,
    ADD COLUMN totals jsonb;

-- Of what was published before, only the rows that are there now are known.
UPDATE sqp.refresh_periods AS entry
SET history_since = CASE WHEN row_count > 0 THEN published_at END,
    scope_column = CASE
        WHEN custom_sync_params ? 'source_table'
            THEN custom_sync_params->'columns'->>(custom_sync_params->>'week_column')
        WHEN entry.table_name = 'daily_sqp_data' THEN 'report_date'
        WHEN entry.table_name IN (
            'weekly_summary', 'monthly_summary', 'quarterly_summary', 'yearly_summary'
        ) THEN 'period_start'
        ELSE 'start_date'
    END
FROM sqp.refresh_config AS config
WHERE config.table_schema = entry.table_schema AND config.table_name = entry.table_name;

COMMENT ON TABLE sqp.refresh_history IS
    'One row that a publish inserted, updated or deleted, as it was before; first publishes are not here';
COMMENT ON COLUMN sqp.refresh_history.id IS
    'Number; the changes of a period were made in its order';
COMMENT ON COLUMN sqp.refresh_history.audit_log_id IS
    'The run that changed the row, by its id in refresh_audit_log';
COMMENT ON COLUMN sqp.refresh_history.key IS 'The key columns of the row, by name';
COMMENT ON COLUMN sqp.refresh_history.before IS
    'Of an update, the values that it replaced, by column; of a delete, the whole row; null for an insert';
COMMENT ON COLUMN sqp.refresh_history.changed_at IS
    'When the transaction that changed the row began';
COMMENT ON COLUMN sqp.refresh_history.updated_at_before IS
    'What updated_at was before an update; null where the table has no such column';
COMMENT ON COLUMN sqp.refresh_history.asin_impressions_change IS
    'By how much the ASIN''s own impressions of the row changed (count); null where the table has none';
COMMENT ON COLUMN sqp.refresh_history.asin_clicks_change IS
    'By how much its clicks changed (count)';
COMMENT ON COLUMN sqp.refresh_history.asin_cart_adds_change IS
    'By how much its cart adds changed (count)';
COMMENT ON COLUMN sqp.refresh_history.asin_purchases_change IS
    'By how much its purchases changed (count)';
COMMENT ON COLUMN sqp.refresh_periods.first_published_at IS
    'When it was first published with rows; null if it never was, or if that is not known';
COMMENT ON COLUMN sqp.refresh_periods.history_since IS
    'Since when refresh_history tells how it was; null if it was never published with rows';
COMMENT ON COLUMN sqp.refresh_periods.scope_column IS
    'The column of the table by which a row is of a period; null if the table is one period';
COMMENT ON COLUMN sqp.refresh_periods.totals IS
    'What the table held when it was last published: rows, ASINs and sums, by metric';

-- Of each column, the value before its first change since then counts. A row that was deleted since
-- is whole in the history, and what became of its key later does not matter.
CREATE FUNCTION sqp.as_of(table_name text, period_start date, at timestamptz)
RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    entry record;
    first_day date;
    in_period text;
    same_key text;
BEGIN
    IF table_name IS NULL OR period_start IS NULL OR at IS NULL THEN
        RAISE EXCEPTION 'as_of takes a table, the first day of a period, and an instant; none may be null'
            USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF to_regclass(format('sqp.%I', table_name)) IS NULL THEN
        RAISE EXCEPTION 'there is no table sqp.%', table_name USING ERRCODE = 'undefined_table';
    END IF;
    SELECT period.period_end, period.first_published_at, period.history_since, period.scope_column
        INTO entry
    FROM sqp.refresh_periods AS period
    WHERE period.table_schema = 'sqp' AND period.table_name = as_of.table_name
        AND period.period_start = as_of.period_start;
    IF NOT FOUND THEN
        SELECT period.period_start INTO first_day FROM sqp.refresh_periods AS period
        WHERE period.table_schema = 'sqp' AND period.table_name = as_of.table_name
            AND as_of.period_start BETWEEN period.period_start AND period.period_end;
        IF FOUND THEN
            RAISE EXCEPTION 'no period of sqp.% begins on %; the one that holds it begins on %',
                table_name, period_start, first_day USING ERRCODE = 'invalid_parameter_value';
        END IF;
        RETURN;
    END IF;
    IF entry.history_since IS NULL OR at < entry.first_published_at THEN
        RETURN;
    END IF;
    IF at < entry.history_since THEN
        RAISE EXCEPTION 'the history of sqp.% of % begins at %; choose a later instant than %',
            table_name, period_start, entry.history_since, at
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    in_period := CASE WHEN entry.scope_column IS NULL THEN 'true' ELSE format(
        'target.%I BETWEEN %L AND %L', entry.scope_column, period_start, entry.period_end
    ) END;
    SELECT string_agg(format('target.%1$I = former.%1$I', name), ' AND ') INTO same_key
    FROM (
        SELECT DISTINCT jsonb_object_keys(change.key) AS name FROM sqp.refresh_history AS change
        WHERE change.table_schema = 'sqp' AND change.table_name = as_of.table_name
            AND change.period_start = as_of.period_start AND change.changed_at > at
    ) AS key_columns;
    IF same_key IS NULL THEN
        RETURN QUERY EXECUTE format(
            'SELECT to_jsonb(target.*) FROM sqp.%I AS target WHERE %s', table_name, in_period
        );
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format($query$
        WITH change AS MATERIALIZED (
            SELECT *, min(id) FILTER (WHERE operation = 'delete') OVER (PARTITION BY key) AS deleted
            FROM sqp.refresh_history
            WHERE table_schema = 'sqp' AND table_name = $1 AND period_start = $2 AND changed_at > $3
        ), undone AS (
            SELECT key AS __sqp_key, bool_or(deleted IS NOT NULL) AS __sqp_is_deleted,
                (array_agg(operation ORDER BY id))[1] = 'insert' AS __sqp_is_new,
                coalesce(
                    jsonb_object_agg(old.name, old.value ORDER BY id DESC)
                        FILTER (WHERE old.name IS NOT NULL),
                    '{}'
                ) AS __sqp_before
            FROM change
            LEFT JOIN LATERAL jsonb_each(
                before || CASE WHEN updated_at_before IS NULL THEN '{}'
                    ELSE jsonb_build_object('updated_at', updated_at_before) END
            ) AS old (name, value) ON true
            WHERE deleted IS NULL OR id <= deleted
            GROUP BY key
        ), former AS MATERIALIZED (
            SELECT undone.*, key_columns.*
            FROM undone
            CROSS JOIN LATERAL jsonb_populate_record(NULL::sqp.%1$I, __sqp_key) AS key_columns
        )
        SELECT CASE WHEN former.__sqp_before IS NULL THEN to_jsonb(target.*)
            ELSE to_jsonb(jsonb_populate_record(target.*, former.__sqp_before)) END
        FROM sqp.%1$I AS target LEFT JOIN former ON %2$s
        WHERE %3$s AND (
            former.__sqp_before IS NULL OR NOT (former.__sqp_is_deleted OR former.__sqp_is_new)
        )
        UNION ALL
        SELECT to_jsonb(jsonb_populate_record(NULL::sqp.%1$I, former.__sqp_before))
        FROM former WHERE former.__sqp_is_deleted AND NOT former.__sqp_is_new
    $query$, table_name, same_key, in_period) USING table_name, period_start, at;
END
$function$;

COMMENT ON FUNCTION sqp.as_of(text, date, timestamptz) IS
    'The rows of a period as a table of the schema held them at an instant; none before it was first published, an error where the history does not reach back';

-- What a period held after a run is what it holds now, less what later runs changed.
CREATE VIEW sqp.restatements AS
WITH runs AS (
    SELECT table_schema, table_name, period_start, audit_log_id,
        max(id) AS last_id,
        max(changed_at) AS restated_at,
        count(*) FILTER (WHERE operation = 'insert') AS rows_inserted,
        count(*) FILTER (WHERE operation = 'update') AS rows_updated,
        count(*) FILTER (WHERE operation = 'delete') AS rows_deleted,
        sum(asin_impressions_change) AS impressions,
        sum(asin_clicks_change) AS clicks,
        sum(asin_cart_adds_change) AS cart_adds,
        sum(asin_purchases_change) AS purchases
    FROM sqp.refresh_history
    GROUP BY table_schema, table_name, period_start, audit_log_id
), totals AS (
    SELECT runs.*,
        (totals->>'sum_asin_impression_count')::numeric
            - coalesce(sum(impressions) OVER later, 0) AS impressions_after,
        (totals->>'sum_asin_click_count')::numeric
            - coalesce(sum(clicks) OVER later, 0) AS clicks_after,
        (totals->>'sum_asin_cart_add_count')::numeric
            - coalesce(sum(cart_adds) OVER later, 0) AS cart_adds_after,
        (totals->>'sum_asin_purchase_count')::numeric
            - coalesce(sum(purchases) OVER later, 0) AS purchases_after,
        entry.period_end
    FROM runs
    LEFT JOIN sqp.refresh_periods AS entry USING (table_schema, table_name, period_start)
    WINDOW later AS (
        PARTITION BY table_schema, table_name, period_start ORDER BY last_id DESC
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
SELECT table_schema, table_name, period_start, period_end, audit_log_id, restated_at,
    rows_inserted, rows_updated, rows_deleted,
    impressions_after - impressions AS asin_impressions_before,
    impressions_after AS asin_impressions_after,
    clicks_after - clicks AS asin_clicks_before,
    clicks_after AS asin_clicks_after,
    cart_adds_after - cart_adds AS asin_cart_adds_before,
    cart_adds_after AS asin_cart_adds_after,
    purchases_after - purchases AS asin_purchases_before,
    purchases_after AS asin_purchases_after
FROM totals;

COMMENT ON VIEW sqp.restatements IS
    'One run that changed a published period of a table: what it changed, and the sums before and after';
COMMENT ON COLUMN sqp.restatements.audit_log_id IS
    'The run, by its id in refresh_audit_log';
COMMENT ON COLUMN sqp.restatements.restated_at IS 'When its transaction began';
COMMENT ON COLUMN sqp.restatements.rows_inserted IS 'Rows that it added (count)';
COMMENT ON COLUMN sqp.restatements.rows_updated IS 'Rows of which it changed a value (count)';
COMMENT ON COLUMN sqp.restatements.rows_deleted IS 'Rows that it deleted (count)';
COMMENT ON COLUMN sqp.restatements.asin_impressions_before IS
    'The ASINs'' own impressions of the period before it (count); null where the table has none';
COMMENT ON COLUMN sqp.restatements.asin_impressions_after IS 'The same after it (count)';
COMMENT ON COLUMN sqp.restatements.asin_clicks_before IS 'Their clicks before it (count)';
COMMENT ON COLUMN sqp.restatements.asin_clicks_after IS 'The same after it (count)';
COMMENT ON COLUMN sqp.restatements.asin_cart_adds_before IS 'Their cart adds before it (count)';
COMMENT ON COLUMN sqp.restatements.asin_cart_adds_after IS 'The same after it (count)';
COMMENT ON COLUMN sqp.restatements.asin_purchases_before IS 'Their purchases before it (count)';
COMMENT ON COLUMN sqp.restatements.asin_purchases_after IS 'The same after it (count)';

DO $$
DECLARE
    outsider text;
BEGIN
    -- Postgres 14 does not have it; there the view is kept from outsiders by its privileges alone.
    IF current_setting('server_version_num')::integer >= 150000 THEN
        ALTER VIEW sqp.restatements SET (security_invoker = true);
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sqp.refresh_history TO service_role;
        GRANT USAGE, SELECT ON SEQUENCE sqp.refresh_history_id_seq TO service_role;
        GRANT SELECT ON sqp.restatements TO service_role;
        GRANT EXECUTE ON FUNCTION sqp.as_of(text, date, timestamptz) TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON sqp.refresh_history, sqp.restatements FROM ' || outsider;
        EXECUTE 'REVOKE ALL ON SEQUENCE sqp.refresh_history_id_seq FROM ' || outsider;
        EXECUTE 'REVOKE ALL ON FUNCTION sqp.as_of(text, date, timestamptz) FROM ' || outsider;
    END LOOP;
END
$$;
