"""The written expectations: what each role may do with each object, by its own grants and by inherited ones.

Left out: superusers, the roles of Postgres (pg_…), and `postgres`, who owns the objects.
What reads every table by pg_read_all_data (on the local stack the login of Auth and Data API) is written for
its role alone.
"""


def columns(names: str) -> str:
    return ", ".join(sorted(names.split()))


CLIENT = "authenticated, voice_clone_service"  # the service's login reads with its caller's rights
ATTEMPT = columns("""
    id user_id reflection_id employee_id org_id sample_id voice_id source provider region name language
    provider_voice_id moved_from target_model request_id preview_path status runtime_status preview_status
    is_active version
    not_before
    user_retry_count user_retry_budget error_code error_message cancel_reason
    created_at updated_at activated_at queued_at processing_at verifying_at ready_at failed_at expired_at
    cancelled_at synced_at previewed_at taken_down_at
""")
SAMPLE = columns("""
    id user_id consent_id reflection_id is_kept name path file_url content_type bytes language transcript
    status measures prepared_path prepared_bytes error_code error_message created_at updated_at ready_at
    failed_at removed_at
""")

SPEECH_JOB = columns("""
    id user_id sample_id attempt_id created_at provider region text characters status version not_before
    retry_count retry_budget error_code error_message request_id path bytes updated_at finished_at expires_at
    removed_at
""")

WEBHOOK = columns(
    "id user_id org_id url created_at status disabled_reason disabled_at failing_since not_before"
)

# {} stands for: no role may do anything.
RELATIONS: dict[str, dict[str, str]] = {
    "public.calls": {CLIENT: "select", "service_role": "delete, insert, select, update"},
    "public.employees": {
        CLIENT: "delete, insert (email, full_name, org_id, phone), select, update (email, full_name, phone)",
        "service_role": "delete, insert, select, update",
    },
    "public.organization_members": {
        CLIENT: "delete, insert (org_id, role, user_id), select, update (role)",
        "service_role": "delete, insert, select, update",
    },
    "public.organizations": {
        CLIENT: "delete, insert (id, name), select, update (clone_recordings, name, recording_language)",
        "service_role": "delete, insert, select, update",
    },
    "public.reflections": {
        CLIENT: "delete, insert (id, name), select, update (name)",
        "service_role": "delete, insert, select, update",
    },
    "public.speech_jobs": {
        CLIENT: f"select ({SPEECH_JOB})",
        "service_role": "select",
    },
    "public.voice_clone_attempts": {
        CLIENT: f"select ({ATTEMPT})",
        "service_role": "select",
    },
    "public.voice_consent_statements": {f"anon, service_role, {CLIENT}": "select"},
    "public.voice_consents": {f"service_role, {CLIENT}": "select"},
    "public.voice_samples": {CLIENT: f"select ({SAMPLE})", "service_role": "select"},
    "public.voice_sessions": {f"service_role, {CLIENT}": "select"},
    "public.voices": {f"service_role, {CLIENT}": "select"},
    "public.webhook_deliveries": {f"service_role, {CLIENT}": "select"},
    "public.webhooks": {CLIENT: f"select ({WEBHOOK})", "service_role": "select"},
    "voice_clone.adoptions": {},
    "voice_clone.anchor_publications": {},
    "voice_clone.voice_checks": {},
    "voice_clone.takedowns": {},
    "voice_clone.anchored_consents": {},
    "voice_clone.consent_anchors": {},
    "voice_clone.consent_chains": {},
    "voice_clone.consent_challenges": {},
    "voice_clone.consent_checks": {},
    "voice_clone.consent_invitations": {},
    "voice_clone.consumers": {},
    "voice_clone.deadlines": {},
    "voice_clone.enrolling_attempts": {},
    "voice_clone.dead_letters": {},
    "voice_clone.dead_letters_id_seq": {},
    "voice_clone.deferred_messages": {},
    "voice_clone.deferred_messages_id_seq": {},
    "voice_clone.edges": {},
    "voice_clone.enrollments": {},
    "voice_clone.events": {},
    "a partition of voice_clone.events": {},
    "voice_clone.erasure_places": {},
    "voice_clone.erasures": {},
    "voice_clone.events_id_seq": {},
    "voice_clone.idempotency_keys": {},
    "voice_clone.job_slots": {},
    "voice_clone.kept_manifests": {},
    "voice_clone.legacy_events": {},
    "voice_clone.installation": {},
    "voice_clone.machines": {},
    "voice_clone.mirror_key": {},
    "voice_clone.employee_files": {},
    "voice_clone.legal_holds": {},
    "voice_clone.listed_voices": {},
    "voice_clone.object_removals": {},
    "voice_clone.previews": {},
    "voice_clone.provider_errors": {},
    "voice_clone.provider_errors_id_seq": {},
    "voice_clone.queues": {},
    "voice_clone.rate_limits": {},
    "voice_clone.reconciliations": {},
    "voice_clone.recording_clones": {},
    "voice_clone.recordings": {},
    "voice_clone.slots": {},
    "voice_clone.spoken_consents": {},
    "voice_clone.sweep_errors": {},
    "voice_clone.timeouts": {},
    "voice_clone.uploads": {},
    "voice_clone.waiting_jobs": {},
    "voice_clone.webhook_secrets": {},
    "a table of a queue": {},
}

