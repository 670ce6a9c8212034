-- What people compute from the tables, computed right. In every view a ratio is that of two sums,
-- the market of a query counts once a week, a week begins on its Sunday, and what is not known is
-- null: a row that Amazon did not report is not a row of zeros.
--
-- A view has the columns by which it is asked (asin, search_query, marketplace, period) in every
-- GROUP BY and JOIN, so that Postgres reads only their rows, by the index of the table beneath.


-- What is final follows from the ledger, which those who read the data may not read. This much of it
-- they may know, so that it is read with the rights of the owner.
CREATE FUNCTION sqp.final_weeks() RETURNS TABLE (marketplace text, week date)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 5
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT latest.marketplace, latest.week FROM sqp.latest_final_week AS latest
$function$;

COMMENT ON FUNCTION sqp.final_weeks() IS
    'The newest final week of each marketplace, as in latest_final_week, for those who read the data';


-- -- a brand on a query -----------------------------------------------------------------------------

CREATE VIEW sqp.brand_query_weekly AS
SELECT
    marketplace,
    brand,
    start_date AS period_start,
    end_date AS period_end,
    search_query,
    sum(asin_impression_count)::bigint AS asin_impressions,
    sum(asin_click_count)::bigint AS asin_clicks,
    sum(asin_cart_add_count)::bigint AS asin_cart_adds,
    sum(asin_purchase_count)::bigint AS asin_purchases,
    max(total_query_impression_count) AS market_impressions,
    max(total_click_count) AS market_clicks,
    max(total_cart_add_count) AS market_cart_adds,
    max(total_purchase_count) AS market_purchases,
    max(search_query_volume) AS search_query_volume,
    round(100 * sum(asin_impression_count) / nullif(max(total_query_impression_count), 0), 4)
        AS impression_share,
    round(100 * sum(asin_click_count) / nullif(max(total_click_count), 0), 4) AS click_share,
    round(100 * sum(asin_cart_add_count) / nullif(max(total_cart_add_count), 0), 4)
        AS cart_add_share,
    round(100 * sum(asin_purchase_count) / nullif(max(total_purchase_count), 0), 4)
        AS purchase_share,
    min(search_query_score) AS best_rank,
    count(*) AS asins
FROM sqp.search_performance_summary
GROUP BY start_date, end_date, marketplace, brand, search_query;

-- The market is added up over weeks, each of which has it once; ASINs are counted over the month.
CREATE VIEW sqp.brand_query_monthly AS
SELECT
    marketplace,
    brand,
    period_start,
    (period_start + interval '1 month')::date - 1 AS period_end,
    search_query,
    sum(asin_impressions)::bigint AS asin_impressions,
    sum(asin_clicks)::bigint AS asin_clicks,
    sum(asin_cart_adds)::bigint AS asin_cart_adds,
    sum(asin_purchases)::bigint AS asin_purchases,
    sum(market_impressions)::bigint AS market_impressions,
    sum(market_clicks)::bigint AS market_clicks,
    sum(market_cart_adds)::bigint AS market_cart_adds,
    sum(market_purchases)::bigint AS market_purchases,
    sum(search_query_volume)::bigint AS search_query_volume,
    round(100 * sum(asin_impressions) / nullif(sum(market_impressions), 0), 4)
        AS impression_share,
    round(100 * sum(asin_clicks) / nullif(sum(market_clicks), 0), 4) AS click_share,
    round(100 * sum(asin_cart_adds) / nullif(sum(market_cart_adds), 0), 4) AS cart_add_share,
    round(100 * sum(asin_purchases) / nullif(sum(market_purchases), 0), 4) AS purchase_share,
    min(best_rank) AS best_rank,
    count(asin) AS asins,
    count(week) AS weeks_count
FROM (
    SELECT
        marketplace,
        brand,
        date_trunc('month', period_start::timestamp)::date AS period_start,
        search_query,
        asin_impressions,
        asin_clicks,
        asin_cart_adds,
        asin_purchases,
        market_impressions,
        market_clicks,
        market_cart_adds,
        market_purchases,
        search_query_volume,
        best_rank,
        period_start AS week,
        NULL::text AS asin
    FROM sqp.brand_query_weekly
    UNION ALL
    SELECT DISTINCT
        marketplace,
        brand,
        date_trunc('month', start_date::timestamp)::date,
        search_query,
        NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
        NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
        NULL::bigint,
        NULL::bigint,
        NULL::date,
        asin
    FROM sqp.search_performance_summary
) AS weeks_and_asins
GROUP BY marketplace, brand, period_start, search_query;


