"""Samples by themselves: edges, leases, budgets. Each check fails on the mutant that removes its rule."""

import json
from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.invariants import Check, Mutant, patch
from tests.fixture import Fixture, Row

COMPLETE = "select voice_clone.complete_sample(%s, %s, 'audio/wav', 9, '{}'::jsonb, 'p.wav', 2000, %s)"
REQUEUE = "select voice_clone.requeue_sample(%s, %s, 0, 'code', 'No.', %s, %s) as what"
REFUSE = "select voice_clone.refuse_sample(%s, %s, 'sample_silent', 'No.', null, %s)"
DELETE = "select voice_clone.delete_sample(%s, %s) as is_deleted"
OVER = "update public.voice_samples set lease_expires_at = now(), sweep_at = now() where id = %s"


def refused(given: Fixture, sqlstate: str, sql: str, *parameters: object) -> Row:
    """The detail of the refusal."""
    with pytest.raises(psycopg.Error) as caught:
        given.one(sql, *parameters)
    assert caught.value.sqlstate == sqlstate
    return json.loads(caught.value.diag.message_detail or "{}")


def claimed(given: Fixture) -> tuple[UUID, UUID, int]:
    user = given.user()
    sample = given.pending_sample(user)
    return user, sample, given.claim_sample(sample)["lease_epoch"]


def message(given: Fixture, sample: UUID) -> int:
    (found,) = (m["msg_id"] for m in given.messages("voice_samples") if m["message"]["id"] == str(sample))
    return found


def sweep(given: Fixture) -> None:
    given.one("select count(*) from voice_clone.sweep(100)")


def removals(given: Fixture) -> list[str]:
    rows = given.superuser.execute("select folder from voice_clone.object_removals order by folder")
    return [row["folder"] for row in rows]


def a_sample_takes_its_edges_only(given: Fixture) -> None:
    user = given.user()
    sample = given.add_sample(user)
    for status in ("ready", "failed"):
        with pytest.raises(psycopg.Error) as caught:
            given.superuser.execute(
                "update public.voice_samples set status = %s, measures = '{}', prepared_path = 'p',"
                " prepared_bytes = 1, error_code = 'x', error_message = 'x' where id = %s", (status, sample),
            )  # fmt: skip
        assert caught.value.sqlstate == "VC001"
    assert given.sample(sample)["status"] == "awaiting_upload"


def its_file_and_its_epoch_stay(given: Fixture) -> None:
    _, sample, _ = claimed(given)
    for change in (
        "update public.voice_samples set path = 'other' where id = %s",
        "update public.voice_samples set is_kept = false where id = %s",
        "update public.voice_samples set lease_epoch = 0 where id = %s",
    ):
        with pytest.raises(psycopg.Error) as caught:
            given.superuser.execute(change.encode(), (sample,))
        assert caught.value.sqlstate == "VC001"


def a_late_worker_writes_nothing(given: Fixture) -> None:
    _, sample, late = claimed(given)
    given.superuser.execute(OVER, (sample,))
    epoch = given.claim_sample(sample)["lease_epoch"]
    assert epoch == late + 1
    refused(given, "VC002", COMPLETE, sample, late, None)
    refused(given, "VC002", REFUSE, sample, late, None)
    refused(given, "VC002", REQUEUE, sample, late, "outage", None)
    assert not given.one("select voice_clone.renew_sample(%s, %s) as held", sample, late)["held"]
    given.one(COMPLETE, sample, epoch, None)
    refused(given, "VC002", COMPLETE, sample, epoch, None)


def one_worker_at_a_time(given: Fixture) -> None:
    _, sample, _ = claimed(given)
    assert given.claim_sample(sample)["outcome"] == "busy"


def an_attempt_is_active_with_a_ready_sample_only(given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, None)
    with pytest.raises(psycopg.Error):
        given.superuser.execute(
            "update public.voice_clone_attempts set status = 'queued', is_active = true where id = %s",
            (attempt,),
        )


def a_message_goes_with_its_effect(given: Fixture) -> None:
    for end in (COMPLETE, REFUSE):
        _, sample, epoch = claimed(given)
        number = message(given, sample)
        with given.service.transaction(force_rollback=True):
            given.one(end, sample, epoch, number)
        assert message(given, sample) == number
        given.one(end, sample, epoch, number)
        assert given.messages("voice_samples") == []
    _, sample, epoch = claimed(given)
    number = message(given, sample)
    given.one(REQUEUE, sample, epoch, "outage", number)
    assert message(given, sample) != number, "the edge sends the next one"


