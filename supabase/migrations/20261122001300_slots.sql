-- Slots: how many voices may be kept at a provider. An attempt takes a slot when it is opened, before anything is
-- uploaded, and keeps it until its reservation ends (uploads.sql); finalizing it later takes a slot again. The slot is free
-- when the attempt ends without a voice or its voice is removed at the provider.

create table voice_clone.slots (
  provider text not null,
  region text not null default '',
  slots int not null check (slots >= 0),
  accounts text[],
  updated_at timestamptz not null default now(),
  primary key (provider, region)
);
comment on column voice_clone.slots.accounts is 'the names of the account whose slots these are; null counts the voices of all';
comment on table voice_clone.slots is 'a provider without a row has no limit, or one that is unknown here';
alter table voice_clone.slots enable row level security;
revoke all on voice_clone.slots from public, anon, authenticated, service_role;

-- What takes a slot: a voice that is at the provider or may be, and an attempt that is going to make one.
create index enrollments_slots_idx on voice_clone.enrollments (provider, region, account)
  where status in ('intended', 'unknown', 'attached', 'orphaned', 'removing');

-- Counts at most p_limit, by the two indexes alone: of the account with these names, or of all.
create function voice_clone.slots_taken(p_provider text, p_region text, p_limit int, p_accounts text[] default null)
returns int
language plpgsql stable set search_path = ''
as $$
declare
  v_count int;
begin
  select count(*) into v_count from (
    select from voice_clone.enrollments e
    where e.provider = p_provider and e.region = p_region
      and (p_accounts is null or e.account = '' or e.account = any (p_accounts)) and e.status in ('intended', 'unknown', 'attached', 'orphaned', 'removing')
    union all
    select from voice_clone.enrolling_attempts n join public.voice_clone_attempts a on a.id = n.attempt_id
    left join voice_clone.uploads u on u.attempt_id = a.id
    where n.provider = p_provider and n.region = p_region
      and a.source <> 'custom_voice' and a.provider_voice_id is null
      -- Most reservations hold, and are seen here without a call for each.
      and case when a.status = 'awaiting_upload' then coalesce(u.reserved_until > now(), false) or voice_clone.has_slot_reservation(a.id)
        else not exists (
          select from voice_clone.enrollments e where e.attempt_id = a.id and e.status in ('intended', 'unknown')) end
    limit p_limit
  ) taken;
  return v_count;
end
$$;

-- When a slot may become free by itself: a reservation ends, or an orphan is removed. Null where none will.
create function voice_clone.slot_free_at(p_provider text, p_region text, p_accounts text[]) returns timestamptz
language sql stable set search_path = ''
as $$
  select greatest(now(), min(soon.free_at)) from (
    select voice_clone.slot_reserved_until(a.id) as free_at from voice_clone.enrolling_attempts n
    join public.voice_clone_attempts a on a.id = n.attempt_id
    where n.provider = p_provider and n.region = p_region and a.status = 'awaiting_upload'
      and a.source <> 'custom_voice' and a.provider_voice_id is null
    union all
    select e.sweep_at from voice_clone.enrollments e
    where e.provider = p_provider and e.region = p_region
      and (p_accounts is null or e.account = '' or e.account = any (p_accounts)) and e.status in ('orphaned', 'removing')
  ) soon having count(*) > 0
$$;

-- The voices that are being removed at an account of a provider, each about to leave its slot; counts at most p_limit.
create function voice_clone.slots_leaving(p_provider text, p_region text, p_limit int, p_accounts text[]) returns int
language plpgsql stable security definer set search_path = ''
as $$
begin
  return (select count(*) from (
    select from voice_clone.enrollments e
    where e.provider = p_provider and e.region = p_region
      and (p_accounts is null or e.account = '' or e.account = any (p_accounts)) and e.status in ('orphaned', 'removing')
      and (e.status = 'removing' or e.removal_due_at <= now())
    limit p_limit
  ) leaving);
end
$$;

-- The deleted voices that release_deleted_voices would release at once in an account; counts at most p_limit.
create function voice_clone.deleted_voices(p_provider text, p_region text, p_limit int, p_accounts text[]) returns int
language plpgsql stable security definer set search_path = ''
as $$
begin
  return (select count(*) from (
    select from public.voices x
    where x.deleted_at <= now() and x.removal_requested_at is null and x.enrollment_id is not null
      and x.tts_provider = p_provider and x.provider_region = p_region
      and (p_accounts is null or x.provider_account = '' or x.provider_account = any (p_accounts))
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    limit greatest(p_limit, 0)
  ) deleted);
end
$$;

-- How many voices must leave their slots before one more has one; none where it is not positive. Each attempt that may make a voice is
-- looked at only where there is no room for all of them.
create function voice_clone.slots_missing(p_provider text, p_region text, p_slots int, p_accounts text[]) returns int
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_at_most int := (select count(*) from (
    select from voice_clone.enrollments e
    where e.provider = p_provider and e.region = p_region and e.status in ('intended', 'unknown', 'attached', 'orphaned', 'removing')
    union all
    select from voice_clone.enrolling_attempts n where n.provider = p_provider and n.region = p_region
    limit p_slots
  ) counted);
begin
  if v_at_most < p_slots then
    return v_at_most - p_slots + 1;
  end if;
  return voice_clone.slots_taken(p_provider, p_region, 2 * p_slots + 1, p_accounts) - p_slots + 1;
end
$$;

