-- Sweep: the periodic recovery of what is overdue. Safe to run often, and several at once: each row is locked by one sweep,
-- which reads it again under its lock.

-- Whether the mirror of a reflection or an employee shows less than its last active attempt. True as well for a message that is on its way.
create function voice_clone.is_mirror_behind(p_subject uuid) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return exists (
    select from public.reflections r
    cross join lateral (
      select a.version from public.voice_clone_attempts a
      where a.reflection_id = r.id and a.activated_at is not null
      order by a.activated_at desc, a.version desc limit 1
    ) last
    where r.id = p_subject and voice_clone.shown_version(r.voice) < last.version
    union all
    select from public.employees e
    cross join lateral (
      select a.version from public.voice_clone_attempts a
      where a.employee_id = e.id and a.activated_at is not null
      order by a.activated_at desc, a.version desc limit 1
    ) last
    where e.id = p_subject and voice_clone.shown_version(e.voice) < last.version);
end
$$;

-- One attempt that is due, locked by the caller together with its deadline. Returns what was done.
create function voice_clone.sweep_attempt(a public.voice_clone_attempts) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_lease timestamptz := voice_clone.lease_expires_at(a.id);
  v_lost boolean := v_lease <= now();
  v_queue text := voice_clone.awaited_queue(a);
  v_code text := case when v_lost then 'worker_lost' else 'deadline_exceeded' end;
  v_message text := case when v_lost then 'The worker stopped without a result more often than is allowed.'
    else 'The work took longer than is allowed, more often than is allowed.' end;
begin
  if v_lost or a.leased_at + voice_clone.timeout('step') <= now() then
    if a.status = 'processing' then
      a := voice_clone.requeue_or_fail(a.id, v_code, v_message, 0, false);
    else
      a := voice_clone.requeue_or_fail_step(
        a, case a.runtime_status when 'syncing' then 'runtime' else 'preview' end, v_code, v_message, 0, false);
    end if;
    return case when 'failed' in (a.status, a.runtime_status, a.preview_status) then 'failed' else 'requeued' end;
  elsif a.status = 'awaiting_upload' and a.created_at + voice_clone.timeout('upload') <= now() then
    -- Its sample goes with it; where another call has locked that, the next sweep expires the attempt.
    perform from public.voice_samples s where s.id = a.sample_id for no key update skip locked;
    if not found then
      return 'postponed';
    end if;
    update public.voice_clone_attempts x set status = 'expired' where x.id = a.id;
    return 'expired';
  elsif a.status = 'verifying' and a.taken_down_at is null and a.verifying_at + voice_clone.timeout('verification') <= now() then
    perform voice_clone.fail_verification(a, 'verification_timeout',
      'The provider asked for a verification of this voice, and it was not completed in time. '
      'Try again and complete it, or record another sample.');
    return 'failed';
  end if;
  if voice_clone.attempt_sweep_at(a, v_lease) is null then
    if not voice_clone.is_mirror_behind(coalesce(a.reflection_id, a.employee_id)) then
      delete from voice_clone.deadlines d where d.attempt_id = a.id;
      return 'compared';
    end if;
    update voice_clone.deadlines d set sweep_at = now() + least(
      greatest(voice_clone.timeout('lost_message'), now() - a.updated_at), voice_clone.timeout('lost_message_cap'))
    where d.attempt_id = a.id;
    return 'postponed';
  end if;
  update voice_clone.deadlines d set sweep_at = voice_clone.attempt_sweep_at(a, v_lease) where d.attempt_id = a.id;
  if v_queue is null or voice_clone.is_waiting_job(a.id) then -- a lease that was renewed; or its turn has not come
    return 'postponed';
  end if;
  perform pgmq.send(v_queue, voice_clone.queue_message(v_queue, a.id, a.version, a.reflection_id), 0);
  perform voice_clone.notify('voice_clone_wake', v_queue);
  return 'sent';
end
$$;

-- Sweeps attempts with their mirrors, uploads, samples, enrollments, speech jobs, recordings and their clones, files of employees, webhooks, removals, chains of consents, their anchors and challenges, checks of voices,
-- kept manifests and idempotency keys, at most p_limit of each and no more than 500, and creates the event log's next partitions. An error in a row
-- postpones the row, and stops no other. Returns counts by what was done, and no row where nothing was due.
create function voice_clone.sweep(p_limit int) returns table (what text, count int)
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
  v_limit int := least(p_limit, 500); -- the rows stay locked until the transaction ends
  v_done text[] := '{}';
  v_enrollments int := 0;
  v_samples int := 0;
  v_keys int := 0;
  v_manifests int := 0;
  v_slots int := voice_clone.fill_job_slots(); -- first: it may lock all slots
  v_erasures int := 0;
  v_anchors int := 0;
  v_checks int := 0;
  v_what text;
  v_is_behind boolean;
  r record;
