-- Takedowns: an operator got a notice about a voice. Everything made from its sample, and every use of its provider voice, is frozen in one
-- transaction: no gate, no speech, no preview and no address of what was spoken. It is lifted by command. Lock order: the lock of
-- takedowns exclusively, attempts by id, speech jobs by id.

create table voice_clone.takedowns (
  id uuid primary key default gen_random_uuid(),
  subject_id uuid not null,
  attempts uuid[] not null,
  reason text not null check (length(reason) between 1 and 500),
  placed_at timestamptz not null default now(),
  lift_reason text check (length(lift_reason) between 1 and 500),
  lifted_at timestamptz,
  constraint takedowns_lifted check ((lifted_at is null) = (lift_reason is null))
);
comment on table voice_clone.takedowns is 'evidence: what was frozen, and why; a row is never deleted, and is closed once';
comment on column voice_clone.takedowns.subject_id is 'the voice or the attempt that the operator named';
create index takedowns_open_idx on voice_clone.takedowns (placed_at) where lifted_at is null;
-- Columns that never change: any other would make the writes of each attempt dearer (no HOT update), frozen or not.
create index voice_clone_attempts_taken_down_idx on public.voice_clone_attempts (provider, region) where taken_down_at is not null;
alter table voice_clone.takedowns enable row level security;
revoke all on voice_clone.takedowns from public, anon, authenticated, service_role;

-- What is made of a sample, or uses a provider voice, holds this shared while it decides; a takedown holds it exclusively, so nothing
-- that is frozen escapes by being made at the same time. Who meets a takedown does not wait, because it may have locked what the takedown
-- is about to lock: it is told to try again.
create function voice_clone.share_takedowns() returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if not pg_try_advisory_xact_lock_shared(hashtextextended('takedowns', 0)) then
    raise exception 'a voice is being taken down' using errcode = 'lock_not_available', hint = 'Try again.';
  end if;
end
$$;

create function voice_clone.refuse_taken_down(p_what text) returns void
language plpgsql set search_path = ''
as $$
begin
  raise exception '%', p_what using errcode = 'VC007', detail = '{"code": "voice_taken_down"}',
    hint = 'Ask the operator of this service. Another sample, of a voice that nobody claims, can be cloned.';
end
$$;

-- A new attempt of a sample or of a provider voice that is frozen is refused, whichever function makes it, and so is its retry.
create function voice_clone.refuse_taken_down_origin() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.sample_id is null and new.provider_voice_id is null then
    return new;
  end if;
  perform voice_clone.share_takedowns();
  -- Usually no attempt is taken down: one query in place of three. Ordered as the index is: without statistics, a plan would read the whole table.
  if (select a.id from public.voice_clone_attempts a where a.taken_down_at is not null order by a.provider, a.region limit 1) is null then
    return new;
  end if;
  if exists (select from public.voice_clone_attempts a where a.sample_id = new.sample_id and a.taken_down_at is not null)
    or exists (
      select from public.voices v join public.voice_clone_attempts a on a.id = v.attempt_id
      where v.provider_voice_id = new.provider_voice_id and v.tts_provider = new.provider and v.provider_region = new.region
        and a.taken_down_at is not null)
    or exists ( -- a use whose voice has no row yet
      select from public.voice_clone_attempts a
      where a.provider_voice_id = new.provider_voice_id and a.provider = new.provider and a.region = new.region
        and a.taken_down_at is not null)
  then
    perform voice_clone.refuse_taken_down('this voice was taken down after a notice');
  end if;
  return new;
end
$$;
create trigger voice_clone_attempts_refuse_taken_down_origin before insert on public.voice_clone_attempts
  for each row execute function voice_clone.refuse_taken_down_origin();
create trigger voice_clone_attempts_refuse_taken_down_retry before update of status on public.voice_clone_attempts
  for each row when (old.status in ('awaiting_upload', 'failed') and new.status = 'queued')
  execute function voice_clone.refuse_taken_down_origin();

-- Its user moves a frozen attempt only to its end.
create function voice_clone.refuse_taken_down_move() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform voice_clone.refuse_taken_down('this voice was taken down after a notice');
  return new;
end
$$;
create trigger voice_clone_attempts_refuse_taken_down before update on public.voice_clone_attempts
  for each row when (
    old.taken_down_at is not null and new.taken_down_at is not null and old.status in ('awaiting_upload', 'failed', 'cancelled')
    and new.status in ('queued', 'ready'))
  execute function voice_clone.refuse_taken_down_move();

-- No text is spoken with a frozen voice: a job is neither requested nor queued again.
create function voice_clone.refuse_taken_down_speech() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.share_takedowns();
  if exists (select from public.voice_clone_attempts a where a.id = new.attempt_id and a.taken_down_at is not null) then
    perform voice_clone.refuse_taken_down('this voice was taken down after a notice');
  end if;
  return new;
end
$$;
create trigger speech_jobs_refuse_taken_down before insert on public.speech_jobs
  for each row execute function voice_clone.refuse_taken_down_speech();
create trigger speech_jobs_refuse_taken_down_again before update of status on public.speech_jobs
  for each row when (old.status = 'failed' and new.status = 'queued') execute function voice_clone.refuse_taken_down_speech();

