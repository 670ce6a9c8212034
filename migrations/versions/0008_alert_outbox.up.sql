-- An alert is told once to each receiver for each cause, under an id that every attempt repeats.

ALTER TABLE sqp.webhook_deliveries
    ADD COLUMN event_id text NOT NULL
        DEFAULT 'alert_' || replace(gen_random_uuid()::text, '-', ''),
    ADD COLUMN receiver text NOT NULL DEFAULT 'REFRESH_WEBHOOK_URL',
    ADD COLUMN cause    text;

UPDATE sqp.webhook_deliveries SET receiver = config.name
FROM sqp.webhook_configs AS config WHERE config.id = webhook_config_id;

CREATE UNIQUE INDEX webhook_deliveries_one_for_a_cause
    ON sqp.webhook_deliveries (cause, coalesce(webhook_config_id::text, receiver));

-- A misspelt event would be waited for in vain. What is there already stays as it is.
ALTER TABLE sqp.webhook_configs
    ADD CONSTRAINT webhook_configs_events_are_known CHECK (events <@ ARRAY[
        'refresh.failed', 'refresh.warning', 'refresh.completed', 'quality.failed',
        'refresh.overdue', 'refresh.recovered'
    ]) NOT VALID;

COMMENT ON COLUMN sqp.webhook_deliveries.event_id IS
    'What the header webhook-id says, in every attempt; a receiver that has seen it does nothing';
COMMENT ON COLUMN sqp.webhook_deliveries.receiver IS
    'Who receives it: the name of a webhook_configs row, REFRESH_WEBHOOK_URL, or the service of '
    'REFRESH_NOTIFY_URLS';
COMMENT ON COLUMN sqp.webhook_deliveries.cause IS
    'What it tells of; a receiver is told of one cause once';
COMMENT ON COLUMN sqp.webhook_deliveries.webhook_config_id IS
    'The receiver''s row; null is one that a switch names';
