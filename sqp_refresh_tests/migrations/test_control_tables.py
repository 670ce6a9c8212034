"""Check that the control tables refuse invalid rows, and accept what the package writes."""

from typing import LiteralString

import psycopg
import pytest

from sqp_refresh.postgres import migrate
from sqp_refresh_tests.migrations.servers import Database

COLUMNS = {
    "refresh_config": "id table_schema table_name is_enabled refresh_frequency_hours priority "
    "last_refresh_at next_refresh_at custom_sync_params created_at updated_at",
    "refresh_dependencies": "id parent_config_id dependent_config_id dependency_type created_at",
    "refresh_audit_log": "id refresh_config_id table_schema table_name refresh_started_at "
    "refresh_completed_at status rows_processed rows_inserted rows_updated rows_deleted "
    "execution_time_ms memory_used_mb error_message error_details bigquery_job_id sync_metadata "
    "created_at",
    "refresh_checkpoints": "id function_name table_schema table_name checkpoint_data "
    "last_processed_row total_rows status created_at updated_at expires_at",
    "refresh_data_quality": "id audit_log_id metric_name metric_value expected_value threshold_min "
    "threshold_max is_within_threshold created_at",
    "refresh_quarantine": "id audit_log_id table_name raw_row reasons created_at replayed_at "
    "period_start",
    "refresh_periods": "table_schema table_name period_start period_end source_state target_state "
    "row_count changed_by published_by published_at row_fingerprints definition_hash needs_reload "
    "stale_since failed_metrics proof_sha256 first_published_at history_since scope_column totals "
    "held_state held_nights accepts_any_change",
    "refresh_history": "id audit_log_id table_schema table_name period_start key operation before "
    "changed_at updated_at_before asin_impressions_change asin_clicks_change "
    "asin_cart_adds_change asin_purchases_change",
    "refresh_pins": "table_schema table_name period_start reason pinned_by pinned_at",
    "refresh_requests": "id tables first_week last_week force status run message expected_seconds "
    "requested_by requested_at launched_at completed_at",
    "refresh_status": "status why last_night next_night newest_final_week",
    "refresh_week_changes": "marketplace week changed_at rows asins found_as audit_log_id",
    "refresh_finality": "id arriving_nights asins_ratio arrival_days quiet_days quantile own_weeks "
    "looked_at",
    "refresh_proofs": "id table_schema table_name period_start period_end audit_log_id "
    "source_instant source target is_equal previous_sha256 sha256 created_at",
    "refresh_comparisons": "table_schema table_name compared_at",
    "refresh_indexes": "table_schema table_name index_name column_names set_aside_at",
    "refresh_mutes": "id table_schema table_name period_start muted_until reason muted_by muted_at",
    "refresh_switches": "table_schema table_name is_enabled switched_by switched_at",
    "webhook_configs": "id name url events is_enabled max_attempts created_at updated_at "
    "secret_names",
    "webhook_deliveries": "id webhook_config_id audit_log_id event payload status attempts "
    "next_retry_at response_status last_error created_at delivered_at event_id receiver cause",
    "refresh_success_rate": "table_name success_rate avg_execution_time_ms last_successful_refresh",
    "data_quality_overview": "metric_name pass_rate total_checks",
    "refresh_runs": "audit_log_id table_name night run_id launched_by tick rerun forced resumes "
    "started_at completed_at status execution_time_ms weeks_copied weeks_skipped weeks_rejected "
    "rows_processed rows_inserted rows_updated rows_deleted rows_unchanged rows_quarantined "
    "bytes_billed error_message error_kind",
    "refresh_nightly": "night table_name runs successes status error_message started_at "
    "completed_at execution_time_ms "
    "weeks_copied rows_processed rows_inserted rows_updated rows_deleted rows_quarantined",
    "refresh_retries": "night table_name runs failed rerun resumed by_hand last_error_kind",
    "refresh_costs": "night table_name bytes_billed",
    "refresh_weeks": "table_name period_start period_end status row_count rows_in_quarantine "
    "published_at published_by changed_by",
    "refresh_freshness": "table_name is_enabled priority newest_period_start newest_period_end "
    "days_behind row_count last_refresh_at last_successful_refresh next_refresh_at "
    "refresh_frequency_hours last_started_at last_status last_message "
    "landing_lag_hours",
    "week_finality": "marketplace week rows asins asins_expected first_seen_at last_changed_at "
    "restatements state",
    "latest_final_week": "marketplace week",
    "restatements": "table_schema table_name period_start period_end audit_log_id restated_at "
    "rows_inserted rows_updated rows_deleted asin_impressions_before asin_impressions_after "
    "asin_clicks_before asin_clicks_after asin_cart_adds_before asin_cart_adds_after "
    "asin_purchases_before asin_purchases_after",
    "refresh_quality": "night table_name audit_log_id metric_name metric_value expected_value "
    "threshold_min threshold_max is_within_threshold measured_at",
}
NAMES = """
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0
"""
AUDIT = "INSERT INTO sqp.refresh_audit_log (table_name) VALUES ('weekly_summary')"
CHECKPOINT = (
    "INSERT INTO sqp.refresh_checkpoints (function_name, table_name) VALUES ('refresh', 'weekly')"
)
METRIC = "INSERT INTO sqp.refresh_data_quality (audit_log_id, metric_name) VALUES (1, 'row_count')"
IMPOSSIBLE: tuple[LiteralString, ...] = (
    "UPDATE sqp.refresh_audit_log SET status = 'done'",
    "UPDATE sqp.refresh_audit_log SET rows_inserted = -1",
    "UPDATE sqp.refresh_checkpoints SET status = 'done'",
    "UPDATE sqp.refresh_dependencies SET dependency_type = 'loose'",
    "UPDATE sqp.refresh_dependencies SET parent_config_id = dependent_config_id",
    "UPDATE sqp.refresh_config SET refresh_frequency_hours = 0",
    "UPDATE sqp.refresh_config SET custom_sync_params = '[]'",
    """UPDATE sqp.refresh_config SET custom_sync_params = '{"lookback_week": 12}'""",
    "INSERT INTO sqp.refresh_quarantine (audit_log_id, table_name, raw_row, reasons) "
    "VALUES (1, 'weekly_summary', '{}', '{}')",
    "INSERT INTO sqp.webhook_configs (name, url) VALUES ('chat', 'file:///etc/passwd')",
    "INSERT INTO sqp.webhook_configs (name, url, events) VALUES ('x', 'https://x', '{failed}')",
    "INSERT INTO sqp.webhook_deliveries (event, payload, status) VALUES ('x', '{}', 'sent')",
)
STATUSES = {
    "refresh_audit_log.status": ("running", "success", "failed", "warning"),
    "refresh_checkpoints.status": ("active", "completed", "expired"),
    "refresh_requests.status": ("pending", "launched", "done", "failed"),
    "webhook_deliveries.status": ("pending", "delivered", "exhausted"),
    "refresh_dependencies.dependency_type": ("hard", "soft"),
}


