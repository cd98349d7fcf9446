-- is_migrated --
-- Read from the catalog, since it needs no grant on what may not be there yet.
select exists (
  select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  where n.nspname = 'voice_clone' and p.proname = 'launch_gate'
);

-- missing_parts --
-- Of the installation, as an array; one look into the catalog.
select array(select voice_clone.missing_parts());
