-- Voices: the results, usable for speech. A row with an enrollment owns its voice at the provider.

create table public.voices (
  id uuid primary key,
  user_id uuid references auth.users (id),
  org_id uuid,
  attempt_id uuid not null unique references public.voice_clone_attempts (id),
  enrollment_id uuid references voice_clone.enrollments (id),
  name text not null check (length(name) between 1 and 120),
  language text not null check (language ~ '^[a-z]{2}$'),
  tts_provider text not null,
  provider_voice_id text not null,
  provider_target_model text not null,
  provider_voice_kind text not null,
  provider_region text not null,
  provider_account text not null default '',
  provider_request_id text,
  provider_metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  deleted_at timestamptz,
  removal_requested_at timestamptz,
  lost_at timestamptz,
  moved_to uuid references public.voice_clone_attempts (voice_id),
  spoken_at timestamptz,
  canary_at timestamptz,
  constraint voices_owner check (num_nonnulls(user_id, org_id) = 1 or (user_id is null and deleted_at is not null)),
  constraint voices_removal check (removal_requested_at is null or deleted_at is not null),
  constraint voices_lost check (lost_at is null or enrollment_id is null)
) with (autovacuum_analyze_threshold = 1000);
comment on column public.voices.org_id is 'of whose employee the voice is; then it is of no user';
comment on column public.voices.provider_voice_kind is
  'vc, ivc, instant: a clone, in the words of Qwen, ElevenLabs and Cartesia; reference: the sample itself, sent with each text; '
  'match: an embedded voice; custom: a voice that was at the provider before';
comment on column public.voices.provider_account is
  'a name of the operator, or a fingerprint of the key; empty for an imported voice';
comment on column public.voices.provider_request_id is 'of the create call';
comment on column public.voices.provider_metadata is 'usage and diagnostics of the create call; no secret';
comment on column public.voices.deleted_at is 'since then it cannot be used; it stays at its provider until its retention ends';
comment on column public.voices.removal_requested_at is 'since then its removal at the provider is requested';
comment on column public.voices.lost_at is
  'since then it is known that its provider does not have it any more; a retry of its attempt makes it again, under the same id';
comment on column public.voices.moved_to is
  'the voice that its latest move makes at another provider, or made; it may have failed, or be deleted by now';
comment on column public.voices.spoken_at is 'when it last spoke, to the day: it is written once a day at most (canaries.sql)';
comment on column public.voices.canary_at is 'when a check last made it speak; later than spoken_at: it did not';
create index voices_moved_to_idx on public.voices (moved_to) where moved_to is not null;
create index voices_org_id_idx on public.voices (org_id, created_at desc, id desc) where org_id is not null;
create index voices_user_id_idx on public.voices (user_id, created_at desc, id desc);
-- A stock voice may be used by many rows. One that an enrollment made has one row: an enrollment is of one attempt, an attempt has at
-- most one voice, and no two enrollments have the same voice of a provider.
create index voices_provider_voice_id_idx on public.voices (provider_voice_id);
-- Deleted voices that are still at their provider: the oldest of all, and the oldest of a provider.
create index voices_deleted_at_idx on public.voices (deleted_at)
  where deleted_at is not null and removal_requested_at is null and enrollment_id is not null;
create index voices_tts_provider_deleted_at_idx on public.voices (tts_provider, provider_region, deleted_at)
  where deleted_at is not null and removal_requested_at is null and enrollment_id is not null;

alter table public.voices enable row level security;
revoke all on public.voices from public, anon, authenticated, service_role;
grant select on public.voices to authenticated, service_role;
create policy "Owners read their voices, and admins those of their employees" on public.voices
  for select to authenticated
  using (deleted_at is null and (user_id = (select auth.uid()) or org_id = any (array(select voice_clone.admin_organizations()))));

-- A voice that is being removed, or was, cannot get a row. The lock on its enrollment orders this against the removal.
create function voice_clone.refuse_removed_voice() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_status text;
begin
  select e.status into v_status from voice_clone.enrollments e
  where e.provider = new.tts_provider and e.region = new.provider_region and e.provider_voice_id = new.provider_voice_id
  for share;
  if v_status in ('removing', 'removed') then
    raise exception 'this voice is being removed at its provider'
      using errcode = 'VC007', detail = '{"code": "voice_removed"}', hint = 'Record a new sample.';
  end if;
  return new;
end
$$;
create trigger voices_refuse_removed before insert on public.voices for each row execute function voice_clone.refuse_removed_voice();

-- The voice of an attempt that an enrollment made; what its provider said of it comes from the enrollment. A voice that was lost
-- keeps its id.
create function voice_clone.add_enrolled_voice(a public.voice_clone_attempts, e voice_clone.enrollments) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update public.voices v
  set enrollment_id = e.id, provider_account = e.account, provider_voice_id = e.provider_voice_id,
      provider_target_model = e.target_model, provider_voice_kind = e.provider_voice_kind, provider_request_id = e.request_id,
      provider_metadata = e.provider_metadata, lost_at = null
  where v.id = a.voice_id and v.lost_at is not null;
  if found then
    return;
  end if;
  insert into public.voices (
    id, user_id, org_id, attempt_id, enrollment_id, name, language, tts_provider, provider_region, provider_account, provider_voice_id,
    provider_target_model, provider_voice_kind, provider_request_id, provider_metadata)
  values (
    a.voice_id, a.user_id, a.org_id, a.id, e.id, a.name, a.language, e.provider, e.region, e.account, e.provider_voice_id,
    e.target_model, e.provider_voice_kind, e.request_id, e.provider_metadata);
end
$$;

-- The voice of an attempt that no enrollment made.
create function voice_clone.add_custom_voice(a public.voice_clone_attempts) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.voices as v (
    id, user_id, attempt_id, name, language, tts_provider, provider_region, provider_account, provider_voice_id,
    provider_target_model, provider_voice_kind, provider_request_id)
  values (
    a.voice_id, a.user_id, a.id, a.name, a.language, a.provider, a.region, coalesce(a.account, ''), a.provider_voice_id,
    a.target_model, 'custom', a.request_id)
  on conflict (id) do update set provider_request_id = excluded.provider_request_id, lost_at = null
  where v.lost_at is not null;
  if not found then
    raise exception 'attempt % has a voice already', a.id using errcode = 'unique_violation';
  end if;
end
$$;

-- The voices that a provider should have, the newest first: those of these accounts, or of all. Its list may not have a new one yet.
create function voice_clone.undeleted_voices(p_provider text, p_region text, p_accounts text[] default null)
returns table (voice_id uuid, attempt_id uuid, provider_voice_id text, is_new boolean)
language sql stable security definer set search_path = ''
as $$
  select v.id, v.attempt_id, v.provider_voice_id, coalesce(a.ready_at, v.created_at) > now() - voice_clone.timeout('new_voice')
  from public.voices v
  join public.voice_clone_attempts a on a.id = v.attempt_id
  where v.tts_provider = p_provider and v.provider_region = p_region and v.deleted_at is null and v.lost_at is null
    and (p_accounts is null or v.provider_account = '' or v.provider_account = any (p_accounts))
  order by v.created_at desc
$$;

grant execute on function voice_clone.undeleted_voices(text, text, text[]) to voice_clone_backend;