# A function that is not named here may be executed by nobody: others call it.
FUNCTIONS: dict[str, str] = {
    "authenticated, voice_clone_service": """
        public.voice_launch_gate  voice_clone.admin_organizations  voice_clone.is_being_removed
        voice_clone.is_taken_down
        voice_clone.member_employees  voice_clone.member_organizations
        voice_clone.received_topics
    """,
    "service_role, voice_clone_backend, voice_clone_service": """
        operations.attempt  operations.attempts  operations.check_consents  operations.compare_mirrors
        operations.attempt_series  operations.failed_attempts  operations.overview  operations.retry_attempt
        operations.consent_anchors  operations.consent_anchors_state  operations.dead_letters
        operations.drop_dead_letters  operations.legal_holds  operations.orphans  operations.retention
        operations.add_listed_voices  operations.add_looked_up_voices  operations.begin_reconciliation
        operations.compare_storage  operations.compare_voices  operations.end_reconciliation
        operations.gone_voices  operations.places  operations.repair_storage  operations.repair_voice
        operations.sweep  operations.unlisted_voices  operations.voice_checks_state
        operations.voices_to_move  operations.move_voice  operations.move_employee_voice
        operations.redrive_dead_letters  operations.slots  operations.stats  operations.stuck_attempts
        operations.recording_moves  operations.claim_recording_move  operations.complete_recording_move
        operations.legacy_voices  operations.import_legacy_voices
    """,
    "service_role": """
        operations.anchor_consents
        operations.assign_recording  operations.consumers  operations.drop_events  operations.erase
        operations.erasure  operations.erasures  operations.held
        operations.lift_takedown  operations.take_down
        operations.place_hold  operations.require_spoken_consent  operations.release_hold
        operations.set_retention
        operations.subjects_of_erasures  operations.owners_of_voices  operations.withdraw_voices
        operations.legacy_events  operations.missing_parts  operations.queue_metrics
        operations.schema_version  operations.sweep_errors
        operations.unmatched_recordings
    """,
    "voice_clone_backend, voice_clone_service": """
        voice_clone.accept_legacy_event
        voice_clone.acknowledge_messages
        voice_clone.add_sample
        voice_clone.add_recording
        voice_clone.assign_recording
        voice_clone.attach_custom_voice
        voice_clone.attach_voice
        voice_clone.attempt_events
        voice_clone.await_verification
        voice_clone.begin_cleanup
        voice_clone.begin_object_removal
        voice_clone.check_consents
        voice_clone.check_employee_clone
        voice_clone.check_opening
        voice_clone.claim_speech_job
        voice_clone.check_sample
        voice_clone.claim_anchor
        voice_clone.claim_voice_check
        voice_clone.claimed_voice_check
        voice_clone.lose_checked_voice
        voice_clone.record_voice_check
        voice_clone.begin_canary
        voice_clone.end_canary
        voice_clone.note_speech_of
        voice_clone.voice_checks_state
        voice_clone.voices_to_check
        voice_clone.claim_attempt
        voice_clone.claimed_anchor
        voice_clone.consent_anchors_state
        voice_clone.record_publication
        voice_clone.begin_recording_clone
        voice_clone.end_recording_clone
        voice_clone.postpone_recording_clone
        voice_clone.queue_recording_clone
        voice_clone.claim_employee_file
        voice_clone.claim_idempotency_key
        voice_clone.claimed_employee_file
        voice_clone.confirm_employee_file
        voice_clone.release_employee_file
        voice_clone.remove_late_recording
        voice_clone.claim_recording
        voice_clone.claim_sample
        voice_clone.claim_step
        voice_clone.claim_upload
        voice_clone.claim_webhook
        voice_clone.claimed_webhook
        voice_clone.claimed_sample
        voice_clone.claimed_recording
        voice_clone.claimed_work
        voice_clone.claimed_speech
        voice_clone.clone_sample
        voice_clone.clone_recording
        voice_clone.complete_preview
        voice_clone.complete_employee_preview
        voice_clone.complete_recording
        voice_clone.complete_speech
        voice_clone.complete_sample
        voice_clone.complete_verification
        voice_clone.consumer_is_alive
        voice_clone.consumers_state
        voice_clone.count_enrolled_voices
        voice_clone.create_webhook
        voice_clone.dead_letter_messages
        voice_clone.delete_expired_idempotency_keys
        voice_clone.delete_expired_manifests
        voice_clone.keep_manifest
        voice_clone.kept_manifest
        voice_clone.delete_employee_voice
        voice_clone.delete_speech_job
        voice_clone.delete_sample
        voice_clone.delete_voice
        voice_clone.employee_voice
        voice_clone.drop_recording
        voice_clone.delete_webhook
        voice_clone.enable_webhook
        voice_clone.end_cleanup
        voice_clone.erasure_of_user
        voice_clone.metric_samples
        voice_clone.request_erasure
        voice_clone.retention
        voice_clone.end_object_removal
        voice_clone.events_after
        voice_clone.fail_attempt
        voice_clone.fail_recording
        voice_clone.fail_speech
        voice_clone.find_custom_voice
        voice_clone.find_invitation
        voice_clone.has_more_events
        voice_clone.intend_enrollment
        voice_clone.invite_employee
        voice_clone.is_attempt_of_reflection
        voice_clone.keep_idempotent_answer
        voice_clone.keep_idempotent_result
        voice_clone.launch_gate
        voice_clone.list_recordings
        voice_clone.mark_preview
        voice_clone.mark_runtime
        voice_clone.move_voice
        voice_clone.note_failed_cleanup
        voice_clone.note_provider_error
        voice_clone.open_attempt
        voice_clone.mirror_reflections
        voice_clone.mirror_unlocked_reflections
        voice_clone.missing_parts
        voice_clone.orphans
        voice_clone.places
        voice_clone.postpone_messages
        voice_clone.postpone_verification
        voice_clone.queue_attempt
        voice_clone.queue_delay_seconds
        voice_clone.queue_metrics
        voice_clone.read_messages
        voice_clone.read_invitation
        voice_clone.receive_legacy_event
        voice_clone.receive_recording
        voice_clone.receive_sample
        voice_clone.record_deliveries
        voice_clone.replay_event
        voice_clone.rotate_webhook_secret
        voice_clone.record_verification
        voice_clone.reflection_voice
        voice_clone.refuse_legacy_event
        voice_clone.refuse_sample
        voice_clone.refuse_upload
        voice_clone.reject_verification
        voice_clone.renew_idempotency_key
        voice_clone.renew_recording
        voice_clone.renew_sample
        voice_clone.renew_lease
        voice_clone.renew_speech_lease
        voice_clone.report_consumer
        voice_clone.report_enrollment
        voice_clone.request_preview
        voice_clone.request_employee_preview
        voice_clone.require_employee
        voice_clone.require_admin
        voice_clone.request_speech
        voice_clone.requeue_attempt
        voice_clone.requeue_recording
        voice_clone.requeue_speech
        voice_clone.requeue_sample
        voice_clone.reset_attempt
        voice_clone.reset_employee_attempt
        voice_clone.retry_employee_attempt
        voice_clone.retry_employee_elsewhere
        voice_clone.restore_employee_attempt
        voice_clone.sample_of_employee
        voice_clone.move_employee_voice
        voice_clone.resolve_enrollment
        voice_clone.restore_attempt
        voice_clone.retry_attempt
        voice_clone.retry_elsewhere
        voice_clone.retry_speech
        voice_clone.revoke_consent
        voice_clone.revoke_by_invitation
        voice_clone.schema_version
        voice_clone.send_messages
        voice_clone.send_notifications
        voice_clone.set_slots
        voice_clone.sign_consent
        voice_clone.sign_spoken_consent
        voice_clone.is_spoken_consent_required
        voice_clone.open_challenge
        voice_clone.take_challenge
        voice_clone.sign_invitation
        voice_clone.start_session
        voice_clone.sweep
        voice_clone.sweep_enrollments
        voice_clone.unaccounted_voices
        voice_clone.lose_voice
        voice_clone.undeleted_voices
        voice_clone.upload_to_finalize
        voice_clone.use_rate_limit
        voice_clone.use_custom_voice
        voice_clone.verification_work
        voice_clone.voices_by_place
        voice_clone.voices_to_move
        voice_clone.wait_for_slot
    """,
}

