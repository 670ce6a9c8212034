"""Build a database like the older system's: what it is called, what it reads, and who calls it.

Its tables are in `older_tables.sql`; views, functions and triggers are listed here by what they
read, and have the plainest definitions that read it.
"""

from graphlib import TopologicalSorter
from pathlib import Path

import psycopg
from psycopg import sql

TABLES = Path(__file__).with_name("older_tables.sql")

# A view reads these; what has no schema is in the older one.
VIEWS = {
    "asin_brand_mapping_view": "public.asin_brand_mapping",
    "brand_hierarchy": "brand_performance_summary brands",
    "brands_view": "public.brands",
    "data_freshness_summary": "asin_brand_mapping asin_performance_data brands data_quality_checks"
    " product_type_mapping refresh_config search_query_performance sync_log",
    "period_comparisons": "weekly_summary",
    "pipeline_health": "sync_log",
    "refresh_status_overview": "refresh_audit_log refresh_config",
    "public.brand_performance_enhanced": "public.asin_brand_mapping public.brand_product_segments"
    " public.brands",
    "public.search_performance_summary": "asin_performance_data search_query_performance",
    **{
        f"public.{name}": name
        for name in (
            *("asin_brand_mapping", "asin_performance_data", "brand_hierarchy", "brands"),
            *("brand_search_query_metrics", "daily_sqp_data", "data_freshness_summary"),
            *("data_quality_checks", "month_over_month_comparison", "monthly_summary"),
            *("pipeline_health", "quarter_over_quarter_comparison", "quarterly_summary"),
            *("refresh_audit_log", "refresh_checkpoints", "refresh_config", "sync_log"),
            *("search_query_performance", "webhook_configs", "webhook_deliveries"),
            *("week_over_week_comparison", "weekly_summary", "year_over_year_comparison"),
            "yearly_summary",
        )
    },
    **{
        f"public.sqp_{name}": name
        for name in (
            *("market_share", "monthly_summary", "monthly_trends", "performance_scores"),
            *("period_comparisons", "quarterly_summary", "top_keywords_by_period"),
            *("weekly_summary", "weekly_trends", "year_over_year", "yearly_summary"),
        )
    },
}
_BRANDED = "asin_brand_mapping brands search_query_performance"
MATERIALIZED = {
    "brand_performance_summary": _BRANDED,
    "brand_search_query_metrics": f"{_BRANDED} asin_performance_data",
    "keyword_rolling_averages": "weekly_summary",
    "keyword_trend_analysis": "brands keyword_rolling_averages",
    "market_share": "weekly_summary",
    "month_over_month_comparison": _BRANDED,
    "monthly_trends": "monthly_summary",
    "performance_scores": "weekly_summary",
    "quarter_over_quarter_comparison": _BRANDED,
    "search_performance_summary": "asin_performance_data search_query_performance",
    "top_keywords_by_period": "monthly_summary weekly_summary",
    "top_trending_keywords": "keyword_trend_analysis",
    "week_over_week_comparison": _BRANDED,
    "weekly_trends": "weekly_summary",
    "year_over_year": "yearly_summary",
    "year_over_year_comparison": _BRANDED,
    "public.brand_product_segments": "public.asin_brand_mapping public.brands"
    " asin_performance_data search_query_performance",
}
# Those whose columns matter; all others are every column of one relation, or the rows of several.
DEFINITIONS = {
    "weekly_trends": "SELECT period_start, query, sum(total_impressions) AS total_impressions,"
    " avg(avg_ctr) AS avg_ctr FROM {schema}.weekly_summary GROUP BY period_start, query",
    "search_performance_summary": "SELECT asin_week.start_date, asin_week.end_date, asin_week.asin,"
    " asin_week.product_title, query_row.search_query, query_row.asin_click_count,"
    " query_row.asin_click_share FROM {schema}.asin_performance_data AS asin_week"
    " JOIN {schema}.search_query_performance AS query_row"
    " ON query_row.asin_performance_id = asin_week.id",
    "public.search_performance_summary": "SELECT q.asin, q.search_query, q.start_date,"
    " a.product_title, q.asin_click_count FROM {schema}.asin_performance_data a"
    " JOIN {schema}.search_query_performance q ON q.start_date = a.start_date AND q.asin = a.asin",
}

