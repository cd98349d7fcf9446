-- Deadlines: when the sweep next looks at an attempt, and when its lease ends. They are apart from the attempts because they
-- change often, change nothing else and are in no event: a renewal writes one short row and no index (HOT).

-- One row for each attempt that something is awaited of, and for each whose mirror the sweep has not compared yet. Without a foreign
-- key, which would lock the attempt's row for each: only a trigger of the attempts writes here, and no attempt is deleted.
create table voice_clone.deadlines (
  attempt_id uuid primary key,
  sweep_at timestamptz not null,
  lease_epoch int,
  lease_expires_at timestamptz,
  constraint deadlines_lease check ((lease_epoch is null) = (lease_expires_at is null))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
comment on column voice_clone.deadlines.sweep_at is
  'not after the end of a lease as it was taken; a renewal does not move it, the sweep does';
create index deadlines_sweep_at_idx on voice_clone.deadlines (sweep_at);
alter table voice_clone.deadlines enable row level security;
revoke all on voice_clone.deadlines from public, anon, authenticated, service_role;

-- When the sweep next looks at an attempt, or null: a pure function of the row, the end of its lease, now and the timeouts.
create function voice_clone.attempt_sweep_at(a public.voice_clone_attempts, p_lease_expires_at timestamptz)
returns timestamptz
language plpgsql stable set search_path = ''
as $$
declare
  v_at timestamptz;
begin
  if p_lease_expires_at is not null then
    return least(p_lease_expires_at, a.leased_at + voice_clone.timeout('step'));
  elsif a.status = 'awaiting_upload' then
    return a.created_at + voice_clone.timeout('upload');
  elsif voice_clone.awaited_queue(a) is null then
    return null;
  elsif voice_clone.is_long_wait(a.not_before) then
    v_at := a.not_before;
  else
    -- The wait doubles, so that a long backlog does not grow by messages that were not lost.
    v_at := greatest(now(), a.not_before) + least(
      greatest(voice_clone.timeout('lost_message'), now() - greatest(a.updated_at, a.not_before)),
      voice_clone.timeout('lost_message_cap'));
  end if;
  return case a.status
    when 'verifying' then least(v_at, a.verifying_at + voice_clone.timeout('verification'))
    else v_at
  end;
end
$$;

-- When the lease of an attempt ends; null where it has none.
create function voice_clone.lease_expires_at(p_attempt uuid) returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return (select d.lease_expires_at from voice_clone.deadlines d where d.attempt_id = p_attempt);
end
$$;

-- After a write, in its transaction. A lease that is kept keeps its deadline.
create function voice_clone.set_deadline() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_lease timestamptz := new.leased_at + make_interval(secs => new.lease_seconds);
  v_epoch int := case when v_lease is not null then new.lease_epoch end;
  v_sweep_at timestamptz;
  v_compare_at timestamptz;
begin
  if tg_op = 'UPDATE' and new.lease_owner is not null and old.lease_owner is not null
    and new.lease_epoch = old.lease_epoch
  then
    return null;
  end if;
  v_sweep_at := voice_clone.attempt_sweep_at(new, v_lease);
  if v_sweep_at is null and num_nonnulls(new.reflection_id, new.employee_id) > 0 and new.activated_at is not null then
    -- Nothing is awaited but the mirror: the sweep compares it once, mostly when the last lease would have ended.
    v_compare_at := now() + voice_clone.timeout('lost_message');
    update voice_clone.deadlines d
    set lease_epoch = null, lease_expires_at = null, sweep_at = least(d.sweep_at, v_compare_at)
    where d.attempt_id = new.id;
    if not found then
      insert into voice_clone.deadlines (attempt_id, sweep_at) values (new.id, v_compare_at);
    end if;
    return null;
  elsif v_sweep_at is null then
    delete from voice_clone.deadlines d where d.attempt_id = new.id;
    return null;
  end if;
  if tg_op = 'UPDATE' then
    update voice_clone.deadlines d set sweep_at = v_sweep_at, lease_epoch = v_epoch, lease_expires_at = v_lease
    where d.attempt_id = new.id;
  end if;
  if tg_op = 'INSERT' or not found then
    insert into voice_clone.deadlines (attempt_id, sweep_at, lease_epoch, lease_expires_at)
    values (new.id, v_sweep_at, v_epoch, v_lease);
  end if;
  return null;
end
$$;
create trigger voice_clone_attempts_set_deadline after insert or update on public.voice_clone_attempts
  for each row execute function voice_clone.set_deadline();