-- -- periods ----------------------------------------------------------------------------------------

-- Seven columns for each count and five for each rate, of four tables, so that the view is written by
-- its rule. Each table is joined with itself by its key: a query that wants nothing of the period
-- before, or of the year before, has that join left out by Postgres.
DO $$
DECLARE
    counts constant text[] := ARRAY[
        'asin_impressions', 'asin_clicks', 'asin_cart_adds', 'asin_purchases',
        'market_impressions', 'market_clicks', 'market_cart_adds', 'market_purchases',
        'search_query_volume'
    ];
    rates constant text[] := ARRAY[
        'ctr', 'cart_add_rate', 'cvr',
        'impression_share', 'click_share', 'cart_add_share', 'purchase_share'
    ];
    count_columns constant text :=
        '%1$s, %1$s_before, %1$s - %1$s_before AS %1$s_change, '
        'round(100.0 * (%1$s - %1$s_before) / nullif(%1$s_before, 0), 4) AS %1$s_percent, '
        '%1$s_year_before, %1$s - %1$s_year_before AS %1$s_year_change, '
        'round(100.0 * (%1$s - %1$s_year_before) / nullif(%1$s_year_before, 0), 4) '
        'AS %1$s_year_percent';
    rate_columns constant text :=
        '%1$s, %1$s_before, %1$s - %1$s_before AS %1$s_points, '
        '%1$s_year_before, %1$s - %1$s_year_before AS %1$s_year_points';
    three_rows constant text :=
        'now.%1$s, before.%1$s AS %1$s_before, year_before.%1$s AS %1$s_year_before';
    -- Rows of the last year are nobody's year before, and need not be looked at for that.
    one_table constant text :=
        'SELECT %1$L::text AS period, now.period_start, now.period_end, now.marketplace, now.asin, '
        'now.search_query, %2$s FROM sqp.%3$I AS now '
        'LEFT JOIN sqp.%3$I AS before ON before.period_start = %4$s '
        'AND before.marketplace = now.marketplace AND before.asin = now.asin '
        'AND before.search_query = now.search_query '
        'LEFT JOIN sqp.%3$I AS year_before ON year_before.period_start = %5$s '
        'AND year_before.marketplace = now.marketplace AND year_before.asin = now.asin '
        'AND year_before.search_query = now.search_query AND year_before.period_start <= '
        '(SELECT max(newest.period_start) - 364 FROM sqp.%3$I AS newest)';
    tables constant text[] := ARRAY[
        ['week', 'weekly_summary', 'now.period_start - 7', 'now.period_start - 364'],
        ['month', 'monthly_summary', '(now.period_start - interval ''1 month'')::date',
            '(now.period_start - interval ''1 year'')::date'],
        ['quarter', 'quarterly_summary', '(now.period_start - interval ''3 months'')::date',
            '(now.period_start - interval ''1 year'')::date'],
        ['year', 'yearly_summary', '(now.period_start - interval ''1 year'')::date',
            '(now.period_start - interval ''1 year'')::date']
    ];
    comments constant text[] := ARRAY[
        ['_before', '%1$s of the period before; null where that has no row'],
        ['_change', '%1$s, less that of the period before (count)'],
        ['_percent', '100 * %1$s_change / %1$s_before (percent); null where that was 0'],
        ['_points', '%1$s, less that of the period before (percentage points)'],
        ['_year_before', '%1$s of the period a year before, of a week 52 weeks; null where that has no row'],
        ['_year_change', '%1$s, less that of a year before (count)'],
        ['_year_percent', '100 * %1$s_year_change / %1$s_year_before (percent); null where that was 0'],
        ['_year_points', '%1$s, less that of a year before (percentage points)']
    ];
    selected text;
    of_all text;
    measure text;
    part text[];
