DROP TABLE sqp.refresh_periods;
