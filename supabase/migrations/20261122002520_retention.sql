-- Retention: recordings of people are not kept for ever. A sample, a preview and an employee's recording go after their timeout, as it is
-- set now; the rows stay and say when. A legal hold keeps the files of a person, whatever asks for their removal.

-- One row for each attempt whose preview is in Storage. It is apart from the attempts because an index on a column that a transition
-- changes would cost each transition.
create table voice_clone.previews (
  attempt_id uuid primary key references public.voice_clone_attempts (id),
  rendered_at timestamptz not null default now()
);
create index previews_rendered_at_idx on voice_clone.previews (rendered_at);
alter table voice_clone.previews enable row level security;
revoke all on voice_clone.previews from public, anon, authenticated, service_role;

create table voice_clone.legal_holds (
  id uuid primary key default gen_random_uuid(),
  subject_id uuid not null,
  reason text not null check (length(reason) between 1 and 500),
  placed_at timestamptz not null default now(),
  released_at timestamptz
);
comment on column voice_clone.legal_holds.subject_id is 'a user or an employee, without a reference: the hold survives them';
create unique index legal_holds_active_idx on voice_clone.legal_holds (subject_id) where released_at is null;
alter table voice_clone.legal_holds enable row level security;
revoke all on voice_clone.legal_holds from public, anon, authenticated, service_role;

create function voice_clone.is_held(p_subject uuid) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return exists (select from voice_clone.legal_holds h where h.subject_id = p_subject and h.released_at is null);
end
$$;

-- Of the folder of an object removal: <user or employee>, or <user or employee>/<id>.
create function voice_clone.is_folder_held(p_folder text) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return voice_clone.is_held(split_part(p_folder, '/', 1)::uuid);
end
$$;

