-- The part of the sweep that recovers speech jobs, and removes speeches whose retention has ended.

-- One job that is due, locked by the caller. Returns what was done.
create function voice_clone.sweep_speech_job(j public.speech_jobs) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_lost boolean := j.lease_expires_at <= now();
begin
  if j.status = 'processing' and not v_lost and j.leased_at + voice_clone.timeout('step') > now() then
    update public.speech_jobs x set sweep_at = null where x.id = j.id; -- a lease that was renewed; the trigger sets the time
    return 'speech_postponed';
  elsif j.status = 'processing' then
    j := voice_clone.requeue_or_fail_speech(
      j, case when v_lost then 'worker_lost' else 'deadline_exceeded' end,
      case when v_lost then 'The worker stopped without a result more often than is allowed.'
        else 'The work took longer than is allowed, more often than is allowed.' end, null, 0, false);
    return case j.status when 'failed' then 'speech_failed' else 'speech_requeued' end;
  elsif j.status = 'queued' then
    update public.speech_jobs x set sweep_at = null where x.id = j.id returning * into j;
    return case when voice_clone.send_speech_job(j) then 'speech_sent' else 'speech_postponed' end;
  end if;
  update public.speech_jobs x set removed_at = now(), text = null, path = null where x.id = j.id;
  perform voice_clone.remove_speech(j.user_id, j.id, j.lease_epoch);
  return 'speech_expired';
end
$$;

-- At most p_limit. A job with an error is postponed, and stops no other.
create function voice_clone.sweep_speech_jobs(p_limit int) returns setof text
language plpgsql security definer set search_path = ''
as $$
declare
  j public.speech_jobs;
  v_what text;
begin
  for j in
    select * from public.speech_jobs x where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.sweep_at limit p_limit for no key update skip locked
  loop
    begin
      v_what := voice_clone.sweep_speech_job(j);
      return next v_what;
    exception when others then
      perform voice_clone.postpone_row('speech job', j.id, sqlerrm, sqlstate);
    end;
  end loop;
end
$$;
