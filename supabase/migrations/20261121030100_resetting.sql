-- Resetting: the reflection has no voice from now on. Its attempts and their events stay, and so do the voices.

-- Saying so twice is saying it once. A worker that is at it loses its lease: what it makes becomes an orphan.
create function voice_clone.reset_attempt(p_reflection uuid, p_user uuid) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_reflection(p_reflection, p_user);
  perform voice_clone.cancel_attempts('reset', p_reflection => p_reflection);
  return query
    select * from public.attempts a
    where a.reflection_id = p_reflection and a.activated_at is not null
    order by a.version desc limit 1;
  if not found then
    raise exception 'this reflection never had a voice'
      using errcode = 'VC007', detail = '{"code": "nothing_to_reset"}',
            hint = 'An upload that is only opened need not be reset: it expires by itself.';
  end if;
end
$$;

grant execute on function voice_clone.reset_attempt(uuid, uuid) to voice_clone_backend;
