-- Transitions: the edges of the lifecycle as rows, and what every change of an attempt must fulfil, whichever function
-- makes it. A transition that is not a row here raises VC001.

create table voice_clone.machines (
  name text primary key,
  position int not null unique,
  title text not null
);
comment on table voice_clone.machines is 'the state machines, in the order and with the titles of docs/lifecycle.md';
alter table voice_clone.machines enable row level security;
revoke all on voice_clone.machines from public, anon, authenticated, service_role;

insert into voice_clone.machines (name, position, title) values
  ('status', 1, '`status`, of an attempt'),
  ('runtime', 2, '`runtime_status`, of a ready attempt of a reflection'),
  ('preview', 3, '`preview_status`, of a synced attempt; it begins as `required`, or stays `not_required`'),
  ('enrollment', 4, '`status`, of an enrollment'),
  ('sample', 5, '`status`, of a sample'),
  ('speech', 6, '`status`, of a speech job'),
  ('delivery', 7, '`status`, of a delivery to a webhook');

create table voice_clone.edges (
  machine text not null references voice_clone.machines (name),
  from_status text not null,
  to_status text not null,
  event text not null,
  follow_ups text[] not null default '{}',
  primary key (machine, from_status, to_status)
);
comment on column voice_clone.edges.follow_ups is 'the queues that get a message in the transaction of the transition';
alter table voice_clone.edges enable row level security;
revoke all on voice_clone.edges from public, anon, authenticated, service_role;

insert into voice_clone.edges (machine, from_status, to_status, event, follow_ups) values
  ('status', '', 'awaiting_upload', 'opened', '{}'),
  ('status', 'awaiting_upload', 'queued', 'queued', '{voice_clone_process}'),
  ('status', 'awaiting_upload', 'expired', 'expired', '{}'),
  ('status', 'awaiting_upload', 'cancelled', 'cancelled', '{}'),
  ('status', 'queued', 'processing', 'claimed', '{}'),
  ('status', 'queued', 'cancelled', 'cancelled', '{}'),
  ('status', 'processing', 'queued', 'requeued', '{voice_clone_process}'),
  ('status', 'processing', 'verifying', 'verification_awaited', '{voice_clone_verify}'),
  ('status', 'processing', 'ready', 'enrolled', '{voice_runtime_sync}'),
  ('status', 'processing', 'failed', 'failed', '{}'),
  ('status', 'processing', 'cancelled', 'cancelled', '{}'),
  ('status', 'verifying', 'ready', 'verified', '{voice_runtime_sync}'),
  ('status', 'verifying', 'failed', 'failed', '{}'),
  ('status', 'verifying', 'cancelled', 'cancelled', '{}'),
  ('status', 'ready', 'cancelled', 'cancelled', '{}'),
  ('status', 'ready', 'failed', 'voice_lost', '{}'),
  ('status', 'failed', 'queued', 'retried', '{voice_clone_process}'),
  ('status', 'failed', 'cancelled', 'cancelled', '{}'),
  ('status', 'cancelled', 'ready', 'restored', '{voice_runtime_sync,voice_preview}'),

  ('runtime', 'pending', 'syncing', 'runtime_syncing', '{}'),
  ('runtime', 'syncing', 'synced', 'runtime_synced', '{voice_preview}'),
  ('runtime', 'syncing', 'pending', 'runtime_requeued', '{voice_runtime_sync}'),
  ('runtime', 'syncing', 'failed', 'runtime_failed', '{}'),
  ('runtime', 'failed', 'pending', 'runtime_retried', '{voice_runtime_sync}'),
  ('runtime', 'synced', 'pending', 'runtime_lost', '{}'),

  ('preview', 'required', 'rendering', 'preview_rendering', '{}'),
  ('preview', 'rendering', 'rendered', 'preview_rendered', '{}'),
  ('preview', 'rendering', 'required', 'preview_requeued', '{voice_preview}'),
  ('preview', 'rendering', 'failed', 'preview_failed', '{}'),
  ('preview', 'rendered', 'completed', 'preview_completed', '{}'),
  ('preview', 'rendered', 'required', 'preview_requested', '{voice_preview}'),
  ('preview', 'failed', 'required', 'preview_requested', '{voice_preview}'),
  ('preview', 'completed', 'required', 'preview_lost', '{}'),

  ('enrollment', '', 'intended', 'intended', '{}'),
  ('enrollment', 'intended', 'unknown', 'unknown', '{}'),
  ('enrollment', 'intended', 'attached', 'attached', '{}'),
  ('enrollment', 'intended', 'closed', 'closed', '{}'),
  ('enrollment', 'intended', 'orphaned', 'orphaned', '{}'),
  ('enrollment', 'unknown', 'attached', 'attached', '{}'),
  ('enrollment', 'unknown', 'closed', 'closed', '{}'),
  ('enrollment', 'unknown', 'orphaned', 'orphaned', '{}'),
  ('enrollment', 'closed', 'orphaned', 'orphaned', '{}'),
  ('enrollment', 'attached', 'orphaned', 'orphaned', '{}'),
  ('enrollment', 'attached', 'removed', 'lost', '{}'),
  ('enrollment', 'orphaned', 'removing', 'removing', '{}'),
  ('enrollment', 'removing', 'removed', 'removed', '{}'),
  ('enrollment', 'removed', 'orphaned', 'returned', '{}'),
  ('sample', '', 'awaiting_upload', 'opened', '{}'),
  ('sample', 'awaiting_upload', 'pending', 'received', '{voice_samples}'),
  ('sample', 'awaiting_upload', 'processing', 'claimed', '{}'),
  ('sample', 'awaiting_upload', 'removed', 'removed', '{}'),
  ('sample', 'pending', 'processing', 'claimed', '{}'),
  ('sample', 'pending', 'removed', 'removed', '{}'),
  ('sample', 'processing', 'ready', 'prepared', '{}'),
  ('sample', 'processing', 'pending', 'requeued', '{voice_samples}'),
  ('sample', 'processing', 'awaiting_upload', 'returned', '{}'),
  ('sample', 'processing', 'failed', 'failed', '{}'),
  ('sample', 'processing', 'removed', 'removed', '{}'),
  ('sample', 'ready', 'removed', 'removed', '{}'),
  ('sample', 'failed', 'removed', 'removed', '{}'),

  ('speech', '', 'queued', 'requested', '{speech_jobs}'),
  ('speech', 'queued', 'processing', 'claimed', '{}'),
  ('speech', 'queued', 'failed', 'failed', '{}'),
  ('speech', 'processing', 'queued', 'requeued', '{speech_jobs}'),
  ('speech', 'processing', 'succeeded', 'spoken', '{}'),
  ('speech', 'processing', 'failed', 'failed', '{}'),
  ('speech', 'failed', 'queued', 'retried', '{speech_jobs}'),

  ('delivery', '', 'pending', 'queued', '{webhooks}'),
  ('delivery', 'pending', 'delivered', 'delivered', '{}'),
  ('delivery', 'pending', 'failed', 'failed', '{}'),
  ('delivery', 'delivered', 'pending', 'replayed', '{webhooks}'),
  ('delivery', 'failed', 'pending', 'replayed', '{webhooks}');

