-- Transitions of a sample: what every change of it must fulfil, whichever function makes it, and what follows from a change.

-- When the sweep next looks at a sample; null where nothing is awaited. A kept sample that is ready or failed stays. An upload
-- waits for its attempt's next call, and expires with the attempt.
create function voice_clone.sample_sweep_at(s public.voice_samples) returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return case
    when s.is_upload then null
    when s.status = 'processing' then least(s.lease_expires_at, s.leased_at + voice_clone.timeout('step'))
    when s.status = 'pending' then greatest(now(), s.not_before) + least(
      greatest(voice_clone.timeout('lost_message'), now() - greatest(s.updated_at, s.not_before)),
      voice_clone.timeout('lost_message_cap'))
    when s.status = 'awaiting_upload' or (s.status = 'ready' and not s.is_kept)
    then s.created_at + voice_clone.timeout('upload')
  end;
end
$$;

-- Before a write: the edge exists, the epoch only grows, and a sample stays what was consented to. Whatever ends the step
-- ends its lease, so a worker that is late writes nothing.
create function voice_clone.check_sample_transition() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    perform voice_clone.require_edge('sample', '', new.status, new.id);
    new.sweep_at := voice_clone.sample_sweep_at(new);
    return new;
  end if;
  if new.lease_epoch < old.lease_epoch
    or (new.id, new.consent_id, new.is_kept, new.created_at) is distinct from (old.id, old.consent_id, old.is_kept, old.created_at)
    or new.user_id <> old.user_id or (old.user_id is null and new.user_id is not null) or new.employee_id <> old.employee_id
    or (new.path <> old.path and new.user_id is not null)
    or (old.measures is not null and new.measures is distinct from old.measures)
  then
    raise exception 'sample %: its epoch only grows, and its owner, its file and its measures never change', new.id
      using errcode = 'VC001';
  end if;
  if new.status = old.status and new.lease_epoch = old.lease_epoch then
    return new;
  end if;
  new.updated_at := now();
  if new.status <> old.status then
    perform voice_clone.require_edge('sample', old.status, new.status, new.id);
    new.ready_at := case new.status when 'ready' then now() else new.ready_at end;
    new.failed_at := case new.status when 'failed' then now() else new.failed_at end;
    new.removed_at := case new.status when 'removed' then now() else new.removed_at end;
  end if;
  if new.status <> 'processing' then
    new.lease_owner := null;
    new.leased_at := null;
    new.lease_expires_at := null;
  end if;
  new.sweep_at := voice_clone.sample_sweep_at(new);
  return new;
end
$$;
create trigger voice_samples_check_transition before insert or update on public.voice_samples
  for each row execute function voice_clone.check_sample_transition();

-- After a transition: the message of its edge, and the removal of files that nothing can use any more.
create function voice_clone.follow_sample() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_queue text;
begin
  foreach v_queue in array (voice_clone.require_edge('sample', old.status, new.status, new.id)).follow_ups loop
    perform voice_clone.send_messages(v_queue, array[voice_clone.queue_message(v_queue, new.id, 1, null)],
      greatest(0, ceil(extract(epoch from new.not_before - now())))::int);
  end loop;
  if new.status in ('failed', 'removed') then
    perform voice_clone.request_object_removal('voice-samples', regexp_replace(old.path, '/[^/]*$', ''));
  end if;
  return null;
end
$$;
create trigger voice_samples_follow after update of status on public.voice_samples
  for each row when (old.status <> new.status) execute function voice_clone.follow_sample();
