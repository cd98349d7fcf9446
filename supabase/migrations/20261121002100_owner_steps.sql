-- What the owner decides about a preview: render it (again), and that it was heard.

create function voice_clone.active_attempt(p_reflection uuid, p_user uuid) returns public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts;
begin
  select x.* into a from public.attempts x
  where x.reflection_id = p_reflection and x.user_id = p_user and x.is_active for no key update;
  if a.id is null then
    raise exception 'this reflection has no voice in the making' using errcode = 'VC004';
  end if;
  return a;
end
$$;

-- Renders a preview: the first one, again after a failure, or anew. While one is being rendered, that one.
create function voice_clone.request_preview(p_reflection uuid, p_user uuid) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts := voice_clone.active_attempt(p_reflection, p_user);
begin
  if a.status <> 'ready' or a.runtime_status <> 'synced' then
    raise exception 'the voice is not ready to speak: it is %, its runtime %', a.status, a.runtime_status
      using errcode = 'VC001', detail = jsonb_build_object('status', a.status, 'runtime_status', a.runtime_status)::text;
  elsif a.preview_status in ('required', 'rendering') then
    return query select (a).*;
    return;
  end if;
  return query
    update public.attempts x
    set preview_status = 'required', preview_count = 0, error_code = null, error_message = null, not_before = null
    where x.id = a.id
    returning *;
end
$$;

-- The owner heard the clip. Saying so twice is saying it once.
create function voice_clone.complete_preview(p_reflection uuid, p_user uuid) returns setof public.attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts := voice_clone.active_attempt(p_reflection, p_user);
begin
  if a.preview_status = 'completed' then
    return query select (a).*;
    return;
  end if;
  return query update public.attempts x set preview_status = 'completed' where x.id = a.id returning *;
end
$$;

grant execute on function
  voice_clone.claim_step(uuid, text, text, int),
  voice_clone.mark_runtime(uuid, int, text, text, text, float8, bigint),
  voice_clone.mark_preview(uuid, int, text, text, text, text, float8, bigint),
  voice_clone.request_preview(uuid, uuid),
  voice_clone.complete_preview(uuid, uuid)
to voice_clone_backend;
