-- create --
-- the secret is in the row, so that a retry with the same idempotency key answers with the same one
select w.id, w.org_id as organization_id, w.url, w.status, w.created_at, %(secret)s::text as secret
from voice_clone.create_webhook(%(webhook)s, %(user)s, %(url)s, %(secret)s, %(organization)s) w

-- all --
-- under row level security: the caller's own, or those of an organization that they are an admin of; newest first
select w.id, w.org_id as organization_id, w.url, w.status, w.disabled_reason, w.disabled_at, w.failing_since, w.created_at
from public.webhooks w
where case when %(organization)s::uuid is null then w.user_id = %(user)s else w.org_id = %(organization)s::uuid end
  and (w.created_at, w.id) < (%(before)s::timestamptz, %(before_id)s::uuid)
order by w.created_at desc, w.id desc limit %(limit)s

-- require_admin --
-- raises for anyone else
select voice_clone.require_admin(%(organization)s, %(user)s)

-- one --
-- under row level security: another's is not there
select w.id, w.org_id as organization_id, w.url, w.status, w.disabled_reason, w.disabled_at, w.failing_since, w.created_at
from public.webhooks w where w.id = %(webhook)s

-- delete --
-- with its secrets and deliveries
select voice_clone.delete_webhook(%(webhook)s, %(user)s)

-- rotate --
-- the secret is in the row, so that a retry with the same idempotency key answers with the same one
select %(secret)s::text as secret, t as previous_expires_at
from voice_clone.rotate_webhook_secret(%(webhook)s, %(user)s, %(secret)s) t

-- enable --
-- at once, without a memory of its failures
select w.id, w.org_id as organization_id, w.url, w.status, w.disabled_reason, w.disabled_at, w.failing_since, w.created_at
from voice_clone.enable_webhook(%(webhook)s, %(user)s) w

-- deliveries --
-- under row level security: newest event first, before an event
select d.event_id, d.attempt_id, d.reflection_id, d.employee_id, d.voice_id, d.version, d.events, d.recorded_at, d.status, d.try_count,
  d.tried_at, d.response_status, d.error_code, d.finished_at, case d.status when 'pending' then d.due_at end as due_at
from public.webhook_deliveries d
where d.webhook_id = %(webhook)s and d.event_id < coalesce(%(before)s::bigint, 9223372036854775807)
order by d.event_id desc limit %(limit)s

-- replay --
-- one event once more, also one from before the webhook
select d.event_id, d.attempt_id, d.reflection_id, d.employee_id, d.voice_id, d.version, d.events, d.recorded_at, d.status, d.try_count,
  d.tried_at, d.response_status, d.error_code, d.finished_at, d.due_at
from voice_clone.replay_event(%(webhook)s, %(user)s, %(event)s) d

-- claim --
-- the claim and what there is to send, one round trip
select c.*, to_jsonb(w) as work
from voice_clone.claim_webhook(%(webhook)s, %(worker)s, %(user_cap)s, %(most)s) c
left join lateral voice_clone.claimed_webhook(%(webhook)s, %(most)s) w on c.outcome = 'claimed'

-- record --
-- what came of each, and the message for what is left
select voice_clone.record_deliveries(%(webhook)s, %(epoch)s, %(results)s, %(retry_after)s, %(message)s)
