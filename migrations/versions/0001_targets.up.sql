-- The eight tables that dashboards read.
--
-- The primary key starts with the column that places a row in its week or period, because a refresh
-- always compares and replaces one week or period. Beside it there is an index for one ASIN over
-- time, and one for a search query over time where a table has queries; each costs at every load,
-- so there are no others.
--
-- Units: counts are whole numbers, shares and rates percent, prices the marketplace's currency.

CREATE TABLE sqp.asin_performance_data (
    start_date          date NOT NULL,
    end_date            date NOT NULL,
    marketplace         text NOT NULL,
    asin                text NOT NULL,
    parent_asin         text,
    product_title       text,
    brand               text,
    category            text,
    search_query_count  bigint,
    market_impressions  bigint,
    market_clicks       bigint,
    market_cart_adds    bigint,
    market_purchases    bigint,
    asin_impressions    bigint,
    asin_clicks         bigint,
    asin_cart_adds      bigint,
    asin_purchases      bigint,
    market_price_median numeric(12,2),
    asin_price_median   numeric(12,2),
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (start_date, end_date, marketplace, asin)
);

CREATE INDEX asin_performance_data_asin_idx ON sqp.asin_performance_data (asin, start_date);

COMMENT ON TABLE sqp.asin_performance_data IS
    'One ASIN in one week, summed over its search queries. '
    'Never sum market_* over ASINs: it repeats on every ASIN of a query.';
COMMENT ON COLUMN sqp.asin_performance_data.start_date IS 'Sunday that opens the week';
COMMENT ON COLUMN sqp.asin_performance_data.end_date IS 'Saturday that closes the week';
COMMENT ON COLUMN sqp.asin_performance_data.marketplace IS 'Amazon marketplace';
COMMENT ON COLUMN sqp.asin_performance_data.asin IS 'Child ASIN; the parent where it has none';
COMMENT ON COLUMN sqp.asin_performance_data.parent_asin IS 'Variation parent of the ASIN';
COMMENT ON COLUMN sqp.asin_performance_data.product_title IS 'Product title';
COMMENT ON COLUMN sqp.asin_performance_data.brand IS 'The agency''s client';
COMMENT ON COLUMN sqp.asin_performance_data.category IS 'Product category';
COMMENT ON COLUMN sqp.asin_performance_data.search_query_count IS 'Queries of the ASIN (count)';
COMMENT ON COLUMN sqp.asin_performance_data.market_impressions IS
    'Sum of total_query_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.asin_performance_data.market_clicks IS
    'Sum of total_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.asin_performance_data.market_cart_adds IS
    'Sum of total_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.asin_performance_data.market_purchases IS
    'Sum of total_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.asin_performance_data.asin_impressions IS
    'Sum of asin_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.asin_performance_data.asin_clicks IS
    'Sum of asin_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.asin_performance_data.asin_cart_adds IS
    'Sum of asin_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.asin_performance_data.asin_purchases IS
    'Sum of asin_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.asin_performance_data.market_price_median IS
    'Exact median over the ASIN''s queries of the market''s median purchase price (marketplace currency)';
COMMENT ON COLUMN sqp.asin_performance_data.asin_price_median IS
    'Exact median over the ASIN''s queries of its own median purchase price (marketplace currency)';
COMMENT ON COLUMN sqp.asin_performance_data.created_at IS 'When the row was first published';
COMMENT ON COLUMN sqp.asin_performance_data.updated_at IS 'When a value of the row last changed';