def what_waits_has_a_message_again(given: Fixture) -> None:
    sample = given.pending_sample(given.user())
    given.superuser.execute("select pgmq.purge_queue('voice_samples')")
    given.superuser.execute("update public.voice_samples set sweep_at = now() where id = %s", (sample,))
    sweep(given)
    assert message(given, sample)


def an_outage_uses_up_no_try(given: Fixture) -> None:
    _, sample, epoch = claimed(given)
    for _ in range(8):
        assert given.one(REQUEUE, sample, epoch, "outage", None)["what"] == "requeued"
        epoch = given.claim_sample(sample)["lease_epoch"]
    assert given.sample(sample)["process_count"] == 1
    given.superuser.execute(
        "update public.voice_samples set waiting_since = now() - interval '25 hours' where id = %s", (sample,)
    )
    assert given.one(REQUEUE, sample, epoch, "outage", None)["what"] == "failed"


def what_takes_too_long_is_tried_once_more(given: Fixture) -> None:
    _, sample, epoch = claimed(given)
    assert given.one(REQUEUE, sample, epoch, "timeout", None)["what"] == "requeued"
    epoch = given.claim_sample(sample)["lease_epoch"]
    assert given.one(REQUEUE, sample, epoch, "timeout", None)["what"] == "failed"
    row = given.sample(sample)
    assert (row["status"], row["error_code"]) == ("failed", "code")


def a_worker_that_stops_is_replaced_within_the_budget(given: Fixture) -> None:
    _, sample, _ = claimed(given)
    for _ in range(4):
        given.superuser.execute(OVER, (sample,))
        sweep(given)
        assert given.sample(sample)["status"] == "pending"
        assert given.claim_sample(sample)["outcome"] == "claimed"
    given.superuser.execute(OVER, (sample,))
    sweep(given)
    row = given.sample(sample)
    assert (row["status"], row["error_code"]) == ("failed", "worker_lost")


def a_failed_sample_has_no_file(given: Fixture) -> None:
    user, sample, epoch = claimed(given)
    given.one(REFUSE, sample, epoch, None)
    assert given.sample(sample)["status"] == "failed"
    assert removals(given) == [f"{user}/{sample}"]


def an_upload_that_is_refused_waits_for_another(given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, None)
    for end in (REFUSE, REQUEUE):
        claim = given.claim_upload(attempt, user)
        more = () if end == REFUSE else ("crash",)
        given.one(end, claim["sample_id"], claim["lease_epoch"], *more, None)
        assert given.sample(claim["sample_id"])["status"] == "awaiting_upload"
    assert removals(given) == []


def what_is_revoked_goes(given: Fixture) -> None:
    user = given.user()
    given.consents[user] = given.consent(user)
    ready, pending, stored = given.ready_sample(user), given.pending_sample(user), given.add_sample(user)
    processing = given.pending_sample(user)
    epoch = given.claim_sample(processing)["lease_epoch"]
    given.one("select * from voice_clone.revoke_consent(%s, %s)", given.consents[user], user)
    for sample in (ready, pending, stored, processing):
        row = given.sample(sample)
        assert (row["status"], row["transcript"], row["lease_owner"]) == ("removed", None, None)
        assert f"{user}/{sample}" in removals(given)
    refused(given, "VC002", COMPLETE, processing, epoch, None)
    assert given.claim_sample(pending)["outcome"] == "inactive"


def who_is_erased_leaves_none(given: Fixture) -> None:
    user = given.user()
    sample = given.ready_sample(user)
    with given.superuser.transaction():
        given.superuser.execute("set local role supabase_auth_admin")
        given.superuser.execute("delete from auth.users where id = %s", (user,))
    row = given.sample(sample)
    assert (row["status"], row["user_id"], row["name"], row["transcript"]) == ("removed", None, None, None)
    assert str(user) not in row["file_url"]


def a_kept_sample_outlives_its_voice(given: Fixture) -> None:
    user, reflection, sample, attempt = cloned(given)
    given.enroll(attempt)
    detail = refused(given, "VC007", DELETE, sample, user)
    voice = given.attempt(attempt)["voice_id"]
    assert (detail["code"], detail["voices"]) == ("sample_in_use", [str(voice)])
    given.one("select * from voice_clone.reset_attempt(%s, %s)", reflection, user)
    refused(given, "VC007", DELETE, sample, user)  # the voice is in its user's library
    given.one("select voice_clone.delete_voice(%s, %s)", voice, user)
    assert given.sample(sample)["status"] == "ready"
    assert clone(given, user, reflection, sample)
    given.one("select * from voice_clone.reset_attempt(%s, %s)", reflection, user)
    assert given.one(DELETE, sample, user) == {"is_deleted": True}
    assert given.one(DELETE, sample, user) == {"is_deleted": False}
    assert f"{user}/{sample}" in removals(given)


