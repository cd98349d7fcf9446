-- receive --
-- kept before anything is done about it
select * from voice_clone.receive_legacy_event(%(source)s, %(event)s, %(reflection)s, %(payload)s)

-- refuse --
-- the recording cannot be used
select * from voice_clone.refuse_legacy_event(%(id)s, %(code)s, %(message)s)

-- accept --
-- the sample and its queued attempt
select * from voice_clone.accept_legacy_event(
  %(id)s, %(provider)s, %(region)s, %(name)s, %(language)s, %(transcript)s, %(path)s, %(content_type)s, %(bytes)s,
  %(measures)s, %(prepared_path)s, %(prepared_bytes)s, %(preview_required)s)