CREATE TABLE sqp.search_query_performance (
    start_date                             date NOT NULL,
    end_date                               date NOT NULL,
    marketplace                            text NOT NULL,
    asin                                   text NOT NULL,
    search_query                           text NOT NULL,
    parent_asin                            text,
    search_query_score                     bigint,
    search_query_volume                    bigint,
    total_query_impression_count           bigint,
    asin_impression_count                  bigint,
    asin_impression_share                  numeric(10,4),
    total_click_count                      bigint,
    total_click_rate                       numeric(10,4),
    asin_click_count                       bigint,
    asin_click_share                       numeric(10,4),
    total_median_click_price               numeric(12,2),
    asin_median_click_price                numeric(12,2),
    total_same_day_shipping_click_count    bigint,
    total_one_day_shipping_click_count     bigint,
    total_two_day_shipping_click_count     bigint,
    total_cart_add_count                   bigint,
    total_cart_add_rate                    numeric(10,4),
    asin_cart_add_count                    bigint,
    asin_cart_add_share                    numeric(10,4),
    total_median_cart_add_price            numeric(12,2),
    asin_median_cart_add_price             numeric(12,2),
    total_same_day_shipping_cart_add_count bigint,
    total_one_day_shipping_cart_add_count  bigint,
    total_two_day_shipping_cart_add_count  bigint,
    total_purchase_count                   bigint,
    total_purchase_rate                    numeric(10,4),
    asin_purchase_count                    bigint,
    asin_purchase_share                    numeric(10,4),
    total_median_purchase_price            numeric(12,2),
    asin_median_purchase_price             numeric(12,2),
    total_same_day_shipping_purchase_count bigint,
    total_one_day_shipping_purchase_count  bigint,
    total_two_day_shipping_purchase_count  bigint,
    created_at                             timestamptz NOT NULL DEFAULT now(),
    updated_at                             timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (start_date, end_date, marketplace, asin, search_query)
);

CREATE INDEX search_query_performance_asin_idx ON sqp.search_query_performance (asin, start_date);
CREATE INDEX search_query_performance_search_query_idx
    ON sqp.search_query_performance (search_query, start_date);

COMMENT ON TABLE sqp.search_query_performance IS
    'One ASIN on one search query in one week, as Amazon reports it. '
    'Never sum total_* or the volume over ASINs: each repeats on every ASIN of a query.';
COMMENT ON COLUMN sqp.search_query_performance.start_date IS 'Sunday that opens the week';
COMMENT ON COLUMN sqp.search_query_performance.end_date IS 'Saturday that closes the week';
COMMENT ON COLUMN sqp.search_query_performance.marketplace IS 'Amazon marketplace';
COMMENT ON COLUMN sqp.search_query_performance.asin IS 'Child ASIN; the parent where it has none';
COMMENT ON COLUMN sqp.search_query_performance.search_query IS 'What the shopper typed';
COMMENT ON COLUMN sqp.search_query_performance.parent_asin IS 'Variation parent of the ASIN';
COMMENT ON COLUMN sqp.search_query_performance.search_query_score IS 'Rank, 1 is best';
COMMENT ON COLUMN sqp.search_query_performance.search_query_volume IS 'Searches, market (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_query_impression_count IS
    'Impressions of the query, market (count)';
COMMENT ON COLUMN sqp.search_query_performance.asin_impression_count IS
    'Impressions of this ASIN (count)';
COMMENT ON COLUMN sqp.search_query_performance.asin_impression_share IS
    'This ASIN''s / all impressions (percent)';
COMMENT ON COLUMN sqp.search_query_performance.total_click_count IS
    'Clicks of the query, market (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_click_rate IS
    'Market clicks / query volume (percent)';
COMMENT ON COLUMN sqp.search_query_performance.asin_click_count IS 'Clicks of this ASIN (count)';
COMMENT ON COLUMN sqp.search_query_performance.asin_click_share IS
    'This ASIN''s / all clicks (percent)';
COMMENT ON COLUMN sqp.search_query_performance.total_median_click_price IS
    'Median price over the market''s clicks (marketplace currency)';
COMMENT ON COLUMN sqp.search_query_performance.asin_median_click_price IS
    'Median price over this ASIN''s clicks (marketplace currency)';
COMMENT ON COLUMN sqp.search_query_performance.total_same_day_shipping_click_count IS
    'Market clicks whose offer promised same day shipping (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_one_day_shipping_click_count IS
    'Market clicks whose offer promised one day shipping (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_two_day_shipping_click_count IS
    'Market clicks whose offer promised two day shipping (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_cart_add_count IS
    'Cart adds of the query, market (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_cart_add_rate IS
    'Market cart adds / query volume (percent)';
COMMENT ON COLUMN sqp.search_query_performance.asin_cart_add_count IS
    'Cart adds of this ASIN (count)';
COMMENT ON COLUMN sqp.search_query_performance.asin_cart_add_share IS
    'This ASIN''s / all cart adds (percent)';
COMMENT ON COLUMN sqp.search_query_performance.total_median_cart_add_price IS
    'Median price over the market''s cart adds (marketplace currency)';
