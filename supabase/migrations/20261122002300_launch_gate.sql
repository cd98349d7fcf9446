-- Launch gate: whether a session may start. Read from the active attempt, never from the mirror (invariant 7).

create table public.voice_sessions (
  id uuid primary key default gen_random_uuid(),
  reflection_id uuid,
  user_id uuid references auth.users (id),
  attempt_id uuid not null references public.voice_clone_attempts (id),
  voice_id uuid not null references public.voices (id),
  created_at timestamptz not null default now()
);
comment on table public.voice_sessions is 'a record: it survives its reflection, and without its user the user''s deletion';
comment on column public.voice_sessions.reflection_id is 'without a reference: the reflection may be gone; null once the user is erased';
create trigger voice_sessions_require_own_attempt before insert on public.voice_sessions
  for each row execute function voice_clone.require_own_attempt();
create index voice_sessions_reflection_id_idx on public.voice_sessions (reflection_id, created_at desc);
create index voice_sessions_user_id_idx on public.voice_sessions (user_id);
alter table public.voice_sessions enable row level security;
revoke all on public.voice_sessions from public, anon, authenticated, service_role;
grant select on public.voice_sessions to authenticated, service_role;
create policy "Owners read their sessions" on public.voice_sessions
  for select to authenticated using (user_id = (select auth.uid()));

-- Why this attempt may not be launched; empty when it may. A voice that was lost is named, because a retry makes it again; one that was
-- taken down is, whatever else it waits for.
create function voice_clone.launch_blockers(
  p_status text, p_runtime_status text, p_preview_status text, p_error_code text default null,
  p_taken_down_at timestamptz default null
) returns text[]
language plpgsql immutable set search_path = ''
as $$
begin
  return case
    when p_status is null then '{no_voice}'
    when p_taken_down_at is not null then '{voice_taken_down}'
    when p_status = 'failed' and p_error_code = 'voice_lost' then '{clone_failed,voice_lost}'
    when p_status <> 'ready' then array['clone_' || p_status]
    else array_remove(array[
      case when p_runtime_status <> 'synced' then 'runtime_' || p_runtime_status end,
      case when p_preview_status not in ('not_required', 'completed') then 'preview_' || p_preview_status end
    ], null)
  end;
end
$$;

-- Why a reflection without an active attempt may not be launched: it also says where the voice that it used was removed elsewhere.
create function voice_clone.no_voice_blockers(p_reflection uuid, p_user uuid) returns text[]
language plpgsql stable set search_path = ''
as $$
begin
  return array_remove(array['no_voice', (
    select a.cancel_reason from public.voice_clone_attempts a
    where a.reflection_id = p_reflection and a.user_id = p_user and a.activated_at is not null
      and a.cancel_reason = 'original_removed'
      and not exists (
        select from public.voice_clone_attempts n
        where n.reflection_id = p_reflection and n.activated_at > a.activated_at)
    limit 1)], null);
end
$$;

-- No row when the reflection is not this user's. `is not distinct from`, so that the index on the user is not used.
create function voice_clone.launch_gate(p_reflection uuid, p_user uuid)
returns table (launchable boolean, blockers text[])
language plpgsql stable security definer set search_path = '' rows 1
as $$
begin
  select voice_clone.launch_blockers(a.status, a.runtime_status, a.preview_status, a.error_code, a.taken_down_at) into blockers
  from public.reflections r
  left join public.voice_clone_attempts a
    on a.reflection_id = r.id and a.is_active and a.user_id is not distinct from r.user_id
  where r.id = p_reflection and r.user_id = p_user;
  if found then
    if blockers = '{no_voice}' then
      blockers := voice_clone.no_voice_blockers(p_reflection, p_user);
    end if;
    launchable := blockers = '{}';
    return next;
  end if;
end
$$;

-- The mirror, with the gate and what explains an error; no row for a caller who is not the owner. Definer, because the
-- policies of an adopted table of reflections are its application's.
create function voice_clone.reflection_voice(p_reflection uuid, p_user uuid)
returns table (voice jsonb, gate jsonb, source text, preview_path text, attempt jsonb, measures jsonb)
language plpgsql stable security definer set search_path = '' rows 1
as $$
begin
  return query
    select voice_clone.shown_mirror(r.voice), jsonb_build_object('launchable', g.launchable, 'blockers', g.blockers),
      a.source, case when a.taken_down_at is null then a.preview_path end, case when a.error_code is not null then to_jsonb(a) end, s.measures
    from public.reflections r
    cross join voice_clone.launch_gate(r.id, p_user) g
    left join public.voice_clone_attempts a
      on a.reflection_id = r.id and a.is_active and a.user_id is not distinct from r.user_id
    left join public.voice_samples s on s.id = a.sample_id and a.error_code is not null
    where r.id = p_reflection and r.user_id = p_user;
end
$$;

-- Starts a session, or raises VC005 with the blockers. Locks the attempt against a reset in between.
create function voice_clone.start_session(p_reflection uuid, p_user uuid) returns setof public.voice_sessions
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
  v_blockers text[];
begin
  perform voice_clone.lock_user(p_user);
  perform voice_clone.keep_reflection(p_reflection, p_user);
  select * into a from public.voice_clone_attempts x
  where x.reflection_id = p_reflection and x.user_id = p_user and x.is_active for share;
  v_blockers := voice_clone.launch_blockers(a.status, a.runtime_status, a.preview_status, a.error_code, a.taken_down_at);
  if v_blockers = '{no_voice}' then
    v_blockers := voice_clone.no_voice_blockers(p_reflection, p_user);
  end if;
  if v_blockers <> '{}' then
    raise exception 'a session may not start yet' using errcode = 'VC005',
      detail = jsonb_build_object('blockers', v_blockers)::text;
  end if;
  return query
    insert into public.voice_sessions (reflection_id, user_id, attempt_id, voice_id)
    values (p_reflection, p_user, a.id, a.voice_id)
    returning *;
end
$$;

-- rpc('voice_launch_gate'): the same answer as over HTTP, for the caller's own reflections; null for any other.
create function public.voice_launch_gate(reflection_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('launchable', g.launchable, 'blockers', g.blockers)
  from voice_clone.launch_gate(voice_launch_gate.reflection_id, auth.uid()) g
$$;
revoke all on function public.voice_launch_gate(uuid) from public, anon, service_role;
grant execute on function public.voice_launch_gate(uuid) to authenticated;

grant execute on function
  voice_clone.launch_gate(uuid, uuid),
  voice_clone.reflection_voice(uuid, uuid),
  voice_clone.start_session(uuid, uuid)
to voice_clone_backend;
