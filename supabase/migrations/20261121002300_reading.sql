-- Reading what row level security cannot give: an attempt's timeline, and the gate for Data API clients.

create function voice_clone.attempt_events(p_attempt uuid, p_user uuid, p_after bigint default 0)
returns table (id bigint, version bigint, events text[], changes jsonb, recorded_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  select e.id, e.version, e.events, e.changes, e.recorded_at
  from voice_clone.events e
  join public.attempts a on a.id = e.attempt_id and a.user_id = p_user
  where e.attempt_id = p_attempt and e.id > p_after
  order by e.id
$$;
grant execute on function voice_clone.attempt_events(uuid, uuid, bigint) to voice_clone_backend;

create function voice_clone.is_attempt_for(p_attempt uuid, p_reflection uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select from public.attempts a where a.id = p_attempt and a.reflection_id = p_reflection)
$$;
grant execute on function voice_clone.is_attempt_for(uuid, uuid) to voice_clone_backend;

-- rpc('launch_gate'): the same answer as over HTTP, for the caller's own reflections; null for any other.
create function public.launch_gate(reflection_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('launchable', g.launchable, 'blockers', g.blockers)
  from voice_clone.launch_gate(launch_gate.reflection_id, auth.uid()) g
$$;
revoke all on function public.launch_gate(uuid) from public, anon, service_role;
grant execute on function public.launch_gate(uuid) to authenticated;
