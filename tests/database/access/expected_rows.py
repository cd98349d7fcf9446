"""The written expectations: which rows each actor reaches if every right is granted.

Policies alone decide. `own` and `all` say whose rows; `some`: not every row of its own (a deleted voice is
hidden, and an object that is being removed). `give` makes a row another user's. A bucket of Storage is
written like a table. Of the tables of organizations, `own` is what the owner's organization has: the owner is
its admin, `member` a member. 23514: a row of an organization has no user. The service's login acts without a
user here.
"""

ROWS = """
                                  command anon    owner     member    stranger  service   service_role
public.calls                      select  none    own       own       none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    none      none      none      none      all
public.employees                  select  none    own       own       none      none      all
                                  insert  none    own       none      none      none      all
                                  update  none    own       none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    own       none      none      none      all
public.organization_members       select  none    own       own       none      none      all
                                  insert  none    own       none      none      none      all
                                  update  none    own       none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    own       some      none      none      all
public.organizations              select  none    own       own       none      none      all
                                  insert  none    all       all       all       none      all
                                  update  none    own       none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    own       none      none      none      all
public.reflections                select  none    own       none      none      none      all
                                  insert  none    own       own       own       none      all
                                  update  none    own       none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    own       none      none      none      all
public.speech_jobs                select  none    own       none      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    none      none      none      none      all
public.voice_clone_attempts       select  none    own       some      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      23514
                                  delete  none    none      none      none      none      all
public.voice_consent_statements   select  all     all       all       all       all       all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    -       -         -         -         -         -
                                  delete  none    none      none      none      none      all
public.voice_consents             select  none    own       some      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    none      none      none      none      all
public.voice_samples              select  none    own       none      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      23514
                                  delete  none    none      none      none      none      all
public.voice_sessions             select  none    own       none      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    none      none      none      none      all
public.voices                     select  none    some      none      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      23514
                                  delete  none    none      none      none      none      all
public.webhook_deliveries         select  none    own       none      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      23514
                                  delete  none    none      none      none      none      all
public.webhooks                   select  none    own       none      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      23514
                                  delete  none    none      none      none      none      all
storage.objects/voice-samples     select  none    own       none      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    none      none      none      none      all
storage.objects/voice-previews    select  none    some      none      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    none      none      none      none      all
storage.objects/speeches          select  none    some      none      none      none      all
                                  insert  none    none      none      none      none      all
                                  update  none    none      none      none      none      all
                                  give    none    none      none      none      none      all
                                  delete  none    none      none      none      none      all
"""

# Without a policy: nobody reaches a row, except service_role, to which no policy applies.
# The tables of queues (pgmq.q_… and pgmq.a_…) belong to these.
CLOSED = """
    storage.buckets  storage.objects/local-voices  storage.objects/reference-voices
    storage.objects/consent-anchors  voice_clone.voice_checks
    voice_clone.takedowns
    voice_clone.anchor_publications  voice_clone.anchored_consents
    voice_clone.consent_anchors
    storage.objects/recordings  storage.objects/deep-fakes  voice_clone.recordings
    voice_clone.consent_chains  voice_clone.consent_checks  voice_clone.consent_invitations
    voice_clone.consent_challenges  voice_clone.spoken_consents
    voice_clone.consumers  voice_clone.adoptions
    voice_clone.object_removals  voice_clone.employee_files  voice_clone.recording_clones
    voice_clone.dead_letters  voice_clone.provider_errors  voice_clone.erasures  voice_clone.erasure_places
    voice_clone.legal_holds  voice_clone.previews  voice_clone.listed_voices  voice_clone.reconciliations
    voice_clone.deadlines  voice_clone.deferred_messages  voice_clone.edges  voice_clone.enrolling_attempts
    voice_clone.enrollments
    voice_clone.events  voice_clone.kept_manifests  voice_clone.idempotency_keys  voice_clone.installation
    voice_clone.legacy_events  voice_clone.machines  voice_clone.mirror_key  voice_clone.queues
    voice_clone.rate_limits  voice_clone.slots  voice_clone.sweep_errors
    voice_clone.job_slots  voice_clone.timeouts  voice_clone.uploads  voice_clone.waiting_jobs
    voice_clone.webhook_secrets
"""