COMMENT ON COLUMN sqp.search_query_performance.asin_median_cart_add_price IS
    'Median price over this ASIN''s cart adds (marketplace currency)';
COMMENT ON COLUMN sqp.search_query_performance.total_same_day_shipping_cart_add_count IS
    'Market cart adds whose offer promised same day shipping (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_one_day_shipping_cart_add_count IS
    'Market cart adds whose offer promised one day shipping (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_two_day_shipping_cart_add_count IS
    'Market cart adds whose offer promised two day shipping (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_purchase_count IS
    'Purchases of the query, market (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_purchase_rate IS
    'Market purchases / query volume (percent)';
COMMENT ON COLUMN sqp.search_query_performance.asin_purchase_count IS
    'Purchases of this ASIN (count)';
COMMENT ON COLUMN sqp.search_query_performance.asin_purchase_share IS
    'This ASIN''s / all purchases (percent)';
COMMENT ON COLUMN sqp.search_query_performance.total_median_purchase_price IS
    'Median price over the market''s purchases (marketplace currency)';
COMMENT ON COLUMN sqp.search_query_performance.asin_median_purchase_price IS
    'Median price over this ASIN''s purchases (marketplace currency)';
COMMENT ON COLUMN sqp.search_query_performance.total_same_day_shipping_purchase_count IS
    'Market purchases whose offer promised same day shipping (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_one_day_shipping_purchase_count IS
    'Market purchases whose offer promised one day shipping (count)';
COMMENT ON COLUMN sqp.search_query_performance.total_two_day_shipping_purchase_count IS
    'Market purchases whose offer promised two day shipping (count)';
COMMENT ON COLUMN sqp.search_query_performance.created_at IS 'When the row was first published';
COMMENT ON COLUMN sqp.search_query_performance.updated_at IS 'When a value of the row last changed';

CREATE TABLE sqp.search_performance_summary (
    start_date                   date NOT NULL,
    end_date                     date NOT NULL,
    marketplace                  text NOT NULL,
    asin                         text NOT NULL,
    search_query                 text NOT NULL,
    product_title                text,
    brand                        text,
    search_query_score           bigint,
    search_query_volume          bigint,
    total_query_impression_count bigint,
    total_click_count            bigint,
    total_cart_add_count         bigint,
    total_purchase_count         bigint,
    asin_impression_count        bigint,
    asin_click_count             bigint,
    asin_cart_add_count          bigint,
    asin_purchase_count          bigint,
    asin_impression_share        numeric(10,4),
    asin_click_share             numeric(10,4),
    asin_cart_add_share          numeric(10,4),
    asin_purchase_share          numeric(10,4),
    total_median_click_price     numeric(12,2),
    asin_median_click_price      numeric(12,2),
    total_median_cart_add_price  numeric(12,2),
    asin_median_cart_add_price   numeric(12,2),
    total_median_purchase_price  numeric(12,2),
    asin_median_purchase_price   numeric(12,2),
    asin_click_rate              numeric(10,4),
    asin_cart_add_rate           numeric(10,4),
    asin_purchase_rate           numeric(10,4),
    total_click_rate             numeric(10,4),
    total_cart_add_rate          numeric(10,4),
    total_purchase_rate          numeric(10,4),
    created_at                   timestamptz NOT NULL DEFAULT now(),
    updated_at                   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (start_date, end_date, marketplace, asin, search_query)
);

CREATE INDEX search_performance_summary_asin_idx
    ON sqp.search_performance_summary (asin, start_date);
CREATE INDEX search_performance_summary_search_query_idx
    ON sqp.search_performance_summary (search_query, start_date);

COMMENT ON TABLE sqp.search_performance_summary IS
    'One ASIN on one search query in one week, with its title and its funnel''s rates. '
    'Never sum total_* or the volume over ASINs: each repeats on every ASIN of a query.';
