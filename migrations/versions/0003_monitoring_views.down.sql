DROP VIEW sqp.data_quality_overview;
DROP VIEW sqp.refresh_success_rate;
