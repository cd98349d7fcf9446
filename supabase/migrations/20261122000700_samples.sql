-- Samples: the reference audio, one Storage object each, never without a consent that covers it.

-- The lease is beside the row's status, and no client reads it. A sample that its user sent by itself is kept
-- until they delete it (is_kept); any other belongs to the attempts that use it, and goes with the last one.
create table public.voice_samples (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id),
  consent_id uuid not null,
  reflection_id uuid references public.reflections (id) on delete set null,
  employee_id uuid references public.employees (id) on delete set null,
  is_kept boolean not null default false,
  is_upload boolean not null default false,
  name text check (length(name) between 1 and 120),
  path text not null,
  file_url text not null generated always as ('/storage/v1/object/authenticated/voice-samples/' || path) stored,
  content_type text not null,
  bytes bigint not null check (bytes > 0),
  language text check (language ~ '^[a-z]{2}$'),
  transcript text check (length(transcript) <= 4000),
  status text not null default 'awaiting_upload' check (status in (
    'awaiting_upload', 'pending', 'processing', 'ready', 'failed', 'removed')),
  measures jsonb,
  content_hash bytea check (octet_length(content_hash) = 32),
  prepared_path text,
  prepared_bytes bigint,
  error_code text,
  error_message text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  ready_at timestamptz,
  failed_at timestamptz,
  removed_at timestamptz,

  lease_epoch int not null default 0,
  lease_owner text,
  leased_at timestamptz,
  lease_expires_at timestamptz,
  process_count int not null default 0,
  process_budget int not null default 5,
  timeout_count int not null default 0,
  timeout_budget int not null default 2,
  not_before timestamptz,
  waiting_since timestamptz,
  sweep_at timestamptz,

  foreign key (consent_id, user_id) references public.voice_consents (id, user_id),
  foreign key (consent_id, employee_id) references public.voice_consents (id, subject_id),
  constraint voice_samples_subject check (num_nonnulls(user_id, employee_id) <= 1 and num_nonnulls(reflection_id, employee_id) <= 1),
  constraint voice_samples_prepared check (num_nulls(prepared_path, prepared_bytes) in (0, 2)),
  constraint voice_samples_ready check (status <> 'ready' or num_nulls(measures, prepared_path) = 0),
  constraint voice_samples_failed check (status <> 'failed' or num_nulls(error_code, error_message) = 0),
  constraint voice_samples_removed check ((status = 'removed') = (removed_at is not null)),
  constraint voice_samples_lease check (
    num_nulls(lease_owner, leased_at, lease_expires_at) = case status when 'processing' then 0 else 3 end),
  constraint voice_samples_budgets check (process_count <= process_budget and timeout_count <= timeout_budget),
  constraint voice_samples_upload check (not (is_kept and is_upload))
) with (fillfactor = 85, autovacuum_analyze_threshold = 1000);
comment on column public.voice_samples.employee_id is 'whose recording it is; then it is of no user';
comment on column public.voice_samples.is_kept is
  'its user sent it by itself and keeps it until they delete it, or its retention ends; any other goes with the last attempt that uses it';
comment on column public.voice_samples.is_upload is
  'opened with its attempt, and goes with it where it is not used: the sweep need not look at it';
comment on column public.voice_samples.path is
  'in the bucket voice-samples, like prepared_path: <user or employee>/<folder>/<file>. The folder of an upload is the id of its attempt, of a recording one of its own, otherwise the id of the sample';
comment on column public.voice_samples.file_url is 'of the uploaded file, below the address of the project; its user reads it with their token';
comment on column public.voice_samples.measures is 'what inspection measured; null until the uploaded object was inspected';
comment on column public.voice_samples.content_hash is 'SHA-256 of the file as it was inspected; in the spoken consent of this sample too';
comment on column public.voice_samples.user_id is 'null once the user is deleted, here and in attempts, voices and sessions';
comment on column public.voice_samples.removed_at is 'since then it cannot be used or read; its objects are removed from Storage';
comment on column public.voice_samples.prepared_path is 'the same audio as 24 kHz mono 16-bit WAV: what a provider gets';
comment on column public.voice_samples.timeout_count is 'how many inspections took too long';
comment on column public.voice_samples.waiting_since is 'when the step first met an outage: until the timeout outage its tries do not count';
comment on column public.voice_samples.sweep_at is 'a renewal of the lease does not move it, the sweep does; null where nothing is awaited';
-- No index has a column that changes with each transition of an upload, so that its updates write no index (HOT).
create index voice_samples_user_id_idx on public.voice_samples (user_id, created_at desc, id desc);
create index voice_samples_consent_id_idx on public.voice_samples (consent_id);
create index voice_samples_reflection_id_idx on public.voice_samples (reflection_id);
create index voice_samples_employee_id_idx on public.voice_samples (employee_id) where employee_id is not null;
create index voice_samples_sweep_at_idx on public.voice_samples (sweep_at) where sweep_at is not null;
-- Of what the retention may end.
create index voice_samples_created_at_idx on public.voice_samples (created_at) where removed_at is null;
create index voice_samples_sent_idx on public.voice_samples (user_id, created_at desc) where not is_upload;

alter table public.voice_samples enable row level security;
revoke all on public.voice_samples from public, anon, authenticated, service_role;
grant select on public.voice_samples to service_role;
-- A new column is not shown to its user until it is named here.
grant select (
  id, user_id, consent_id, reflection_id, is_kept, name, path, file_url, content_type, bytes, language, transcript, status,
  measures, prepared_path, prepared_bytes, error_code, error_message, created_at, updated_at, ready_at, failed_at, removed_at
) on public.voice_samples to authenticated;
create policy "People read their own samples" on public.voice_samples
  for select to authenticated using (user_id = (select auth.uid()));

create function voice_clone.require_consent() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.employee_id is null then
    perform voice_clone.check_sample_consent(new.consent_id, new.user_id, new.reflection_id);
  else
    perform voice_clone.check_employee_consent(new.consent_id, new.employee_id);
  end if;
  return new;
end
$$;
create trigger voice_samples_require_consent before insert on public.voice_samples
  for each row execute function voice_clone.require_consent();
create trigger voice_samples_require_consent_again before update of consent_id, user_id, employee_id on public.voice_samples
  for each row when (new.user_id is not null or new.employee_id is not null) execute function voice_clone.require_consent();

-- A sample becomes usable only as the file that its spoken consent was compared with.
create function voice_clone.require_spoken_sample() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if encode(new.content_hash, 'hex') is distinct from coalesce(voice_clone.spoken_sample(new.consent_id), encode(new.content_hash, 'hex')) then
    raise exception 'this is not the sample that the consent was spoken for' using errcode = 'VC003',
      detail = '{"code": "spoken_sample_differs", "field": "consent_id"}', hint = 'Sign another consent for this sample.';
  end if;
  return new;
end
$$;
create trigger voice_samples_require_spoken_sample before update of status on public.voice_samples
  for each row when (new.status = 'ready' and old.status <> 'ready' and new.user_id is not null)
  execute function voice_clone.require_spoken_sample();
