-- Speech jobs: a text each, spoken with the voice of a sample, as one object in Storage. A job whose voice is still being made
-- waits for the attempt that makes it, whose last transition sends the job's message.

create table public.speech_jobs (
  id uuid primary key,
  user_id uuid references auth.users (id),
  sample_id uuid not null references public.voice_samples (id),
  attempt_id uuid not null references public.voice_clone_attempts (id),
  created_at timestamptz not null default now(),
  provider text not null,
  region text not null default '',
  text text check (length(text) between 1 and 50000),
  characters int not null,
  try_budget int not null default 5,
  retry_budget int not null default 5,

  status text not null default 'queued' check (status in ('queued', 'processing', 'succeeded', 'failed')),
  version bigint not null default 1,
  lease_epoch int not null default 0,
  lease_owner text,
  leased_at timestamptz,
  lease_expires_at timestamptz,
  not_before timestamptz,
  waiting_since timestamptz,
  try_count int not null default 0,
  retry_count int not null default 0,
  error_code text,
  error_message text,
  request_id text,
  path text,
  bytes bigint,
  updated_at timestamptz not null default now(),
  finished_at timestamptz,
  expires_at timestamptz,
  removed_at timestamptz,
  sweep_at timestamptz,

  constraint speech_jobs_lease check (
    (status = 'processing') = (lease_owner is not null) and num_nulls(lease_owner, leased_at, lease_expires_at) in (0, 3)),
  constraint speech_jobs_budgets check (try_count <= try_budget and retry_count <= retry_budget),
  constraint speech_jobs_succeeded check (status <> 'succeeded' or num_nulls(path, bytes) = 0 or removed_at is not null),
  constraint speech_jobs_failed check (status <> 'failed' or num_nulls(error_code, error_message) = 0),
  constraint speech_jobs_removed check (
    (text is null) = (removed_at is not null)
    and (removed_at is null or (status in ('succeeded', 'failed') and path is null))),
  constraint speech_jobs_owner check (user_id is not null or removed_at is not null)
) with (fillfactor = 80);
comment on column public.speech_jobs.attempt_id is 'the attempt that made the voice, or makes it';
comment on column public.speech_jobs.path is 'of the speech in the bucket speeches; the epoch is in it, so that no late worker overwrites it';
comment on column public.speech_jobs.request_id is 'of the provider''s call that failed';
comment on column public.speech_jobs.waiting_since is 'when it first met an outage: until the timeout outage its tries do not count';
comment on column public.speech_jobs.expires_at is 'when the speech and the text of a job that has ended are removed';
comment on column public.speech_jobs.removed_at is 'since then neither its text nor its speech is stored';
comment on column public.speech_jobs.sweep_at is 'when the sweep next looks at it; null where nothing is to be done';
create index speech_jobs_user_id_idx on public.speech_jobs (user_id, created_at desc, id desc);
create index speech_jobs_sample_id_idx on public.speech_jobs (sample_id);
create index speech_jobs_attempt_id_idx on public.speech_jobs (attempt_id);
create index speech_jobs_open_idx on public.speech_jobs (user_id) where status in ('queued', 'processing');
create index speech_jobs_sweep_at_idx on public.speech_jobs (sweep_at) where sweep_at is not null;

alter table public.speech_jobs enable row level security;
revoke all on public.speech_jobs from public, anon, authenticated, service_role;
grant select on public.speech_jobs to service_role;
grant select (id, user_id, sample_id, attempt_id, created_at, provider, region, text, characters, status, version, not_before,
  retry_count, retry_budget, error_code, error_message, request_id, path, bytes, updated_at, finished_at, expires_at, removed_at)
  on public.speech_jobs to authenticated;
create policy "Owners read their speech jobs" on public.speech_jobs
  for select to authenticated using (user_id = (select auth.uid()));

-- Whether the attempt has ended for its jobs: with a voice or without one.
create function voice_clone.has_outcome(p_attempt uuid) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return exists (
    select from public.voice_clone_attempts a
    where a.id = p_attempt and a.status not in ('awaiting_upload', 'queued', 'processing', 'verifying'));
end
$$;

-- When the sweep next looks at a job: a pure function of the row, now and the timeouts. The wait for a message, or for the
-- attempt, doubles.
create function voice_clone.speech_sweep_at(j public.speech_jobs) returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return case
    when j.removed_at is not null then null
    when j.status = 'processing' then least(j.lease_expires_at, j.leased_at + voice_clone.timeout('step'))
    when j.status in ('succeeded', 'failed') then j.expires_at
    when voice_clone.is_long_wait(j.not_before) then j.not_before
    else greatest(now(), j.not_before) + least(
      greatest(voice_clone.timeout('lost_message'), now() - greatest(j.updated_at, j.not_before)),
      voice_clone.timeout('lost_message_cap'))
  end;
