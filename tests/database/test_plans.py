"""Each hot query finds its rows by an index, however many rows there are."""

from typing import LiteralString

import pytest

from tests.fixture import Fixture

FILL: LiteralString = """
with r as (
  insert into public.reflections (user_id, name)
  select %(user)s, 'old' from generate_series(1, 2000) returning id
)
insert into public.voice_clone_attempts (
  id, user_id, reflection_id, source, name, language, status, runtime_status, preview_status, is_active,
  version, provider, provider_voice_id, target_model, activated_at, lease_owner, lease_seconds)
select gen_random_uuid(), %(user)s, r.id, 'custom_voice', 'old', 'en',
  (array['cancelled', 'cancelled', 'ready', 'processing'])[n], 'synced', 'completed', n = 3, n,
  'local', gen_random_uuid(), 'm', now(), case n when 4 then 'w' end, case n when 4 then 60 end
from r, generate_series(1, 4) n
"""
ENROLLING: LiteralString = """
insert into voice_clone.enrolling_attempts (attempt_id, user_id, org_id, provider, region)
select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'local', '' from generate_series(1, 2000)
"""
HOT: dict[str, tuple[LiteralString, str]] = {
    "the launch gate": (
        "select from public.reflections r"
        " left join public.voice_clone_attempts a"
        " on a.reflection_id = r.id and a.is_active and a.user_id is not distinct from r.user_id"
        " where r.id = %(id)s and r.user_id = %(id)s",
        "voice_clone_attempts_active_reflection_idx",
    ),
    "an attempt to claim": (
        "select * from public.voice_clone_attempts a where a.id = %(id)s",
        "voice_clone_attempts_pkey",
    ),
    "the owner's open uploads": (
        "select count(*) from voice_clone.enrolling_attempts n"
        " join public.voice_clone_attempts a on a.id = n.attempt_id"
        " where n.user_id = %(id)s and a.status = 'awaiting_upload'",
        "enrolling_attempts_user_id_idx",
    ),
    "an organization's unfinished attempts": (
        "select count(*) from voice_clone.enrolling_attempts n where n.org_id = %(id)s",
        "enrolling_attempts_org_id_idx",
    ),
    "the mirror's attempt": (
        "select * from public.voice_clone_attempts a where a.reflection_id = %(id)s and"
        " a.activated_at is not null"
        " order by a.activated_at desc, a.version desc limit 1",
        "voice_clone_attempts_activated_at_idx",
    ),
    "a reflection's attempts": (
        "select * from public.voice_clone_attempts a where a.reflection_id = %(id)s"
        " and (a.created_at, a.id) < (now(), %(id)s) order by a.created_at desc, a.id desc limit 101",
        "voice_clone_attempts_reflection_id_idx",
    ),
    "an upload by its voice": (
        "select * from public.voice_clone_attempts a where a.voice_id = %(id)s",
        "voice_clone_attempts_voice_id_key",
    ),
    "an attempt's events": (
        "select * from voice_clone.events e where e.attempt_id = %(id)s and e.id > 0 order by e.id",
        "events_default_attempt_id_idx",
    ),
    "what came of those who are followed": (
        "select from unnest(array[%(id)s::uuid], '{0}'::bigint[]) wanted (attempt_id, after)"
        " join public.voice_clone_attempts a on a.id = wanted.attempt_id"
        " cross join lateral (select * from voice_clone.events x where x.attempt_id = wanted.attempt_id"
        " and x.id > wanted.after"
        " and x.recorded_at >= a.created_at - interval '1 day' order by x.id limit 100) e",
        "events_default_attempt_id_idx",
    ),
    "the sweep": (
        "select a.* from voice_clone.deadlines d join public.voice_clone_attempts a on a.id = d.attempt_id"
        " where d.sweep_at <= now() order by d.sweep_at limit 100"
        " for no key update skip locked",
        "deadlines_sweep_at_idx",
    ),
    "the voices that take a slot": (
        "select from voice_clone.enrollments e where e.provider = 'qwen' and e.region = 'beijing'"
        " and e.status in ('intended', 'unknown', 'attached', 'orphaned', 'removing') limit 1000",
        "enrollments_slots_idx",
    ),
    "the attempts that take a slot": (
        "select from voice_clone.enrolling_attempts n"
        " join public.voice_clone_attempts a on a.id = n.attempt_id"
        " where n.provider = 'qwen' and n.region = 'beijing' and a.source <> 'custom_voice'"
        " and a.provider_voice_id is null limit 1000",
        "enrolling_attempts_provider_idx",
    ),
    "the sweep of enrollments": (
        "select * from voice_clone.enrollments e where e.sweep_at <= now() order by e.sweep_at limit 100"
        " for no key update skip locked",
        "enrollments_sweep_at_idx",
    ),
    "who owns a provider voice": (
        "select from public.voices v"
        " where v.tts_provider = 'local' and v.provider_region = '' and v.provider_voice_id = 'v'",
        "voices_provider",
    ),
    "an open enrollment": (
        "select * from voice_clone.enrollments e"
        " where e.attempt_id = %(id)s and e.status in ('intended', 'unknown')",
        "enrollments_open_idx",
    ),
    "what made a voice, by its provider's id": (
        "select * from voice_clone.enrollments e"
        " where (e.provider = 'local' and e.provider_voice_id = 'x')"
        " or e.id = voice_clone.enrollment_id('y')",
        "enrollments_provider_voice_id_idx",
    ),
    "what is due in a queue": (
        "select from voice_clone.deferred_messages d where d.queue = 'voice_preview' and d.due_at <= now()"
        " order by d.due_at limit 1000",
        "deferred_messages_queue_due_at_idx",
    ),
    "a call's idempotency key": (
        "select * from voice_clone.idempotency_keys k where k.user_id = %(id)s and k.key = 'k'",
        "idempotency_keys_user_id_key_key",
    ),
    "the idempotency keys to forget": (
        "select k.id from voice_clone.idempotency_keys k where k.created_at <= now()"
        " order by k.created_at limit 100 for update skip locked",
        "idempotency_keys_created_at_idx",
    ),
    "the manifest of an audio": (
        "select k.manifest from voice_clone.kept_manifests k where k.hash = sha256('x')",
        "kept_manifests_hash_key",
    ),
    "the manifests to forget": (
        "select k.id from voice_clone.kept_manifests k where k.made_at <= now()"
        " order by k.made_at limit 100 for update skip locked",
        "kept_manifests_made_at_idx",
    ),
    "a legacy event": (
        "select e.id from voice_clone.legacy_events e where e.source = 'conversation_ended'"
        " and e.event_id = 'e'",
        "legacy_events_source_event_id_key",
    ),
    "the consent that covers a reflection": (
        "select c.id from public.voice_consents c where c.user_id = %(id)s and c.revokes is null"
        " and not exists (select from public.voice_consents r where r.revokes = c.id)"
        " order by c.position desc limit 1",
        "voice_consents_user_id_idx",
    ),
    "the voices whose retention ends": (
        "select v.id from public.voices v where v.deleted_at <= now() and v.removal_requested_at is null"
        " and v.enrollment_id is not null order by v.deleted_at limit 100 for no key update skip locked",
        "voices_deleted_at_idx",
    ),
    "the deleted voices of a provider": (
        "select v.id from public.voices v where v.deleted_at <= now() and v.removal_requested_at is null"
        " and v.enrollment_id is not null and v.tts_provider = 'qwen' and v.provider_region = 'beijing'"
        " order by v.deleted_at limit 1 for no key update skip locked",
        "voices_tts_provider_deleted_at_idx",
    ),
    "the removals of objects that are due": (
        "select r.id from voice_clone.object_removals r where r.sweep_at <= now()"
        " order by r.sweep_at limit 100 for no key update skip locked",
        "object_removals_sweep_at_idx",
    ),
    "the webhooks of a transition's owner": (
        "select w.id from public.webhooks w where w.user_id = %(id)s and w.status = 'enabled'"
        " order by w.id for key share skip locked",
        "webhooks_enabled_idx",
    ),
    "the webhooks of a transition's organization": (
        "select w.id from public.webhooks w where w.org_id = %(id)s and w.status = 'enabled'"
        " order by w.id for key share skip locked",
        "webhooks_org_enabled_idx",
    ),
    "the due events of a webhook": (
        "select d.event_id from public.webhook_deliveries d where d.webhook_id = %(id)s"
        " and d.status = 'pending' and d.due_at <= now() and not exists ("
        " select from public.webhook_deliveries e where e.webhook_id = %(id)s"
        " and e.attempt_id = d.attempt_id and e.status = 'pending' and e.event_id < d.event_id)"
        " order by d.event_id limit 4",
        "webhook_deliveries_pending_idx",
    ),
    "the sweep of deliveries": (
        "select x.* from public.webhook_deliveries x where x.status = 'pending' and x.sweep_at <= now()"
        " order by x.sweep_at limit 100 for no key update skip locked",
        "webhook_deliveries_sweep_at_idx",
    ),
    "the deliveries to remove": (
        "select from public.webhook_deliveries x where x.status <> 'pending' and x.finished_at <= now()"
        " order by x.finished_at limit 100 for update skip locked",
        "webhook_deliveries_finished_at_idx",
    ),
    "the deliveries that an owner lists": (
        "select * from public.webhook_deliveries d where d.webhook_id = %(id)s and d.event_id < 9"
        " order by d.event_id desc limit 100",
        "webhook_deliveries_pkey",
    ),
    "whether an object is being removed": (
        "select from voice_clone.object_removals r"
        " where r.bucket = 'voice-samples' and r.folder in ('a', 'b')",
        "object_removals_bucket_folder_key",
    ),
    "the samples whose retention has ended": (
        "select s.id from public.voice_samples s"
        " where s.removed_at is null and s.created_at <= now() - interval '30 days'"
        " and s.status in ('ready', 'failed') order by s.created_at limit 100",
        "voice_samples_created_at_idx",
    ),
    "the previews whose retention has ended": (
        "select p.attempt_id from voice_clone.previews p"
        " where p.rendered_at <= now() - interval '30 days' order by p.rendered_at limit 100",
        "previews_rendered_at_idx",
    ),
    "the recordings whose retention has ended": (
        "select r.id from voice_clone.recordings r where r.status = 'stored'"
        " and r.stored_at <= now() - interval '30 days' order by r.stored_at limit 100",
        "recordings_stored_at_idx",
    ),
    "whether a person is held": (
        "select from voice_clone.legal_holds h where h.subject_id = %(id)s and h.released_at is null",
        "legal_holds_active_idx",
    ),
    "the oldest consent without an anchor": (
        "select w.consent_id from voice_clone.anchored_consents w where w.anchor is null"
        " order by w.recorded_at limit 1000",
        "anchored_consents_waiting_idx",
    ),
    "the consents of an anchor": (
        "select w.consent_id from voice_clone.anchored_consents w where w.anchor = 1",
        "anchored_consents_anchor_idx",
    ),
    "the anchors to publish": (
        "select * from voice_clone.anchor_publications x where x.sweep_at <= now()"
        " order by x.sweep_at limit 100 for no key update skip locked",
        "anchor_publications_sweep_at_idx",
    ),
    "the attempts whose mirror may be behind": (
        "select a.version from (select d.attempt_id from voice_clone.deadlines d"
        " order by d.sweep_at limit 1000) due join public.voice_clone_attempts a on a.id = due.attempt_id",
        "deadlines_sweep_at_idx",
    ),
    "the voices of a person": (
        "select * from public.voices v where v.user_id = %(id)s and v.deleted_at is null"
        " and (v.created_at, v.id) < (now(), %(id)s) order by v.created_at desc, v.id desc limit 101",
        "voices_user_id_idx",
    ),
    "an employee's attempts": (
        "select * from public.voice_clone_attempts a where a.employee_id = %(id)s"
        " and (a.created_at, a.id) < (now(), %(id)s) order by a.created_at desc, a.id desc limit 101",
        "voice_clone_attempts_employee_id_idx",
    ),
    "the speech jobs of a person": (
        "select * from public.speech_jobs j where j.user_id = %(id)s"
        " and (j.created_at, j.id) < (now(), %(id)s) order by j.created_at desc, j.id desc limit 101",
        "speech_jobs_user_id_idx",
    ),
    "the samples of a person": (
        "select * from public.voice_samples s where s.user_id = %(id)s and s.is_kept"
        " and (s.created_at, s.id) < (now(), %(id)s) order by s.created_at desc, s.id desc limit 101",
        "voice_samples_user_id_idx",
    ),
    "the webhooks of a person": (
        "select * from public.webhooks w where w.user_id = %(id)s"
        " and (w.created_at, w.id) < (now(), %(id)s) order by w.created_at desc, w.id desc limit 101",
        "webhooks_user_id_idx",
    ),
    "the recordings of an organization": (
        "select * from voice_clone.recordings r where r.org_id = %(id)s"
        " and (r.created_at, r.id) < (now(), %(id)s) order by r.created_at desc, r.id desc limit 101",
        "recordings_org_id_idx",
    ),
    "the voices of an account to check": (
        "select v.id from public.voices v where v.tts_provider = 'local' and v.provider_region = ''"
        " and v.provider_account = '' and v.id > %(id)s and v.deleted_at is null and v.lost_at is null"
        " order by v.id limit 60",
        "voices_checked_idx",
    ),
    "a page of what a provider listed": (
        "select * from voice_clone.listed_voices l where l.run = %(id)s and l.provider_voice_id > 'x'"
        " order by l.provider_voice_id limit 1000",
        "listed_voices_pkey",
    ),
    "what a listed voice is of": (
        "select from voice_clone.listed_voices l cross join lateral (select e.id from"
        " voice_clone.enrollments e where e.id = voice_clone.enrollment_id(l.label)) e where l.run = %(id)s",
        "enrollments_pkey",
    ),
    "whether a voice was listed": (
        "select v.id from public.voices v where v.provider_voice_id > 'x' and not exists ("
        " select from voice_clone.listed_voices l"
        " where l.run = %(id)s and l.provider_voice_id = v.provider_voice_id)"
        " order by v.provider_voice_id limit 100",
        "voices_provider_voice_id_idx",
    ),
    "enrollments that somebody should have ended": (
        "select e.id from voice_clone.enrollments e where e.sweep_at is not null and e.id > %(id)s"
        " order by e.id limit 1000",
        "enrollments",
    ),
    "a page of mirrors to compare": (
        "select r.id, r.voice from public.reflections r where r.id > %(id)s order by r.id limit 1000",
        "reflections_pkey",
    ),
    "a page of a bucket's objects": (
        "select o.name from storage.objects o where o.bucket_id = 'voice-samples' and o.name > 'x'"
        " order by o.name limit 1000",
        "bucketid_objname",
    ),
    "a page of the samples that name an object": (
        "select s.id from public.voice_samples s where s.status = 'ready' and s.id > %(id)s"
        " order by s.id limit 1000",
        "voice_samples_pkey",
    ),
    "a page of the previews that name an object": (
        "select a.id from voice_clone.previews p join public.voice_clone_attempts a on a.id = p.attempt_id"
        " where p.attempt_id > %(id)s order by p.attempt_id limit 1000",
        "previews_pkey",
    ),
    "the accounts to check": (
        "select * from voice_clone.voice_checks x where x.sweep_at <= now()"
        " order by x.sweep_at limit 100 for no key update skip locked",
        "voice_checks_sweep_at_idx",
    ),
}