@pytest.fixture
def control(database_18: Database) -> Database:
    migrate.upgrade(database_18.url)
    return database_18


def test_the_columns_are_those_that_users_rely_on(database: Database):
    migrate.upgrade(database.url)
    for table, names in COLUMNS.items():
        assert database.rows(NAMES, f"sqp.{table}") == [(names,)]


def test_what_cannot_be_is_refused(control: Database):
    control.run(AUDIT, CHECKPOINT)
    for statement in IMPOSSIBLE:
        with pytest.raises(psycopg.errors.CheckViolation):
            control.run(statement)


def test_every_status_that_is_written_is_accepted(control: Database):
    control.run(
        AUDIT,
        CHECKPOINT,
        "INSERT INTO sqp.webhook_deliveries (event, payload) VALUES ('failure', '{}')",
        "SELECT sqp.request_refresh()",
    )
    with psycopg.connect(control.url) as connection:
        for column, values in STATUSES.items():
            table, _, name = column.partition(".")
            for value in values:
                statement = f"UPDATE sqp.{table} SET {name} = %s".encode()
                assert connection.execute(statement, (value,)).rowcount > 0


def test_one_checkpoint_of_a_table_is_active(control: Database):
    control.run(CHECKPOINT)
    with pytest.raises(psycopg.errors.UniqueViolation, match="one_active"):
        control.run(CHECKPOINT)
    control.run("UPDATE sqp.refresh_checkpoints SET status = 'expired'", CHECKPOINT)
    assert control.rows("SELECT count(*) FROM sqp.refresh_checkpoints") == [(2,)]