end
$$;

-- A job has its own user's sample, and an attempt with that sample.
create function voice_clone.require_own_speech_attempt() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if not exists (
    select from public.voice_clone_attempts a
    where a.id = new.attempt_id and a.user_id = new.user_id and a.sample_id = new.sample_id
  ) then
    raise exception 'there is no such sample' using errcode = 'VC004', detail = '{"field": "sampleId"}';
  end if;
  return new;
end
$$;
create trigger speech_jobs_require_own_attempt before insert or update of attempt_id on public.speech_jobs
  for each row execute function voice_clone.require_own_speech_attempt();

-- Before a write: the edge exists, the epoch only grows, the version and the times follow. A renewal of the lease and a
-- visit of the sweep are no changes that a client sees.
create function voice_clone.check_speech_job() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_same public.speech_jobs := new;
begin
  if tg_op = 'INSERT' then
    perform voice_clone.require_edge('speech', '', new.status, new.id);
    new.sweep_at := voice_clone.speech_sweep_at(new);
    return new;
  end if;
  if new.lease_epoch < old.lease_epoch or new.user_id <> old.user_id or (old.user_id is null and new.user_id is not null)
    or (new.id, new.sample_id, new.provider, new.created_at)
      is distinct from (old.id, old.sample_id, old.provider, old.created_at)
    or (old.removed_at is not null and new.removed_at is null)
  then
    raise exception 'speech job %: its epoch only grows, its owner and its sample never change, what is removed stays removed', new.id
      using errcode = 'VC001';
  end if;
  v_same.sweep_at := old.sweep_at;
  v_same.lease_expires_at := case when new.lease_epoch = old.lease_epoch then old.lease_expires_at else new.lease_expires_at end;
  if not v_same *= old then
    if new.status <> old.status then
      perform voice_clone.require_edge('speech', old.status, new.status, new.id);
      new.finished_at := case when new.status in ('succeeded', 'failed') then now() end;
      new.expires_at := new.finished_at + voice_clone.timeout('speech_result');
    end if;
    new.version := old.version + 1;
    new.updated_at := now();
  end if;
  new.sweep_at := voice_clone.speech_sweep_at(new);
  return new;
end
$$;
create trigger speech_jobs_check before insert or update on public.speech_jobs
  for each row execute function voice_clone.check_speech_job();

-- The job's message, where nothing else will send it: the transition of its attempt, or the sweep after a long wait.
create function voice_clone.send_speech_job(j public.speech_jobs) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if j.status <> 'queued' or voice_clone.is_long_wait(j.not_before) or not voice_clone.has_outcome(j.attempt_id)
    or voice_clone.is_waiting_job(j.id)
  then
    return false;
  end if;
  perform pgmq.send('speech_jobs', voice_clone.queue_message('speech_jobs', j.id, j.version, null),
    greatest(0, ceil(extract(epoch from j.not_before - now())))::int);
  perform voice_clone.notify('voice_clone_wake', 'speech_jobs');
  return true;
end
$$;

create function voice_clone.queue_speech_job() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.send_speech_job(new);
  return null;
end
$$;
create trigger speech_jobs_send after insert on public.speech_jobs
  for each row execute function voice_clone.queue_speech_job();
create trigger speech_jobs_send_again after update of status on public.speech_jobs
  for each row when (old.status <> 'queued' and new.status = 'queued') execute function voice_clone.queue_speech_job();

-- The attempt has ended. Locks no job: a job that joins the attempt shares the attempt's lock (request_speech), so it is seen
-- here, or sees the end itself.
create function voice_clone.send_speech_jobs_of_attempt() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.send_messages('speech_jobs', array_agg(voice_clone.queue_message('speech_jobs', j.id, j.version, null)), 0)
  from public.speech_jobs j where j.attempt_id = new.id and j.status = 'queued' having count(*) > 0;
  return null;
end
$$;
create trigger voice_clone_attempts_send_speech_jobs after update of status on public.voice_clone_attempts
  for each row when (
    old.status in ('queued', 'processing', 'verifying') and new.status in ('ready', 'failed', 'cancelled'))
  execute function voice_clone.send_speech_jobs_of_attempt();
