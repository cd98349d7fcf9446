-- by_id --
-- under row level security: another's is not there
select
  a.id, a.user_id, a.reflection_id, a.employee_id, a.sample_id, a.voice_id, a.source, a.name, a.language, a.status, a.runtime_status,
  a.preview_status, a.is_active, a.version, a.not_before, a.provider, a.region, a.target_model, a.request_id,
  a.preview_path, a.error_code, a.error_message, a.cancel_reason, a.created_at, a.updated_at, a.queued_at, a.ready_at,
  a.failed_at, a.cancelled_at, a.synced_at, a.previewed_at
from public.voice_clone_attempts a where a.id = %(attempt)s

-- is_for_reflection --
-- the longer address must be true as well
select voice_clone.is_attempt_of_reflection(%(attempt)s, %(reflection)s)

-- events --
-- a timeline; definer, for schema voice_clone is not the client's
select * from voice_clone.attempt_events(%(attempt)s, %(user)s, %(after)s)

-- claim --
-- the claim and what there is to do, one round trip
select c.*, to_jsonb(w) as work
from voice_clone.claim_attempt(%(attempt)s, %(worker)s, %(lease)s, %(user_cap)s, %(early)s, %(max_jobs)s) c
left join lateral voice_clone.claimed_work(%(attempt)s) w on c.outcome = 'claimed'

-- claim_step --
-- runtime sync or preview: the same lease, the same work row
select c.*, to_jsonb(w) as work
from voice_clone.claim_step(%(attempt)s, %(step)s, %(worker)s, %(lease)s) c
left join lateral voice_clone.claimed_work(%(attempt)s) w on c.outcome = 'claimed'

-- renew --
-- false: the lease has passed on
select voice_clone.renew_lease(%(attempt)s, %(epoch)s, %(lease)s) as held

-- intend --
-- committed before the provider's call; null where no slot is free yet
select voice_clone.intend_enrollment(%(attempt)s, %(epoch)s, %(label)s, %(kind)s, %(settle)s, %(account)s) as id

-- wait_for_slot --
-- false: no voice is being removed, and no deleted one can be
select voice_clone.wait_for_slot(%(attempt)s, %(epoch)s, %(message)s, %(accounts)s) as waits

-- resolve --
-- closed: the provider made no voice; unknown: its label is looked up
select voice_clone.resolve_enrollment(%(enrollment)s, %(epoch)s, %(status)s, %(code)s, %(request_id)s, %(settle)s)

-- report --
-- a voice whose worker lost the lease, or could not write: kept for the next worker, or an orphan
select voice_clone.report_enrollment(
  %(enrollment)s, %(voice)s, %(target_model)s, %(requires_verification)s, %(request_id)s, %(metadata)s) as status

-- attach --
-- the voice and the ready attempt, with the archive of its message; syncing: the worker keeps the lease
select runtime_status from voice_clone.attach_voice(
  %(attempt)s, %(epoch)s, %(enrollment)s, %(voice)s, %(target_model)s, %(request_id)s,
  %(metadata)s, %(message)s, true)

-- find_custom_voice --
-- not usable: an enrollment of another user made it, or one whose voice is deleted
select is_usable, language from voice_clone.find_custom_voice(%(user)s, %(provider)s, %(voice)s, %(label)s)

-- attach_custom_voice --
-- the same without an enrollment
select runtime_status from voice_clone.attach_custom_voice(%(attempt)s, %(epoch)s, %(label)s, %(message)s, true)

-- await_verification --
-- the voice is made and may not be used yet
select runtime_status from voice_clone.await_verification(
  %(attempt)s, %(epoch)s, %(enrollment)s, %(voice)s, %(target_model)s, %(request_id)s, %(metadata)s, %(message)s)

-- fail --
-- for good, until the user tries again
select id from voice_clone.fail_attempt(%(attempt)s, %(epoch)s, %(code)s, %(error)s, %(request_id)s, %(message)s)

-- requeue --
-- later, while the budget lasts or in an outage
select id from voice_clone.requeue_attempt(
  %(attempt)s, %(epoch)s, %(delay)s, %(code)s, %(error)s, %(message)s, %(is_outage)s)

-- mark_runtime --
-- what the runtime said of the voice
select id from voice_clone.mark_runtime(
  %(attempt)s, %(epoch)s, %(status)s, %(code)s, %(error)s, %(delay)s, %(message)s, %(is_outage)s)

-- mark_preview --
-- the clip, or why there is none
select id from voice_clone.mark_preview(
  %(attempt)s, %(epoch)s, %(status)s, %(path)s, %(code)s, %(error)s, %(delay)s, %(message)s, %(is_outage)s)

-- verification_work --
-- no row: no such attempt
select * from voice_clone.verification_work(%(attempt)s)

-- complete_verification --
-- a poll found the speaker verified: the voice and the ready attempt
select voice_clone.complete_verification(%(attempt)s, %(epoch)s, %(count)s, %(message)s)

-- reject_verification --
-- a poll found that the speaker will not be verified
select voice_clone.reject_verification(%(attempt)s, %(epoch)s, %(count)s, %(code)s, %(error)s, %(message)s)

