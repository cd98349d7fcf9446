-- States of voice checks: whether they go on, for the metrics, the doctor and operators.

-- How long ago the last complete round of each account began. It is late after three times
-- the interval; a round that is running takes nearly one, and so does the one before it.
create function voice_clone.voice_checks_state()
returns table (provider text, region text, account text, voices int, age_seconds float8, error_code text, is_late boolean, silent int)
language sql stable security definer set search_path = ''
as $$
  select c.provider, c.region, c.account, c.voices, extract(epoch from now() - coalesce(c.complete_at, c.created_at))::float8, c.error_code,
    coalesce(c.complete_at, c.created_at + voice_clone.timeout('new_voice')) < now() - 3 * voice_clone.timeout('voice_check'), c.silent
  from voice_clone.voice_checks c
  where voice_clone.timeout('voice_check') is not null and (c.voices > 0 or c.complete_at is null)
  order by c.provider, c.region, c.account
$$;

create function operations.voice_checks_state()
returns table (provider text, region text, account text, voices int, age_seconds float8, error_code text, is_late boolean, silent int)
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.voice_checks_state() $$;
revoke all on function operations.voice_checks_state() from public, anon, authenticated;
grant execute on function operations.voice_checks_state() to service_role, voice_clone_backend;

grant execute on function voice_clone.voice_checks_state() to voice_clone_backend;