@pytest.fixture
def filled(given: Fixture) -> Fixture:
    user = given.user()
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(FILL, {"user": user})
        given.superuser.execute(ENROLLING)
    given.superuser.execute("analyze")
    given.superuser.execute("set enable_seqscan = off")  # tables that stay empty here are not in production
    return given


def test_every_hot_query_uses_its_index(filled: Fixture) -> None:
    missing = {}
    for name, (query, index) in HOT.items():
        rows = filled.superuser.execute(
            b"explain (costs off) " + query.encode(), {"id": "00000000-0000-4000-8000-000000000000"}
        ).fetchall()
        plan = "\n".join(row["QUERY PLAN"] for row in rows)
        if index not in plan or "Seq Scan" in plan:
            missing[name] = plan
    assert missing == {}


def test_the_guard_sees_a_missing_index(filled: Fixture) -> None:
    filled.superuser.execute("drop index public.voice_clone_attempts_activated_at_idx")
    with pytest.raises(AssertionError, match="the mirror's attempt"):
        test_every_hot_query_uses_its_index(filled)


def test_what_happened_lately_is_found_without_a_look_at_the_whole_month(given: Fixture) -> None:
    given.superuser.execute(
        "insert into voice_clone.events (attempt_id, version, events, changes, recorded_at)"
        " select gen_random_uuid(), 1, '{opened}', '{}', now() - make_interval(secs => 30000 - n)"
        " from generate_series(1, 30000) n"
    )
    given.superuser.execute("vacuum analyze voice_clone.events")
    plan = "\n".join(
        row["QUERY PLAN"]
        for row in given.superuser.execute(
            "explain select e.events from voice_clone.events e"
            " where e.recorded_at > now() - interval '5 minutes'"
        ).fetchall()
    )
    assert "recorded_at_idx" in plan, plan


