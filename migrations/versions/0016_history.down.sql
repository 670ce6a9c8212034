DROP FUNCTION sqp.as_of(text, date, timestamptz);
DROP VIEW sqp.restatements;
DROP TABLE sqp.refresh_history;
ALTER TABLE sqp.refresh_periods
    DROP COLUMN totals,
    DROP COLUMN scope_column,
    DROP COLUMN history_since,
    DROP COLUMN first_published_at;
