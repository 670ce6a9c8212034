-- In another encoding than UTF8, the first query in another script would keep its whole week out.
DO $$
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'database % is encoded in %', current_database(), current_setting('server_encoding')
            USING HINT = 'create one WITH ENCODING ''UTF8'' TEMPLATE template0';
    END IF;
END
$$;
