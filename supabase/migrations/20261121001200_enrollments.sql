-- Enrollments: one create call at a provider each, committed as an intent before the call.

create table voice_clone.enrollments (
  id uuid primary key default gen_random_uuid(),
  attempt_id uuid not null references public.attempts (id),
  lease_epoch int not null,
  provider text not null,
  region text not null,
  label text not null unique check (label ~ '^[a-z0-9_]{1,16}$'),
  status text not null default 'intended' check (status in (
    'intended', 'unknown', 'attached', 'closed', 'orphaned', 'removed')),
  settles_at timestamptz not null,
  provider_voice_id text,
  target_model text,
  requires_verification boolean,
  request_id text,
  error_code text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint enrollments_voice check (status not in ('attached', 'orphaned', 'removed') or provider_voice_id is not null)
);
comment on column voice_clone.enrollments.settles_at is
  'until then a voice that the provider does not list may still appear; an intent is not closed as absent before';

-- Invariant 5: while the outcome of one create is open, no other create of the attempt can be intended.
create unique index enrollments_open_idx on voice_clone.enrollments (attempt_id) where status in ('intended', 'unknown');
create index enrollments_attempt_id_idx on voice_clone.enrollments (attempt_id, created_at desc);
create index enrollments_orphaned_idx on voice_clone.enrollments (updated_at) where status = 'orphaned';
create unique index enrollments_provider_voice_id_idx on voice_clone.enrollments (provider, region, provider_voice_id);

alter table voice_clone.enrollments enable row level security;
revoke all on voice_clone.enrollments from public, anon, authenticated, service_role;

create function voice_clone.guard_enrollment() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_edge voice_clone.edges;
begin
  if tg_op = 'INSERT' then
    perform voice_clone.edge('enrollment', '', new.status, new.id);
    return new;
  end if;
  new.updated_at := now();
  if new.status <> old.status then
    v_edge := voice_clone.edge('enrollment', old.status, new.status, new.id);
    if cardinality(v_edge.follow_ups) > 0 then
      perform pgmq.send(v_edge.follow_ups[1], voice_clone.message(v_edge.event, new.id, 1), 0);
      perform pg_notify('voice_clone_wake', '');
    end if;
  end if;
  if old.provider_voice_id is not null and new.provider_voice_id is distinct from old.provider_voice_id then
    raise exception 'enrollment % made the voice %, and no other', new.id, old.provider_voice_id using errcode = 'VC001';
  end if;
  return new;
end
$$;
create trigger enrollments_guard before insert or update on voice_clone.enrollments
  for each row execute function voice_clone.guard_enrollment();

-- Provider voices that no voice row owns, for operators.
create function operations.orphans()
returns table (enrollment_id uuid, attempt_id uuid, provider text, region text, provider_voice_id text, label text, orphaned_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  select e.id, e.attempt_id, e.provider, e.region, e.provider_voice_id, e.label, e.updated_at
  from voice_clone.enrollments e where e.status = 'orphaned' order by e.updated_at
$$;
grant execute on function operations.orphans() to service_role;