def a_sample_is_not_deleted_under_a_worker(given: Fixture) -> None:
    user, _, sample, attempt = cloned(given)
    assert refused(given, "VC007", DELETE, sample, user)["code"] == "sample_in_use"
    epoch = given.claim(attempt)["lease_epoch"]
    assert refused(given, "VC007", DELETE, sample, user)["code"] == "sample_in_use"
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'c', 'm', null, null)", attempt, epoch)
    assert given.one(DELETE, sample, user) == {"is_deleted": True}
    assert given.attempt(attempt)["cancel_reason"] == "sample_deleted"


def clone(given: Fixture, user: UUID, reflection: UUID, sample: UUID) -> UUID:
    return given.one(
        "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'local', '', true, 'Ada')",
        uuid4(), user, sample, reflection,
    )["id"]  # fmt: skip


def cloned(given: Fixture) -> tuple[UUID, UUID, UUID, UUID]:
    user = given.user()
    reflection, sample = given.reflection(user), given.ready_sample(user)
    return user, reflection, sample, clone(given, user, reflection, sample)


def what_nothing_uses_is_removed_in_time(given: Fixture) -> None:
    user = given.user()
    stored, unused, kept = (
        given.add_sample(user),
        given.add_sample(user, kept=False),
        given.ready_sample(user),
    )
    given.complete(unused, given.claim_sample(unused, inline=True)["lease_epoch"], "p.wav")
    used = given.queued(user, None)
    past = "update public.voice_samples set created_at = created_at - interval '25 hours', sweep_at = now()"
    given.superuser.execute("set session_replication_role = replica")
    given.superuser.execute(past + " where id <> %s", (kept,))
    given.superuser.execute("set session_replication_role = origin")
    sweep(given)
    assert [given.sample(each)["status"] for each in (stored, unused)] == ["removed", "removed"]
    assert given.sample(given.attempt(used)["sample_id"])["status"] == "ready"
    assert given.sample(kept)["status"] == "ready"
    assert given.sample(kept)["sweep_at"] is None


def a_user_has_few_samples_at_once(given: Fixture) -> None:
    user = given.user()
    given.consents[user] = given.consent(user)
    samples = [given.pending_sample(user) for _ in range(3)]
    outcomes = [given.claim_sample(sample)["outcome"] for sample in samples]
    assert outcomes == ["claimed", "claimed", "user_busy"]
    check = "select voice_clone.check_sample(%s, %s, %s, %s)"
    detail = refused(given, "VC008", check, user, given.consents[user], 3, None)
    assert detail["code"] == "too_many_open_samples"
    detail = refused(given, "VC008", check, user, given.consents[user], 10, 3)
    assert (detail["code"], detail["limit"]) == ("too_many_new_samples", 3)
    assert 86_000 < detail["retry_after"] <= 86_400
    given.one(check, user, given.consents[user], 4, 4)


def the_same_id_is_the_same_sample(given: Fixture) -> None:
    user = given.user()
    given.consents[user] = given.consent(user)
    sample = given.pending_sample(user)
    given.add_sample(user, sample=sample)
    given.one("select voice_clone.receive_sample(%s, %s)", sample, user)
    check = "select voice_clone.check_sample(%s, %s, 1, 1, %s)"  # as a call that is repeated after a crash
    given.one(check, user, given.consents[user], sample)
    refused(given, "VC008", check, user, given.consents[user], uuid4())
    refused(given, "VC003", check, given.user(), given.consents[user], sample)
    assert given.truth("select count(*) from public.voice_samples")["count"] == 1
    assert len(given.messages("voice_samples")) == 1


