-- Recovering, anew: a message that the sweep sends wakes the consumers of its queue alone, like any other.

-- One attempt whose time has come, locked by the caller: what was done.
create or replace function voice_clone.recover_attempt(a public.attempts) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_lost boolean := a.lease_expires_at <= now();
  v_queue text := voice_clone.awaited_queue(a);
  v_code text := case when v_lost then 'worker_lost' else 'deadline_exceeded' end;
  v_message text := case when v_lost then 'The work stopped midway more often than is allowed.'
    else 'The work took longer than is allowed, more often than is allowed.' end;
begin
  if v_lost or a.leased_at + voice_clone.time_of('step') <= now() then
    if a.status = 'processing' then
      a := voice_clone.give_back(a, v_code, v_message, 0);
    else
      a := voice_clone.give_back_step(
        a, case a.runtime_status when 'syncing' then 'runtime' else 'preview' end, v_code, v_message, 0);
    end if;
    return case when 'failed' in (a.status, a.runtime_status, a.preview_status) then 'failed' else 'given_back' end;
  elsif a.status = 'awaiting_upload' and a.created_at + voice_clone.time_of('upload') <= now() then
    update public.attempts x set status = 'expired' where x.id = a.id;
    return 'expired';
  elsif a.status = 'verifying' and a.verifying_at + voice_clone.time_of('verification') <= now() then
    perform voice_clone.fail_verification(a, 'verification_timeout',
      'The provider asked for a verification of this voice, and nobody completed it in time. '
      'Try again and complete it, or record another sample.');
    return 'failed';
  end if;
  update public.attempts x set sweep_at = now() where x.id = a.id; -- the guard sets the next time
  if v_queue is null then
    return 'postponed';
  end if;
  perform pgmq.send(v_queue, voice_clone.message('swept', a.id, a.version), 0);
  perform pg_notify('voice_clone_wake', v_queue);
  return 'sent';
end
$$;
