-- Exporting: everything that is held about a user or an employee, as one object for each table. Without what is about workers: leases,
-- and counts of tries. The files are in Storage.

create function voice_clone.without_workers(p_row jsonb) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return voice_clone.with_utc_texts((select coalesce(jsonb_object_agg(c.key, c.value), '{}') from jsonb_each(p_row) c
    where c.key !~ '^(lease|leased)_|^leased_at$|_(count|budget)$|^(sweep_at|not_before|waiting_since)$'));
end
$$;

create function voice_clone.held_attempts(p_attempts uuid[]) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'attempts', (select jsonb_agg(voice_clone.without_workers(to_jsonb(a)) order by a.created_at)
      from public.voice_clone_attempts a where a.id = any (p_attempts)),
    'voices', (select jsonb_agg(voice_clone.with_utc_texts(to_jsonb(v)) order by v.created_at) from public.voices v where v.attempt_id = any (p_attempts)),
    'enrollments', (select jsonb_agg(voice_clone.without_workers(to_jsonb(e)) order by e.created_at)
      from voice_clone.enrollments e where e.attempt_id = any (p_attempts)),
    'events', (select jsonb_agg(voice_clone.with_utc_texts(to_jsonb(e)) order by e.id) from voice_clone.events e where e.attempt_id = any (p_attempts)))
$$;

create function voice_clone.held_consents(p_consents uuid[]) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_agg(voice_clone.with_utc_texts(to_jsonb(c)) || jsonb_build_object('statement', s.body, 'locale', s.locale, 'version', s.version)
    order by c.recorded_at, c.position)
  from public.voice_consents c join public.voice_consent_statements s on s.id = c.statement_id
  where c.id = any (p_consents)
$$;

-- For operators. An empty table is null.
create function operations.held(p_kind text, p_subject uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_kind = 'user' then
    return voice_clone.held_attempts(array(select a.id from public.voice_clone_attempts a where a.user_id = p_subject))
      || jsonb_build_object(
      'samples', (select jsonb_agg(voice_clone.without_workers(to_jsonb(s)) order by s.created_at)
        from public.voice_samples s where s.user_id = p_subject),
      'consents', voice_clone.held_consents(array(select c.id from public.voice_consents c where c.user_id = p_subject)),
      'sessions', (select jsonb_agg(voice_clone.with_utc_texts(to_jsonb(s)) order by s.created_at) from public.voice_sessions s where s.user_id = p_subject),
      'speech_jobs', (select jsonb_agg(voice_clone.without_workers(to_jsonb(j)) order by j.created_at)
        from public.speech_jobs j where j.user_id = p_subject),
      'webhooks', (select jsonb_agg(voice_clone.without_workers(to_jsonb(w)) order by w.created_at)
        from public.webhooks w where w.user_id = p_subject),
      'webhook_deliveries', (select jsonb_agg(voice_clone.without_workers(to_jsonb(d)) order by d.event_id)
        from public.webhook_deliveries d where d.user_id = p_subject),
      'reflections', (select jsonb_agg(jsonb_build_object('id', r.id, 'voice', r.voice) order by r.id)
        from public.reflections r where r.user_id = p_subject),
      'answers', (select jsonb_agg(jsonb_build_object('key', k.key, 'created_at', voice_clone.utc_text(k.created_at), 'body', encode(k.body, 'escape'))
          order by k.created_at)
        from voice_clone.idempotency_keys k where k.user_id = p_subject));
  elsif p_kind = 'employee' then
    return voice_clone.held_attempts(array(select a.id from public.voice_clone_attempts a where a.employee_id = p_subject))
      || jsonb_build_object(
      'employees', (select jsonb_agg(voice_clone.with_utc_texts(to_jsonb(e))) from public.employees e where e.id = p_subject),
      'samples', (select jsonb_agg(voice_clone.without_workers(to_jsonb(s)) order by s.created_at)
        from public.voice_samples s where s.employee_id = p_subject),
      'consents', voice_clone.held_consents(array(
        select c.id from public.voice_consents c where c.subject_kind = 'employee' and c.subject_id = p_subject)),
      'recordings', (select jsonb_agg(voice_clone.without_workers(to_jsonb(r)) order by r.recorded_at)
        from voice_clone.recordings r where r.employee_id = p_subject));
  end if;
  raise exception 'a user or an employee can be exported, and no %', p_kind using errcode = 'VC006';
end
$$;
revoke all on function operations.held(text, uuid) from public, anon, authenticated;
grant execute on function operations.held(text, uuid) to service_role;
