-- receive --
-- kept before anything is done about it
select * from voice_clone.receive_legacy_event(%(source)s, %(event)s, %(reflection)s, %(payload)s)

-- refuse --
-- the recording cannot be used
select * from voice_clone.refuse_legacy_event(%(id)s, %(code)s, %(message)s)

-- accept --
-- the sample and its queued attempt
select * from voice_clone.accept_legacy_event(
  %(id)s, %(sample)s, %(provider)s, %(region)s, %(name)s, %(preview_required)s)