TRIGGERS = {
    "asin_brand_mapping": "update_updated_at_column",
    "asin_performance_data": "trigger_brand_extraction_after_sync"
    " public.auto_match_brand_on_title_update update_timestamp",
    "brands": "update_updated_at_column",
    "daily_sqp_data": "update_weekly_summary_from_daily",
    "monthly_summary": "update_timestamp",
    "product_type_mapping": "update_updated_at_column",
    "quarterly_summary": "update_timestamp",
    "refresh_audit_log": "trigger_refresh_webhook",
    "refresh_config": "update_refresh_config_timestamp",
    "report_configurations": "update_report_next_run_time",
    "search_query_performance": "update_timestamp",
    "weekly_summary": "update_aggregate_summaries update_timestamp",
    "yearly_summary": "update_timestamp",
}
STATEMENT_TRIGGERS = ("asin_performance_data", "search_query_performance")
TRIGGER_FUNCTIONS = {name for names in TRIGGERS.values() for name in names.split()}
# By the table that their text reads.
FUNCTIONS = {
    "search_query_performance": "analyze_competitors calculate_cvr_gaps calculate_share_of_voice"
    " get_keyword_funnel_totals get_keyword_impression_shares get_keyword_market_share"
    " get_multiple_keyword_funnels get_purchase_velocity_heatmap get_ranking_correlation_data",
    "weekly_summary": "analyze_keyword_trends calculate_market_stats calculate_rolling_metrics"
    " calculate_trend_metrics compare_date_ranges detect_keyword_anomalies"
    " detect_market_share_anomalies get_anomaly_summary get_dashboard_keywords"
    " get_dashboard_metrics get_dashboard_metrics_comparison get_dashboard_trends"
    " get_market_share_csv get_period_comparison get_period_performance_summary"
    " get_trend_distribution weekly_data_update",
    "yearly_summary": "get_yoy_keyword_performance",
    "asin_performance_data": "run_brand_extraction_for_existing_asins refresh_brand_statistics",
    "asin_brand_mapping": "get_brand_asins update_brand_mappings validate_brand_mappings",
    "brands": "get_or_create_brand merge_brands search_brands",
    "brand_query_stats": "track_brand_query",
    "sync_log": "check_data_freshness get_latest_sync_status",
    "refresh_checkpoints": "cleanup_expired_checkpoints",
    "webhook_configs": "queue_webhook_delivery",
    "report_queue": "enqueue_scheduled_reports",
    "": "calculate_next_run_time calculate_zscore classify_anomaly classify_keyword_trend"
    " extract_brand_from_title extract_product_type normalize_brand_name refresh_all_views",
}

_TOUCH = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$
"""
_REFRESH = """
CREATE FUNCTION {schema}.refresh_search_performance_summary() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    REFRESH MATERIALIZED VIEW {schema}.search_performance_summary;
    RETURN NULL;
END $$
"""
_REGISTER = """
CREATE FUNCTION {schema}.auto_register_table_for_refresh() RETURNS event_trigger LANGUAGE plpgsql AS
$$
BEGIN
    INSERT INTO {schema}.refresh_config (table_schema, table_name, is_enabled)
    SELECT schema_name, split_part(object_identity, '.', 2), true
    FROM pg_event_trigger_ddl_commands()
    WHERE object_type = 'table' AND schema_name = '{schema}'
    ON CONFLICT DO NOTHING;
END $$
"""
_EVENT_TRIGGER = """
CREATE EVENT TRIGGER auto_register_refresh_tables ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION {schema}.auto_register_table_for_refresh()
"""

# What each data table of the older system holds, from the tables of this one.
_ROWS = {
    "asin_performance_data": """
        (start_date, end_date, asin, product_title)
        SELECT start_date, end_date, asin, product_title FROM {ours}.asin_performance_data
    """,
    "search_query_performance": """
        (asin_performance_id, asin, start_date, end_date, search_query, {measures})
        SELECT asin_week.id, asin, start_date, end_date, search_query, {measures}
        FROM {ours}.search_query_performance
        JOIN {schema}.asin_performance_data AS asin_week USING (start_date, end_date, asin)
    """,
    "daily_sqp_data": """
        (date, query, asin, impressions, clicks, purchases, click_through_rate, conversion_rate)
        SELECT start_date, search_query, asin, asin_impression_count, asin_click_count,
            asin_purchase_count, 100.0 * asin_click_count / asin_impression_count,
            100.0 * asin_purchase_count / asin_click_count
        FROM {ours}.search_query_performance
    """,
    "weekly_summary": """
        (period_start, period_end, search_query_volume, total_query_impression_count,
            total_click_count, total_cart_add_count, total_purchase_count, {summed})
        SELECT period_start, period_end, search_query_volume, market_impressions, market_clicks,
            market_cart_adds, market_purchases, {sums}
        FROM {ours}.weekly_summary
    """,
    "monthly_summary": """
        (period_start, period_end, year, month, active_weeks, {summed})
        SELECT period_start, period_end, extract(year FROM period_start),
            extract(month FROM period_start), weeks_count, {sums} FROM {ours}.monthly_summary
    """,
    "quarterly_summary": """
        (period_start, period_end, year, quarter, active_weeks, active_months, {summed})
        SELECT period_start, period_end, extract(year FROM period_start),
            extract(quarter FROM period_start), weeks_count, 1, {sums}
        FROM {ours}.quarterly_summary
    """,
    "yearly_summary": """
        (year, active_weeks, active_months, active_quarters, {summed})
        SELECT extract(year FROM period_start), weeks_count, 1, 1, {sums} FROM {ours}.yearly_summary
    """,
}
_SUMMED = """query, asin, total_impressions, total_clicks, total_purchases, cart_adds, avg_ctr,
    avg_cvr, cart_add_rate, impression_share, click_share, purchase_share, cart_add_share"""
_SUMS = """search_query, asin, asin_impressions, asin_clicks, asin_purchases, asin_cart_adds, ctr,
    cvr, cart_add_rate, impression_share, click_share, purchase_share, cart_add_share"""
_MEASURES = """
    SELECT string_agg(theirs.column_name, ', ') FROM information_schema.columns AS theirs
    JOIN information_schema.columns AS mine USING (table_name, column_name)
    WHERE theirs.table_schema = %s AND mine.table_schema = %s
        AND table_name = 'search_query_performance' AND theirs.is_generated = 'NEVER'
        AND column_name NOT IN ('asin', 'start_date', 'end_date', 'search_query', 'created_at',
            'updated_at')
