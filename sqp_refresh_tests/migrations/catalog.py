"""List what a database consists of, so that two databases can be compared."""

from sqp_refresh_tests.migrations.servers import Database

# Everything that a migration may leave behind, also outside of the schema.
TRACES = """
SELECT 'schema', nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
UNION ALL SELECT 'relation', oid::regclass::text FROM pg_class WHERE oid >= 16384
UNION ALL SELECT 'function', oid::regprocedure::text FROM pg_proc WHERE oid >= 16384
UNION ALL SELECT 'type', oid::regtype::text FROM pg_type WHERE oid >= 16384
UNION ALL SELECT 'event trigger', evtname FROM pg_event_trigger
UNION ALL SELECT 'role', rolname FROM pg_roles
UNION ALL SELECT 'member', roleid::regrole || ' ' || member::regrole FROM pg_auth_members
UNION ALL SELECT 'default privilege', defaclacl::text FROM pg_default_acl
ORDER BY 1, 2
"""

# Everything that the schema is, down to the rows it is delivered with.
CONTENT = """
SELECT 'relation', relname, concat_ws(
    ' ', relkind, reloptions, relrowsecurity,
    coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
)
FROM pg_class WHERE relnamespace = 'sqp'::regnamespace
UNION ALL
SELECT 'column', concat_ws(' ', attrelid::regclass, attnum), concat_ws(
    ' ', attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
    pg_get_expr(adbin, adrelid)
)
FROM pg_attribute
JOIN pg_class ON pg_class.oid = attrelid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'sqp'::regnamespace AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint', concat_ws(' ', conrelid::regclass, conname), pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'sqp'::regnamespace
UNION ALL
SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = 'sqp'::regnamespace
UNION ALL
SELECT 'view', relname, pg_get_viewdef(oid)
FROM pg_class WHERE relnamespace = 'sqp'::regnamespace AND relkind = 'v'
UNION ALL
SELECT 'function', proname, concat_ws(' ', pg_get_functiondef(oid), proacl)
FROM pg_proc WHERE pronamespace = 'sqp'::regnamespace
UNION ALL
SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'event trigger', evtname, concat_ws(' ', evtevent, evttags, evtfoid::regproc)
FROM pg_event_trigger
UNION ALL
SELECT 'comment', pg_describe_object(classoid, objoid, objsubid), description
FROM pg_description WHERE objoid >= 16384
UNION ALL
SELECT 'default privilege', defaclobjtype::text, defaclacl::text FROM pg_default_acl
UNION ALL
SELECT 'schema', nspname, coalesce(nspacl, acldefault('n', nspowner))::text
FROM pg_namespace WHERE nspname = 'sqp'
UNION ALL
SELECT 'version', '', version_num FROM sqp.alembic_version
ORDER BY 1, 2, 3
"""
ROWS = """
SELECT 'registered', table_name,
    concat_ws(' ', table_schema, priority, is_enabled, next_refresh_at - created_at)
FROM sqp.refresh_config
UNION ALL
SELECT 'dependency', concat_ws(' ', parent.table_name, dependent.table_name), dependency_type
FROM sqp.refresh_dependencies
JOIN sqp.refresh_config AS parent ON parent.id = parent_config_id
JOIN sqp.refresh_config AS dependent ON dependent.id = dependent_config_id
ORDER BY 1, 2
"""


def traces(database: Database) -> list[tuple[str, str]]:
    return [(kind, name) for kind, name in database.rows(TRACES)]


def content(database: Database) -> list[tuple[str, str, str]]:
    has_registry = ("relation", "sqp.refresh_config") in traces(database)
    queries = (CONTENT, ROWS) if has_registry else (CONTENT,)
    return [(kind, name, what) for query in queries for kind, name, what in database.rows(query)]
