"""Error codes, as the OpenAPI document lists them, and docs/errors.md explains them."""

from enum import StrEnum


class ErrorCode(StrEnum):
    """What went wrong. `statuses`: of the answers with it; none where only an attempt or a job has it."""

    statuses: tuple[int, ...]

    def __new__(cls, value: str, *statuses: int) -> "ErrorCode":
        member = str.__new__(cls, value)
        member._value_ = value
        member.statuses = statuses
        return member

    MALFORMED_BODY = "malformed_body", 400
    INVALID_FORMAT = "invalid_format", 400, 422
    INVALID_CURSOR = "invalid_cursor", 400
    TOKEN_MISSING = "token_missing", 401
    TOKEN_MALFORMED = "token_malformed", 401
    TOKEN_EXPIRED = "token_expired", 401
    TOKEN_NOT_YET_VALID = "token_not_yet_valid", 401
    TOKEN_ISSUER_REFUSED = "token_issuer_refused", 401
    TOKEN_AUDIENCE_REFUSED = "token_audience_refused", 401
    TOKEN_INCOMPLETE = "token_incomplete", 401
    TOKEN_SIGNATURE_REFUSED = "token_signature_refused", 401
    TOKEN_KEY_UNKNOWN = "token_key_unknown", 401
    TOKEN_ALGORITHM_REFUSED = "token_algorithm_refused", 401
    TOKEN_ROLE_REFUSED = "token_role_refused", 401
    TOKEN_SUBJECT_REFUSED = "token_subject_refused", 401
    TOKEN_ANONYMOUS_REFUSED = "token_anonymous_refused", 401
    USER_GONE = "user_gone", 401
    TOKEN_INVALID = "token_invalid", 401
    ADMIN_REQUIRED = "admin_required", 403
    OPERATOR_REQUIRED = "operator_required", 403
    NOT_THE_EMPLOYEE = "not_the_employee", 403
    INVITATION_INVALID = "invitation_invalid", 404
    NOT_FOUND = "not_found", 404
    SIGNATURE_REFUSED = "signature_refused", 403
    ROUTE_NOT_FOUND = "route_not_found", 404
    METHOD_NOT_ALLOWED = "method_not_allowed", 405
    REQUEST_TIMEOUT = "request_timeout", 408
    CONFLICT = "conflict", 409
    ILLEGAL_TRANSITION = "illegal_transition", 409
    STALE_LEASE = "stale_lease", 409
    LAUNCH_BLOCKED = "launch_blocked", 409
    ATTEMPT_EXPIRED = "attempt_expired", 409
    ATTEMPT_CANCELLED = "attempt_cancelled", 409
    ATTEMPT_SUPERSEDED = "attempt_superseded", 409
    INSPECTION_IN_PROGRESS = "inspection_in_progress", 409
    SAMPLE_NOT_INSPECTED = "sample_not_inspected", 409
    RECORDING_ASSIGNED = "recording_assigned", 409
    SAMPLE_IN_USE = "sample_in_use", 409
    TOO_MANY_WEBHOOKS = "too_many_webhooks", 409
    WEBHOOK_DISABLED = "webhook_disabled", 409
    CHALLENGE_INVALID = "challenge_invalid", 409
    UPLOAD_MISSING = "upload_missing", 409
    RECORDING_REPLACED = "recording_replaced", 409
    RECORDING_NOT_STORED = "recording_not_stored", 409
    NOTHING_TO_RETRY = "nothing_to_retry", 409
    RETRY_BUDGET_USED = "retry_budget_used", 409
    NOTHING_TO_RESET = "nothing_to_reset", 409
    NOTHING_TO_RESTORE = "nothing_to_restore", 409
    LATEST_NOT_FAILED = "latest_not_failed", 409
    LAST_ADMIN = "last_admin", 409
    ALREADY_THERE = "already_there", 409
    ALREADY_MOVED = "already_moved", 409
    MOVE_IN_PROGRESS = "move_in_progress", 409
    SWITCH_REQUIRED = "switch_required", 409
    VOICE_WITHOUT_SAMPLE = "voice_without_sample", 409
    VOICE_REMOVED = "voice_removed", 409
    VOICE_LOST = "voice_lost", 409
    VOICE_TAKEN_DOWN = "voice_taken_down", 409
    ENROLLMENT_HAS_VOICE = "enrollment_has_voice", 409
    ENROLLMENT_NOT_SETTLED = "enrollment_not_settled", 409
    VOICE_SUPERSEDED = "voice_superseded", 409
    PROVIDER_FULL = "provider_full", 409
    SAMPLE_NOT_READY = "sample_not_ready", 409
    SPEECH_NOT_READY = "speech_not_ready", 409
    SPEECH_REMOVED = "speech_removed", 409
    IDEMPOTENCY_KEY_IN_USE = "idempotency_key_in_use", 409
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused", 409
    BODY_TOO_LARGE = "body_too_large", 413
    ADDRESS_TOO_LONG = "address_too_long", 414
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415
    SAMPLE_TOO_LARGE = "sample_too_large", 413, 422
    ADDRESS_REFUSED = "address_refused", 422
    REDIRECT_REFUSED = "redirect_refused", 422
    RECORDING_URL_REFUSED = "recording_url_refused", 422
    INVALID_INPUT = "invalid_input", 422
    INVALID_NAME = "invalid_name", 422
    INVALID_TEXT = "invalid_text", 422
    INVALID_TRANSCRIPT = "invalid_transcript", 422
    LANGUAGE_UNSUPPORTED = "language_unsupported", 422
    CONSENT_REQUIRED = "consent_required", 422
    CONSENT_NOT_SPOKEN = "consent_not_spoken", 422
    SPOKEN_SAMPLE_DIFFERS = "spoken_sample_differs", 422
    SPOKEN_LOCALE_UNSUPPORTED = "spoken_locale_unsupported", 422
    SPOKEN_WORDS_DIFFER = "spoken_words_differ", 422
    SPOKEN_BY_ANOTHER = "spoken_by_another", 422
    SPOKEN_TOO_SHORT = "spoken_too_short", 422
    STATEMENT_OUTDATED = "statement_outdated", 409
    STATEMENT_NOT_FOUND = "statement_not_found", 422
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid", 422
    PROVIDER_NOT_CONFIGURED = "provider_not_configured", 422, 503
    SAMPLE_MISSING = "sample_missing", 409, 422
    USER_ID_NOT_OWN = "user_id_not_own", 422
    SAMPLE_REFUSED = "sample_refused", 422
    SAMPLE_REJECTED = "sample_rejected", 422
    SAMPLE_SIZE_MISMATCH = "sample_size_mismatch", 422
    SAMPLE_TRUNCATED = "sample_truncated", 422
    SAMPLE_DAMAGED = "sample_damaged", 422
    SAMPLE_TOO_SHORT = "sample_too_short", 422
    SAMPLE_TOO_LONG = "sample_too_long", 422
    SAMPLE_SILENT = "sample_silent", 422
    SAMPLE_MOSTLY_SILENT = "sample_mostly_silent", 422
    SAMPLE_TOO_QUIET = "sample_too_quiet", 422
    SAMPLE_CLIPPED = "sample_clipped", 422
    SAMPLE_NOISY = "sample_noisy", 422
    SAMPLE_RATE_TOO_LOW = "sample_rate_too_low", 422
    TOO_MANY_SAMPLES = "too_many_samples", 422
    VOICE_NOT_FOUND = "voice_not_found", 422
    VOICE_NOT_VERIFIED = "voice_not_verified", 422
    VOICE_ACCESS_DENIED = "voice_access_denied", 422
    TARGET_MODEL_UNSUPPORTED = "target_model_unsupported", 422
    MODEL_MISMATCH = "model_mismatch", 422
    FILE_EMPTY = "file_empty", 422
    TEXT_EMPTY = "text_empty", 422
    TEXT_TOO_LONG = "text_too_long", 422
    TEXT_REJECTED = "text_rejected", 422
    RECORDING_MISSING = "recording_missing", 422
    RECORDING_NOT_OWNED = "recording_not_owned", 422
    THROTTLED = "throttled", 429
    RATE_LIMITED = "rate_limited", 429
    TOO_MANY_IDEMPOTENCY_KEYS = "too_many_idempotency_keys", 429
    TOO_MANY_OPEN_UPLOADS = "too_many_open_uploads", 429
    TOO_MANY_SPEECH_JOBS = "too_many_speech_jobs", 429
    TOO_MANY_OPEN_SAMPLES = "too_many_open_samples", 429
    TOO_MANY_NEW_SAMPLES = "too_many_new_samples", 429
    TOO_MANY_ATTEMPTS = "too_many_attempts", 429
    TOO_MANY_INSPECTIONS = "too_many_inspections", 429
    TOO_MANY_ORGANIZATIONS = "too_many_organizations", 429
    TOO_MANY_EVENT_STREAMS = "too_many_event_streams", 429
    INTERNAL_ERROR = "internal_error", 500
    PROVIDER_REJECTED = "provider_rejected", 502
    INFERENCE_FAILED = "inference_failed", 502, 503
    STORAGE_REFUSED = "storage_refused", 502
    UNAVAILABLE = "unavailable", 503
    PROVIDER_UNAVAILABLE = "provider_unavailable", 503
    PROVIDER_ACCOUNT_CHANGED = "provider_account_changed", 503
    PROVIDER_REGION_CHANGED = "provider_region_changed", 503
    DATABASE_UNAVAILABLE = "database_unavailable", 503
    CONSENT_NOT_REVOKED = "consent_not_revoked", 503
    NOT_ERASED = "not_erased", 503
    DATABASE_FAILED = "database_failed", 503
    MARKING_UNAVAILABLE = "marking_unavailable", 503
    STORAGE_UNAVAILABLE = "storage_unavailable", 503
    VERIFICATION_UNAVAILABLE = "verification_unavailable", 503
    SPOKEN_CONSENT_UNAVAILABLE = "spoken_consent_unavailable", 503
    INSPECTION_UNAVAILABLE = "inspection_unavailable", 503
    KEYS_UNAVAILABLE = "keys_unavailable", 503
    CONSENT_REVOKED = "consent_revoked"
    VOICE_DELETED = "voice_deleted"
    WORKER_LOST = "worker_lost"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    INSPECTION_TIMED_OUT = "inspection_timed_out"
    INSPECTION_FAILED = "inspection_failed"
    FILE_MISSING = "file_missing"
    OUTCOME_UNKNOWN = "outcome_unknown"
    SLOT_AWAITED = "slot_awaited"
    ORIGINAL_REMOVED = "original_removed"
    PROVIDER_THROTTLED = "provider_throttled"
    PROVIDER_MISCONFIGURED = "provider_misconfigured"
    PROVIDER_QUOTA_EXCEEDED = "provider_quota_exceeded"
    PROVIDER_PLAN_INSUFFICIENT = "provider_plan_insufficient"
    SAMPLE_UNREACHABLE = "sample_unreachable"
    SAMPLE_GONE = "sample_gone"
    SAMPLE_UNAVAILABLE = "sample_unavailable"
    VERIFICATION_REFUSED = "verification_refused"
    VERIFICATION_TIMEOUT = "verification_timeout"
    RECORDING_REFUSED = "recording_refused"
    RECORDING_NOT_FOUND = "recording_not_found"
    RECORDING_TOO_LARGE = "recording_too_large"
    RECORDING_UNREADABLE = "recording_unreadable"
    RECORDING_OF_ANOTHER_ACCOUNT = "recording_of_another_account"
    TWILIO_UNAVAILABLE = "twilio_unavailable"
    VOICE_MISSING = "voice_missing"
    VOICE_UNLISTED = "voice_unlisted"
    TARGET_MODEL_MISMATCH = "target_model_mismatch"