BEGIN
    SELECT string_agg(format(three_rows, name), ', ') INTO selected
    FROM unnest(counts || rates || ARRAY['weeks_count']) AS name;
    FOREACH part SLICE 1 IN ARRAY tables LOOP
        of_all := concat_ws(
            ' UNION ALL ', of_all, format(one_table, part[1], selected, part[2], part[3], part[4])
        );
    END LOOP;
    EXECUTE format(
        'CREATE VIEW sqp.period_comparisons AS '
        'SELECT period, period_start, period_end, marketplace, asin, search_query, '
        'weeks_count, weeks_count_before, weeks_count_year_before, %s, %s FROM (%s) AS periods',
        (SELECT string_agg(format(count_columns, name), ', ') FROM unnest(counts) AS name),
        (SELECT string_agg(format(rate_columns, name), ', ') FROM unnest(rates) AS name),
        of_all
    );
    FOREACH measure IN ARRAY counts || rates LOOP
        FOREACH part SLICE 1 IN ARRAY comments LOOP
            IF NOT (measure = ANY (counts) AND part[1] ~ '_points$')
                AND NOT (measure = ANY (rates) AND part[1] ~ '_(change|percent)$')
            THEN
                EXECUTE format(
                    'COMMENT ON COLUMN sqp.period_comparisons.%I IS %L',
                    measure || part[1], format(part[2], measure)
                );
            END IF;
        END LOOP;
    END LOOP;
END
$$;

-- Without it, Postgres takes the keys of two periods for a tenth of what they are, and looks for the
-- rows of the period before one by one.
CREATE STATISTICS sqp.weekly_summary_key (ndistinct)
    ON period_start, marketplace, asin, search_query FROM sqp.weekly_summary;
CREATE STATISTICS sqp.monthly_summary_key (ndistinct)
    ON period_start, marketplace, asin, search_query FROM sqp.monthly_summary;
CREATE STATISTICS sqp.quarterly_summary_key (ndistinct)
    ON period_start, marketplace, asin, search_query FROM sqp.quarterly_summary;
CREATE STATISTICS sqp.yearly_summary_key (ndistinct)
    ON period_start, marketplace, asin, search_query FROM sqp.yearly_summary;


-- -- the funnel -------------------------------------------------------------------------------------

-- What the ASIN would have sold, had all stages from one on been as good as the market's, from what
-- it has at that stage. From one stage to the next this falls by what is lost between them.
CREATE VIEW sqp.funnel_leaks AS
SELECT
    period,
    period_start,
    period_end,
    marketplace,
    asin,
    search_query,
    stage,
    purchases_lost,
    CASE stage
        WHEN 'click' THEN round(100.0 * asin_clicks / nullif(asin_impressions, 0), 4)
        WHEN 'cart_add' THEN round(100.0 * asin_cart_adds / nullif(asin_clicks, 0), 4)
        ELSE round(100.0 * asin_purchases / nullif(asin_cart_adds, 0), 4)
    END AS asin_rate,
    CASE stage
        WHEN 'click' THEN round(100.0 * market_clicks / nullif(market_impressions, 0), 4)
        WHEN 'cart_add' THEN round(100.0 * market_cart_adds / nullif(market_clicks, 0), 4)
        ELSE round(100.0 * market_purchases / nullif(market_cart_adds, 0), 4)
    END AS market_rate,
    lost_at_click,
    lost_at_cart_add,
    lost_at_purchase,
    asin_purchases,
    of_impressions AS purchases_at_market_rates,
    weeks_count
FROM sqp.period_comparisons
CROSS JOIN LATERAL (
    SELECT
        round(asin_impressions::numeric * market_purchases / nullif(market_impressions, 0), 4)
            AS of_impressions,
        round(asin_clicks::numeric * market_purchases / nullif(market_clicks, 0), 4) AS of_clicks,
        round(asin_cart_adds::numeric * market_purchases / nullif(market_cart_adds, 0), 4)
            AS of_cart_adds
    OFFSET 0
) AS at_market_rates
CROSS JOIN LATERAL (
    SELECT
        of_impressions - of_clicks AS lost_at_click,
        of_clicks - of_cart_adds AS lost_at_cart_add,
        of_cart_adds - asin_purchases AS lost_at_purchase
) AS losses
CROSS JOIN LATERAL (
    SELECT
        greatest(lost_at_click, lost_at_cart_add, lost_at_purchase) AS purchases_lost,
        CASE greatest(lost_at_click, lost_at_cart_add, lost_at_purchase)
            WHEN lost_at_click THEN 'click'
            WHEN lost_at_cart_add THEN 'cart_add'
            ELSE 'purchase'
        END AS stage
    OFFSET 0
) AS worst
WHERE purchases_lost > 0;