COMMENT ON COLUMN sqp.search_performance_summary.start_date IS 'Sunday that opens the week';
COMMENT ON COLUMN sqp.search_performance_summary.end_date IS 'Saturday that closes the week';
COMMENT ON COLUMN sqp.search_performance_summary.marketplace IS 'Amazon marketplace';
COMMENT ON COLUMN sqp.search_performance_summary.asin IS 'Child ASIN; the parent where it has none';
COMMENT ON COLUMN sqp.search_performance_summary.search_query IS 'What the shopper typed';
COMMENT ON COLUMN sqp.search_performance_summary.product_title IS 'Product title';
COMMENT ON COLUMN sqp.search_performance_summary.brand IS 'The agency''s client';
COMMENT ON COLUMN sqp.search_performance_summary.search_query_score IS 'Rank, 1 is best';
COMMENT ON COLUMN sqp.search_performance_summary.search_query_volume IS 'Searches, market (count)';
COMMENT ON COLUMN sqp.search_performance_summary.total_query_impression_count IS
    'Impressions of the query, market (count)';
COMMENT ON COLUMN sqp.search_performance_summary.total_click_count IS
    'Clicks of the query, market (count)';
COMMENT ON COLUMN sqp.search_performance_summary.total_cart_add_count IS
    'Cart adds of the query, market (count)';
COMMENT ON COLUMN sqp.search_performance_summary.total_purchase_count IS
    'Purchases of the query, market (count)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_impression_count IS
    'Impressions of this ASIN (count)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_click_count IS 'Clicks of this ASIN (count)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_cart_add_count IS
    'Cart adds of this ASIN (count)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_purchase_count IS
    'Purchases of this ASIN (count)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_impression_share IS
    'This ASIN''s / all impressions (percent)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_click_share IS
    'This ASIN''s / all clicks (percent)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_cart_add_share IS
    'This ASIN''s / all cart adds (percent)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_purchase_share IS
    'This ASIN''s / all purchases (percent)';
COMMENT ON COLUMN sqp.search_performance_summary.total_median_click_price IS
    'Median price over the market''s clicks (marketplace currency)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_median_click_price IS
    'Median price over this ASIN''s clicks (marketplace currency)';
COMMENT ON COLUMN sqp.search_performance_summary.total_median_cart_add_price IS
    'Median price over the market''s cart adds (marketplace currency)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_median_cart_add_price IS
    'Median price over this ASIN''s cart adds (marketplace currency)';
COMMENT ON COLUMN sqp.search_performance_summary.total_median_purchase_price IS
    'Median price over the market''s purchases (marketplace currency)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_median_purchase_price IS
    'Median price over this ASIN''s purchases (marketplace currency)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_click_rate IS
    '100 * asin_click_count / asin_impression_count (percent)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_cart_add_rate IS
    '100 * asin_cart_add_count / asin_click_count (percent)';
COMMENT ON COLUMN sqp.search_performance_summary.asin_purchase_rate IS
    '100 * asin_purchase_count / asin_click_count (percent)';
COMMENT ON COLUMN sqp.search_performance_summary.total_click_rate IS
    '100 * total_click_count / total_query_impression_count (percent)';
COMMENT ON COLUMN sqp.search_performance_summary.total_cart_add_rate IS
    '100 * total_cart_add_count / total_click_count (percent)';
COMMENT ON COLUMN sqp.search_performance_summary.total_purchase_rate IS
    '100 * total_purchase_count / total_click_count (percent)';
COMMENT ON COLUMN sqp.search_performance_summary.created_at IS 'When the row was first published';
COMMENT ON COLUMN sqp.search_performance_summary.updated_at IS 'When a value of the row last changed';

CREATE TABLE sqp.daily_sqp_data (
    report_date        date NOT NULL,
    marketplace        text NOT NULL,
    asin               text NOT NULL,
    search_query_count bigint,
    market_impressions bigint,
    market_clicks      bigint,
    market_cart_adds   bigint,
    market_purchases   bigint,
    asin_impressions   bigint,
    asin_clicks        bigint,
    asin_cart_adds     bigint,
    asin_purchases     bigint,
    ctr                numeric(10,4),
    cart_add_rate      numeric(10,4),
    cvr                numeric(10,4),
    impression_share   numeric(10,4),
    click_share        numeric(10,4),
    cart_add_share     numeric(10,4),
    purchase_share     numeric(10,4),
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (report_date, marketplace, asin)
);

CREATE INDEX daily_sqp_data_asin_idx ON sqp.daily_sqp_data (asin, report_date);

COMMENT ON TABLE sqp.daily_sqp_data IS
    'One ASIN on one day the vendor labelled, summed over its search queries. '
    'Never sum market_* over ASINs: it repeats on every ASIN of a query.';
