-- Sweep: when the sweep next looks at an attempt if nothing else happens; null where nothing is awaited.

set local lock_timeout = '5s';

alter table public.attempts
  add column sweep_at timestamptz,
  add column leased_at timestamptz,
  add column verify_count int not null default 0;
comment on column public.attempts.leased_at is 'when the step under the lease began; a renewal does not change it';
comment on column public.attempts.verify_count is 'how often the provider said that the speaker is not verified yet';

-- The one index of the sweep. What the two others were for is found by it.
create index attempts_sweep_at_idx on public.attempts (sweep_at) where sweep_at is not null;
drop index public.attempts_lease_expires_at_idx;
drop index public.attempts_not_before_idx;

-- The queue whose message moves this attempt on; null where a worker has it, the owner is awaited, or it is over.
-- Only what a reflection speaks with needs the runtime and a preview; a library voice is ready when enrolled.
create function voice_clone.awaited_queue(a public.attempts) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return case
    when a.lease_owner is not null or not a.is_active then null
    when a.status = 'queued' then 'voice_clone_process'
    when a.status = 'verifying' then 'voice_clone_verify'
    when a.status <> 'ready' or a.reflection_id is null then null
    when a.runtime_status = 'pending' then 'voice_runtime_sync'
    when a.runtime_status = 'synced' and a.preview_status = 'required' then 'voice_preview'
  end;
end
$$;

-- A wait of which the queue holds no message: the sweep sends it when it is due.
create function voice_clone.is_long_wait(p_not_before timestamptz) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return p_not_before is not null and p_not_before - now() > voice_clone.time_of('queue_hold');
end
$$;

-- A pure function of the row, of now, and of the times.
create function voice_clone.sweep_time(a public.attempts) returns timestamptz
language plpgsql stable set search_path = ''
as $$
declare
  v_at timestamptz;
begin
  if a.lease_expires_at is not null then
    return least(a.lease_expires_at, a.leased_at + voice_clone.time_of('step'));
  elsif a.status = 'awaiting_upload' then
    return a.created_at + voice_clone.time_of('upload');
  elsif voice_clone.awaited_queue(a) is null then
    return null;
  elsif voice_clone.is_long_wait(a.not_before) then
    v_at := a.not_before;
  else
    -- Twice as long each time, so that a long backlog is not made longer by messages that were not lost.
    v_at := greatest(now(), a.not_before) + least(
      greatest(voice_clone.time_of('lost_message'), now() - greatest(a.updated_at, a.not_before)),
      voice_clone.time_of('lost_message_cap'));
  end if;
  return case a.status
    when 'verifying' then least(v_at, a.verifying_at + voice_clone.time_of('verification'))
    else v_at
  end;
end
$$;

-- No transition: a renewed lease, or no more than the sweep's own bookkeeping and the count of verification polls.
create function voice_clone.is_bookkeeping(p_old public.attempts, p_new public.attempts) returns boolean
language plpgsql stable set search_path = ''
as $$
declare
  v_same public.attempts := p_new;
begin
  v_same.sweep_at := p_old.sweep_at;
  v_same.lease_expires_at := p_old.lease_expires_at;
  if p_new.verify_count = p_old.verify_count + 1 then
    v_same.verify_count := p_old.verify_count;
    v_same.not_before := p_old.not_before;
  end if;
  return (v_same *= p_old) and coalesce(p_new.lease_expires_at >= p_old.lease_expires_at, true);
end
$$;
