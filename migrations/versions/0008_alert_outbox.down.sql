COMMENT ON COLUMN sqp.webhook_deliveries.webhook_config_id IS
    'The receiver; null is the one that REFRESH_WEBHOOK_URL names';
ALTER TABLE sqp.webhook_configs DROP CONSTRAINT webhook_configs_events_are_known;
DROP INDEX sqp.webhook_deliveries_one_for_a_cause;
ALTER TABLE sqp.webhook_deliveries
    DROP COLUMN event_id,
    DROP COLUMN receiver,
    DROP COLUMN cause;