COMMENT ON COLUMN sqp.daily_sqp_data.report_date IS 'The day the vendor labels the week with';
COMMENT ON COLUMN sqp.daily_sqp_data.marketplace IS 'Amazon marketplace';
COMMENT ON COLUMN sqp.daily_sqp_data.asin IS 'Child ASIN; the parent where it has none';
COMMENT ON COLUMN sqp.daily_sqp_data.search_query_count IS 'Queries of the ASIN (count)';
COMMENT ON COLUMN sqp.daily_sqp_data.market_impressions IS
    'Sum of total_query_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.daily_sqp_data.market_clicks IS
    'Sum of total_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.daily_sqp_data.market_cart_adds IS
    'Sum of total_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.daily_sqp_data.market_purchases IS
    'Sum of total_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.daily_sqp_data.asin_impressions IS
    'Sum of asin_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.daily_sqp_data.asin_clicks IS
    'Sum of asin_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.daily_sqp_data.asin_cart_adds IS
    'Sum of asin_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.daily_sqp_data.asin_purchases IS
    'Sum of asin_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.daily_sqp_data.ctr IS '100 * asin_clicks / asin_impressions (percent)';
COMMENT ON COLUMN sqp.daily_sqp_data.cart_add_rate IS
    '100 * asin_cart_adds / asin_clicks (percent)';
COMMENT ON COLUMN sqp.daily_sqp_data.cvr IS '100 * asin_purchases / asin_clicks (percent)';
COMMENT ON COLUMN sqp.daily_sqp_data.impression_share IS
    '100 * asin_impressions / market_impressions (percent)';
COMMENT ON COLUMN sqp.daily_sqp_data.click_share IS '100 * asin_clicks / market_clicks (percent)';
COMMENT ON COLUMN sqp.daily_sqp_data.cart_add_share IS
    '100 * asin_cart_adds / market_cart_adds (percent)';
COMMENT ON COLUMN sqp.daily_sqp_data.purchase_share IS
    '100 * asin_purchases / market_purchases (percent)';
COMMENT ON COLUMN sqp.daily_sqp_data.created_at IS 'When the row was first published';
COMMENT ON COLUMN sqp.daily_sqp_data.updated_at IS 'When a value of the row last changed';

CREATE TABLE sqp.weekly_summary (
    period_start        date NOT NULL,
    marketplace         text NOT NULL,
    asin                text NOT NULL,
    search_query        text NOT NULL,
    period_end          date,
    market_impressions  bigint,
    market_clicks       bigint,
    market_cart_adds    bigint,
    market_purchases    bigint,
    asin_impressions    bigint,
    asin_clicks         bigint,
    asin_cart_adds      bigint,
    asin_purchases      bigint,
    search_query_volume bigint,
    ctr                 numeric(10,4),
    cart_add_rate       numeric(10,4),
    cvr                 numeric(10,4),
    impression_share    numeric(10,4),
    click_share         numeric(10,4),
    cart_add_share      numeric(10,4),
    purchase_share      numeric(10,4),
    weeks_count         bigint,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (period_start, marketplace, asin, search_query)
);

CREATE INDEX weekly_summary_asin_idx ON sqp.weekly_summary (asin, period_start);
CREATE INDEX weekly_summary_search_query_idx ON sqp.weekly_summary (search_query, period_start);

COMMENT ON TABLE sqp.weekly_summary IS
    'One ASIN''s performance on one search query in one week, from whole weeks. '
    'Never sum market_* or the volume over ASINs: each repeats on every ASIN of a query.';
COMMENT ON COLUMN sqp.weekly_summary.period_start IS 'First day of the week';
COMMENT ON COLUMN sqp.weekly_summary.marketplace IS 'Amazon marketplace';
COMMENT ON COLUMN sqp.weekly_summary.asin IS 'Child ASIN; the parent where it has none';
COMMENT ON COLUMN sqp.weekly_summary.search_query IS 'What the shopper typed';
COMMENT ON COLUMN sqp.weekly_summary.period_end IS 'Last day of the week';
COMMENT ON COLUMN sqp.weekly_summary.market_impressions IS
    'Sum of total_query_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.weekly_summary.market_clicks IS
    'Sum of total_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.weekly_summary.market_cart_adds IS
    'Sum of total_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.weekly_summary.market_purchases IS
    'Sum of total_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.weekly_summary.asin_impressions IS
    'Sum of asin_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.weekly_summary.asin_clicks IS
    'Sum of asin_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.weekly_summary.asin_cart_adds IS
    'Sum of asin_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.weekly_summary.asin_purchases IS
    'Sum of asin_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.weekly_summary.search_query_volume IS
    'Searches, market, summed over the weeks (count)';