-- -- why purchases changed --------------------------------------------------------------------------

-- An ASIN's purchases are a product:
--     market purchases * impression share * click index * cart index * conversion index,
-- where an index is the ASIN's rate of one stage to the next / the market's. A sequential split
-- replaces the factors of the period before one after the other by those of now, and each takes the
-- change that its replacement makes. The order matters, so this is the mean of two: from the market
-- down, and from the conversion up. With r(k) the product of the first k factors now / before, the
-- factors up to k explain, in both together, before * r(k) - now / r(k), from which the parts follow
-- as differences. So they add up whatever the rounding.
--
-- Where a stage has no count in one of the two periods, the factors after it are unknown there, and
-- are taken as unchanged: those up to it explain everything.
CREATE VIEW sqp.movements AS
SELECT
    period,
    period_start,
    period_end,
    marketplace,
    asin,
    search_query,
    asin_purchases,
    asin_purchases_before,
    asin_purchases_change,
    CASE WHEN has_none THEN 0 ELSE by_market - start END AS from_market_volume,
    CASE WHEN has_none THEN 0 ELSE by_share - by_market END AS from_impression_share,
    CASE WHEN has_none THEN 0 ELSE by_clicks - by_share END AS from_click_index,
    CASE WHEN has_none THEN 0 ELSE by_cart_adds - by_clicks END AS from_cart_index,
    CASE WHEN has_none THEN 0 ELSE -start - by_cart_adds END AS from_conversion_index,
    weeks_count,
    weeks_count_before
FROM sqp.period_comparisons
CROSS JOIN LATERAL (
    SELECT asin_purchases = 0 AND asin_purchases_before = 0 AS has_none
) AS purchases
LEFT JOIN LATERAL (
    SELECT
        round((asin_purchases_before - asin_purchases) / 2.0, 4) AS start,
        market_purchases::numeric AS market_now,
        market_purchases_before::numeric AS market_before,
        market_purchases::numeric * asin_impressions * market_impressions_before AS share_now,
        market_purchases_before::numeric * asin_impressions_before * market_impressions
            AS share_before,
        market_purchases::numeric * asin_clicks * market_clicks_before AS clicks_now,
        market_purchases_before::numeric * asin_clicks_before * market_clicks AS clicks_before,
        market_purchases::numeric * asin_cart_adds * market_cart_adds_before AS cart_adds_now,
        market_purchases_before::numeric * asin_cart_adds_before * market_cart_adds
            AS cart_adds_before
    WHERE NOT has_none
    OFFSET 0
) AS products ON true
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN market_now * market_before = 0 THEN -start
            ELSE round((
                asin_purchases_before * market_now * market_now
                - asin_purchases * market_before * market_before
            ) / (2 * market_now * market_before), 4)
        END AS by_market,
        CASE WHEN share_now * share_before = 0 THEN -start
            ELSE round((
                asin_purchases_before * share_now * share_now
                - asin_purchases * share_before * share_before
            ) / (2 * share_now * share_before), 4)
        END AS by_share,
        CASE WHEN clicks_now * clicks_before = 0 THEN -start
            ELSE round((
                asin_purchases_before * clicks_now * clicks_now
                - asin_purchases * clicks_before * clicks_before
            ) / (2 * clicks_now * clicks_before), 4)
        END AS by_clicks,
        CASE WHEN cart_adds_now * cart_adds_before = 0 THEN -start
            ELSE round((
                asin_purchases_before * cart_adds_now * cart_adds_now
                - asin_purchases * cart_adds_before * cart_adds_before
            ) / (2 * cart_adds_now * cart_adds_before), 4)
        END AS by_cart_adds
    OFFSET 0
) AS explained;


-- -- trends -----------------------------------------------------------------------------------------

