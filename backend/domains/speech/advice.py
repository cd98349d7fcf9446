"""What its user can do about a speech job that failed, or that waits."""

WAITS = "Nothing: it is tried again by itself."
AGAIN = "Retry the job, or send the text again with another provider."
TEXT_AGAIN = "Send the text again."  # of a job whose text is removed, so that it has no retry
OTHER_SAMPLE = "Send another sample, or the text again with another provider."
OPERATOR = "Name another provider, or retry the job when the operator has corrected it."
BY_CODE = {
    "text_too_long": "Send a shorter text.",
    "text_empty": "Send words.",
    "text_rejected": "Change the text, or name another provider.",
    "language_unsupported": "Name another provider.",
    "invalid_format": OTHER_SAMPLE,
    "consent_revoked": "Sign another consent, and send the sample again under it.",
    "voice_deleted": "Send the text again: another voice is made of the sample.",
    "voice_taken_down": "Ask the operator of this service, or send another sample.",
    "verification_refused": OTHER_SAMPLE,
    "provider_full": "Delete a voice at this provider, or name another provider.",
    "provider_misconfigured": OPERATOR,
    "provider_quota_exceeded": OPERATOR,
    "provider_plan_insufficient": OPERATOR,
    "provider_not_configured": OPERATOR,
    "provider_account_changed": OPERATOR,
    "provider_region_changed": OPERATOR,
    "sample_unavailable": AGAIN,
    "sample_unreachable": AGAIN,
}


def speech_advice(code: str, *, has_failed: bool, is_removed: bool) -> str:
    if not has_failed:
        return WAITS
    known = BY_CODE.get(code) or (OTHER_SAMPLE if code.startswith("sample_") else AGAIN)
    return TEXT_AGAIN if is_removed and known is AGAIN else known