READ_WHOLE = """
select relname, seq_tup_read from pg_stat_xact_user_tables
where relname in ('reflections', 'employees', 'voice_clone_attempts') and seq_tup_read > 0
"""
# Without it READ_WHOLE has what was read just before.
COUNT_AGAIN: LiteralString = "select pg_stat_force_next_flush()"


AT_WORK: LiteralString = """
insert into voice_clone.enrolling_attempts (attempt_id, user_id, provider, region)
select a.id, a.user_id, a.provider, '' from public.voice_clone_attempts a where a.status = 'processing'
"""


def test_the_overview_reads_no_large_table_whole(filled: Fixture) -> None:
    filled.superuser.execute("set enable_seqscan = on")
    filled.superuser.execute(AT_WORK)
    filled.superuser.execute("analyze voice_clone.enrolling_attempts")
    filled.superuser.execute(COUNT_AGAIN)
    with filled.superuser.transaction():
        found = filled.truth("select operations.overview() as found")["found"]
        assert found["unfinished"]["processing"]["attempts"] == 2000
        assert filled.superuser.execute(READ_WHOLE).fetchall() == []


EVENTS = """
insert into voice_clone.events (attempt_id, version, events, changes, recorded_at)
select a.id, 1, '{failed}', '{"status": "failed"}', now() - make_interval(secs => 3 * row_number() over ())
from public.voice_clone_attempts a cross join generate_series(1, 4)
"""
SLICES: tuple[LiteralString, ...] = (
    "select * from operations.attempt_series(now() - interval '10 minutes', now())",
    "select * from operations.failed_attempts(now() - interval '10 minutes')",
)