-- Sums of least squares are exact: x is the week, 0 for the newest and -11 for the oldest, y the
-- clicks. With a, b and c as below, the slope is a / b and the share of the scatter that the line
-- explains a * a / (b * c). A slope counts where it is twice its standard error or more, and the line
-- gains or loses a quarter of the mean in the twelve weeks. Else the clicks are volatile where their
-- variance, less what counts of that size have by chance, is a quarter of their squared mean.
CREATE VIEW sqp.query_trends AS
SELECT
    marketplace,
    asin,
    search_query,
    final_week,
    last_week,
    weeks_4,
    weeks_12,
    search_query_volume_mean_4,
    search_query_volume_mean_12,
    asin_impressions_mean_4,
    asin_impressions_mean_12,
    asin_clicks_mean_4,
    asin_clicks_mean_12,
    asin_purchases_mean_4,
    asin_purchases_mean_12,
    round(a / nullif(b, 0), 4) AS asin_clicks_slope,
    round(100 * clicks / nullif(impressions, 0), 4) AS ctr,
    round(100 * all_clicks / nullif(all_impressions, 0), 4) AS market_ctr,
    round(clicks * all_impressions / nullif(impressions * all_clicks, 0), 4) AS ctr_index,
    round(100 * purchases / nullif(clicks, 0), 4) AS cvr,
    round(100 * all_purchases / nullif(all_clicks, 0), 4) AS market_cvr,
    round(purchases * all_clicks / nullif(clicks * all_purchases, 0), 4) AS cvr_index,
    CASE
        WHEN weeks_4 = 0 THEN 'vanished'
        WHEN weeks_4 = weeks_12 AND first_week <= final_week - 28 THEN 'new'
        WHEN n < 4 THEN NULL
        WHEN a * a * (n - 2) >= 4 * (b * c - a * a) AND 44 * n * abs(a) >= b * clicks AND a > 0
            THEN 'growth'
        WHEN a * a * (n - 2) >= 4 * (b * c - a * a) AND 44 * n * abs(a) >= b * clicks AND a < 0
            THEN 'decline'
        WHEN 4 * (c - n * clicks) >= clicks * clicks AND c > 0 THEN 'volatile'
        ELSE 'stable'
    END AS class
FROM (
    SELECT
        weeks.marketplace,
        weeks.asin,
        weeks.search_query,
        final.week AS final_week,
        final.first_week,
        max(weeks.period_start) AS last_week,
        count(*) FILTER (WHERE x > -4) AS weeks_4,
        count(*) AS weeks_12,
        round(avg(search_query_volume) FILTER (WHERE x > -4), 4) AS search_query_volume_mean_4,
        round(avg(search_query_volume), 4) AS search_query_volume_mean_12,
        round(avg(asin_impressions) FILTER (WHERE x > -4), 4) AS asin_impressions_mean_4,
        round(avg(asin_impressions), 4) AS asin_impressions_mean_12,
        round(avg(asin_clicks) FILTER (WHERE x > -4), 4) AS asin_clicks_mean_4,
        round(avg(asin_clicks), 4) AS asin_clicks_mean_12,
        round(avg(asin_purchases) FILTER (WHERE x > -4), 4) AS asin_purchases_mean_4,
        round(avg(asin_purchases), 4) AS asin_purchases_mean_12,
        sum(asin_impressions) AS impressions,
        sum(asin_clicks) AS clicks,
        sum(asin_purchases) AS purchases,
        sum(market_impressions) AS all_impressions,
        sum(market_clicks) AS all_clicks,
        sum(market_purchases) AS all_purchases,
        count(asin_clicks)::numeric AS n,
        sum(x) FILTER (WHERE asin_clicks IS NOT NULL)::numeric AS sum_x,
        sum(x * x) FILTER (WHERE asin_clicks IS NOT NULL)::numeric AS sum_xx,
        sum(x * asin_clicks) AS sum_xy,
        sum(asin_clicks::numeric * asin_clicks) AS sum_yy
    FROM (
        SELECT marketplace, week, (
            SELECT min(period_start) FROM sqp.weekly_summary AS earlier
            WHERE earlier.marketplace = latest.marketplace
        ) AS first_week
        FROM sqp.final_weeks() AS latest
        OFFSET 0
    ) AS final
    JOIN sqp.weekly_summary AS weeks ON weeks.marketplace = final.marketplace
        AND weeks.period_start BETWEEN final.week - 77 AND final.week
    CROSS JOIN LATERAL (SELECT (weeks.period_start - final.week) / 7 AS x) AS place
    GROUP BY weeks.marketplace, weeks.asin, weeks.search_query, final.week, final.first_week
) AS sums
CROSS JOIN LATERAL (
    SELECT
        n * sum_xy - sum_x * clicks AS a,
        n * sum_xx - sum_x * sum_x AS b,
        n * sum_yy - clicks * clicks AS c
    OFFSET 0
) AS line;


-- -- comments and rights ----------------------------------------------------------------------------

