ALTER TABLE sqp.webhook_configs DROP CONSTRAINT webhook_configs_events_are_known;
ALTER TABLE sqp.webhook_configs
    ADD CONSTRAINT webhook_configs_events_are_known CHECK (events <@ ARRAY[
        'refresh.failed', 'refresh.warning', 'refresh.completed', 'quality.failed',
        'refresh.overdue', 'refresh.recovered', 'week.arrived', 'week.final'
    ]) NOT VALID;
ALTER TABLE sqp.webhook_configs DROP COLUMN secret_names;
DROP TRIGGER refresh_config_note_switch ON sqp.refresh_config;
DROP FUNCTION sqp.note_switch();
DROP TABLE sqp.refresh_switches;
DROP TABLE sqp.refresh_mutes;
