-- Attempts: one row for each try at a clone; the lifecycle authority.

-- The columns that a transition changes come last and beside each other, because Postgres logs of an update what lies
-- between the first and the last byte that changed. Here and in the other tables that grow with each attempt, statistics are
-- collected again after 1,000 changes and not after 50: in a young table that is a good part of what an attempt writes.
create table public.voice_clone_attempts (
  id uuid primary key,
  user_id uuid references auth.users (id),
  reflection_id uuid references public.reflections (id) on delete set null,
  employee_id uuid references public.employees (id) on delete set null,
  org_id uuid,
  sample_id uuid references public.voice_samples (id),
  voice_id uuid not null default gen_random_uuid() unique,
  created_at timestamptz not null default now(),
  process_budget int not null default 5,
  sync_budget int not null default 5,
  preview_budget int not null default 5,
  user_retry_budget int not null default 5,
  source text not null check (source in ('sample', 'recording', 'custom_voice', 'legacy_outbox', 'operator_move')),
  provider text not null,
  region text not null default '',
  name text check (length(name) between 1 and 120),
  language text check (language ~ '^[a-z]{2}$'),
  provider_voice_id text,
  account text,
  moved_from uuid,
  target_model text,
  request_id text,
  preview_path text,

  status text not null default 'awaiting_upload' check (status in (
    'awaiting_upload', 'queued', 'processing', 'verifying', 'ready', 'failed', 'expired', 'cancelled')),
  runtime_status text not null default 'pending' check (runtime_status in ('pending', 'syncing', 'synced', 'failed')),
  preview_status text not null check (preview_status in (
    'not_required', 'required', 'rendering', 'rendered', 'completed', 'failed')),
  is_active boolean not null default false,
  version bigint not null default 1,

  lease_epoch int not null default 0,
  lease_owner text,
  lease_seconds int,
  leased_at timestamptz,
  not_before timestamptz,
  waiting_since timestamptz,

  process_count int not null default 0,
  verify_count int not null default 0,
  sync_count int not null default 0,
  preview_count int not null default 0,
  user_retry_count int not null default 0,

  error_code text,
  error_message text,
  cancel_reason text,

  updated_at timestamptz not null default now(),
  activated_at timestamptz,
  queued_at timestamptz,
  processing_at timestamptz,
  verifying_at timestamptz,
  ready_at timestamptz,
  failed_at timestamptz,
  expired_at timestamptz,
  cancelled_at timestamptz,
  synced_at timestamptz,
  previewed_at timestamptz,
  taken_down_at timestamptz,

  constraint voice_clone_attempts_active_status check (
    not is_active or status in ('queued', 'processing', 'verifying', 'ready', 'failed')),
  constraint voice_clone_attempts_owner check (
    user_id is not null or num_nulls(employee_id, org_id) = 0 or (not is_active and status in ('expired', 'cancelled'))),
  constraint voice_clone_attempts_subject check (
    num_nonnulls(reflection_id, employee_id) <= 1 and num_nonnulls(user_id, org_id) <= 1),
  constraint voice_clone_attempts_lease check ((lease_owner is null) = (lease_seconds is null)),
  constraint voice_clone_attempts_processing_lease check (status <> 'processing' or lease_owner is not null),
  constraint voice_clone_attempts_budgets check (
    process_count <= process_budget and sync_count <= sync_budget
    and preview_count <= preview_budget and user_retry_count <= user_retry_budget),
  constraint voice_clone_attempts_ready check (status <> 'ready' or (provider_voice_id is not null and target_model is not null)),
  constraint voice_clone_attempts_failed check (status <> 'failed' or (error_code is not null and error_message is not null)),
  constraint voice_clone_attempts_sample check (source not in ('sample', 'recording', 'operator_move') or sample_id is not null)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05,
  autovacuum_analyze_threshold = 1000);
comment on column public.voice_clone_attempts.employee_id is 'whose voice it is; then it is of the organization org_id, and of no user';
comment on column public.voice_clone_attempts.org_id is 'without a reference: the record stays';
comment on column public.voice_clone_attempts.lease_seconds is
  'for how long the lease was taken; voice_clone.deadlines has when it ends, which a renewal moves';
comment on column public.voice_clone_attempts.leased_at is 'when the step under the lease began; a renewal does not change it';
comment on column public.voice_clone_attempts.account is
  'at the provider, where provider_voice_id is: a name of the operator, or a fingerprint of the key; empty where it is not known';
comment on column public.voice_clone_attempts.moved_from is 'the voice whose sample this attempt clones at another provider (moving.sql)';
comment on column public.voice_clone_attempts.waiting_since is
  'when the present step first met an outage: until the timeout outage its tries do not count';
comment on column public.voice_clone_attempts.taken_down_at is
  'since then it is frozen after a notice: no gate, no speech, no preview, whatever its status (takedowns.sql)';
comment on column public.voice_clone_attempts.verify_count is 'how many polls found that the speaker is not verified yet';

create unique index voice_clone_attempts_active_reflection_idx on public.voice_clone_attempts (reflection_id) where is_active;
create unique index voice_clone_attempts_active_employee_idx on public.voice_clone_attempts (employee_id)
  where is_active and employee_id is not null;
create index voice_clone_attempts_employee_id_idx on public.voice_clone_attempts (employee_id, created_at desc, id desc) where employee_id is not null;
create index voice_clone_attempts_org_id_idx on public.voice_clone_attempts (org_id, created_at desc) where org_id is not null;
create index voice_clone_attempts_user_id_idx on public.voice_clone_attempts (user_id, created_at desc);
create index voice_clone_attempts_reflection_id_idx on public.voice_clone_attempts (reflection_id, created_at desc, id desc);
create index voice_clone_attempts_sample_id_idx on public.voice_clone_attempts (sample_id);
-- No index has a column that changes with each transition, so that most updates of an attempt write no index (HOT).
create index voice_clone_attempts_activated_at_idx on public.voice_clone_attempts (reflection_id, activated_at desc) where activated_at is not null;

alter table public.voice_clone_attempts enable row level security;
revoke all on public.voice_clone_attempts from public, anon, authenticated, service_role;
grant select on public.voice_clone_attempts to service_role;

-- The columns that an owner reads: neither the lease, nor the counts and budgets of the workers. A new column is not among
-- them until it is named here.
create function voice_clone.client_columns() returns text[]
language sql immutable set search_path = ''
as $$
  select '{id, user_id, reflection_id, employee_id, org_id, sample_id, voice_id, created_at, source, provider, region, name, language, provider_voice_id,
    moved_from, target_model, request_id, preview_path, status, runtime_status, preview_status, is_active, version, not_before,
    user_retry_count, user_retry_budget, error_code, error_message, cancel_reason, updated_at, activated_at, queued_at,
    processing_at, verifying_at, ready_at, failed_at, expired_at, cancelled_at, synced_at, previewed_at, taken_down_at}'::text[]
$$;
do $$
begin
  execute format('grant select (%s) on public.voice_clone_attempts to authenticated',
    array_to_string(voice_clone.client_columns(), ', '));
end
$$;
create policy "Owners read their attempts, and members those of their employees" on public.voice_clone_attempts
  for select to authenticated
  using (user_id = (select auth.uid()) or org_id = any (array(select voice_clone.member_organizations())));
