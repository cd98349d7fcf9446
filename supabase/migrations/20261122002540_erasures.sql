-- Erasures: what was erased for whom, and the places of which it is confirmed that nothing is left. The subject is a hash of its id:
-- who has the id finds the entry, and the entry names nobody. After a backup is restored, the same hashes say what to erase again.

create table voice_clone.erasures (
  id uuid primary key default gen_random_uuid(),
  kind text not null check (kind in ('user', 'employee', 'voice')),
  subject_hash bytea not null check (octet_length(subject_hash) = 32),
  requested_by text not null check (requested_by in ('user', 'auth', 'operator', 'ledger')),
  requested_at timestamptz not null default now(),
  sweep_at timestamptz default now(),
  completed_at timestamptz,
  constraint erasures_swept check ((sweep_at is null) = (completed_at is not null))
);
comment on column voice_clone.erasures.requested_by is 'auth: the deletion of the user or of the row; ledger: again, after a backup was restored';
create index erasures_subject_hash_idx on voice_clone.erasures (subject_hash, requested_at desc);
create index erasures_sweep_at_idx on voice_clone.erasures (sweep_at) where sweep_at is not null;
alter table voice_clone.erasures enable row level security;
revoke all on voice_clone.erasures from public, anon, authenticated, service_role;

create table voice_clone.erasure_places (
  erasure_id uuid not null references voice_clone.erasures (id),
  place text not null check (place in ('database', 'provider', 'storage', 'file', 'answers')),
  ref uuid not null,
  name text not null,
  confirmed_at timestamptz,
  primary key (erasure_id, place, ref)
);
comment on column voice_clone.erasure_places.ref is
  'of the row that is gone or final once nothing is left: an enrollment, an object removal, an idempotency key; otherwise the erasure';
comment on column voice_clone.erasure_places.name is 'for people: the provider, the bucket';
create index erasure_places_open_idx on voice_clone.erasure_places (erasure_id) where confirmed_at is null;
alter table voice_clone.erasure_places enable row level security;
revoke all on voice_clone.erasure_places from public, anon, authenticated, service_role;

create function voice_clone.subject_hash(p_kind text, p_subject uuid) returns bytea
language plpgsql immutable set search_path = ''
as $$
begin
  return sha256(convert_to(p_kind || ':' || p_subject, 'UTF8'));
end
$$;

-- The entry, with each place in which something may be left: voices of these attempts that are still at a provider, or may be, and
-- these folders of Storage.
create function voice_clone.record_erasure(p_kind text, p_subject uuid, p_by text, p_attempts uuid[], p_buckets text[], p_folder text)
returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_erasure uuid;
begin
  delete from voice_clone.provider_errors x where x.attempt_id = any (p_attempts);
  insert into voice_clone.erasures (kind, subject_hash, requested_by)
  values (p_kind, voice_clone.subject_hash(p_kind, p_subject), p_by) returning id into v_erasure;
  insert into voice_clone.erasure_places (erasure_id, place, ref, name)
  select v_erasure, 'database', v_erasure, 'rows'
  union all
  select v_erasure, 'provider', e.id, concat_ws(' ', e.provider, nullif(e.region, '')) from voice_clone.enrollments e
  where e.attempt_id = any (p_attempts) and e.status not in ('closed', 'removed')
  union all
  select v_erasure, 'storage', r.id, r.bucket from voice_clone.object_removals r
  where r.bucket = any (p_buckets) and r.folder = p_folder;
  return v_erasure;
end
$$;

-- Whether a place has nothing left by now. That of the database is confirmed by the transaction that erases.
create function voice_clone.is_erased(p voice_clone.erasure_places) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return case p.place
    when 'provider' then exists (
      select from voice_clone.enrollments e where e.id = p.ref and e.status in ('closed', 'removed'))
    when 'storage' then not exists (select from voice_clone.object_removals r where r.id = p.ref)
    when 'answers' then not exists (select from voice_clone.idempotency_keys k where k.id = p.ref)
    when 'file' then not exists (
      select from voice_clone.employee_files f
      join voice_clone.erasures x on x.id = p.erasure_id and x.subject_hash = voice_clone.subject_hash('employee', f.employee_id))
    else false
  end;
end
$$;

-- Looks at the places that are not confirmed yet, and completes the erasure with the last. True where it is complete.
create function voice_clone.confirm_erasure(p_erasure uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  x voice_clone.erasures;
begin
  select * into x from voice_clone.erasures e where e.id = p_erasure for no key update;
  if x.completed_at is not null then
    return true;
  end if;
  update voice_clone.erasure_places p set confirmed_at = now()
  where p.erasure_id = p_erasure and p.confirmed_at is null and voice_clone.is_erased(p);
  if exists (select from voice_clone.erasure_places p where p.erasure_id = p_erasure and p.confirmed_at is null) then
    -- The wait grows with the time since the request: from seconds to an hour.
    update voice_clone.erasures e
    set sweep_at = now() + least(greatest(now() - e.requested_at, interval '10 seconds'), voice_clone.timeout('lost_message_cap'))
    where e.id = p_erasure;
    return false;
  end if;
  update voice_clone.erasures e set completed_at = now(), sweep_at = null where e.id = p_erasure;
  return true;
end
$$;

-- The part of the sweep: the erasures that are due. One with an error is postponed. Returns how many it completed.
create function voice_clone.sweep_erasures(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid;
  v_count int := 0;
begin
  for v_id in
    select x.id from voice_clone.erasures x where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.sweep_at limit p_limit for no key update skip locked
  loop
    begin
      v_count := v_count + voice_clone.confirm_erasure(v_id)::int;
    exception when others then
      perform voice_clone.postpone_row('erasure', v_id, sqlerrm, sqlstate);
    end;
  end loop;
  return v_count;
end
$$;

-- What is confirmed and what is not, as one object; null where there is no such erasure.
create function voice_clone.erasure_receipt(p_erasure uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'erasure_id', x.id, 'kind', x.kind, 'requested_by', x.requested_by, 'requested_at', x.requested_at,
    'completed_at', x.completed_at, 'status', case when x.completed_at is null then 'partial' else 'complete' end,
    'places', (
      select jsonb_agg(jsonb_build_object('place', p.place, 'name', p.name, 'confirmed_at', p.confirmed_at, 'is_held', exists (
          select from voice_clone.object_removals r
          where r.id = p.ref and p.place = 'storage' and p.confirmed_at is null and voice_clone.is_folder_held(r.folder)))
        order by p.place, p.name, p.ref)
      from voice_clone.erasure_places p where p.erasure_id = x.id))
  from voice_clone.erasures x where x.id = p_erasure
$$;
