-- Listing orphans, anew: with those that are being removed, and when that is due; and comparing what a provider
-- lists with what the database knows.

drop function operations.orphans();

-- Provider voices that no voice row owns, the oldest first.
create function voice_clone.orphans()
returns table (
  enrollment_id uuid, attempt_id uuid, provider text, region text, provider_voice_id text, label text,
  status text, cancel_reason text, orphaned_at timestamptz, removal_due_at timestamptz)
language sql stable security definer set search_path = ''
as $$
  select e.id, e.attempt_id, e.provider, e.region, e.provider_voice_id, e.label,
    e.status, a.cancel_reason, e.orphaned_at, e.orphaned_at + voice_clone.time_of('orphan_grace')
  from voice_clone.enrollments e
  join public.attempts a on a.id = e.attempt_id
  where e.status in ('orphaned', 'removing')
  order by e.orphaned_at
$$;
create function operations.orphans()
returns table (
  enrollment_id uuid, attempt_id uuid, provider text, region text, provider_voice_id text, label text,
  status text, cancel_reason text, orphaned_at timestamptz, removal_due_at timestamptz)
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.orphans() $$;

-- Of the voices that a provider lists, those that neither a voice nor an enrollment accounts for. The enrollment
-- is the one whose label the voice bears: it was closed as never made, or made another one, or was removed.
create function voice_clone.unknown_voices(p_provider text, p_region text, p_voices text[], p_labels text[])
returns table (provider_voice_id text, label text, enrollment_id uuid, enrollment_status text)
language sql stable security definer set search_path = ''
as $$
  select listed.voice, listed.label, e.id, e.status
  from unnest(p_voices, p_labels) listed (voice, label)
  left join voice_clone.enrollments e on e.label = listed.label
  where not exists (select from public.voices v
      where v.provider = p_provider and v.region = p_region and v.provider_voice_id = listed.voice)
    and not exists (select from voice_clone.enrollments k
      where k.provider = p_provider and k.provider_voice_id = listed.voice and k.region = p_region
        and k.status <> 'removed')
    and coalesce(e.status, '') not in ('intended', 'unknown') -- its id is not known yet
$$;

-- The voices that people may speak with and that a provider should have, those that were made last first.
create function voice_clone.kept_voices(p_provider text, p_region text)
returns table (voice_id uuid, attempt_id uuid, provider_voice_id text)
language sql stable security definer set search_path = ''
as $$
  select v.id, v.attempt_id, v.provider_voice_id from public.voices v
  where v.provider = p_provider and v.region = p_region and v.deleted_at is null
  order by v.created_at desc
$$;

grant execute on function operations.orphans() to service_role;
grant execute on function
  voice_clone.orphans(), voice_clone.unknown_voices(text, text, text[], text[]), voice_clone.kept_voices(text, text)
to voice_clone_backend;
