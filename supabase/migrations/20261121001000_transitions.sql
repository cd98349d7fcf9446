-- Transitions: what every change of an attempt is held to, whichever function makes it.
--
-- before  the edge exists, the version grows by the rules of the mirror, the epoch never shrinks
-- after   one event is appended, the follow-ups of the edges are sent, consumers are woken

create table voice_clone.events (
  id bigint generated always as identity primary key,
  attempt_id uuid not null references public.attempts (id),
  version bigint not null,
  events text[] not null,
  changes jsonb not null,
  recorded_at timestamptz not null default clock_timestamp()
);
comment on column voice_clone.events.events is 'the names of the edges taken; lease_renewed or updated where none was';
comment on column voice_clone.events.changes is 'the columns that changed, with their new values: replaying them rebuilds the row';
create index events_attempt_id_idx on voice_clone.events (attempt_id, id);
create unique index events_version_idx on voice_clone.events (attempt_id, version)
  where events <> '{lease_renewed}';
alter table voice_clone.events enable row level security;
revoke all on voice_clone.events from public, anon, authenticated, service_role;
create trigger events_append_only before update or delete or truncate on voice_clone.events
  for each statement execute function voice_clone.refuse_change();

create function voice_clone.guard_attempt() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    perform voice_clone.edge('status', '', new.status, new.id);
    return new;
  end if;
  if new.status <> old.status then
    perform voice_clone.edge('status', old.status, new.status, new.id);
    new.queued_at := case new.status when 'queued' then now() else new.queued_at end;
    new.processing_at := case new.status when 'processing' then now() else new.processing_at end;
    new.verifying_at := case new.status when 'verifying' then now() else new.verifying_at end;
    new.ready_at := case new.status when 'ready' then now() else new.ready_at end;
    new.failed_at := case new.status when 'failed' then now() else new.failed_at end;
    new.expired_at := case new.status when 'expired' then now() else new.expired_at end;
    new.cancelled_at := case new.status when 'cancelled' then now() else new.cancelled_at end;
  end if;
  if new.runtime_status <> old.runtime_status then
    perform voice_clone.edge('runtime', old.runtime_status, new.runtime_status, new.id);
    new.synced_at := case new.runtime_status when 'synced' then now() else new.synced_at end;
  end if;
  if new.preview_status <> old.preview_status then
    perform voice_clone.edge('preview', old.preview_status, new.preview_status, new.id);
    new.previewed_at := case new.preview_status when 'completed' then now() else new.previewed_at end;
  end if;
  if new.lease_epoch < old.lease_epoch
    or (new.id, new.user_id, new.voice_id, new.source, new.created_at)
      is distinct from (old.id, old.user_id, old.voice_id, old.source, old.created_at)
    or (old.provider_voice_id is not null and new.provider_voice_id is distinct from old.provider_voice_id)
    or new.reflection_id <> old.reflection_id
  then
    raise exception 'attempt %: an epoch only grows, and who it is for and what it made never change', new.id
      using errcode = 'VC001';
  end if;
  if voice_clone.is_renewal(old, new) then
    return new;
  end if;
  new.updated_at := now();
  new.version := old.version + 1;
  if new.is_active and not old.is_active then
    new.activated_at := now();
    -- The mirror never goes back: a newer attempt starts above every version the reflection has shown.
    new.version := 1 + greatest(old.version, (
      select max(a.version) from public.attempts a
      where a.reflection_id = new.reflection_id and a.activated_at is not null));
  end if;
  return new;
end
$$;

-- Renewing a lease is no transition: only its expiry moved.
create function voice_clone.is_renewal(p_old public.attempts, p_new public.attempts) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  return p_new.lease_expires_at > p_old.lease_expires_at and p_new.lease_epoch = p_old.lease_epoch
    and (p_new.status, p_new.runtime_status, p_new.preview_status, p_new.is_active)
      = (p_old.status, p_old.runtime_status, p_old.preview_status, p_old.is_active);
end
$$;

create trigger attempts_guard before insert or update on public.attempts
  for each row execute function voice_clone.guard_attempt();
