-- Followers: clients that follow an attempt read its transitions, in their order.

-- What an event changed, of the columns that an owner reads.
create function voice_clone.public_changes(e voice_clone.events) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(jsonb_object_agg(c.key, c.value), '{}')
  from jsonb_each(voice_clone.event_changes(e)) c where c.key = any (voice_clone.client_columns())
$$;

-- Its user, and the members of its organization.
create function voice_clone.may_follow(a public.voice_clone_attempts, p_user uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select coalesce(a.user_id = p_user, false) or exists (
    select from public.organization_members m
    where m.org_id = a.org_id and m.user_id = p_user and m.role::text in ('member', 'admin'))
$$;

create function voice_clone.attempt_events(p_attempt uuid, p_user uuid, p_after bigint)
returns table (id bigint, version bigint, events text[], changes jsonb, recorded_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  select e.id, e.version, e.events, voice_clone.public_changes(e), e.recorded_at
  from voice_clone.events e
  join public.voice_clone_attempts a on a.id = e.attempt_id and voice_clone.may_follow(a, p_user)
  where e.attempt_id = p_attempt and e.id > p_after
  order by e.id
$$;

create function voice_clone.is_attempt_of_reflection(p_attempt uuid, p_reflection uuid) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return exists (select from public.voice_clone_attempts a where a.id = p_attempt and a.reflection_id = p_reflection);
end
$$;

-- No transition can follow. A superseded attempt is not final while it can be restored.
create function voice_clone.is_final(a public.voice_clone_attempts) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return a.status = 'expired' or (a.status = 'cancelled' and not voice_clone.is_restorable(a));
end
$$;

-- The transitions of these attempts after a given event each, oldest first, at most p_limit of one attempt. Those of one
-- attempt commit in the order of their ids, because each is made under the lock of its row. Bookkeeping is left out.
-- Partitions older than the attempt are not read; the day is for clocks that differ.
create function voice_clone.events_after(p_attempts uuid[], p_after bigint[], p_limit int)
returns table (
  attempt_id uuid, id bigint, version bigint, events text[], changes jsonb, recorded_at timestamptz, is_last boolean)
language sql stable security definer set search_path = ''
as $$
  select a.id, e.id, e.version, e.events, voice_clone.public_changes(e.event), e.recorded_at,
    voice_clone.is_final(a) and not exists (
      select from voice_clone.events later
      where later.attempt_id = a.id and later.id > e.id and later.events <> '{verification_pending}'
        and later.recorded_at >= a.created_at - interval '1 day')
  from unnest(p_attempts, p_after) followed (attempt_id, after)
  join public.voice_clone_attempts a on a.id = followed.attempt_id
  cross join lateral (
    select x as event, x.id, x.version, x.events, x.recorded_at from voice_clone.events x
    where x.attempt_id = followed.attempt_id and x.id > followed.after and x.events <> '{verification_pending}'
      and x.recorded_at >= a.created_at - interval '1 day'
    order by x.id limit p_limit
  ) e
  order by a.id, e.id
$$;

-- Whether a follower has more to read after an event; null where there is none that this user may follow.
create function voice_clone.has_more_events(p_attempt uuid, p_user uuid, p_after bigint) returns boolean
language sql stable security definer set search_path = ''
as $$
  select not voice_clone.is_final(a) or exists (
    select from voice_clone.events e
    where e.attempt_id = a.id and e.id > p_after and e.events <> '{verification_pending}')
  from public.voice_clone_attempts a where a.id = p_attempt and voice_clone.may_follow(a, p_user)
$$;

grant execute on function
  voice_clone.attempt_events(uuid, uuid, bigint),
  voice_clone.is_attempt_of_reflection(uuid, uuid),
  voice_clone.events_after(uuid[], bigint[], int),
  voice_clone.has_more_events(uuid, uuid, bigint)
to voice_clone_backend;