def test_a_dependency_is_said_once(control: Database):
    with pytest.raises(psycopg.errors.UniqueViolation):
        control.run(
            "INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id) "
            "SELECT parent_config_id, dependent_config_id FROM sqp.refresh_dependencies"
        )


def test_an_operators_change_moves_updated_at(control: Database):
    changed = "SELECT count(*) FROM sqp.refresh_config WHERE updated_at > created_at"
    control.run("UPDATE sqp.refresh_config SET is_enabled = true")
    assert control.rows(changed) == [(0,)], "nothing had changed"
    control.run("UPDATE sqp.refresh_config SET is_enabled = false WHERE priority < 80")
    assert control.rows(changed) == [(3,)]


def test_the_history_outlives_the_registration(control: Database):
    control.run(
        "INSERT INTO sqp.refresh_audit_log (refresh_config_id, table_name) "
        "SELECT id, table_name FROM sqp.refresh_config",
        "DELETE FROM sqp.refresh_config",
    )
    assert control.rows("SELECT count(*), count(refresh_config_id) FROM sqp.refresh_audit_log") == [
        (8, 0)
    ]
    assert control.rows("SELECT FROM sqp.refresh_dependencies") == []


def test_a_run_is_not_deleted_while_its_metrics_are_not_archived(control: Database):
    control.run(AUDIT, METRIC)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        control.run("DELETE FROM sqp.refresh_audit_log")


def test_a_run_can_be_archived_with_its_metrics(control: Database):
    control.run(
        AUDIT,
        METRIC,
        """
        INSERT INTO sqp.refresh_audit_log_archive
        SELECT run.*, jsonb_agg(to_jsonb(quality)), now()
        FROM sqp.refresh_audit_log AS run
        JOIN sqp.refresh_data_quality AS quality ON quality.audit_log_id = run.id
        GROUP BY run.id
        """,
        "DELETE FROM sqp.refresh_data_quality",
        "DELETE FROM sqp.refresh_audit_log",
    )
    assert control.rows(
        "SELECT table_name, data_quality -> 0 ->> 'metric_name' FROM sqp.refresh_audit_log_archive"
    ) == [("weekly_summary", "row_count")]


def test_a_receiver_gets_one_delivery_for_a_cause(control: Database):
    insert = (
        "INSERT INTO sqp.webhook_deliveries (event, payload, cause, webhook_config_id, receiver)"
    )
    control.run(
        "INSERT INTO sqp.webhook_configs (name, url) VALUES ('one', 'https://x')",
        f"{insert} VALUES ('e', '{{}}', 'c', NULL, 'slack'), ('e', '{{}}', 'c', NULL, 'mailto'),"
        " ('e', '{}', 'c', 1, 'one'), ('e', '{}', NULL, 1, 'one'), ('e', '{}', NULL, 1, 'one')",
    )
    for receiver in ("NULL, 'slack'", "1, 'renamed'"):
        with pytest.raises(psycopg.errors.UniqueViolation, match="one_for_a_cause"):
            control.run(f"{insert} VALUES ('e', '{{}}', 'c', {receiver})")
    assert control.rows("SELECT count(DISTINCT event_id) FROM sqp.webhook_deliveries") == [(5,)]