-- The attempts of a voice's family: of the same samples, with the same provider voices, and frozen by the same notice, until there are no more.
create function voice_clone.taken_down_family(p_attempt uuid) returns uuid[]
language sql stable security definer set search_path = ''
as $$
  with recursive family (id) as (
    select p_attempt
    union
    select near.id from family f
    join public.voice_clone_attempts a on a.id = f.id
    cross join lateral (
      select b.id from public.voice_clone_attempts b where b.sample_id = a.sample_id
      union all
      select w.attempt_id from public.voices w
      where w.provider_voice_id = a.provider_voice_id and w.tts_provider = a.provider and w.provider_region = a.region
      union all -- a use whose voice has no row yet
      select b.id from voice_clone.enrolling_attempts n join public.voice_clone_attempts b on b.id = n.attempt_id
      where n.provider = a.provider and n.region = a.region and b.provider_voice_id = a.provider_voice_id
      union all
      select unnest(t.attempts) from voice_clone.takedowns t where t.lifted_at is null and a.id = any (t.attempts)
    ) near
  )
  select coalesce(array_agg(f.id order by f.id), '{}') from family f
$$;

create function voice_clone.takedown_subject(p_id uuid) returns uuid
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_attempt uuid := (select a.id from public.voice_clone_attempts a where a.id = p_id or a.voice_id = p_id limit 1);
begin
  if v_attempt is null then
    raise exception 'there is neither a voice nor an attempt %', p_id using errcode = 'VC004';
  end if;
  return v_attempt;
end
$$;

-- Whether an object of Storage is what a frozen voice has said.
create function voice_clone.is_taken_down(p_bucket text, p_name text) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_id uuid := voice_clone.folder_id(p_name);
begin
  return exists (
    select from public.voice_clone_attempts a
    where a.id = case p_bucket when 'voice-previews' then v_id
        when 'speeches' then (select j.attempt_id from public.speech_jobs j where j.id = v_id) end
      and a.taken_down_at is not null);
end
$$;
grant execute on function voice_clone.is_taken_down(text, text) to authenticated;

create function voice_clone.lock_taken_down_family(p_id uuid) returns uuid[]
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('takedowns', 0));
  return voice_clone.lock_attempts(voice_clone.taken_down_family(voice_clone.takedown_subject(p_id)));
end
$$;

-- What a notice about this voice or attempt covers, as it stands.
create function voice_clone.taken_down_attempts(p_id uuid)
returns table (attempt_id uuid, voice_id uuid, provider text, status text, user_id uuid, reflection_id uuid, taken_down_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  select a.id, a.voice_id, a.provider, a.status, a.user_id, a.reflection_id, a.taken_down_at
  from public.voice_clone_attempts a
  where a.id = any (voice_clone.taken_down_family(voice_clone.takedown_subject(p_id))) order by a.created_at, a.id
$$;

-- What a takedown freezes, or did. Without p_apply nothing changes.
create function operations.take_down(p_id uuid, p_reason text, p_apply boolean default false)
returns table (attempt_id uuid, voice_id uuid, provider text, status text, user_id uuid, reflection_id uuid, taken_down_at timestamptz)
language plpgsql security definer set search_path = ''
as $$
declare
  v_family uuid[];
begin
  if p_apply then
    v_family := voice_clone.lock_taken_down_family(p_id);
    perform from public.speech_jobs j
    where j.attempt_id = any (v_family) and j.status in ('queued', 'processing') order by j.id for no key update;
    update public.speech_jobs j
    set status = 'failed', error_code = 'voice_taken_down', error_message = 'This voice was taken down after a notice.', request_id = null,
        lease_owner = null, leased_at = null, lease_expires_at = null, not_before = null, waiting_since = null
    where j.attempt_id = any (v_family) and j.status in ('queued', 'processing');
    if exists (select from public.voice_clone_attempts a where a.id = any (v_family) and a.taken_down_at is null) then
      insert into voice_clone.takedowns (subject_id, attempts, reason) values (p_id, v_family, p_reason);
    end if;
    update public.voice_clone_attempts a set taken_down_at = now() where a.id = any (v_family) and a.taken_down_at is null;
    -- One that is queued will not be claimed: it keeps no slot from the jobs of others, and waits for none.
    perform voice_clone.release_job_slot(q.id, q.owner)
    from (
      select a.id, coalesce(a.user_id, a.org_id) as owner from public.voice_clone_attempts a
      where a.id = any (v_family) and a.status = 'queued' order by a.id) q;
  end if;
  return query select * from voice_clone.taken_down_attempts(p_id);
end
$$;

-- The voices speak again, and what waited goes on.
create function operations.lift_takedown(p_id uuid, p_reason text, p_apply boolean default false)
returns table (attempt_id uuid, voice_id uuid, provider text, status text, user_id uuid, reflection_id uuid, taken_down_at timestamptz)
language plpgsql security definer set search_path = ''
as $$
declare
  v_family uuid[];
begin
  if p_apply then
    v_family := voice_clone.lock_taken_down_family(p_id);
    -- The time under the takedown counts neither for a verification nor for an outage.
    update public.voice_clone_attempts a
    set taken_down_at = null,
        verifying_at = case a.status when 'verifying'
          then a.verifying_at + (now() - greatest(a.taken_down_at, a.verifying_at)) else a.verifying_at end,
        waiting_since = a.waiting_since + (now() - greatest(a.taken_down_at, a.waiting_since))
    where a.id = any (v_family) and a.taken_down_at is not null;
    update voice_clone.takedowns t set lifted_at = now(), lift_reason = p_reason where t.lifted_at is null and t.attempts && v_family;
  end if;
  return query select * from voice_clone.taken_down_attempts(p_id);
end
$$;
revoke all on function operations.take_down(uuid, text, boolean), operations.lift_takedown(uuid, text, boolean) from public, anon, authenticated;
grant execute on function operations.take_down(uuid, text, boolean), operations.lift_takedown(uuid, text, boolean) to service_role;