COMMENT ON COLUMN sqp.weekly_summary.ctr IS '100 * asin_clicks / asin_impressions (percent)';
COMMENT ON COLUMN sqp.weekly_summary.cart_add_rate IS
    '100 * asin_cart_adds / asin_clicks (percent)';
COMMENT ON COLUMN sqp.weekly_summary.cvr IS '100 * asin_purchases / asin_clicks (percent)';
COMMENT ON COLUMN sqp.weekly_summary.impression_share IS
    '100 * asin_impressions / market_impressions (percent)';
COMMENT ON COLUMN sqp.weekly_summary.click_share IS '100 * asin_clicks / market_clicks (percent)';
COMMENT ON COLUMN sqp.weekly_summary.cart_add_share IS
    '100 * asin_cart_adds / market_cart_adds (percent)';
COMMENT ON COLUMN sqp.weekly_summary.purchase_share IS
    '100 * asin_purchases / market_purchases (percent)';
COMMENT ON COLUMN sqp.weekly_summary.weeks_count IS 'Weeks with data in the row (count)';
COMMENT ON COLUMN sqp.weekly_summary.created_at IS 'When the row was first published';
COMMENT ON COLUMN sqp.weekly_summary.updated_at IS 'When a value of the row last changed';

CREATE TABLE sqp.monthly_summary (
    period_start        date NOT NULL,
    marketplace         text NOT NULL,
    asin                text NOT NULL,
    search_query        text NOT NULL,
    period_end          date,
    market_impressions  bigint,
    market_clicks       bigint,
    market_cart_adds    bigint,
    market_purchases    bigint,
    asin_impressions    bigint,
    asin_clicks         bigint,
    asin_cart_adds      bigint,
    asin_purchases      bigint,
    search_query_volume bigint,
    ctr                 numeric(10,4),
    cart_add_rate       numeric(10,4),
    cvr                 numeric(10,4),
    impression_share    numeric(10,4),
    click_share         numeric(10,4),
    cart_add_share      numeric(10,4),
    purchase_share      numeric(10,4),
    weeks_count         bigint,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (period_start, marketplace, asin, search_query)
);

CREATE INDEX monthly_summary_asin_idx ON sqp.monthly_summary (asin, period_start);
CREATE INDEX monthly_summary_search_query_idx ON sqp.monthly_summary (search_query, period_start);

COMMENT ON TABLE sqp.monthly_summary IS
    'One ASIN''s performance on one search query in one month, from whole weeks. '
    'Never sum market_* or the volume over ASINs: each repeats on every ASIN of a query.';
COMMENT ON COLUMN sqp.monthly_summary.period_start IS 'First day of the month';
COMMENT ON COLUMN sqp.monthly_summary.marketplace IS 'Amazon marketplace';
COMMENT ON COLUMN sqp.monthly_summary.asin IS 'Child ASIN; the parent where it has none';
COMMENT ON COLUMN sqp.monthly_summary.search_query IS 'What the shopper typed';
COMMENT ON COLUMN sqp.monthly_summary.period_end IS 'Last day of the month';
COMMENT ON COLUMN sqp.monthly_summary.market_impressions IS
    'Sum of total_query_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.monthly_summary.market_clicks IS
    'Sum of total_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.monthly_summary.market_cart_adds IS
    'Sum of total_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.monthly_summary.market_purchases IS
    'Sum of total_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.monthly_summary.asin_impressions IS
    'Sum of asin_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.monthly_summary.asin_clicks IS
    'Sum of asin_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.monthly_summary.asin_cart_adds IS
    'Sum of asin_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.monthly_summary.asin_purchases IS
    'Sum of asin_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.monthly_summary.search_query_volume IS
    'Searches, market, summed over the weeks (count)';
COMMENT ON COLUMN sqp.monthly_summary.ctr IS '100 * asin_clicks / asin_impressions (percent)';
COMMENT ON COLUMN sqp.monthly_summary.cart_add_rate IS
    '100 * asin_cart_adds / asin_clicks (percent)';