begin
  for a in
    select x.* from voice_clone.deadlines d join public.voice_clone_attempts x on x.id = d.attempt_id
    where d.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = d.attempt_id and s.retry_at > now())
    order by d.sweep_at limit v_limit
    for no key update skip locked
  loop
    begin
      v_is_behind := voice_clone.is_mirror_behind(coalesce(a.reflection_id, a.employee_id)); -- before this sweep changes the attempt
      v_what := voice_clone.sweep_attempt(a);
      if v_is_behind then -- whatever became of the message that was sent with the transition
        perform voice_clone.send_messages(
          'voice_mirror', array[voice_clone.queue_message('voice_mirror', coalesce(a.reflection_id, a.employee_id), a.version, null)], 0);
      end if;
      v_done := v_done || v_what || case when v_is_behind then array['mirrors'] else '{}' end;
    exception when others then
      perform voice_clone.postpone_row('attempt', a.id, sqlerrm, sqlstate);
    end;
  end loop;
  begin
    v_samples := voice_clone.sweep_samples(v_limit);
  exception when others then
    raise warning 'samples cannot be swept: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_enrollments := voice_clone.sweep_enrollments(v_limit);
  exception when others then
    raise warning 'enrollments cannot be swept: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_done := v_done || array(select s from voice_clone.sweep_speech_jobs(v_limit) s);
  exception when others then
    raise warning 'speech jobs cannot be swept: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_done := v_done || array(select s from voice_clone.sweep_recordings(v_limit) s);
  exception when others then
    raise warning 'recordings cannot be swept: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_done := v_done || array(select s from voice_clone.sweep_uploads(v_limit) s);
  exception when others then
    raise warning 'uploads cannot be swept: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_done := v_done || array(select s from voice_clone.sweep_recording_clones(v_limit) s);
  exception when others then
    raise warning 'clones of recordings cannot be swept: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_done := v_done || array(select s from voice_clone.sweep_employee_files(v_limit) s);
  exception when others then
    raise warning 'files of employees cannot be swept: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_done := v_done || array(select s from voice_clone.sweep_webhooks(v_limit) s);
  exception when others then
    raise warning 'webhooks cannot be swept: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_erasures := voice_clone.sweep_erasures(v_limit);
  exception when others then
    raise warning 'erasures cannot be confirmed: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  for r in select * from voice_clone.sweep_removals(v_limit) loop
    v_done := v_done || array_fill(r.what, array[r.count]);
  end loop;
  begin
    v_anchors := voice_clone.sweep_consent_anchors(v_limit);
  exception when others then
    raise warning 'consents cannot be anchored: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_checks := voice_clone.sweep_voice_checks(v_limit);
  exception when others then
    raise warning 'voices cannot be checked: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_done := v_done || array_fill('challenges'::text, array[voice_clone.expire_challenges(v_limit)]);
  exception when others then
    raise warning 'challenges of consents cannot be deleted: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_keys := voice_clone.delete_expired_idempotency_keys(v_limit);
  exception when others then
    raise warning 'idempotency keys cannot be deleted: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin
    v_manifests := voice_clone.delete_expired_manifests(v_limit);
  exception when others then
    raise warning 'kept manifests cannot be deleted: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  begin -- last: it locks until the end of the transaction
    perform voice_clone.create_event_partitions(3);
  exception when others then
    raise warning 'event partitions cannot be created: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'errors'::text;
  end;
  delete from voice_clone.sweep_errors s where s.retry_at < now() - interval '1 hour';
  v_done := v_done || array(select 'errors' from voice_clone.sweep_errors s where s.failed_at = now());
  return query
    select d, count(*)::int from unnest(v_done) d group by d
    union all select 'samples', v_samples where v_samples > 0
    union all select 'enrollments', v_enrollments where v_enrollments > 0
    union all select 'job_slots', v_slots where v_slots > 0
    union all select 'erasures', v_erasures where v_erasures > 0
    union all select 'consent_anchors', v_anchors where v_anchors > 0
    union all select 'voice_checks', v_checks where v_checks > 0
    union all select 'kept_manifests', v_manifests where v_manifests > 0
    union all select 'idempotency_keys', v_keys where v_keys > 0;
end
$$;

create function operations.sweep(p_limit int) returns table (what text, count int)
language sql security definer set search_path = ''
as $$ select * from voice_clone.sweep(p_limit) $$;

grant execute on function voice_clone.sweep(int) to voice_clone_backend;
grant execute on function operations.sweep(int) to service_role, voice_clone_backend;
