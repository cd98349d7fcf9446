-- Setting slots: what the service knows of a provider's limit, from its settings or from the provider's account.

-- Null for no limit. Nothing is written where nothing changed.
create function voice_clone.set_slots(p_provider text, p_region text, p_slots int) returns void
language sql security definer set search_path = ''
as $$
  delete from voice_clone.slots s where s.provider = p_provider and s.region = p_region and p_slots is null;
  insert into voice_clone.slots as s (provider, region, slots)
  select p_provider, p_region, p_slots where p_slots is not null
  on conflict (provider, region) do update set slots = excluded.slots, updated_at = now()
  where s.slots <> excluded.slots
$$;

-- The voices that enrollments made at a provider and that are there still, or may be; no more than p_limit are
-- counted. What its account holds beyond them is somebody else's.
create function voice_clone.voices_held(p_provider text, p_region text, p_limit int) returns int
language sql stable security definer set search_path = ''
as $$
  select count(*)::int from (
    select from voice_clone.enrollments e
    where e.provider = p_provider and e.region = p_region
      and e.status in ('intended', 'unknown', 'attached', 'orphaned', 'removing')
    limit p_limit
  ) held
$$;

grant execute on function voice_clone.set_slots(text, text, int), voice_clone.voices_held(text, text, int)
to voice_clone_backend;
