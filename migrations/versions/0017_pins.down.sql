ALTER TABLE sqp.refresh_periods
    DROP COLUMN held_state,
    DROP COLUMN held_nights,
    DROP COLUMN accepts_any_change;
DROP TABLE sqp.refresh_pins;
