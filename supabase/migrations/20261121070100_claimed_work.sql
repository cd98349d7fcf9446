-- Claimed work, anew: with the source, for a custom voice is described and attached where a sample is enrolled; and
-- in plpgsql, which plans its query once a session, where an SQL function took longer to plan than to read.

drop function voice_clone.claimed_work(uuid);

-- What a worker needs to know about the attempt it claimed, with the enrollment whose outcome is open, if any.
-- ready_seconds is how long ago the voice was made: its provider may list it only after a while.
-- Volatile, so that it sees the claim it is joined to.
create function voice_clone.claimed_work(p_attempt uuid)
returns table (
  attempt_id uuid, user_id uuid, reflection_id uuid, voice_id uuid, source text, provider text, region text,
  name text, language text, provider_voice_id text, target_model text, process_count int, sync_count int,
  preview_count int, bucket text, path text, bytes bigint, transcript text,
  enrollment_id uuid, label text, found_voice_id text, found_target_model text, found_requires_verification boolean,
  settles_in_seconds float8, ready_seconds float8
)
language plpgsql security definer set search_path = '' rows 1
as $$
begin
  return query
    select a.id, a.user_id, a.reflection_id, a.voice_id, a.source, a.provider, a.region,
      a.name, a.language, a.provider_voice_id, a.target_model, a.process_count, a.sync_count,
      a.preview_count, s.bucket, s.prepared_path, s.prepared_bytes, s.transcript,
      e.id, e.label, e.provider_voice_id, e.target_model, e.requires_verification,
      extract(epoch from e.settles_at - now())::float8, extract(epoch from now() - a.ready_at)::float8
    from public.attempts a
    left join public.samples s on s.id = a.sample_id
    left join voice_clone.enrollments e on e.attempt_id = a.id and e.status in ('intended', 'unknown')
    where a.id = p_attempt;
end
$$;

grant execute on function voice_clone.claimed_work(uuid) to voice_clone_backend;