COMMENT ON VIEW sqp.brand_query_weekly IS
    'One brand on one search query in one week: the own counts summed over its ASINs, the market once. '
    'Over queries and weeks everything but ratios, rank and ASINs may be summed; over brands no market_* and no volume';
COMMENT ON VIEW sqp.brand_query_monthly IS
    'One brand on one search query in one month of whole weeks: the own counts summed over its ASINs, the market once a week. '
    'Weeks in which the brand has no row are in neither';
COMMENT ON VIEW sqp.period_comparisons IS
    'One ASIN on one search query in one period, beside the period before and the one a year before; null where that has no row. '
    'Always ask for one period: week, month, quarter or year. Never sum market_* or the volume over ASINs: each repeats on every ASIN of a query. '
    'A period that is not over, or that Amazon did not report whole, has fewer weeks: compare weeks_count';
COMMENT ON VIEW sqp.funnel_leaks IS
    'One ASIN on one search query in one period, where it falls behind the market: at which stage, and how many purchases that costs. '
    'Ask for a month or longer: a week has few purchases. What is lost may be summed over queries and ASINs';
COMMENT ON VIEW sqp.movements IS
    'Why the purchases of one ASIN on one search query changed since the period before: market purchases * impression share * click index * cart index * conversion index, '
    'where an index is the ASIN''s rate of one stage to the next / the market''s. '
    'The five parts add up to asin_purchases_change exactly, and may be summed over queries and ASINs. '
    'Method: the mean of two sequential substitutions, one from the market down and one from the conversion up. '
    'Where the product of the first factors is 0 in one of the two periods, they explain the whole change. '
    'Each part is null where the period before has no row';
COMMENT ON VIEW sqp.query_trends IS
    'One ASIN on one search query over the twelve weeks up to the newest final week of its marketplace. '
    'Means are over the weeks that have a row; rates and indices are from the sums of the twelve weeks';

