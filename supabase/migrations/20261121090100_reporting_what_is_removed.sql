-- Reporting, anew: a voice that is being removed already is only said to be so. It was called an orphan again,
-- which is no edge, and its late maker got an error.

create or replace function voice_clone.report_enrollment(
  p_enrollment uuid, p_voice text, p_target_model text, p_requires_verification boolean, p_request_id text
) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  e voice_clone.enrollments;
  a public.attempts;
begin
  select x.* into a from public.attempts x
  join voice_clone.enrollments y on y.attempt_id = x.id where y.id = p_enrollment for no key update of x;
  select * into e from voice_clone.enrollments x where x.id = p_enrollment for no key update;
  if e.status in ('attached', 'orphaned', 'removing', 'removed') then
    return e.status;
  end if;
  update voice_clone.enrollments x
  set provider_voice_id = p_voice, target_model = p_target_model, request_id = coalesce(p_request_id, x.request_id),
      requires_verification = p_requires_verification,
      status = case
        when a.is_active and a.status in ('queued', 'processing') and x.status <> 'closed' then x.status
        else 'orphaned'
      end
  where x.id = p_enrollment
  returning x.status into e.status;
  return e.status;
end
$$;
