-- Kept manifests: the mark of speech in a format that holds none (Opus, PCM), under the hash of the audio. Anybody with the audio
-- can compute its hash, and may read the manifest. Nothing of a person is in it.

create table voice_clone.kept_manifests (
  id uuid primary key default gen_random_uuid(),
  hash bytea not null unique check (octet_length(hash) = 32),
  manifest bytea not null check (octet_length(manifest) between 1 and 65536),
  made_at timestamptz not null default now()
);
comment on column voice_clone.kept_manifests.hash is 'SHA-256 of the audio, as it was sent';
create index kept_manifests_made_at_idx on voice_clone.kept_manifests (made_at);
alter table voice_clone.kept_manifests enable row level security;
revoke all on voice_clone.kept_manifests from public, anon, authenticated, service_role;

-- The same audio again, byte for byte, has the newer manifest.
create function voice_clone.keep_manifest(p_hash bytea, p_manifest bytea) returns void
language sql security definer set search_path = ''
as $$
  insert into voice_clone.kept_manifests (hash, manifest) values (p_hash, p_manifest)
  on conflict (hash) do update set manifest = excluded.manifest, made_at = now()
$$;

create function voice_clone.kept_manifest(p_hash bytea) returns bytea
language sql stable security definer set search_path = ''
as $$ select k.manifest from voice_clone.kept_manifests k where k.hash = p_hash $$;

-- Deletes the oldest manifests whose time is over, at most p_limit, and returns how many. Called by the sweep.
create function voice_clone.delete_expired_manifests(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
begin
  return voice_clone.delete_rows('voice_clone.kept_manifests', 'kept manifest', array(
    select x.id from voice_clone.kept_manifests x
    where x.made_at <= now() - voice_clone.timeout('kept_manifest')
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.made_at limit p_limit for update skip locked));
end
$$;

grant execute on function
  voice_clone.keep_manifest(bytea, bytea),
  voice_clone.kept_manifest(bytea),
  voice_clone.delete_expired_manifests(int)
to voice_clone_backend;