DO $$
DECLARE
    -- The same words for the same column, whatever the view.
    words constant text[] := ARRAY[
        ['marketplace', 'Amazon marketplace'],
        ['brand', 'The agency''s client; null where it is not known'],
        ['asin', 'Child ASIN; the parent where it has none'],
        ['search_query', 'What the shopper typed'],
        ['period', 'week, month, quarter or year'],
        ['period_start', 'First day of the period; of a week its Sunday'],
        ['period_end', 'Last day of the period'],
        ['asin_impressions', 'Own impressions (count)'],
        ['asin_clicks', 'Own clicks (count)'],
        ['asin_cart_adds', 'Own cart adds (count)'],
        ['asin_purchases', 'Own purchases (count)'],
        ['market_impressions', 'Impressions of all ASINs of Amazon (count)'],
        ['market_clicks', 'Clicks on all ASINs of Amazon (count)'],
        ['market_cart_adds', 'Cart adds of all ASINs of Amazon (count)'],
        ['market_purchases', 'Purchases of all ASINs of Amazon (count)'],
        ['search_query_volume', 'Searches by everybody (count)'],
        ['impression_share', '100 * asin_impressions / market_impressions (percent)'],
        ['click_share', '100 * asin_clicks / market_clicks (percent)'],
        ['cart_add_share', '100 * asin_cart_adds / market_cart_adds (percent)'],
        ['purchase_share', '100 * asin_purchases / market_purchases (percent)'],
        ['ctr', '100 * asin_clicks / asin_impressions (percent)'],
        ['cart_add_rate', '100 * asin_cart_adds / asin_clicks (percent)'],
        ['cvr', '100 * asin_purchases / asin_clicks (percent)'],
        ['market_ctr', '100 * market clicks / market impressions (percent)'],
        ['market_cvr', '100 * market purchases / market clicks (percent)'],
        ['ctr_index', 'ctr / market_ctr, from sums: above 1 the ASIN is clicked more often than the market'],
        ['cvr_index', 'cvr / market_cvr, from sums: above 1 its clicks end in a purchase more often'],
        ['best_rank', 'Rank of the query for the ASIN that has it best, 1 is best'],
        ['asins', 'ASINs with a row (count)'],
        ['weeks_count', 'Weeks with data in the row (count)'],
        ['weeks_count_before', 'The same of the period before (count); null where that has no row'],
        ['weeks_count_year_before', 'The same of the period a year before (count)'],
        ['stage', 'Where most is lost: click (after an impression), cart_add (after a click) or purchase (after a cart add)'],
        ['purchases_lost', 'Purchases more, had the ASIN been as good as the market at that stage (count, with decimals)'],
        ['asin_rate', 'Own rate of that stage: 100 * clicks / impressions, cart adds / clicks or purchases / cart adds (percent)'],
        ['market_rate', 'The same of the market (percent)'],
        ['lost_at_click', 'What too few clicks cost (purchases); below 0 where it has more than the market'],
        ['lost_at_cart_add', 'What too few cart adds of its clicks cost (purchases); below 0 as above'],
        ['lost_at_purchase', 'What too few purchases of its cart adds cost (purchases); below 0 as above'],
        ['purchases_at_market_rates', 'What its impressions would have sold at the market''s rates (purchases); less asin_purchases it is the sum of the three'],
        ['asin_purchases_before', 'Own purchases in the period before (count); null where it has no row'],
        ['asin_purchases_change', 'asin_purchases less asin_purchases_before (count); the sum of the five parts'],
        ['from_market_volume', 'What comes of the market, which bought more or less (purchases)'],
        ['from_impression_share', 'What comes of the share of impressions (purchases)'],
        ['from_click_index', 'What comes of clicks for each impression, compared with the market (purchases)'],
        ['from_cart_index', 'What comes of cart adds for each click, compared with the market (purchases)'],
        ['from_conversion_index', 'What comes of purchases for each cart add, compared with the market (purchases)'],
        ['final_week', 'Sunday of the newest final week of the marketplace, the last of the twelve'],
        ['last_week', 'Sunday of the newest week with a row'],
        ['weeks_4', 'Weeks with a row among the newest four (count)'],
        ['weeks_12', 'Weeks with a row among the twelve (count)'],
        ['search_query_volume_mean_4', 'Mean searches a week, over weeks_4 (count, with decimals)'],
        ['search_query_volume_mean_12', 'Mean searches a week, over weeks_12 (count, with decimals)'],
        ['asin_impressions_mean_4', 'Mean own impressions a week, over weeks_4 (count, with decimals)'],
        ['asin_impressions_mean_12', 'Mean own impressions a week, over weeks_12 (count, with decimals)'],
        ['asin_clicks_mean_4', 'Mean own clicks a week, over weeks_4 (count, with decimals)'],
        ['asin_clicks_mean_12', 'Mean own clicks a week, over weeks_12 (count, with decimals)'],
        ['asin_purchases_mean_4', 'Mean own purchases a week, over weeks_4 (count, with decimals)'],
        ['asin_purchases_mean_12', 'Mean own purchases a week, over weeks_12 (count, with decimals)'],
        ['asin_clicks_slope', 'By how many own clicks a week it grows, by least squares over weeks_12; null for one week'],
        ['class', 'Of the own clicks. vanished: no row in the newest four weeks; new: only there; '
            'growth, decline: the line rises or falls by a quarter of the mean, and by twice its standard error; '
            'volatile: they scatter by half the mean, more than by chance; stable: none of these; null: fewer than four weeks']
    ];
    made text;
    word text[];
BEGIN
    FOREACH made IN ARRAY ARRAY[
        'brand_query_weekly', 'brand_query_monthly', 'period_comparisons', 'funnel_leaks',
        'movements', 'query_trends'
    ] LOOP
        FOREACH word SLICE 1 IN ARRAY words LOOP
            IF EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = format('sqp.%I', made)::regclass AND attname = word[1]
            ) THEN
                EXECUTE format('COMMENT ON COLUMN sqp.%I.%I IS %L', made, word[1], word[2]);
            END IF;
        END LOOP;
        -- Postgres 14 does not have it; there a view reads with the rights of its owner.
        IF current_setting('server_version_num')::integer >= 150000 THEN
            EXECUTE format('ALTER VIEW sqp.%I SET (security_invoker = true)', made);
        END IF;
        -- As for the tables of data, nobody else is granted anything, and nothing is revoked.
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
            EXECUTE format('GRANT SELECT ON sqp.%I TO service_role', made);
        END IF;
    END LOOP;
END
$$;

DO $$
DECLARE
    outsider text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT EXECUTE ON FUNCTION sqp.final_weeks() TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON FUNCTION sqp.final_weeks() FROM ' || outsider;
    END LOOP;
END
$$;
