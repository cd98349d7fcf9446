-- begin --
-- what is to be done with an object of the older layout; locks the employee's recordings
select outcome, employee_id from voice_clone.begin_recording_move(%(call)s, %(recording_sid)s, %(recorded_at)s)

-- end --
-- the employee's object is a copy of it
select voice_clone.end_recording_move(%(call)s, %(recording_sid)s, %(recorded_at)s, %(bytes)s)

-- patience --
-- the object is copied inside of the transaction
select set_config('idle_in_transaction_session_timeout', '180s', true)
