-- Enrollments: one create call at a provider each, committed as an intent before the call.

-- Made of the label, so that the key holds the labels apart and finds them: one index for both.
create function voice_clone.enrollment_id(p_label text) returns uuid
language plpgsql immutable set search_path = ''
as $$
begin
  return encode(substring(sha256(convert_to(p_label, 'utf8')) for 16), 'hex')::uuid;
end
$$;

create table voice_clone.enrollments (
  id uuid primary key generated always as (voice_clone.enrollment_id(label)) stored,
  attempt_id uuid not null references public.voice_clone_attempts (id),
  lease_epoch int not null,
  provider text not null,
  region text not null,
  account text not null default '',
  provider_voice_kind text not null,
  label text not null check (label ~ '^[a-z0-9_]{1,16}$'),
  status text not null default 'intended' check (status in (
    'intended', 'unknown', 'attached', 'closed', 'orphaned', 'removing', 'removed')),
  settles_at timestamptz not null,
  provider_voice_id text,
  target_model text,
  requires_verification boolean,
  request_id text,
  provider_metadata jsonb not null default '{}',
  error_code text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  orphaned_at timestamptz,
  removal_due_at timestamptz,
  sweep_at timestamptz,
  constraint enrollments_provider_metadata check (
    jsonb_typeof(provider_metadata) = 'object' and octet_length(provider_metadata::text) <= 4096),
  constraint enrollments_voice check (
    status not in ('attached', 'orphaned', 'removing', 'removed') or provider_voice_id is not null),
  constraint enrollments_closed check (status <> 'closed' or provider_voice_id is null)
) with (autovacuum_analyze_threshold = 1000);
comment on column voice_clone.enrollments.account is
  'where the create call was made: a name of the operator, or a fingerprint of the key; empty for an imported voice';
comment on column voice_clone.enrollments.lease_epoch is 'of the worker that makes the create call';
comment on column voice_clone.enrollments.provider_metadata is 'usage and diagnostics of the create call; no secret';
comment on column voice_clone.enrollments.settles_at is
  'until then a voice that the provider does not list may still appear; an intent is not closed as absent before';
comment on column voice_clone.enrollments.removal_due_at is
  'of an orphan that is removed without the grace period: its voice was deleted or its consent revoked';
comment on column voice_clone.enrollments.sweep_at is
  'when the sweep next sends this enrollment to cleanup if nothing else happens; null where nothing is to be done';

-- Invariant 5: while the outcome of one create is open, no other create of the attempt can be intended.
create unique index enrollments_open_idx on voice_clone.enrollments (attempt_id) where status in ('intended', 'unknown');
create index enrollments_attempt_id_idx on voice_clone.enrollments (attempt_id, created_at desc);
create index enrollments_orphaned_at_idx on voice_clone.enrollments (orphaned_at) where status in ('orphaned', 'removing');
create index enrollments_sweep_at_idx on voice_clone.enrollments (sweep_at) where sweep_at is not null;
-- The region comes last: a voice's enrollment is also looked up without it.
create unique index enrollments_provider_voice_id_idx
  on voice_clone.enrollments (provider, provider_voice_id, region) where provider_voice_id is not null;

alter table voice_clone.enrollments enable row level security;
revoke all on voice_clone.enrollments from public, anon, authenticated, service_role;

-- Since when cleanup is due: the outcome of a create is final, the grace of an orphan is over, a removal was begun.
create function voice_clone.cleanup_due_at(e voice_clone.enrollments) returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return case
    when e.status in ('intended', 'unknown') then e.settles_at
    when e.status = 'orphaned' then coalesce(e.removal_due_at, e.orphaned_at + voice_clone.timeout('orphan_grace'))
    when e.status = 'removing' then e.updated_at
  end;
end
$$;

create function voice_clone.check_enrollment_transition() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := voice_clone.enrollment_id(new.label); -- the row gets it after this trigger
begin
  if tg_op = 'INSERT' then
    perform voice_clone.require_edge('enrollment', '', new.status, v_id);
    new.sweep_at := voice_clone.cleanup_due_at(new);
    return new;
  end if;
  if old.provider_voice_id is not null and new.provider_voice_id is distinct from old.provider_voice_id then
    raise exception 'enrollment % has the voice % already', v_id, old.provider_voice_id using errcode = 'VC001';
  end if;
  if new.status = old.status and new.settles_at = old.settles_at
    and new.provider_voice_id is not distinct from old.provider_voice_id
  then
    return new; -- bookkeeping: when the sweep looks again, and why the last cleanup failed
  end if;
  new.updated_at := now();
  if new.status <> old.status then
    perform voice_clone.require_edge('enrollment', old.status, new.status, v_id);
    new.orphaned_at := case new.status when 'orphaned' then now() else new.orphaned_at end;
    if new.status = 'orphaned' and voice_clone.is_withdrawn(new.attempt_id) then
      new.removal_due_at := coalesce(new.removal_due_at, now());
    end if;
  end if;
  -- A removal is requested again when its message or its worker must be lost; anything else when it is due.
  new.sweep_at := voice_clone.cleanup_due_at(new) + case
    when new.status = 'removing' or (new.status = 'orphaned' and new.removal_due_at is not null)
    then voice_clone.timeout('lost_message') else interval '0' end;
  return new;
end
$$;
create trigger enrollments_check_transition before insert or update on voice_clone.enrollments
  for each row execute function voice_clone.check_enrollment_transition();

-- A removal without a grace period gets its message at once.
create function voice_clone.request_cleanup() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.send_messages(
    'voice_cleanup', array[voice_clone.queue_message('voice_cleanup', new.id, 1, null)], 0);
  return null;
end
$$;
create trigger enrollments_request_cleanup after update on voice_clone.enrollments
  for each row when (new.status = 'orphaned' and new.removal_due_at is not null and old.removal_due_at is null)
  execute function voice_clone.request_cleanup();
