-- Reconciling mirrors: each mirror is compared with the attempt that was activated last, page by page. Nothing is written here: a mirror
-- that differs gets its ordinary message.

-- One page of reflections or employees (p_kind), after p_after. Compared are those whose attempt has not changed for p_quiet_seconds, so that
-- no message is on its way. behind: an older version; ahead: a newer one, which no message changes; different: the same version with other
-- content. Returns {"last": the last id, null where no page follows, "compared", "findings": [...]}.
create function operations.compare_mirrors(
  p_kind text, p_after uuid default null, p_limit int default 1000, p_quiet_seconds float8 default 60, p_apply boolean default false)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_limit constant int := least(greatest(p_limit, 1), 1000);
  c_none constant uuid := '00000000-0000-0000-0000-000000000000';
  v_page jsonb;
begin
  with subjects as materialized (
    (select r.id, r.voice, null::text as voice_id from public.reflections r
     where p_kind = 'reflection' and r.id > coalesce(p_after, c_none) order by r.id limit v_limit)
    union all
    (select e.id, e.voice, e.voice_id from public.employees e
     where p_kind = 'employee' and e.id > coalesce(p_after, c_none) order by e.id limit v_limit)
  ), compared as materialized (
    select s.id, a.id as attempt_id, a.version, voice_clone.shown_version(s.voice) as shown,
      voice_clone.is_mirror_stale(s.voice, a)
        or (p_kind = 'employee' and s.voice_id is distinct from voice_clone.employee_voice_id(a)) as is_stale
    from subjects s
    cross join lateral (
      select x.id from (
        select r.id, r.activated_at, r.version from public.voice_clone_attempts r
        where p_kind = 'reflection' and r.reflection_id = s.id and r.activated_at is not null
        union all
        select e.id, e.activated_at, e.version from public.voice_clone_attempts e
        where p_kind = 'employee' and e.employee_id = s.id and e.activated_at is not null
      ) x order by x.activated_at desc, x.version desc limit 1
    ) last
    join public.voice_clone_attempts a on a.id = last.id
    where a.updated_at <= now() - make_interval(secs => p_quiet_seconds)
  )
  select jsonb_build_object(
    'last', case when (select count(*) from subjects) = v_limit then (select s.id from subjects s order by s.id desc limit 1) end,
    'compared', (select count(*) from compared),
    'findings', coalesce((
      select jsonb_agg(jsonb_build_object(
        'finding', case when c.shown < c.version then 'behind' when c.shown > c.version then 'ahead' else 'different' end,
        'kind', p_kind, 'id', c.id, 'attempt_id', c.attempt_id, 'shown', c.shown, 'version', c.version) order by c.id)
      from compared c where c.is_stale or c.shown > c.version), '[]'))
  into v_page;
  perform voice_clone.send_messages('voice_mirror', array(
    select voice_clone.queue_message('voice_mirror', (f ->> 'id')::uuid, (f ->> 'version')::bigint, null)
    from jsonb_array_elements(v_page -> 'findings') f where f ->> 'finding' <> 'ahead'), 0)
  where p_apply and v_page -> 'findings' <> '[]';
  return v_page;
end
$$;

revoke all on function operations.compare_mirrors(text, uuid, int, float8, boolean) from public, anon, authenticated;
grant execute on function operations.compare_mirrors(text, uuid, int, float8, boolean) to service_role, voice_clone_backend;
