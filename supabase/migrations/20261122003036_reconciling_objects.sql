-- Reconciling objects: what Storage has against our rows, read from the table of its objects. Nothing is removed here: a folder that nothing uses gets
-- an ordinary removal, and a row whose object is gone ends as it would at the end of its retention. The voices of the embedded provider and
-- of self-hosted models are compared with the voices, and the anchors by `likeness consents verify`. docs/decisions/0090-reconciling-objects.md

-- Whether a row uses what is in this folder, or will.
create function voice_clone.is_folder_used(p_bucket text, p_folder text) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_id uuid := split_part(p_folder, '/', case when p_bucket in ('recordings', 'deep-fakes') then 1 else 2 end)::uuid;
begin
  return case p_bucket
    when 'voice-samples' then exists (
      select from public.voice_samples s
      where (s.id = v_id or s.id = (select a.sample_id from public.voice_clone_attempts a where a.id = v_id)
          or s.employee_id = split_part(p_folder, '/', 1)::uuid)
        and starts_with(s.path, p_folder || '/') and s.status not in ('failed', 'removed'))
    when 'voice-previews' then exists (select from voice_clone.previews p where p.attempt_id = v_id)
      or exists (select from public.voice_clone_attempts a where a.id = v_id and a.preview_status in ('required', 'rendering'))
    when 'speeches' then exists (select from public.speech_jobs j where j.id = v_id and j.removed_at is null)
    when 'recordings' then exists (select from public.employees e where e.id = v_id)
    when 'deep-fakes' then exists (select from public.employees e where e.id = v_id)
      or exists (select from voice_clone.employee_files f where f.employee_id = v_id)
  end;
end
$$;

-- One page of the objects of a bucket, after the name p_after: unowned: a folder that no row uses and that nobody has asked to remove; foreign: a
-- name that is not ours. Objects younger than p_quiet_seconds may be on their way, and so may be what is beside them.
create function voice_clone.compare_objects(p_bucket text, p_after text, p_limit int, p_quiet_seconds float8) returns jsonb
language sql stable security definer set search_path = ''
as $$
  with page as materialized (
    select o.name, greatest(o.created_at, o.updated_at) > now() - make_interval(secs => p_quiet_seconds) as is_young,
      case when p_bucket in ('recordings', 'deep-fakes')
        then substring(o.name from '^([0-9a-f]{8}-[0-9a-f-]{27})/\1\.(?:wav|json)$')
        else substring(o.name from '^([0-9a-f]{8}-[0-9a-f-]{27}/[0-9a-f]{8}-[0-9a-f-]{27})/[^/]+$') end as folder
    from storage.objects o where o.bucket_id = p_bucket and o.name > p_after order by o.name limit p_limit
  ), wrong as (
    select case when p.folder is null then 'foreign' else 'unowned' end as finding, coalesce(p.folder, p.name) as name, count(*) as objects
    from page p
    group by 1, 2
    having not bool_or(p.is_young) and (min(p.folder) is null
      or not (voice_clone.is_folder_used(p_bucket, min(p.folder)) or voice_clone.is_being_removed(p_bucket, min(p.name))))
  )
  select jsonb_build_object(
    'last', case when (select count(*) from page) = p_limit then (select p.name from page p order by p.name desc limit 1) end,
    'compared', (select count(*) from page),
    'findings', coalesce((select jsonb_agg(jsonb_build_object(
      'finding', w.finding, 'bucket', p_bucket, 'name', w.name, 'objects', w.objects) order by w.name) from wrong w), '[]'))
$$;

-- The rows of a bucket that name an object, a page after p_after.
create function voice_clone.rows_with_objects(p_bucket text, p_after uuid, p_limit int)
returns table (id uuid, name text, since timestamptz)
language plpgsql stable security definer set search_path = ''
as $$
begin
  case p_bucket
    when 'voice-samples' then
      return query select s.id, s.prepared_path, s.ready_at from public.voice_samples s
        where s.status = 'ready' and s.id > p_after order by s.id limit p_limit;
    when 'voice-previews' then
      return query select a.id, a.preview_path, p.rendered_at from voice_clone.previews p
        join public.voice_clone_attempts a on a.id = p.attempt_id
        where p.attempt_id > p_after order by p.attempt_id limit p_limit;
    when 'speeches' then
      return query select j.id, j.path, j.finished_at from public.speech_jobs j
        where j.status = 'succeeded' and j.removed_at is null and j.id > p_after order by j.id limit p_limit;
    when 'recordings' then
      return query select r.id, r.employee_id || '/' || r.employee_id || '.wav', r.stored_at from voice_clone.recordings r
        where r.status = 'stored' and r.id > p_after order by r.id limit p_limit;
    when 'deep-fakes' then
      return query select f.employee_id, case when v.is_ready then f.employee_id || '/' || f.employee_id || '.json' end, f.wanted_at
        from voice_clone.employee_files f
        cross join lateral (select exists (select from public.voice_clone_attempts a
          where a.employee_id = f.employee_id and a.is_active and a.status = 'ready') as is_ready) v
        where f.written = f.wanted and f.employee_id > p_after order by f.employee_id limit p_limit;
  end case;