-- Samples that are older than their retention become tombstones: unusable at once, and their files go (voice_samples_follow). A voice
-- that was made of one still speaks. One that an attempt is about to use, or that another call has locked, is left to the next sweep.
-- Returns how many.
create function voice_clone.expire_samples(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_sample uuid;
  v_attempts uuid[];
  v_count int := 0;
begin
  for v_sample in
    select s.id from public.voice_samples s
    where s.removed_at is null and s.created_at <= now() - voice_clone.timeout('sample') and s.status in ('ready', 'failed')
      and not voice_clone.is_held(coalesce(s.user_id, s.employee_id))
      and not exists (select from voice_clone.sweep_errors e where e.row_id = s.id and e.retry_at > now())
    order by s.created_at limit p_limit
  loop
    begin
      v_attempts := array(select a.id from public.voice_clone_attempts a where a.sample_id = v_sample order by a.id);
      -- Under its attempts' locks no retry can begin with it. Nothing is waited for.
      continue when v_attempts is distinct from array(
        select a.id from public.voice_clone_attempts a where a.id = any (v_attempts) order by a.id for no key update skip locked);
      perform from public.voice_samples s where s.id = v_sample for update skip locked;
      continue when not found or exists (
        select from public.voice_clone_attempts a
        where a.sample_id = v_sample and a.status in ('awaiting_upload', 'queued', 'processing', 'verifying'));
      update public.voice_samples s set status = 'removed', transcript = null
      where s.id = v_sample and s.status in ('ready', 'failed');
      v_count := v_count + found::int;
    exception when others then
      perform voice_clone.postpone_row('sample', v_sample, sqlerrm, sqlstate);
    end;
  end loop;
  return v_count;
end
$$;

-- Previews that are older than their retention: each clip of the attempt goes; one that was not heard can be requested again. Returns
-- how many.
create function voice_clone.expire_previews(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  a record;
  v_count int := 0;
begin
  for a in
    select x.id, x.status, x.preview_status from voice_clone.previews p
    join public.voice_clone_attempts x on x.id = p.attempt_id
    where p.rendered_at <= now() - voice_clone.timeout('preview') and not voice_clone.is_held(coalesce(x.user_id, x.employee_id))
      and not exists (select from voice_clone.sweep_errors e where e.row_id = x.id and e.retry_at > now())
    order by p.rendered_at limit p_limit for no key update of x skip locked
  loop
    begin
      if a.preview_status in ('required', 'rendering') and a.status <> 'failed' then -- another is on its way, to the same folder
        update voice_clone.previews p set rendered_at = now() where p.attempt_id = a.id;
      else
        update public.voice_clone_attempts x set preview_path = null where x.id = a.id;
        perform voice_clone.remove_previews(array[a.id]);
        v_count := v_count + 1;
      end if;
    exception when others then
      perform voice_clone.postpone_row('preview', a.id, sqlerrm, sqlstate);
    end;
  end loop;
  return v_count;
end
$$;

-- Stored recordings that are older than their retention; each counts as superseded from then on. Returns how many.
create function voice_clone.expire_recordings(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v record;
  v_count int := 0;
begin
  for v in
    select r.id, r.employee_id from voice_clone.recordings r
    where r.status = 'stored' and r.stored_at <= now() - voice_clone.timeout('recording') and not voice_clone.is_held(r.employee_id)
      and not exists (select from voice_clone.sweep_errors e where e.row_id = r.id and e.retry_at > now())
    order by r.stored_at limit p_limit
  loop
    begin
      perform voice_clone.request_object_removal('recordings', v.employee_id::text);
      v_count := v_count + 1;
    exception when others then
      perform voice_clone.postpone_row('recording', v.id, sqlerrm, sqlstate);
    end;
  end loop;
  return v_count;
end
$$;

-- What is removed by itself, and after how long; without the timeouts that say only how long something is waited for.
create function voice_clone.retention() returns table (name text, value interval, purpose text)
language sql stable security definer set search_path = ''
as $$
  select t.name, t.value, t.purpose from voice_clone.timeouts t
  where t.name = any (
    '{upload,sample,preview,recording,deleted_voice,speech_result,unmatched_recording,webhook_history,idempotency,consumer_history,
      provider_error}')
  order by t.name
$$;

-- The schedule with what stands under it now. kept, due and held are null for what is not counted here.
create function operations.retention()
returns table (name text, seconds float8, purpose text, kept bigint, due bigint, held bigint, next_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  with files as (
    select 'sample' as name, s.created_at as since, coalesce(s.user_id, s.employee_id) as subject from public.voice_samples s
    where s.removed_at is null and s.status in ('ready', 'failed')
    union all
    select 'preview', p.rendered_at, coalesce(a.user_id, a.employee_id) from voice_clone.previews p
    join public.voice_clone_attempts a on a.id = p.attempt_id
    union all
    select 'recording', r.stored_at, r.employee_id from voice_clone.recordings r where r.status = 'stored'
  ), held as materialized (
    select h.subject_id from voice_clone.legal_holds h where h.released_at is null
  ), counted as (
    select f.name, count(*) as kept, count(*) filter (where h.subject_id is not null) as held,
      count(*) filter (where h.subject_id is null and f.since <= now() - t.value) as due,
      min(f.since + t.value) filter (where h.subject_id is null) as next_at
    from files f
    join voice_clone.timeouts t on t.name = f.name
    left join held h on h.subject_id = f.subject
    group by f.name
  )
  select t.name, extract(epoch from t.value)::float8, t.purpose,
    case when t.name in ('sample', 'preview', 'recording') then coalesce(c.kept, 0) end,
    case when t.name in ('sample', 'preview', 'recording') then coalesce(c.due, 0) end,
    case when t.name in ('sample', 'preview', 'recording') then coalesce(c.held, 0) end, c.next_at
  from voice_clone.retention() t
  left join counted c on c.name = t.name
  order by t.name
$$;

-- Null is never, where that is possible.
create function operations.set_retention(p_name text, p_seconds float8) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if not exists (select from voice_clone.retention() t where t.name = p_name) then
    raise exception 'nothing is kept under the name %', p_name using errcode = 'VC004',
      hint = 'likeness retention lists the names.';
  end if;
  update voice_clone.timeouts t set value = make_interval(secs => p_seconds) where t.name = p_name;
  return true;
end
$$;

-- From now on no file of this user or employee is removed. A person who is held already keeps the first reason.
create function operations.place_hold(p_subject uuid, p_reason text) returns setof voice_clone.legal_holds
language plpgsql security definer set search_path = ''
as $$
begin
  if not exists (select from auth.users u where u.id = p_subject) and not exists (select from public.employees e where e.id = p_subject) then
    raise exception 'there is no user and no employee %', p_subject using errcode = 'VC004';
  end if;
  insert into voice_clone.legal_holds (subject_id, reason) values (p_subject, p_reason)
  on conflict (subject_id) where released_at is null do nothing;
  return query select * from voice_clone.legal_holds h where h.subject_id = p_subject and h.released_at is null;
end
$$;

-- What was to be removed meanwhile goes with the next sweep. False where nobody holds this person.
create function operations.release_hold(p_subject uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update voice_clone.legal_holds h set released_at = now() where h.subject_id = p_subject and h.released_at is null;
  if not found then
    return false;
  end if;
  update voice_clone.object_removals r set sweep_at = now() where split_part(r.folder, '/', 1) = p_subject::text;
  return true;
end
$$;

create function operations.legal_holds() returns setof voice_clone.legal_holds
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.legal_holds h order by h.released_at is not null, h.placed_at desc limit 1000 $$;

revoke all on function
  operations.retention(), operations.set_retention(text, float8), operations.place_hold(uuid, text), operations.release_hold(uuid),
  operations.legal_holds()
from public, anon, authenticated;
grant execute on function
  operations.retention(), operations.set_retention(text, float8), operations.place_hold(uuid, text), operations.release_hold(uuid),
  operations.legal_holds()
to service_role;
grant execute on function voice_clone.retention(), operations.retention(), operations.legal_holds() to voice_clone_backend;
