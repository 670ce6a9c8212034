DROP VIEW sqp.query_trends;
DROP VIEW sqp.movements;
DROP VIEW sqp.funnel_leaks;
DROP VIEW sqp.period_comparisons;
DROP STATISTICS sqp.weekly_summary_key, sqp.monthly_summary_key, sqp.quarterly_summary_key,
    sqp.yearly_summary_key;
DROP VIEW sqp.brand_query_monthly;
DROP VIEW sqp.brand_query_weekly;
DROP FUNCTION sqp.final_weeks();