SCHEMAS: dict[str, dict[str, str]] = {
    "public": {"everyone": "usage"},
    "operations": {"service_role, voice_clone_backend, voice_clone_service": "usage"},
    "voice_clone": {"voice_clone_backend, voice_clone_service": "usage"},
    "pgmq": {},
    "supabase_migrations": {},
}
SCHEMAS_OF_THE_HOST = ("auth", "extensions", "storage")

ROLES: dict[str, str] = {
    "anon": "",
    "authenticated": "",
    "service_role": "bypassrls",
    "authenticator": "login",
    "dashboard_user": "createrole, createdb, replication",
    "supabase_auth_admin": "login, createrole",
    "supabase_storage_admin": "login, createrole",
    "voice_clone_backend": "",
    "voice_clone_service": "login",
}

# By member: whose rights it inherits, and as whom it may act with SET ROLE.
MEMBERSHIPS: dict[str, dict[str, str]] = {
    "authenticator": {"anon, authenticated, service_role": "sets"},
    "supabase_auth_admin": {
        "anon, authenticated, service_role": "sets",
        "pg_read_all_data": "inherits, sets",
    },
    "supabase_storage_admin": {"anon, authenticated, service_role": "sets"},
    "voice_clone_service": {"authenticated, voice_clone_backend": "inherits, sets"},
}

# What a new object of `postgres` is granted, by the kind of object: as the host made it.
DEFAULT_PRIVILEGES: dict[str, dict[str, str]] = {
    "public": {
        "r": "anon=arwdDxt, authenticated=arwdDxt, service_role=arwdDxt",
        "f": "anon=X, authenticated=X, service_role=X",
        "S": "anon=rwU, authenticated=rwU, service_role=rwU",
    },
}
