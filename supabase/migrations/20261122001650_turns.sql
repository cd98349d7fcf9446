-- Turns: a user has so many attempts in processing at once. One over the cap is not claimed, and its message is done: it waits
-- without a cost. Whenever a place may be free, the user's oldest attempt that waits gets a message; where one is lost, the
-- sweep sends another. So the queue never holds many messages of one user that cannot start.

-- Sends a message to the oldest attempt that this user may process now, other than p_except. It may have one already, or be
-- claimed by then: then the message changes nothing.
create function voice_clone.send_next_turn(p_user uuid, p_except uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  select * into a from public.voice_clone_attempts x
  where x.user_id = p_user and x.is_enrolling and x.status = 'queued' and x.is_active and x.id <> p_except
    and (x.not_before is null or x.not_before <= now())
  order by x.queued_at, x.id limit 1;
  if found then
    perform pgmq.send('voice_clone_process', voice_clone.queue_message('voice_clone_process', a.id, a.version, a.reflection_id), 0);
    perform voice_clone.notify('voice_clone_wake', 'voice_clone_process');
  end if;
end
$$;

-- A place is free; or the attempt that got the message for it is cancelled. No lock: an attempt that was refused meanwhile is
-- still queued, so it is found here.
create function voice_clone.pass_turn() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.send_next_turn(new.user_id, new.id);
  return null;
end
$$;
create trigger voice_clone_attempts_pass_turn after update on public.voice_clone_attempts
  for each row when (
    (old.status = 'processing' and new.status <> 'processing') or (old.status = 'queued' and new.status = 'cancelled'))
  execute function voice_clone.pass_turn();
