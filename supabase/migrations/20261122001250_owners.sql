-- Owners: what belongs together belongs to one user. No id alone gives access: an attempt has its own user's sample and
-- reflection, a voice and a session have their own user's attempt (invariant 7). The sample of an active attempt is ready.

-- Volatile, so that it sees what the lock on the reflection waited for. Callers that activate an attempt hold that lock.
create function voice_clone.require_own_sources() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.reflection_id is not null and not exists (
    select from public.reflections r where r.id = new.reflection_id and r.user_id = new.user_id
  ) then
    raise exception 'there is no such reflection' using errcode = 'VC004', detail = '{"field": "reflection_id"}';
  elsif new.employee_id is not null and not exists (
    select from public.employees e where e.id = new.employee_id and e.org_id = new.org_id
  ) then
    raise exception 'there is no such employee' using errcode = 'VC004', detail = '{"field": "employee_id"}';
  elsif new.sample_id is not null and not exists (
    select from public.voice_samples s
    where s.id = new.sample_id and (s.user_id = new.user_id or s.employee_id = new.employee_id)
      -- What has its voice, or uses one that is there, needs the sample's consent and not its file, whose retention may be over.
      and (new.status = 'ready' or new.source = 'custom_voice' or (s.status <> 'removed' and (s.status = 'ready' or not new.is_active)))
  ) then
    raise exception 'there is no such sample' using errcode = 'VC004', detail = '{"field": "sample_id"}';
  end if;
  return new;
end
$$;
create trigger voice_clone_attempts_same_owner before insert on public.voice_clone_attempts
  for each row execute function voice_clone.require_own_sources();
create trigger voice_clone_attempts_same_owner_again before update on public.voice_clone_attempts
  for each row when (new.is_active and not old.is_active) execute function voice_clone.require_own_sources();

create function voice_clone.require_own_attempt() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_owner uuid := coalesce(new.user_id, (to_jsonb(new) ->> 'org_id')::uuid); -- a session has no organization
begin
  if not exists (
    select from public.voice_clone_attempts a where a.id = new.attempt_id and coalesce(a.user_id, a.org_id) = v_owner
  ) then
    raise exception 'there is no such attempt' using errcode = 'VC004', detail = '{"field": "attempt_id"}';
  end if;
  return new;
end
$$;
create trigger voices_require_own_attempt before insert on public.voices
  for each row execute function voice_clone.require_own_attempt();

-- The reflection has another owner, or none: its former owner's attempts end in the same transaction, those that only wait for
-- an upload as well. The voice stays in its owner's library.
create function voice_clone.release_reflection() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.cancel_attempts('owner_changed', p_reflection => new.id);
  perform voice_clone.mirror_reflections(array[new.id]);
  return null;
end
$$;
create trigger voice_clone_release after update on public.reflections
  for each row when (old.user_id is distinct from new.user_id) execute function voice_clone.release_reflection();