COMMENT ON COLUMN sqp.monthly_summary.cvr IS '100 * asin_purchases / asin_clicks (percent)';
COMMENT ON COLUMN sqp.monthly_summary.impression_share IS
    '100 * asin_impressions / market_impressions (percent)';
COMMENT ON COLUMN sqp.monthly_summary.click_share IS '100 * asin_clicks / market_clicks (percent)';
COMMENT ON COLUMN sqp.monthly_summary.cart_add_share IS
    '100 * asin_cart_adds / market_cart_adds (percent)';
COMMENT ON COLUMN sqp.monthly_summary.purchase_share IS
    '100 * asin_purchases / market_purchases (percent)';
COMMENT ON COLUMN sqp.monthly_summary.weeks_count IS 'Weeks with data in the row (count)';
COMMENT ON COLUMN sqp.monthly_summary.created_at IS 'When the row was first published';
COMMENT ON COLUMN sqp.monthly_summary.updated_at IS 'When a value of the row last changed';

CREATE TABLE sqp.quarterly_summary (
    period_start        date NOT NULL,
    marketplace         text NOT NULL,
    asin                text NOT NULL,
    search_query        text NOT NULL,
    period_end          date,
    market_impressions  bigint,
    market_clicks       bigint,
    market_cart_adds    bigint,
    market_purchases    bigint,
    asin_impressions    bigint,
    asin_clicks         bigint,
    asin_cart_adds      bigint,
    asin_purchases      bigint,
    search_query_volume bigint,
    ctr                 numeric(10,4),
    cart_add_rate       numeric(10,4),
    cvr                 numeric(10,4),
    impression_share    numeric(10,4),
    click_share         numeric(10,4),
    cart_add_share      numeric(10,4),
    purchase_share      numeric(10,4),
    weeks_count         bigint,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (period_start, marketplace, asin, search_query)
);

CREATE INDEX quarterly_summary_asin_idx ON sqp.quarterly_summary (asin, period_start);
CREATE INDEX quarterly_summary_search_query_idx
    ON sqp.quarterly_summary (search_query, period_start);

COMMENT ON TABLE sqp.quarterly_summary IS
    'One ASIN''s performance on one search query in one quarter, from whole weeks. '
    'Never sum market_* or the volume over ASINs: each repeats on every ASIN of a query.';
COMMENT ON COLUMN sqp.quarterly_summary.period_start IS 'First day of the quarter';
COMMENT ON COLUMN sqp.quarterly_summary.marketplace IS 'Amazon marketplace';
COMMENT ON COLUMN sqp.quarterly_summary.asin IS 'Child ASIN; the parent where it has none';
COMMENT ON COLUMN sqp.quarterly_summary.search_query IS 'What the shopper typed';
COMMENT ON COLUMN sqp.quarterly_summary.period_end IS 'Last day of the quarter';
COMMENT ON COLUMN sqp.quarterly_summary.market_impressions IS
    'Sum of total_query_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.quarterly_summary.market_clicks IS
    'Sum of total_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.quarterly_summary.market_cart_adds IS
    'Sum of total_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.quarterly_summary.market_purchases IS
    'Sum of total_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.quarterly_summary.asin_impressions IS
    'Sum of asin_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.quarterly_summary.asin_clicks IS
    'Sum of asin_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.quarterly_summary.asin_cart_adds IS
    'Sum of asin_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.quarterly_summary.asin_purchases IS
    'Sum of asin_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.quarterly_summary.search_query_volume IS
    'Searches, market, summed over the weeks (count)';
COMMENT ON COLUMN sqp.quarterly_summary.ctr IS '100 * asin_clicks / asin_impressions (percent)';
COMMENT ON COLUMN sqp.quarterly_summary.cart_add_rate IS
    '100 * asin_cart_adds / asin_clicks (percent)';
COMMENT ON COLUMN sqp.quarterly_summary.cvr IS '100 * asin_purchases / asin_clicks (percent)';
COMMENT ON COLUMN sqp.quarterly_summary.impression_share IS
    '100 * asin_impressions / market_impressions (percent)';
COMMENT ON COLUMN sqp.quarterly_summary.click_share IS
    '100 * asin_clicks / market_clicks (percent)';
COMMENT ON COLUMN sqp.quarterly_summary.cart_add_share IS
    '100 * asin_cart_adds / market_cart_adds (percent)';