-- The edge of a transition, or VC001.
create function voice_clone.require_edge(p_machine text, p_from text, p_to text, p_subject uuid) returns voice_clone.edges
language plpgsql stable set search_path = ''
as $$
declare
  v_edge voice_clone.edges;
begin
  select * into v_edge
  from voice_clone.edges e where e.machine = p_machine and e.from_status = p_from and e.to_status = p_to;
  if not found then
    raise exception '% % cannot go from % to %', p_machine, p_subject, coalesce(nullif(p_from, ''), 'nothing'), p_to
      using errcode = 'VC001',
            detail = jsonb_build_object('from', p_from, 'to', p_to)::text;
  end if;
  return v_edge;
end
$$;

-- The queue whose message moves this attempt on; null where a worker has it, its user must act, or it is final.
-- Only what a reflection or an employee speaks with needs the runtime and a preview; a library voice is ready when enrolled.
create function voice_clone.awaited_queue(a public.voice_clone_attempts) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return case
    when a.lease_owner is not null or not a.is_active or a.taken_down_at is not null then null
    when a.status = 'queued' then 'voice_clone_process'
    when a.status = 'verifying' then 'voice_clone_verify'
    when a.status <> 'ready' or num_nonnulls(a.reflection_id, a.employee_id) = 0 then null
    when a.runtime_status = 'pending' then 'voice_runtime_sync'
    when a.runtime_status = 'synced' and a.preview_status = 'required' then 'voice_preview'
  end;
end
$$;

-- A wait that is too long for the queue: the sweep sends the message when it is due.
create function voice_clone.is_long_wait(p_not_before timestamptz) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return p_not_before is not null and p_not_before - now() > voice_clone.timeout('queue_hold');
end
$$;

