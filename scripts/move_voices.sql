-- to_move --
-- a page of the voices of a provider, and where each stands
select * from voice_clone.voices_to_move(
  %(from)s, %(provider)s, %(region)s, %(accounts)s, %(after)s, %(limit)s)

-- move --
-- one voice in a transaction; the daily allowance does not count it
select id, voice_id from voice_clone.move_voice(
  %(attempt)s, %(voice)s, %(user)s, %(provider)s, %(region)s, %(accounts)s, %(switch)s, %(preview_required)s, null, true)

-- move_of_employee --
-- the same for the voice of an employee, which the new one supersedes
select id, voice_id from voice_clone.move_employee_voice(
  %(attempt)s, %(employee)s, null, %(provider)s, %(region)s, %(accounts)s, %(switch)s, %(preview_required)s, null, true)
