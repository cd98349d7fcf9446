-- Voices: the enrolled results, usable for speech. A row here owns its voice at the provider.

create table public.voices (
  id uuid primary key,
  user_id uuid not null references auth.users (id),
  attempt_id uuid not null unique references public.voice_clone_attempts (id),
  enrollment_id uuid unique references voice_clone.enrollments (id),
  name text not null check (length(name) between 1 and 120),
  language text not null check (language ~ '^[a-z]{2}$'),
  provider text not null,
  region text not null,
  provider_voice_id text not null,
  target_model text not null,
  created_at timestamptz not null default now(),
  deleted_at timestamptz
);
comment on column public.voices.deleted_at is 'a soft delete: the voice stays at its provider and speaks no more';
create index voices_user_id_idx on public.voices (user_id, created_at desc) where deleted_at is null;
create index voices_owner_idx on public.voices (user_id);
create index voices_provider_voice_id_idx on public.voices (provider_voice_id);
-- A stock voice may be used by many, so only a voice that an enrollment made belongs to one row.
create unique index voices_provider_region_provider_voice_id_idx
  on public.voices (provider, region, provider_voice_id) where enrollment_id is not null;

alter table public.voices enable row level security;
revoke all on public.voices from public, anon, authenticated, service_role;
grant select on public.voices to authenticated, service_role;
create policy "Owners read their voices" on public.voices
  for select to authenticated using (user_id = (select auth.uid()) and deleted_at is null);

-- A voice that is being removed, or was, can be nobody's: whoever is faster, the other sees it.
create function voice_clone.refuse_removed_voice() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_status text;
begin
  select e.status into v_status from voice_clone.enrollments e
  where e.provider = new.provider and e.region = new.region and e.provider_voice_id = new.provider_voice_id
  for share;
  if v_status in ('removing', 'removed') then
    raise exception 'this voice is being removed at its provider'
      using errcode = 'VC007', detail = '{"code": "voice_removed"}', hint = 'Record a new sample.';
  end if;
  return new;
end
$$;
create trigger voices_refuse_removed before insert on public.voices for each row execute function voice_clone.refuse_removed_voice();

-- The voices that people may speak with and that a provider should have, those that were made last first.
create function voice_clone.undeleted_voices(p_provider text, p_region text)
returns table (voice_id uuid, attempt_id uuid, provider_voice_id text)
language sql stable security definer set search_path = ''
as $$
  select v.id, v.attempt_id, v.provider_voice_id from public.voices v
  where v.provider = p_provider and v.region = p_region and v.deleted_at is null
  order by v.created_at desc
$$;

grant execute on function voice_clone.undeleted_voices(text, text) to voice_clone_backend;
