-- Buckets: the private ones that the service writes. One that is there already keeps its limits; one that is public stops the push
-- before anything is changed (existing_tables).

-- For operators, after a backup was restored: creates the buckets that are missing, and returns their names. A dump has no buckets.
create function operations.create_missing_buckets() returns setof text
language sql security definer set search_path = ''
as $$
  insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
  select b.id, b.id, false, b.megabytes * 1024 * 1024, b.types
  from (values
    ('voice-samples', 10, '{audio/wav,audio/x-wav,audio/wave,audio/mpeg,audio/mp3,audio/mp4,audio/m4a,audio/x-m4a,audio/webm,
      audio/ogg,audio/flac}'::text[]),
    ('voice-previews', 10, '{audio/wav}'),
    ('speeches', 50, null),
    ('recordings', 50, '{audio/wav}'),
    ('deep-fakes', 1, '{application/json}'),
    ('local-voices', 1, '{application/json}'),
    ('reference-voices', 1, '{application/json}'),
    ('consent-anchors', 1, '{application/jose}')
  ) b (id, megabytes, types)
  on conflict (id) do nothing
  returning id
$$;
revoke all on function operations.create_missing_buckets() from public, anon, authenticated, service_role;

insert into voice_clone.adoptions (table_name, change, kind, name)
select 'storage.buckets', 'created', 'bucket', b from operations.create_missing_buckets() b;