E = ErrorCode
# What several routes answer.
ADMIN = [E.ADMIN_REQUIRED, E.NOT_FOUND]
DETAILS = [E.INVALID_NAME, E.INVALID_TRANSCRIPT, E.LANGUAGE_UNSUPPORTED]
STORAGE = [E.STORAGE_REFUSED, E.STORAGE_UNAVAILABLE]
PROVIDER = [
    E.PROVIDER_REJECTED,
    E.PROVIDER_UNAVAILABLE,
    E.PROVIDER_ACCOUNT_CHANGED,
    E.PROVIDER_REGION_CHANGED,
]
CLONING = [
    *DETAILS,
    E.NOT_FOUND,
    E.CONSENT_REQUIRED,
    E.CONSENT_NOT_SPOKEN,
    E.VOICE_TAKEN_DOWN,
    E.PROVIDER_NOT_CONFIGURED,
    E.PROVIDER_FULL,
    E.TOO_MANY_ATTEMPTS,
    E.TOO_MANY_OPEN_UPLOADS,
]
RETRYING = [
    E.NOTHING_TO_RETRY,
    E.RETRY_BUDGET_USED,
    E.ATTEMPT_SUPERSEDED,
    E.ILLEGAL_TRANSITION,
    E.VOICE_TAKEN_DOWN,
]
SAMPLE_FINDINGS = [
    E.SAMPLE_REFUSED,
    E.SAMPLE_REJECTED,
    E.SAMPLE_SIZE_MISMATCH,
    E.SAMPLE_TRUNCATED,
    E.SAMPLE_DAMAGED,
    E.SAMPLE_TOO_SHORT,
    E.SAMPLE_TOO_LONG,
    E.SAMPLE_TOO_LARGE,
    E.SAMPLE_SILENT,
    E.SAMPLE_MOSTLY_SILENT,
    E.SAMPLE_TOO_QUIET,
    E.SAMPLE_CLIPPED,
    E.SAMPLE_NOISY,
    E.SAMPLE_RATE_TOO_LOW,
    E.SPOKEN_SAMPLE_DIFFERS,
    E.TOO_MANY_SAMPLES,
]
INSPECTION = [
    *SAMPLE_FINDINGS,
    E.INVALID_FORMAT,
    E.INSPECTION_UNAVAILABLE,
    E.TOO_MANY_INSPECTIONS,
]
SPEECH_TEXT = [E.INVALID_TEXT, E.TEXT_EMPTY, E.TEXT_TOO_LONG, E.TEXT_REJECTED]
SPEAKING = [
    E.VOICE_LOST,
    E.VOICE_TAKEN_DOWN,
    E.INFERENCE_FAILED,
    E.PROVIDER_ACCOUNT_CHANGED,
    E.PROVIDER_REGION_CHANGED,
    E.PROVIDER_NOT_CONFIGURED,
    E.MODEL_MISMATCH,
    E.MARKING_UNAVAILABLE,
]