-- postpone_verification --
-- a poll found neither: the wait doubles; the error, where no poll is possible
select voice_clone.postpone_verification(
  %(attempt)s, %(epoch)s, %(count)s, %(at_least)s, %(message)s, %(code)s, %(error)s)

-- record_verification --
-- the result that an operator or a webhook reports
select * from voice_clone.record_verification(%(attempt)s, %(verified)s, %(voice)s, %(code)s, %(error)s)

-- begin_cleanup --
-- what there is to do; a removal is committed as an intent before the provider is asked
select * from voice_clone.begin_cleanup(%(enrollment)s)

-- note_failed_cleanup --
-- the sweep requests the cleanup again
select voice_clone.note_failed_cleanup(%(enrollment)s, %(code)s)

-- note_provider_error --
-- of an attempt or an enrollment: what its provider answered, for operators
select voice_clone.note_provider_error(
  %(subject)s, %(step)s, %(provider)s, %(code)s, %(status)s, %(provider_code)s, %(message)s, %(request_id)s)

-- end_cleanup --
-- orphaned, closed or removed, unless another cleanup was first; with the archive of its message
select voice_clone.end_cleanup(%(enrollment)s, %(status)s, %(voice)s, %(target_model)s, %(message)s) as status

-- begin_object_removal --
-- no row: the folder was emptied for the last time
select * from voice_clone.begin_object_removal(%(removal)s)

-- end_object_removal --
-- the folder was emptied, with the archive of its message
select voice_clone.end_object_removal(%(removal)s, %(is_final)s, %(message)s)

-- mirror_reflections --
-- a function of the active attempts alone, so one call serves every message of a batch; returns those that it left
select voice_clone.mirror_unlocked_reflections(%(ids)s)

-- events_after --
-- one query for every attempt that changed and is followed here
select * from voice_clone.events_after(%(attempts)s::uuid[], %(after)s::bigint[], %(limit)s)

-- has_more_events --
-- false: the attempt is final and the follower has read all of it; null: it is not this user's
select voice_clone.has_more_events(%(attempt)s, %(user)s, %(after)s)

-- set_slots --
-- null for no limit; nothing is written where nothing changed
select voice_clone.set_slots(%(provider)s, %(region)s, %(slots)s, %(accounts)s)

-- count_enrolled_voices --
-- counted up to what the account uses: the other voices of the account are not ours
select voice_clone.count_enrolled_voices(%(provider)s, %(region)s, %(limit)s, %(accounts)s) as held

-- launch_gates --
-- of many requests at once, in their order; null where the reflection is another user's
select to_jsonb(gate) as gate
from unnest(%(reflections)s::uuid[], %(users)s::uuid[]) with ordinality requested (reflection, user_id, place)
left join lateral voice_clone.launch_gate(requested.reflection, requested.user_id) gate on true
order by requested.place

-- sweep --
-- counts by what was done; no row where nothing was due
select what, count from voice_clone.sweep(%(limit)s)

-- of_reflection --
-- newest first, with the index on (reflection_id, created_at, id)
select
  a.id, a.user_id, a.reflection_id, a.employee_id, a.sample_id, a.voice_id, a.source, a.name, a.language, a.status, a.runtime_status,
  a.preview_status, a.is_active, a.version, a.not_before, a.provider, a.region, a.target_model, a.request_id,
  a.preview_path, a.error_code, a.error_message, a.cancel_reason, a.created_at, a.updated_at, a.queued_at, a.ready_at,
  a.failed_at, a.cancelled_at, a.synced_at, a.previewed_at
from public.voice_clone_attempts a
where a.reflection_id = %(reflection)s and (a.created_at, a.id) < (%(before)s::timestamptz, %(before_id)s::uuid)
order by a.created_at desc, a.id desc
limit %(limit)s

-- use_custom_voice --
-- opened and queued at once: the provider was asked before
select * from voice_clone.use_custom_voice(
  %(attempt)s, %(user)s, %(reflection)s, %(provider)s, %(region)s, %(voice)s, %(label)s, %(target_model)s,
  %(name)s, %(language)s, %(preview_required)s, %(account)s)

-- claim_speech_job --
-- the claim and what there is to speak, one round trip
select c.*, to_jsonb(w) as work
from voice_clone.claim_speech_job(%(job)s, %(worker)s, %(lease)s, %(user_cap)s, %(max_jobs)s) c
left join lateral voice_clone.claimed_speech(%(job)s) w on c.outcome = 'claimed'

-- renew_speech --
-- false: the lease has passed on
select voice_clone.renew_speech_lease(%(job)s, %(epoch)s, %(lease)s) as held

-- complete_speech --
-- the speech is stored, with the archive of its message
select voice_clone.complete_speech(%(job)s, %(epoch)s, %(path)s, %(bytes)s, %(message)s)

-- fail_speech --
-- for good, until the user tries again
select voice_clone.fail_speech(%(job)s, %(epoch)s, %(code)s, %(error)s, %(request_id)s, %(message)s)

-- requeue_speech --
-- later, while the budget lasts or in an outage
select voice_clone.requeue_speech(
  %(job)s, %(epoch)s, %(delay)s, %(code)s, %(error)s, %(request_id)s, %(message)s, %(is_outage)s)