-- Not a transition: the count of verification polls, or no change at all.
create function voice_clone.is_bookkeeping(p_old public.voice_clone_attempts, p_new public.voice_clone_attempts) returns boolean
language plpgsql stable set search_path = ''
as $$
declare
  v_same public.voice_clone_attempts := p_new;
begin
  if p_new.verify_count = p_old.verify_count + 1 then
    v_same.verify_count := p_old.verify_count;
    v_same.not_before := p_old.not_before;
  end if;
  return v_same *= p_old;
end
$$;

-- An epoch only grows, and an attempt never changes its owner or its voice; it loses its owner when the user is deleted. A voice whose speaker was not verified,
-- or that its provider does not have any more, is no longer the attempt's, so that a retry may make another.
create function voice_clone.check_immutable_columns(p_old public.voice_clone_attempts, p_new public.voice_clone_attempts) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if p_new.lease_epoch < p_old.lease_epoch
    or (p_new.id, p_new.voice_id, p_new.source, p_new.created_at)
      is distinct from (p_old.id, p_old.voice_id, p_old.source, p_old.created_at)
    or p_new.user_id <> p_old.user_id or (p_old.user_id is null and p_new.user_id is not null)
    or (p_old.provider_voice_id is not null and p_new.provider_voice_id is distinct from p_old.provider_voice_id
      and not (p_old.status in ('verifying', 'ready') and p_new.status = 'failed' and p_new.provider_voice_id is null))
    or p_new.reflection_id <> p_old.reflection_id or p_new.employee_id <> p_old.employee_id
    or p_new.org_id is distinct from p_old.org_id
  then
    raise exception 'attempt %: its epoch only grows, and its owner and its voice never change', p_new.id
      using errcode = 'VC001';
  end if;
end
$$;

-- Before a write: the edge exists, the version grows by the rules of the mirror, the timestamps of the states are set.
create function voice_clone.check_attempt_transition() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_last record;
begin
  if tg_op = 'INSERT' then
    perform voice_clone.require_edge('status', '', new.status, new.id);
    new.updated_at := now();
    return new;
  end if;
  perform voice_clone.check_immutable_columns(old, new);
  if new.status <> old.status then
    perform voice_clone.require_edge('status', old.status, new.status, new.id);
    new.queued_at := case new.status when 'queued' then now() else new.queued_at end;
    new.processing_at := case new.status when 'processing' then now() else new.processing_at end;
    new.verifying_at := case new.status when 'verifying' then now() else new.verifying_at end;
    new.verify_count := case new.status when 'verifying' then 0 else new.verify_count end;
    new.ready_at := case new.status when 'ready' then now() else new.ready_at end;
    new.failed_at := case new.status when 'failed' then now() else new.failed_at end;
    new.expired_at := case new.status when 'expired' then now() else new.expired_at end;
    new.cancelled_at := case new.status when 'cancelled' then now() else new.cancelled_at end;
  end if;
  if new.runtime_status <> old.runtime_status then
    perform voice_clone.require_edge('runtime', old.runtime_status, new.runtime_status, new.id);
    new.synced_at := case new.runtime_status when 'synced' then now() else new.synced_at end;
  end if;
  if new.preview_status <> old.preview_status then
    perform voice_clone.require_edge('preview', old.preview_status, new.preview_status, new.id);
    new.previewed_at := case new.preview_status when 'completed' then now() else new.previewed_at end;
  end if;
  if new.lease_owner is null then
    new.leased_at := null;
  elsif new.lease_epoch > old.lease_epoch then
    new.leased_at := now();
  end if;
  if not voice_clone.is_bookkeeping(old, new) then
    new.updated_at := now();
    new.version := old.version + 1;
    if new.is_active and not old.is_active then
      -- The mirror never goes back: a newer attempt is after the last one, whatever the clocks say, and starts above every
      -- version the reflection has shown, also before its table was adopted.
      select a.version, a.activated_at into v_last from public.voice_clone_attempts a
      where (a.reflection_id = new.reflection_id or a.employee_id = new.employee_id) and a.activated_at is not null
      order by a.activated_at desc, a.version desc limit 1;
      new.activated_at := greatest(now(), v_last.activated_at + interval '1 microsecond');
      new.version := 1 + greatest(old.version, v_last.version, (
        select voice_clone.shown_version(r.voice) from public.reflections r where r.id = new.reflection_id), (
        select voice_clone.shown_version(e.voice) from public.employees e where e.id = new.employee_id));
    end if;
  end if;
  return new;
end
$$;
create trigger voice_clone_attempts_check_transition before insert or update on public.voice_clone_attempts
  for each row execute function voice_clone.check_attempt_transition();
