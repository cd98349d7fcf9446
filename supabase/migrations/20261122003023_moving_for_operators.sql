-- What `likeness voices move` calls: with the secret key over the Data API, or with DATABASE_URL. The daily allowance counts none of it.

create function operations.voices_to_move(
  p_from text, p_provider text, p_region text, p_accounts text[], p_after uuid, p_limit int
) returns table (
  voice_id uuid, user_id uuid, employee_id uuid, region text, account text, language text, measures jsonb, standing text,
  moved_to uuid, error_code text
)
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.voices_to_move(p_from, p_provider, p_region, p_accounts, p_after, least(greatest(p_limit, 1), 500)) $$;

create function operations.move_voice(
  p_attempt uuid, p_voice uuid, p_user uuid, p_provider text, p_region text, p_accounts text[], p_switch boolean, p_preview_required boolean
) returns table (id uuid, voice_id uuid)
language sql security definer set search_path = '' rows 1
as $$
  select a.id, a.voice_id from voice_clone.move_voice(
    p_attempt, p_voice, p_user, p_provider, p_region, p_accounts, p_switch, p_preview_required, null, true) a
$$;

create function operations.move_employee_voice(
  p_attempt uuid, p_employee uuid, p_provider text, p_region text, p_accounts text[], p_switch boolean, p_preview_required boolean
) returns table (id uuid, voice_id uuid)
language sql security definer set search_path = '' rows 1
as $$
  select a.id, a.voice_id from voice_clone.move_employee_voice(
    p_attempt, p_employee, null, p_provider, p_region, p_accounts, p_switch, p_preview_required, null, true) a
$$;

revoke all on function
  operations.voices_to_move(text, text, text, text[], uuid, int),
  operations.move_voice(uuid, uuid, uuid, text, text, text[], boolean, boolean),
  operations.move_employee_voice(uuid, uuid, text, text, text[], boolean, boolean)
from public, anon, authenticated;
grant execute on function
  operations.voices_to_move(text, text, text, text[], uuid, int),
  operations.move_voice(uuid, uuid, uuid, text, text, text[], boolean, boolean),
  operations.move_employee_voice(uuid, uuid, text, text, text[], boolean, boolean)
to service_role, voice_clone_backend;