end
$$;

create function voice_clone.compare_rows_with_objects(p_bucket text, p_after uuid, p_limit int, p_quiet_seconds float8) returns jsonb
language sql stable security definer set search_path = ''
as $$
  with page as materialized (select * from voice_clone.rows_with_objects(p_bucket, p_after, p_limit))
  select jsonb_build_object(
    'last', case when (select count(*) from page) = p_limit then (select p.id from page p order by p.id desc limit 1) end,
    'compared', (select count(*) from page),
    'findings', coalesce((
      select jsonb_agg(jsonb_build_object('finding', 'missing', 'bucket', p_bucket, 'name', p.name, 'id', p.id) order by p.id)
      from page p where p.name is not null and p.since <= now() - make_interval(secs => p_quiet_seconds)
        and not exists (select from storage.objects o where o.bucket_id = p_bucket and o.name = p.name)), '[]'))
$$;

-- One page: of the objects of a bucket (p_side objects), or of the rows that name one (rows). Returns {"last": null where no page follows,
-- "compared", "findings": [...]}.
create function operations.compare_storage(
  p_bucket text, p_side text, p_after text default null, p_limit int default 1000, p_quiet_seconds float8 default 86400) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_limit constant int := least(greatest(p_limit, 1), 1000);
begin
  if p_bucket not in ('voice-samples', 'voice-previews', 'speeches', 'recordings', 'deep-fakes') then
    raise exception 'the bucket % is not compared', p_bucket using errcode = 'VC004';
  elsif p_side = 'objects' then
    return voice_clone.compare_objects(p_bucket, coalesce(p_after, ''), v_limit, p_quiet_seconds);
  end if;
  return voice_clone.compare_rows_with_objects(
    p_bucket, coalesce(p_after::uuid, '00000000-0000-0000-0000-000000000000'), v_limit, p_quiet_seconds);
end
$$;

-- The row of an object that is gone, as at the end of its retention. False where an attempt is about to use it, or a legal hold keeps it.
create function voice_clone.end_missing_object(p_bucket text, p_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempts uuid[];
begin
  case p_bucket
    when 'voice-samples' then
      perform voice_clone.lock_attempts(array(select a.id from public.voice_clone_attempts a where a.sample_id = p_id));
      perform voice_clone.lock_samples(array[p_id]);
      update public.voice_samples s set status = 'removed', transcript = null
      where s.id = p_id and s.status = 'ready' and not voice_clone.is_held(coalesce(s.user_id, s.employee_id))
        and not exists (select from public.voice_clone_attempts a
          where a.sample_id = p_id and a.status in ('awaiting_upload', 'queued', 'processing', 'verifying'));
    when 'voice-previews' then
      v_attempts := voice_clone.lock_attempts(array[p_id]);
      update public.voice_clone_attempts a set preview_path = null
      where a.id = any (v_attempts) and a.preview_status not in ('required', 'rendering');
      perform voice_clone.remove_previews(v_attempts) where found;
    when 'speeches' then
      update public.speech_jobs j set removed_at = now(), text = null, path = null
      where j.id = p_id and j.status = 'succeeded' and j.removed_at is null;
    when 'recordings' then
      perform voice_clone.supersede_recordings(r.employee_id)
      from voice_clone.recordings r where r.id = p_id and r.status = 'stored';
    when 'deep-fakes' then
      perform voice_clone.want_employee_file(f.employee_id) from voice_clone.employee_files f where f.employee_id = p_id;
  end case;
  return found;
end
$$;

-- Repairs one finding, if it is still one, in a transaction of its own: the page of the finding is compared again.
create function operations.repair_storage(p_bucket text, p_finding text, p_name text, p_id uuid, p_quiet_seconds float8) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if p_finding = 'missing' then
    return not exists (select from storage.objects o where o.bucket_id = p_bucket and o.name = p_name)
      and voice_clone.end_missing_object(p_bucket, p_id);
  elsif p_finding <> 'unowned' or voice_clone.is_folder_used(p_bucket, p_name) or exists (
    select from storage.objects o where o.bucket_id = p_bucket and o.name like p_name || '/%'
      and greatest(o.created_at, o.updated_at) > now() - make_interval(secs => p_quiet_seconds))
  then
    return false;
  elsif p_bucket = 'deep-fakes' then
    perform voice_clone.want_employee_file(p_name::uuid);
  else
    perform voice_clone.request_object_removal(p_bucket, p_name);
  end if;
  return true;
end
$$;

revoke all on function
  operations.compare_storage(text, text, text, int, float8), operations.repair_storage(text, text, text, uuid, float8)
from public, anon, authenticated;
grant execute on function
  operations.compare_storage(text, text, text, int, float8), operations.repair_storage(text, text, text, uuid, float8)
to service_role, voice_clone_backend;