"""


def build(url: str, schema: str = "sqp") -> None:
    """Create everything that the older system has in a database: tables, views, code, triggers."""
    with psycopg.connect(url) as connection:
        for statement in statements(schema):
            connection.execute(statement.encode())


def fill(url: str, schema: str = "sqp", ours: str = "sqp_next") -> None:
    """Fill the data tables of the older system with the rows of ours, under its own names."""
    with psycopg.connect(url) as connection:
        (measures,) = connection.execute(_MEASURES, [schema, ours]).fetchone() or ("",)
        names = {"schema": schema, "ours": ours, "measures": measures}
        for table, rows in _ROWS.items():
            insert = rows.format(**names, summed=_SUMMED, sums=_SUMS)
            connection.execute(f"INSERT INTO {schema}.{table} {insert}".encode())
        for name in MATERIALIZED:
            refresh = sql.SQL("REFRESH MATERIALIZED VIEW {}")
            connection.execute(refresh.format(sql.Identifier(*qualified(name, schema).split("."))))


def statements(schema: str) -> list[str]:
    """List the statements that make the older system under this name."""
    tables = TABLES.read_text().replace("sqp.", f"{schema}.")
    functions = [
        f"CREATE FUNCTION {schema}.{name}() RETURNS bigint LANGUAGE plpgsql AS "
        + f"$$ BEGIN RETURN {_count(f'{schema}.{table}') if table else 0}; END $$"
        for table, names in FUNCTIONS.items()
        for name in names.split()
    ]
    touching = [_TOUCH.format(name=qualified(name, schema)) for name in sorted(TRIGGER_FUNCTIONS)]
    own = [_REFRESH.format(schema=schema), _REGISTER.format(schema=schema)]
    return [
        tables.replace("CREATE SCHEMA sqp;", f"CREATE SCHEMA {schema};"),
        *_views(schema),
        *functions,
        *touching,
        *own,
        *_triggers(schema),
        _EVENT_TRIGGER.format(schema=schema),
    ]


def qualified(name: str, schema: str) -> str:
    """Return a name with its schema, the older one where it has none."""
    return name if "." in name else f"{schema}.{name}"


def _views(schema: str) -> list[str]:
    reads = {
        qualified(name, schema): [qualified(read, schema) for read in names.split()]
        for name, names in (VIEWS | MATERIALIZED).items()
    }
    materialized = {qualified(name, schema) for name in MATERIALIZED}
    definitions = {
        qualified(name, schema): text.format(schema=schema) for name, text in DEFINITIONS.items()
    }
    return [
        f"CREATE {'MATERIALIZED VIEW' if name in materialized else 'VIEW'} {name} AS "
        + definitions.get(name, _definition(reads[name]))
        for name in TopologicalSorter(reads).static_order()
        if name in reads
    ]


def _definition(reads: list[str]) -> str:
    if len(reads) == 1:
        return f"SELECT * FROM {reads[0]}"
    return "SELECT " + ", ".join(f"{_count(name)} AS {name.replace('.', '_')}" for name in reads)


def _count(name: str) -> str:
    return f"(SELECT count(*) FROM {name})"


def _triggers(schema: str) -> list[str]:
    for_rows = [
        f"CREATE TRIGGER {name.split('.')[-1]} BEFORE UPDATE ON {schema}.{table} "
        f"FOR EACH ROW EXECUTE FUNCTION {qualified(name, schema)}()"
        for table, names in TRIGGERS.items()
        for name in names.split()
    ]
    for_statements = [
        f"CREATE TRIGGER refresh_summary AFTER UPDATE ON {schema}.{table} FOR EACH STATEMENT "
        f"EXECUTE FUNCTION {schema}.refresh_search_performance_summary()"
        for table in STATEMENT_TRIGGERS
    ]
    return for_rows + for_statements
