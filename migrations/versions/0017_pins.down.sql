ALTER TABLE sqp.refresh_periods DROP COLUMN held_state;
ALTER TABLE sqp.refresh_periods DROP COLUMN held_nights;
DROP TABLE sqp.refresh_pins;
