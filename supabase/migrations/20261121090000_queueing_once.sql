-- Queueing, anew: an attempt is queued once, by whoever finalizes its upload.
--
-- The edges processing → queued and failed → queued are the workers' and the retry's. A second finalize that came
-- late took them too, where the attempt is for no reflection: it let go of a lease that a worker held, and it
-- tried again past the owner's budget.

create or replace function voice_clone.queue_attempt(
  p_attempt uuid, p_user uuid, p_name text, p_language text, p_transcript text,
  p_content_type text, p_bytes bigint, p_measures jsonb, p_prepared_path text, p_prepared_bytes bigint, p_delay_seconds int
) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts;
begin
  select * into v_attempt from public.attempts a where a.id = p_attempt and a.user_id = p_user;
  if not found then
    raise exception 'there is no such attempt' using errcode = 'VC004';
  end if;
  -- One queueing at a time for a reflection; in the order reflection, attempts, like every other writer.
  perform from public.reflections r where r.id = v_attempt.reflection_id for no key update;
  select * into v_attempt from public.attempts a where a.id = p_attempt for no key update;
  if v_attempt.status <> 'awaiting_upload' then
    raise exception 'attempt % awaits no upload: it is %', p_attempt, v_attempt.status using errcode = 'VC001',
      detail = jsonb_build_object('from', v_attempt.status, 'to', 'queued')::text;
  end if;
  perform voice_clone.cancel_attempts('superseded', p_reflection => v_attempt.reflection_id);
  update public.samples s
  set language = p_language, transcript = p_transcript, content_type = p_content_type, bytes = p_bytes,
      measures = p_measures, inspected_at = now(), prepared_path = p_prepared_path, prepared_bytes = p_prepared_bytes
  where s.id = v_attempt.sample_id and s.measures is null;
  return query
    update public.attempts a
    set status = 'queued', is_active = true, name = p_name, language = p_language,
        not_before = now() + make_interval(secs => p_delay_seconds)
    where a.id = p_attempt
    returning *;
end
$$;
