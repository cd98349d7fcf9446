"""Every operation on a voice, and those beside it: what may run at once."""

from tests.database.operation import call, host
from tests.database.service_operations import SERVICE_OPERATIONS

LEASE = "%(active)s, %(epoch)s"
ENROLLED = (
    f"{LEASE}, %(enrollment)s, 'made-' || gen_random_uuid(), 'model-1', 'request-1', '{{}}'::jsonb, null"
)
OWNER = "%(reflection)s, %(user)s"
POLL = f"{LEASE}, 0"
SPEECH = "'Hello.', 'Ada'"
SAMPLE = "%(processing)s, %(sample_epoch)s"

OPERATIONS = [
    # the owner's
    call("sign_consent", "%(user)s, 'voice_clone', 'en', 'reflection', %(reflection)s, 1"),
    call("revoke_consent", "%(consent)s, %(user)s"),
    call(
        "open_attempt",
        "gen_random_uuid(), %(user)s, %(consent)s, %(reflection)s, 'local', '',"
        " 'sample/' || gen_random_uuid(), 'audio/wav', 1000, true",
    ),
    call("claim_upload", "%(opened)s, %(user)s, 'other'"),
    call("queue_attempt", "%(prepared)s, %(user)s, 'Ada', 'en', 'hello', 0"),
    call("check_sample", "%(user)s, %(consent)s, 10, 100"),
    call(
        "add_sample",
        "gen_random_uuid(), %(user)s, %(consent)s, %(reflection)s, true, 'Ada', 'en', 'hello',"
        " 'sample/' || gen_random_uuid(), 'audio/wav', 1000, 10, 100",
    ),
    call("receive_sample", "%(sent)s, %(user)s"),
    call("delete_sample", "%(unused)s, %(user)s"),
    call("delete_sample", "%(active_sample)s, %(user)s", "failed", name="delete_used_sample"),
    call(
        "clone_sample",
        "gen_random_uuid(), %(user)s, %(sample)s, %(reflection)s, 'local', '', true, 'Ada'",
    ),
    call(
        "use_custom_voice",
        "gen_random_uuid(), %(user)s, %(reflection)s, 'local', '', %(kept_provider_voice)s, null,"
        " 'model-1', 'Ada', 'en', true",
    ),
    call("retry_attempt", OWNER, "failed", "unsynced"),
    call(
        "retry_elsewhere",
        "gen_random_uuid(), %(reflection)s, %(user)s, %(active)s, 'elsewhere', '', true",
    ),
    call(
        "move_voice",
        "gen_random_uuid(), %(active_voice)s, %(user)s, 'elsewhere', '', '{there}', true, true",
        "launched",
    ),
    call(
        "move_voice",
        "gen_random_uuid(), %(kept_voice)s, %(user)s, 'elsewhere', '', '{there}', false, true",
        name="move_kept_voice",
    ),
    call("reset_attempt", OWNER),
    call("restore_attempt", OWNER, "failed", "unsynced"),
    call("request_preview", OWNER, "launched"),
    call("complete_preview", OWNER, "launched"),
    call("start_session", OWNER, "launched"),
    call("launch_gate", OWNER),
    call("reflection_voice", OWNER),
    call("delete_voice", "%(active_voice)s, %(user)s", "launched"),
    call("delete_voice", "%(kept_voice)s, %(user)s", "failed", name="delete_kept_voice"),
    call("request_speech", f"gen_random_uuid(), %(user)s, %(sample)s, 'local', '', {SPEECH}"),
    call(
        "request_speech",
        f"gen_random_uuid(), %(user)s, %(sample)s, 'elsewhere', '', {SPEECH}",
        name="request_speech_elsewhere",
    ),
    call("retry_speech", "%(failed_job)s, %(user)s, 'Ada'"),
    call("delete_speech_job", "%(waiting_job)s, %(user)s"),
    call("receive_legacy_event", "'conversation_ended', %(event)s, %(reflection)s, %(payload)s::jsonb"),
    call(
        "accept_legacy_event",
        "%(legacy_event)s, %(unused)s, 'local', '', 'Ada', true",
    ),
    # the application's
    host("delete reflection", "delete from public.reflections where id = %(reflection)s"),
    host("rename reflection", "update public.reflections set name = 'S' where id = %(reflection)s"),
    host(
        "give reflection away",
        "update public.reflections set user_id = %(other_user)s where id = %(reflection)s",
    ),
    call("request_erasure", "%(user)s"),
    host("delete user", "delete from auth.users where id = %(user)s", role="supabase_auth_admin"),
    # a worker's, of a sample
    call("claim_sample", "%(pending)s, 'other', 2"),
    call("claim_sample", "%(lost)s, 'other', 2", name="claim_lost_sample"),
    call("renew_sample", SAMPLE),
    call(
        "complete_sample",
        f"{SAMPLE}, 'audio/wav', 1000, '{{}}'::jsonb, 'prepared/' || gen_random_uuid(), 2000",
    ),
    call("refuse_sample", f"{SAMPLE}, 'sample_silent', 'No.', null"),
    call("requeue_sample", f"{SAMPLE}, 0, 'storage_unavailable', 'Later.', 'outage'"),
    # a worker's
    call("claim_attempt", "%(active)s, 'other', 60, 4, true", "queued", "lost"),
    call("renew_lease", f"{LEASE}, 60", "processing", "syncing"),
    call("requeue_attempt", f"{LEASE}, 0, 'throttled', 'Later.', null", "processing"),
    call("fail_attempt", f"{LEASE}, 'refused', 'No.', null, null", "processing"),
    call("intend_enrollment", f"{LEASE}, left(replace(gen_random_uuid()::text, '-', ''), 16), 'match', 60"),
    call("resolve_enrollment", "%(enrollment)s, %(epoch)s, 'unknown', 'timeout', null, 60", "processing"),
    call(
        "report_enrollment",
        "%(enrollment)s, 'late-' || gen_random_uuid(), 'model-1', false, null, '{}'::jsonb",
        "processing",
    ),
    call("attach_voice", f"{ENROLLED}, true", "processing"),
    call("await_verification", ENROLLED, "processing"),
    call("complete_verification", f"{POLL}, null", "verifying"),
    call("reject_verification", f"{POLL}, 'refused', 'No.', null", "verifying"),
    call("postpone_verification", f"{POLL}, 0, null", "verifying"),
    call("record_verification", "%(active)s, true, null, null, null", "verifying"),
    call("attach_custom_voice", f"{LEASE}, null, null, true", "custom"),
    call("claim_step", "%(active)s, 'runtime', 'other', 60", "ready", "lost_sync", name="claim_runtime"),
    call("claim_step", "%(active)s, 'preview', 'other', 60", "synced", "lost_preview", name="claim_preview"),
    call("mark_runtime", f"{LEASE}, 'synced', null, null, 0, null", "syncing"),
    call("mark_preview", f"{LEASE}, 'rendered', 'p.wav', null, null, 0, null", "rendering"),
    call("claim_speech_job", "%(waiting_job)s, 'other', 60, 4"),
    call("renew_speech_lease", "%(speaking_job)s, 1, 60"),
    call("complete_speech", "%(speaking_job)s, 1, 'p.wav', 1000, null"),
    call("fail_speech", "%(speaking_job)s, 1, 'inference_failed', 'No.', null, null"),
    call("requeue_speech", "%(speaking_job)s, 1, 0, 'throttled', 'Later.', null, null, true"),
    # the recovery's
    call("sweep", "100"),
    call("begin_cleanup", "%(enrollment)s"),
    call("end_cleanup", "%(enrollment)s, 'orphaned', 'found-' || gen_random_uuid(), 'model-1', null"),
    # the operator's
    host("withdraw voices", "select operations.withdraw_voices('user', %(user)s)"),
    call("mirror_reflections", "array[%(reflection)s, %(other_reflection)s]::uuid[]"),
    *SERVICE_OPERATIONS,
]
