-- Timeouts: of the service's login; and how long the lifecycle waits for what, as rows, so that operators and tests can set them.

-- The service's login cannot wait for ever, whatever opened its connection. The service sets the same on each of its own.
alter role voice_clone_service set statement_timeout = '15s';
alter role voice_clone_service set lock_timeout = '2s';
alter role voice_clone_service set idle_in_transaction_session_timeout = '15s';

create table voice_clone.timeouts (
  name text primary key,
  value interval check (value >= interval '0'),
  purpose text not null,
  constraint timeouts_never check (value is not null or name in ('deleted_voice', 'sample', 'preview', 'recording', 'consent_anchor', 'voice_check', 'canary'))
);
comment on column voice_clone.timeouts.value is 'null means never';
alter table voice_clone.timeouts enable row level security;
revoke all on voice_clone.timeouts from public, anon, authenticated, service_role;

insert into voice_clone.timeouts (name, value, purpose) values
  ('upload', '24 hours', 'an upload that is not finalized by then expires; a sample that nothing uses is removed'),
  ('slot_reservation', '15 minutes', 'an open upload keeps its voice slot for so long, and so long again once its file is there'),
  ('inspection_lease', '30 seconds', 'a sample whose inspection is not renewed by then may be taken over'),
  ('queue_hold', '5 seconds', 'a longer wait is kept in not_before, and the sweep sends its message when it is due'),
  ('lost_message', '5 minutes', 'after so long without a step its message counts as lost and is sent again'),
  ('lost_message_cap', '1 hour', 'the longest between two messages that are sent again; it doubles up to there'),
  ('mirror_progress', '2 seconds', 'until a transition is mirrored that others follow soon; any other is mirrored at once'),
  ('sweep_error', '1 minute', 'a row that the sweep could not process is tried again after so long; it doubles'),
  ('step', '10 minutes', 'the hard deadline of one step, however often its lease is renewed'),
  ('outage', '24 hours', 'a step that waits so long for what is away fails'),
  ('verification', '3 days', 'a voice whose speaker is not verified by then fails'),
  ('verification_poll', '5 seconds', 'between the first two polls of the provider; it doubles from there'),
  ('verification_poll_cap', '10 minutes', 'the longest between two such polls'),
  ('orphan_grace', '24 hours', 'an orphan is removed at its provider after so long, and another check'),
  ('deleted_voice', '30 days', 'a voice that its user deleted is removed at its provider after so long; null: only to make room'),
  ('sample', '30 days', 'a sample is removed so long after it was sent; its voice still speaks, and cannot be moved any more; null: never'),
  ('preview', '30 days', 'a preview is removed so long after it was rendered; its voice still speaks; null: never'),
  ('recording', '30 days', 'the recording of an employee is removed so long after it was stored; null: never'),
  ('object_removal', '3 hours', 'removed objects are removed once more after so long: an upload that was signed before, or of a late worker, may arrive'),
  ('speech_result', '24 hours', 'a speech job that has ended loses its text and its speech after so long'),
  ('recording_lease', '2 minutes', 'a recording whose fetching is not renewed by then may be taken over; longer than an upload to Storage'),
  ('file_lease', '2 minutes', 'the file of an employee that its worker has not confirmed by then may be taken over; longer than a request to Storage'),
  ('unmatched_recording', '30 days', 'a recording that nobody assigned to an employee is forgotten after so long'),
  ('webhook', '3 days', 'a delivery that does not succeed for so long fails; a webhook with none that succeeds is disabled'),
  ('webhook_lease', '30 seconds', 'a webhook whose worker has not recorded its deliveries by then may be taken over'),
  ('webhook_backoff', '5 seconds', 'a delivery that failed is tried again after so long; it doubles'),
  ('webhook_backoff_cap', '1 hour', 'the longest between two tries of a delivery'),
  ('webhook_secret', '24 hours', 'the secret before a rotation signs so long beside the new one'),
  ('webhook_history', '30 days', 'how long a delivery that has ended is kept'),
  ('slot_wait', '10 seconds', 'an attempt that waits for a slot tries again after so long'),
  ('consent_anchor', '1 hour', 'a consent is anchored so long after it was recorded; null: never'),
  ('anchor_lease', '3 minutes', 'an anchor whose worker has not recorded what it published by then may be taken over; longer than a signature and its requests'),
  ('consent_challenge', '15 minutes', 'a sentence that is to be read for a spoken consent is void after so long'),
  ('consent_check', '1 day', 'between two checks of all chains of consents'),
  ('new_voice', '1 hour', 'a voice that is younger is not lost where its provider does not show it: it may be late'),
  ('voice_check', '1 day', 'each voice is looked up at its provider once in so long; null: never'),
  ('voice_check_pause', '1 minute', 'the shortest wait between two groups of such lookups in an account'),
  ('canary', '180 days', 'a voice that has not spoken for so long is made to say a word: that proves that it can, and keeps it at a provider that deletes what is not used; null: never'),
  ('canary_retry', '7 days', 'a voice that did not speak then is tried again after so long'),
  ('voice_check_lease', '5 minutes', 'a check whose worker has not recorded it by then may be taken over; longer than MOST_SECONDS and one call'),
  ('provider_error', '90 days', 'what a provider answered to a step that failed is kept so long after it last came'),
  ('consumer', '1 minute', 'a consumer that has not written its row for so long counts as stopped; it writes about every 15 seconds'),
  ('consumer_history', '1 hour', 'the row of a consumer that stopped is deleted after so long'),
  ('kept_manifest', '1 year', 'the manifest of speech in a format that holds none is kept so long'),
  ('idempotency', '24 hours', 'how long a key is kept with its answer'),
  ('idempotency_lease', '6 seconds', 'a call whose process has not renewed it by then is taken over by the next with its key');

create function voice_clone.timeout(p_name text) returns interval
language plpgsql stable set search_path = ''
as $$
declare
  v_value interval;
begin
  select t.value into strict v_value from voice_clone.timeouts t where t.name = p_name;
  return v_value;
end
$$;