@pytest.mark.parametrize("query", SLICES)
def test_a_slice_of_the_event_log_is_joined_with_its_own_attempts_alone(
    filled: Fixture, query: LiteralString
) -> None:
    filled.superuser.execute("set enable_seqscan = on")
    filled.superuser.execute(EVENTS)
    filled.superuser.execute("vacuum analyze voice_clone.events")
    filled.superuser.execute(COUNT_AGAIN)
    with filled.superuser.transaction():
        filled.superuser.execute(query)
        assert filled.superuser.execute(READ_WHOLE).fetchall() == []


def test_a_page_of_mirrors_is_compared_without_a_look_at_the_whole_table(filled: Fixture) -> None:
    page = "select operations.compare_mirrors(%s, null, 100, 0) as page"
    filled.superuser.execute("set enable_seqscan = on")
    with filled.superuser.transaction():
        assert filled.truth(page, "reflection")["page"]["compared"] == 100
        assert filled.truth(page, "employee")["page"]["compared"] == 0
        assert filled.superuser.execute(READ_WHOLE).fetchall() == []
    with filled.superuser.transaction():
        filled.superuser.execute("set local enable_indexscan = off")
        filled.superuser.execute("set local enable_bitmapscan = off")
        filled.truth(page, "reflection")
        assert filled.superuser.execute(READ_WHOLE).fetchall() != [], "the guard sees it"
