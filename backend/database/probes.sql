-- is_migrated --
-- Read from the catalog, since it needs no grant on what may not be there yet.
select exists (
  select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  where n.nspname = 'voice_clone' and p.proname = 'schema_version'
);

-- installation --
-- The version of the schema, and the parts that are missing: one look into the catalog.
select s.version, s.oldest_service, array(select voice_clone.missing_parts()) as missing
from voice_clone.schema_version() s;

-- consumers_state --
-- Across all processes.
select * from voice_clone.consumers_state()
