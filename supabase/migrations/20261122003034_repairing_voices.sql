-- Repairing voices: what is wrong with the voices of a run, and the existing function that repairs each. Nothing is removed here: what is an orphan
-- from now on waits for its grace and is removed by the cleanup, which checks again that nothing owns it.

-- How many of the voices in use the provider does not have, and whether it is all of three or more: then the key is rather one of another account.
create function operations.gone_voices(p_run uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('gone', count(*) filter (where u.is_gone), 'suspicious', count(*) >= 3 and bool_and(u.is_gone))
  from (
    select v.provider_voice_id, bool_and(l.provider_voice_id is not null and not l.is_there) as is_gone
    from voice_clone.reconciliations r
    join public.voices v on v.tts_provider = r.provider and v.provider_region = r.region
    left join voice_clone.listed_voices l on l.run = r.id and l.provider_voice_id = v.provider_voice_id
    where r.id = p_run and v.deleted_at is null and v.lost_at is null
      and (v.provider_account = '' or v.provider_account = any (r.accounts))
      and (l.provider_voice_id is not null or v.created_at <= r.started_at - interval '1 hour')
    group by v.provider_voice_id
  ) u
$$;

-- What is wrong with a voice that was read, as one word, and the enrollment that it belongs to; null where nothing is. foreign: no label of
-- ours. What changed since the run began is left to the next run.
create function voice_clone.finding_of_voice(r voice_clone.reconciliations, l voice_clone.listed_voices)
returns table (finding text, enrollment_id uuid, attempt_id uuid)
language plpgsql stable security definer set search_path = '' rows 1
as $$
declare
  k voice_clone.enrollments;
  e voice_clone.enrollments;
begin
  select * into k from voice_clone.enrollments x
  where x.provider = r.provider and x.region = r.region and x.provider_voice_id = l.provider_voice_id;
  if not l.is_there then
    return query
      select 'gone', k.id, v.attempt_id from public.voices v
      where v.tts_provider = r.provider and v.provider_region = r.region and v.provider_voice_id = l.provider_voice_id
        and v.deleted_at is null and v.lost_at is null order by v.created_at limit 1;
    return;
  elsif k.id is not null and (k.status <> 'removed' or k.updated_at > r.started_at) then
    return;
  elsif exists (
    select from public.voices v where v.tts_provider = r.provider and v.provider_region = r.region
      and v.provider_voice_id = l.provider_voice_id and v.enrollment_id is null and v.deleted_at is null and v.lost_at is null)
  then
    return; -- it was there before, and is used as a custom voice
  elsif k.id is not null then
    return query select 'returned', k.id, k.attempt_id;
    return;
  end if;
  select * into e from voice_clone.enrollments x
  where x.id = voice_clone.enrollment_id(l.label) and x.provider = r.provider and x.region = r.region and (x.account = '' or x.account = any (r.accounts));
  if e.id is null then
    return query select 'foreign', null::uuid, null::uuid;
  elsif e.updated_at > r.started_at then
    return;
  elsif e.provider_voice_id is not null or exists (
    select from voice_clone.listed_voices o where o.run = r.id and o.label = l.label and o.provider_voice_id < l.provider_voice_id)
  then
    return query select 'duplicate', e.id, e.attempt_id;
  elsif e.status = 'closed' then
    return query select 'late', e.id, e.attempt_id;
  elsif not exists (select from voice_clone.deadlines d where d.attempt_id = e.attempt_id and d.lease_expires_at > now()) then
    return query select 'unknown', e.id, e.attempt_id;
  end if;
end
$$;

-- Enrollments of the run's provider that somebody should have ended: unsettled: its create call made no voice, and cannot any more; overdue: an
-- orphan whose grace is over.
create function voice_clone.unfinished_enrollments(r voice_clone.reconciliations, p_after uuid, p_limit int)
returns table (finding text, enrollment_id uuid, attempt_id uuid, provider_voice_id text, label text)
language sql stable security definer set search_path = ''
as $$
  select case when e.status in ('intended', 'unknown') then 'unsettled' else 'overdue' end, e.id, e.attempt_id, e.provider_voice_id, e.label
  from voice_clone.enrollments e
  where e.sweep_at is not null and e.provider = r.provider and e.region = r.region and (e.account = '' or e.account = any (r.accounts))
    and e.id > p_after and voice_clone.cleanup_due_at(e) < r.started_at - interval '1 minute'
    and case when e.status in ('intended', 'unknown') then
        not voice_clone.has_worker(e.attempt_id)
        and not exists (select from voice_clone.listed_voices l where l.run = r.id and l.label = e.label and l.is_there)
      else not voice_clone.is_owned(e) end
  order by e.id limit p_limit
$$;

-- One page of what is wrong, after p_after: voices that were read (p_kind voice), or enrollments. Returns {"last": null where no page
-- follows, "compared", "findings": [...]}.
create function operations.compare_voices(p_run uuid, p_kind text, p_after text default null, p_limit int default 1000)
returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_limit constant int := least(greatest(p_limit, 1), 1000);
  r voice_clone.reconciliations;
begin
  select * into r from voice_clone.reconciliations x where x.id = p_run and x.phase = 'compare';
  if not found then
    raise exception 'another command reconciles the same voices' using errcode = 'VC007', hint = 'Wait until it has ended.';
  elsif p_kind = 'enrollment' then
    return (
      select jsonb_build_object('last', case when count(*) = v_limit then max(f.enrollment_id::text) end, 'compared', count(*),
        'findings', coalesce(jsonb_agg(to_jsonb(f) || jsonb_build_object('provider', r.provider, 'region', r.region)), '[]'))
      from voice_clone.unfinished_enrollments(r, coalesce(p_after::uuid, '00000000-0000-0000-0000-000000000000'), v_limit) f);
  end if;
  return (
    with page as materialized (
      select * from voice_clone.listed_voices l where l.run = r.id and l.provider_voice_id > coalesce(p_after, '')
      order by l.provider_voice_id limit v_limit
    )
    select jsonb_build_object(
      'last', case when (select count(*) from page) = v_limit then (select max(p.provider_voice_id) from page p) end,
      'compared', (select count(*) from page),
      'findings', (
        select coalesce(jsonb_agg(jsonb_build_object('finding', f.finding, 'provider', r.provider, 'region', r.region,
          'provider_voice_id', p.provider_voice_id, 'label', p.label, 'enrollment_id', f.enrollment_id, 'attempt_id', f.attempt_id)
          order by p.provider_voice_id), '[]')
        from page p cross join lateral voice_clone.finding_of_voice(r, p) f)));
end
$$;

-- A second voice under the label of an enrollment: the create call took effect twice. It gets an enrollment of its own, so that it waits for its grace
-- and is removed like any orphan. VC007 while the outcome of another create of the attempt is open.
create function voice_clone.record_duplicate(p_enrollment uuid, p_provider_voice_id text, p_target_model text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments := voice_clone.lock_enrollment(p_enrollment);
  v_id uuid;
begin
  insert into voice_clone.enrollments (attempt_id, lease_epoch, provider, region, account, provider_voice_kind, label, settles_at)
  values (e.attempt_id, e.lease_epoch, e.provider, e.region, e.account, e.provider_voice_kind,
    left(replace(gen_random_uuid()::text, '-', ''), 16), now())
  returning id into v_id;
  update voice_clone.enrollments x
  set status = 'orphaned', provider_voice_id = p_provider_voice_id, target_model = p_target_model
  where x.id = v_id;
exception when unique_violation then
  raise exception 'the outcome of another enrollment of attempt % is open', e.attempt_id using errcode = 'VC007';
end
$$;

-- A voice that was removed, or lost, is there nevertheless: it is an orphan again, unless something uses it by now.
create function voice_clone.reopen_enrollment(p_enrollment uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments := voice_clone.lock_enrollment(p_enrollment);
begin
  update voice_clone.enrollments x set status = 'orphaned' where x.id = e.id and e.status = 'removed' and not voice_clone.is_owned(e);
end
$$;

-- Repairs one finding, if it is still one, in a transaction of its own. False where it is none any more, where nothing repairs it, or where it
-- has to wait. p_id: the provider's id of the voice, or that of the enrollment.
create function operations.repair_voice(p_run uuid, p_finding text, p_id text) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.reconciliations;
  l voice_clone.listed_voices;
  v_enrollment uuid;
begin
  select * into r from voice_clone.reconciliations x where x.id = p_run and x.phase = 'compare';
  if p_finding in ('unsettled', 'overdue') then
    perform voice_clone.send_messages('voice_cleanup', array[voice_clone.queue_message('voice_cleanup', p_id::uuid, 1, null)], 0);
    return true;
  end if;
  select * into l from voice_clone.listed_voices x where x.run = r.id and x.provider_voice_id = p_id;
  select f.enrollment_id into v_enrollment from voice_clone.finding_of_voice(r, l) f where f.finding = p_finding;
  if not found then
    return false;
  end if;
  case p_finding
    when 'gone' then
      -- Not one that was made again since, or too lately to be listed.
      return voice_clone.lose_voice(r.provider, r.region, r.accounts, p_id, r.started_at - interval '1 hour') > 0;
    when 'duplicate' then
      perform voice_clone.record_duplicate(v_enrollment, p_id, l.target_model);
    when 'returned' then
      perform voice_clone.reopen_enrollment(v_enrollment);
    when 'late', 'unknown' then
      perform voice_clone.report_enrollment(v_enrollment, p_id, l.target_model, l.requires_verification, null, null);
    else
      return false;
  end case;
  return true;
exception when sqlstate 'VC007' then
  return false;
end
$$;

revoke all on function
  operations.gone_voices(uuid),
  operations.compare_voices(uuid, text, text, int),
  operations.repair_voice(uuid, text, text)
from public, anon, authenticated;
grant execute on function
  operations.gone_voices(uuid),
  operations.compare_voices(uuid, text, text, int),
  operations.repair_voice(uuid, text, text)
to service_role, voice_clone_backend;
