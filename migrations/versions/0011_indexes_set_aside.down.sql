-- What is still set aside is built, as nobody would know of it any more.
DO $$
DECLARE
    aside sqp.refresh_indexes;
BEGIN
    FOR aside IN
        SELECT * FROM sqp.refresh_indexes
        WHERE table_schema = 'sqp' AND cardinality(column_names) = (
            SELECT count(*) FROM pg_class
            JOIN pg_attribute ON attrelid = pg_class.oid AND attname = ANY(column_names)
            WHERE pg_class.oid = to_regclass(format('%I.%I', table_schema, table_name))
                AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
        )
    LOOP
        EXECUTE format(
            'CREATE INDEX IF NOT EXISTS %I ON %I.%I (%s)',
            aside.index_name, aside.table_schema, aside.table_name,
            (SELECT string_agg(quote_ident(name), ', ' ORDER BY place)
             FROM unnest(aside.column_names) WITH ORDINALITY AS column_names (name, place))
        );
    END LOOP;
END
$$;

DROP TABLE sqp.refresh_indexes;