RULES: dict[Check, Mutant] = {
    a_sample_takes_its_edges_only: patch("voice_clone.require_edge", "if not found then", "if false then"),
    its_file_and_its_epoch_stay: patch(
        "voice_clone.check_sample_transition", "new.lease_epoch < old.lease_epoch", "false"
    ),
    a_late_worker_writes_nothing: patch(
        "voice_clone.require_sample_lease", "and x.lease_epoch = p_epoch", ""
    ),
    one_worker_at_a_time: patch(
        "voice_clone.claim_sample", "s.status = 'processing' and s.lease_expires_at > now()", "false"
    ),
    an_attempt_is_active_with_a_ready_sample_only: patch(
        "voice_clone.require_own_sources", "and (s.status = 'ready' or not new.is_active))", ")"
    ),
    a_message_goes_with_its_effect: patch(
        "voice_clone.complete_sample", "where p_message_id is not null", "where false"
    ),
    what_waits_has_a_message_again: patch("voice_clone.sweep_sample", "s.status = 'pending'", "false"),
    an_outage_uses_up_no_try: patch(
        "voice_clone.requeue_or_fail_sample", "(p_failure = 'outage' and v_again)::int", "0"
    ),
    what_takes_too_long_is_tried_once_more: patch(
        "voice_clone.requeue_or_fail_sample", "v_timeouts < s.timeout_budget", "true"
    ),
    a_worker_that_stops_is_replaced_within_the_budget: patch(
        "voice_clone.requeue_or_fail_sample", "s.process_count < s.process_budget", "true"
    ),
    a_failed_sample_has_no_file: patch(
        "voice_clone.follow_sample", "new.status in ('failed', 'removed')", "new.status = 'removed'"
    ),
    an_upload_that_is_refused_waits_for_another: patch(
        "voice_clone.refuse_sample",
        "case when s.is_kept then 'failed' else 'awaiting_upload' end",
        "'failed'",
    ),
    what_is_revoked_goes: patch(
        "voice_clone.silence", "perform voice_clone.remove_samples(p_samples, true);", ""
    ),
    who_is_erased_leaves_none: patch("voice_clone.forget_user", "name = null, path", "path"),
    a_kept_sample_outlives_its_voice: patch(
        "voice_clone.remove_samples", "and (p_kept or not s.is_kept)", ""
    ),
    a_sample_is_not_deleted_under_a_worker: patch(
        "voice_clone.delete_sample", "'queued', 'processing', ", "'queued', "
    ),
    what_nothing_uses_is_removed_in_time: patch(
        "voice_clone.sample_sweep_at", "(s.status = 'ready' and not s.is_kept)", "s.status = 'ready'"
    ),
    a_user_has_few_samples_at_once: patch("voice_clone.claim_sample", ">= p_user_cap", "> p_user_cap"),
    the_same_id_is_the_same_sample: patch("voice_clone.add_sample", "if found then", "if false then"),
}
# More ways to lose a rule: each is found by the same check.
MUTANTS: dict[str, tuple[Check, Mutant]] = {
    "a stale renewal": (
        a_late_worker_writes_nothing,
        patch("voice_clone.renew_sample", "and s.lease_epoch = p_epoch", ""),
    ),
    "another file": (
        its_file_and_its_epoch_stay,
        patch("voice_clone.check_sample_transition", "new.path <> old.path", "false"),
    ),
    "a refusal that keeps its message": (
        a_message_goes_with_its_effect,
        patch("voice_clone.refuse_sample", "where p_message_id is not null", "where false"),
    ),
    "a requeue that keeps its message": (
        a_message_goes_with_its_effect,
        patch("voice_clone.requeue_sample", "where p_message_id is not null", "where false"),
    ),
    "an outage without an end": (
        an_outage_uses_up_no_try,
        patch("voice_clone.requeue_or_fail_sample", "'outage') > now()", "'outage') > '-infinity'"),
    ),
    "a lost worker that nobody replaces": (
        a_worker_that_stops_is_replaced_within_the_budget,
        patch("voice_clone.sweep_sample", "s.status = 'processing' and", "false and"),
    ),
    "a sample that is deleted under its voice": (
        a_kept_sample_outlives_its_voice,
        patch("voice_clone.delete_sample", "if v_voices <> '{}' or exists", "if exists"),
    ),
    "a failed attempt that could be retried without its sample": (
        a_sample_is_not_deleted_under_a_worker,
        patch("voice_clone.delete_sample", "perform voice_clone.cancel_attempts", "perform concat"),
    ),
    "an upload that nobody finishes": (
        what_nothing_uses_is_removed_in_time,
        patch("voice_clone.sweep_sample", "s.status = 'awaiting_upload');", "false);"),
    ),
    "any number of open samples": (
        a_user_has_few_samples_at_once,
        patch("voice_clone.check_sample_limits", ">= p_open", "> p_open"),
    ),
}  # fmt: skip


def name_of(rule: Callable[..., object]) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_the_rule_holds(given: Fixture, rule: Check) -> None:
    rule(given)


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_the_check_fails_without_the_rule(given: Fixture, rule: Check) -> None:
    RULES[rule](given)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception, ValueError)):
        rule(given)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_check_finds_every_other_mutant(given: Fixture, name: str) -> None:
    rule, mutate = MUTANTS[name]
    mutate(given)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception, ValueError)):
        rule(given)