COMMENT ON COLUMN sqp.quarterly_summary.purchase_share IS
    '100 * asin_purchases / market_purchases (percent)';
COMMENT ON COLUMN sqp.quarterly_summary.weeks_count IS 'Weeks with data in the row (count)';
COMMENT ON COLUMN sqp.quarterly_summary.created_at IS 'When the row was first published';
COMMENT ON COLUMN sqp.quarterly_summary.updated_at IS 'When a value of the row last changed';

CREATE TABLE sqp.yearly_summary (
    period_start        date NOT NULL,
    marketplace         text NOT NULL,
    asin                text NOT NULL,
    search_query        text NOT NULL,
    period_end          date,
    market_impressions  bigint,
    market_clicks       bigint,
    market_cart_adds    bigint,
    market_purchases    bigint,
    asin_impressions    bigint,
    asin_clicks         bigint,
    asin_cart_adds      bigint,
    asin_purchases      bigint,
    search_query_volume bigint,
    ctr                 numeric(10,4),
    cart_add_rate       numeric(10,4),
    cvr                 numeric(10,4),
    impression_share    numeric(10,4),
    click_share         numeric(10,4),
    cart_add_share      numeric(10,4),
    purchase_share      numeric(10,4),
    weeks_count         bigint,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (period_start, marketplace, asin, search_query)
);

CREATE INDEX yearly_summary_asin_idx ON sqp.yearly_summary (asin, period_start);
CREATE INDEX yearly_summary_search_query_idx ON sqp.yearly_summary (search_query, period_start);

COMMENT ON TABLE sqp.yearly_summary IS
    'One ASIN''s performance on one search query in one year, from whole weeks. '
    'Never sum market_* or the volume over ASINs: each repeats on every ASIN of a query.';
COMMENT ON COLUMN sqp.yearly_summary.period_start IS 'First day of the year';
COMMENT ON COLUMN sqp.yearly_summary.marketplace IS 'Amazon marketplace';
COMMENT ON COLUMN sqp.yearly_summary.asin IS 'Child ASIN; the parent where it has none';
COMMENT ON COLUMN sqp.yearly_summary.search_query IS 'What the shopper typed';
COMMENT ON COLUMN sqp.yearly_summary.period_end IS 'Last day of the year';
COMMENT ON COLUMN sqp.yearly_summary.market_impressions IS
    'Sum of total_query_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.yearly_summary.market_clicks IS
    'Sum of total_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.yearly_summary.market_cart_adds IS
    'Sum of total_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.yearly_summary.market_purchases IS
    'Sum of total_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.yearly_summary.asin_impressions IS
    'Sum of asin_impression_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.yearly_summary.asin_clicks IS
    'Sum of asin_click_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.yearly_summary.asin_cart_adds IS
    'Sum of asin_cart_add_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.yearly_summary.asin_purchases IS
    'Sum of asin_purchase_count over the queries in the row (count)';
COMMENT ON COLUMN sqp.yearly_summary.search_query_volume IS
    'Searches, market, summed over the weeks (count)';
COMMENT ON COLUMN sqp.yearly_summary.ctr IS '100 * asin_clicks / asin_impressions (percent)';
COMMENT ON COLUMN sqp.yearly_summary.cart_add_rate IS
    '100 * asin_cart_adds / asin_clicks (percent)';
COMMENT ON COLUMN sqp.yearly_summary.cvr IS '100 * asin_purchases / asin_clicks (percent)';
COMMENT ON COLUMN sqp.yearly_summary.impression_share IS
    '100 * asin_impressions / market_impressions (percent)';
COMMENT ON COLUMN sqp.yearly_summary.click_share IS '100 * asin_clicks / market_clicks (percent)';
COMMENT ON COLUMN sqp.yearly_summary.cart_add_share IS
    '100 * asin_cart_adds / market_cart_adds (percent)';
COMMENT ON COLUMN sqp.yearly_summary.purchase_share IS
    '100 * asin_purchases / market_purchases (percent)';
COMMENT ON COLUMN sqp.yearly_summary.weeks_count IS 'Weeks with data in the row (count)';
COMMENT ON COLUMN sqp.yearly_summary.created_at IS 'When the row was first published';
COMMENT ON COLUMN sqp.yearly_summary.updated_at IS 'When a value of the row last changed';