-- Raises VC007: no slot is left, nor will one be by the removal of deleted voices.
create function voice_clone.refuse_slot(p_provider text, p_region text, p_slots int, p_accounts text[]) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_free_at timestamptz := voice_clone.slot_free_at(p_provider, p_region, p_accounts);
begin
  raise exception 'No voice slot is left at the voice provider %.', p_provider
    using errcode = 'VC007',
      detail = jsonb_strip_nulls(jsonb_build_object(
        'code', 'provider_full', 'field', 'provider', 'provider', p_provider, 'limit', p_slots,
        'free_at', voice_clone.utc_text(v_free_at)))::text,
      hint = case when v_free_at is null
        then 'None is about to become free: a voice must be removed there, or the plan extended.'
        else 'One becomes free when an upload expires unused or an orphan is removed, the next at '
          || voice_clone.utc_text(v_free_at) || '.' end;
end
$$;

-- Raises VC007 where require_slot would. Changes and locks nothing: nobody's deleted voice is released for a sample that may
-- be refused.
create function voice_clone.check_slot(p_provider text, p_region text) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  s voice_clone.slots;
  v_missing int;
begin
  select * into s from voice_clone.slots x where x.provider = p_provider and x.region = p_region;
  v_missing := voice_clone.slots_missing(p_provider, p_region, s.slots, s.accounts);
  if v_missing > 0 then
    v_missing := v_missing - voice_clone.slots_leaving(p_provider, p_region, s.slots, s.accounts);
  end if;
  if v_missing > 0 and voice_clone.deleted_voices(p_provider, p_region, v_missing, s.accounts) < v_missing then
    perform voice_clone.refuse_slot(p_provider, p_region, s.slots, s.accounts);
  end if;
end
$$;

-- Raises VC007 where the provider has no slot left. The caller's transaction then takes the slot: the lock is kept until its
-- end. Where no slot is left, those of deleted voices are made free before their retention ends, the longest deleted first: as
-- many as are too many with one more, but for those that are leaving already. The attempt waits for that (wait_for_slot).
create function voice_clone.require_slot(p_provider text, p_region text, p_reflection uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  s voice_clone.slots;
  v_missing int;
begin
  select * into s from voice_clone.slots x where x.provider = p_provider and x.region = p_region;
  if not found then
    return;
  end if;
  -- The reflection first, in the common lock order; then one reservation at a time, so that two cannot both take the
  -- last slot.
  perform from public.reflections r where r.id = p_reflection for no key update;
  perform pg_advisory_xact_lock(hashtextextended('slots:' || p_provider || ':' || p_region, 0));
  v_missing := voice_clone.slots_missing(p_provider, p_region, s.slots, s.accounts);
  if v_missing > 0 then
    v_missing := v_missing - voice_clone.slots_leaving(p_provider, p_region, s.slots, s.accounts);
  end if;
  if v_missing > 0
    and voice_clone.release_deleted_voices(v_missing, interval '0', p_provider, p_region, s.accounts) < v_missing
  then
    perform voice_clone.refuse_slot(p_provider, p_region, s.slots, s.accounts);
  end if;
end
$$;

-- An attempt that will enroll a voice takes a slot or is refused: when it is made, when a failed one is retried, and when an
-- upload is queued after its reservation ended.
create function voice_clone.reserve_slot() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'UPDATE' and (
    voice_clone.has_slot_reservation(new.id)
    or exists ( -- its enrollment still has the slot
      select from voice_clone.enrollments e where e.attempt_id = new.id and e.status in ('intended', 'unknown'))
  ) then
    return new;
  end if;
  perform voice_clone.require_slot(new.provider, new.region, new.reflection_id);
  return new;
end
$$;
create trigger voice_clone_attempts_reserve_slot before insert on public.voice_clone_attempts
  for each row when (new.status in ('awaiting_upload', 'queued') and new.provider_voice_id is null and new.source <> 'custom_voice')
  execute function voice_clone.reserve_slot();
create trigger voice_clone_attempts_reserve_slot_again before update of status on public.voice_clone_attempts
  for each row when (old.status in ('failed', 'awaiting_upload') and new.status = 'queued' and new.provider_voice_id is null
    and new.source <> 'custom_voice')
  execute function voice_clone.reserve_slot();

-- Sets a provider's limit, from the settings or from the provider's account; null for no limit. Writes only a change.
create function voice_clone.set_slots(p_provider text, p_region text, p_slots int, p_accounts text[] default null) returns void
language sql security definer set search_path = ''
as $$
  delete from voice_clone.slots s where s.provider = p_provider and s.region = p_region and p_slots is null;
  insert into voice_clone.slots as s (provider, region, slots, accounts)
  select p_provider, p_region, p_slots, p_accounts where p_slots is not null
  on conflict (provider, region) do update set slots = excluded.slots, accounts = excluded.accounts, updated_at = now()
  where (s.slots, s.accounts) is distinct from (excluded.slots, excluded.accounts)
$$;

-- The voices at a provider that enrollments made, or may have made; counts at most p_limit. Any other voice of the
-- provider's account is not ours.
create function voice_clone.count_enrolled_voices(p_provider text, p_region text, p_limit int, p_accounts text[] default null)
returns int
language plpgsql stable security definer set search_path = ''
as $$
begin
  return (select count(*) from (
    select from voice_clone.enrollments e
    where e.provider = p_provider and e.region = p_region
      and (p_accounts is null or e.account = '' or e.account = any (p_accounts)) and e.status in ('intended', 'unknown', 'attached', 'orphaned', 'removing')
    limit p_limit
  ) held);
end
$$;

grant execute on function
  voice_clone.set_slots(text, text, int, text[]),
  voice_clone.count_enrolled_voices(text, text, int, text[])
to voice_clone_backend;
