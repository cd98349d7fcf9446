"""Speech jobs in the database: one voice for a sample, leases, what ends a job, what the sweep repairs."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database import situations
from tests.database.situations import fail, refused, revoke
from tests.fixture import Fixture, Row

REQUEST = "select * from voice_clone.request_speech(%s, %s, %s, %s, '', %s, 'Ada')"


@pytest.fixture
def user(given: Fixture) -> UUID:
    return given.user()


@pytest.fixture
def sample(given: Fixture, user: UUID) -> UUID:
    """Inspected, and cloned by nothing."""
    given.consents[user] = given.consent(user)
    attempt = given.queued(user, None)
    fail(given, attempt)
    given.superuser.execute("select pgmq.purge_queue('voice_clone_process')")
    return given.attempt(attempt)["sample_id"]


def request(given: Fixture, user: UUID, sample: UUID, text: str = "Hello.", provider: str = "local") -> Row:
    return given.one(REQUEST, uuid4(), user, sample, provider, text)


def job(given: Fixture, id_: UUID) -> Row:
    return given.truth("select * from public.speech_jobs where id = %s", id_)


def claim(given: Fixture, id_: UUID, lease: int = 60, cap: int = 4) -> Row:
    return given.one("select * from voice_clone.claim_speech_job(%s, 'worker', %s, %s)", id_, lease, cap)


def complete(given: Fixture, id_: UUID, epoch: int, message: int | None = None) -> None:
    path = f"speech/{id_}/{epoch}.wav"
    given.one("select voice_clone.complete_speech(%s, %s, %s, 1000, %s)", id_, epoch, path, message)


def requeue(given: Fixture, id_: UUID, epoch: int, *, is_outage: bool, delay: float = 0) -> None:
    given.one(
        "select voice_clone.requeue_speech(%s, %s, %s, 'provider_throttled', 'Later.', 'r', null, %s)",
        id_, epoch, delay, is_outage,
    )  # fmt: skip


def ready(given: Fixture, user: UUID, sample: UUID, text: str = "Hello.") -> UUID:
    """A job whose voice is made."""
    made = request(given, user, sample, text)
    if given.attempt(made["attempt_id"])["status"] == "queued":
        given.enroll(made["attempt_id"])
    return made["id"]


def sent(given: Fixture) -> list[str]:
    rows = given.superuser.execute("select message ->> 'id' as id from pgmq.q_speech_jobs order by msg_id")
    return [row["id"] for row in rows]


def read(given: Fixture) -> Row:
    (message,) = given.messages("speech_jobs")
    return message


def folders(given: Fixture) -> list[str]:
    rows = given.superuser.execute("select folder from voice_clone.object_removals where bucket = 'speeches'")
    return sorted(row["folder"] for row in rows)


def sweep(given: Fixture) -> dict[str, int]:
    did = situations.sweep(given)
    return {what: count for what, count in did.items() if what.startswith("speech")}


def age(given: Fixture, id_: UUID, **times: str) -> None:
    """These columns lie that long in the past."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        for column, interval in times.items():
            given.superuser.execute(
                f"update public.speech_jobs set {column} = now() - %s::interval where id = %s".encode(),  # noqa: S608
                (interval, id_),
            )


def attempts_of(given: Fixture, sample: UUID) -> int:
    return given.truth(
        "select count(*) from public.voice_clone_attempts where sample_id = %s and status <> 'failed'", sample
    )["count"]


# -- one voice


def test_a_job_opens_an_attempt_and_waits_for_it_without_a_message(
    given: Fixture, user: UUID, sample: UUID
) -> None:
    made = request(given, user, sample)
    attempt = given.attempt(made["attempt_id"])
    assert (made["status"], made["characters"]) == ("queued", 6)
    assert (attempt["status"], attempt["reflection_id"], attempt["preview_status"]) == (
        "queued",
        None,
        "not_required",
    )
    assert sent(given) == []
    assert claim(given, made["id"])["outcome"] == "awaits_voice"
    given.enroll(made["attempt_id"])
    assert sent(given) == [str(made["id"])]
    assert claim(given, made["id"])["outcome"] == "claimed"


def test_further_jobs_share_the_attempt_and_then_the_voice(given: Fixture, user: UUID, sample: UUID) -> None:
    first, second = request(given, user, sample), request(given, user, sample, "Again.")
    assert first["attempt_id"] == second["attempt_id"]
    given.enroll(first["attempt_id"])
    assert sorted(sent(given)) == sorted([str(first["id"]), str(second["id"])])
    third = request(given, user, sample, "Once more.")
    assert third["attempt_id"] == first["attempt_id"]
    assert sent(given)[-1] == str(third["id"])
    assert attempts_of(given, sample) == 1
    elsewhere = request(given, user, sample, provider="qwen")
    assert elsewhere["attempt_id"] != first["attempt_id"]
    assert given.attempt(elsewhere["attempt_id"])["provider"] == "qwen"


def test_two_jobs_at_once_share_one_attempt(given: Fixture, user: UUID, sample: UUID) -> None:
    def run(_: int) -> str:
        with psycopg.connect(given.database.service, autocommit=True) as connection:
            row = connection.execute(
                REQUEST.replace("*", "attempt_id::text").encode(), (uuid4(), user, sample, "local", "Hi.")
            ).fetchone()
            assert row is not None
            return row[0]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(run, range(16)))) == 1
    assert attempts_of(given, sample) == 1


def test_a_voice_that_a_reflection_has_is_used(given: Fixture, user: UUID, sample: UUID) -> None:
    attempt = given.launchable(user, given.reflection(user))
    made = request(given, user, given.attempt(attempt)["sample_id"])
    assert made["attempt_id"] == attempt
    assert sent(given) == [str(made["id"])]


def test_a_deleted_voice_is_not_used_again(given: Fixture, user: UUID, sample: UUID) -> None:
    first = ready(given, user, sample)
    attempt = given.attempt(job(given, first)["attempt_id"])
    kept = given.reflection(user)  # another attempt keeps the sample in use
    given.one(
        "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'elsewhere', '', true, 'Ada')",
        uuid4(), user, sample, kept,
    )  # fmt: skip
    given.one("select voice_clone.delete_voice(%s, %s)", attempt["voice_id"], user)
    assert request(given, user, sample)["attempt_id"] != attempt["id"]


def test_a_sample_that_is_missing_or_not_ready_is_refused(given: Fixture, user: UUID, sample: UUID) -> None:
    with refused("VC004"):
        request(given, user, uuid4())
    with refused("VC004"):
        request(given, given.user(), sample)
    opened = given.open(user, None)
    with refused("VC007", "sample_not_ready"):
        request(given, user, given.attempt(opened)["sample_id"])


def test_a_user_has_twenty_open_jobs(given: Fixture, user: UUID, sample: UUID) -> None:
    made = [request(given, user, sample)["id"] for _ in range(20)]
    with refused("VC008", "too_many_speech_jobs"):
        request(given, user, sample)
    assert given.one("select voice_clone.delete_speech_job(%s, %s)", made[0], user)["delete_speech_job"]
    request(given, user, sample)


# -- the end of the attempt


def test_an_attempt_that_fails_fails_its_jobs_with_its_error(
    given: Fixture, user: UUID, sample: UUID
) -> None:
    made = request(given, user, sample)
    fail(given, made["attempt_id"], "sample_rejected")
    assert sent(given) == [str(made["id"])]
    assert claim(given, made["id"])["outcome"] == "voice_failed"
    row = job(given, made["id"])
    assert (row["status"], row["error_code"], row["error_message"], row["request_id"]) == (
        "failed", "sample_rejected", "Not this one.", "request-1",
    )  # fmt: skip


def test_an_attempt_that_is_cancelled_fails_its_jobs(given: Fixture, user: UUID, sample: UUID) -> None:
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    made = request(given, user, given.attempt(attempt)["sample_id"])
    assert made["attempt_id"] == attempt
    given.one("select * from voice_clone.reset_attempt(%s, %s)", reflection, user)
    assert sent(given) == [str(made["id"])]
    claim(given, made["id"])
    assert job(given, made["id"])["error_code"] == "attempt_cancelled"


def test_a_lost_message_of_the_attempts_end_is_sent_by_the_sweep(
    given: Fixture, user: UUID, sample: UUID
) -> None:
    made = request(given, user, sample)
    age(given, made["id"], sweep_at="1 s")
    assert sweep(given) == {"speech_postponed": 1}, "its attempt is still at work"
    given.enroll(made["attempt_id"])
    given.superuser.execute("select pgmq.purge_queue('speech_jobs')")
    age(given, made["id"], sweep_at="1 s")
    assert sweep(given) == {"speech_sent": 1}
    assert sent(given) == [str(made["id"])]
    assert sweep(given) == {}


# -- the lease


def test_a_worker_with_an_older_lease_writes_nothing(given: Fixture, user: UUID, sample: UUID) -> None:
    id_ = ready(given, user, sample)
    stale = claim(given, id_, lease=0)["lease_epoch"]
    current = claim(given, id_)["lease_epoch"]
    assert current == stale + 1
    before = job(given, id_)
    with refused("VC002"):
        complete(given, id_, stale)
    with refused("VC002"):
        requeue(given, id_, stale, is_outage=True)
    with refused("VC002"):
        given.one("select voice_clone.fail_speech(%s, %s, 'x', 'x', null, null)", id_, stale)
    assert not given.one("select voice_clone.renew_speech_lease(%s, %s, 60) as held", id_, stale)["held"]
    assert job(given, id_) == before
    assert claim(given, id_)["outcome"] == "busy"
    complete(given, id_, current)
    assert claim(given, id_)["outcome"] == "nothing_to_do"


def test_a_message_goes_with_its_effect(given: Fixture, user: UUID, sample: UUID) -> None:
    id_ = ready(given, user, sample)
    message = read(given)["msg_id"]
    epoch = claim(given, id_)["lease_epoch"]
    with given.service.transaction(force_rollback=True):
        complete(given, id_, epoch, message)
        assert sent(given) == [str(id_)], "not committed"
    assert read(given)["msg_id"] == message
    complete(given, id_, epoch, message)
    assert given.messages("speech_jobs") == []


def test_an_outage_uses_up_no_try_and_has_a_limit(given: Fixture, user: UUID, sample: UUID) -> None:
    id_ = ready(given, user, sample)
    for _ in range(15):
        requeue(given, id_, claim(given, id_)["lease_epoch"], is_outage=True)
        row = job(given, id_)
        assert (row["status"], row["try_count"], row["error_code"]) == ("queued", 0, "provider_throttled")
    age(given, id_, waiting_since="25 h")
    requeue(given, id_, claim(given, id_)["lease_epoch"], is_outage=True)
    row = job(given, id_)
    assert (row["status"], row["error_code"]) == ("failed", "provider_throttled")
    assert row["error_message"].endswith("Retry later, or choose another provider.")


def test_a_fault_of_its_own_uses_up_the_budget(given: Fixture, user: UUID, sample: UUID) -> None:
    id_ = ready(given, user, sample)
    for _ in range(4):
        requeue(given, id_, claim(given, id_)["lease_epoch"], is_outage=False)
        assert job(given, id_)["status"] == "queued"
    requeue(given, id_, claim(given, id_)["lease_epoch"], is_outage=False)
    assert job(given, id_)["status"] == "failed"


def test_a_long_wait_is_sent_by_the_sweep(given: Fixture, user: UUID, sample: UUID) -> None:
    id_ = ready(given, user, sample)
    given.superuser.execute("select pgmq.purge_queue('speech_jobs')")
    requeue(given, id_, claim(given, id_)["lease_epoch"], is_outage=True, delay=60)
    assert sent(given) == []
    assert claim(given, id_)["outcome"] == "not_due"
    age(given, id_, not_before="1 s", sweep_at="1 s")
    assert sweep(given) == {"speech_sent": 1}
    assert claim(given, id_)["outcome"] == "claimed"


def test_a_worker_that_died_leaves_its_job_to_the_sweep(given: Fixture, user: UUID, sample: UUID) -> None:
    id_ = ready(given, user, sample)
    for tried in range(1, 6):
        assert claim(given, id_, lease=0)["outcome"] == "claimed"
        age(given, id_, sweep_at="1 s")
        assert sweep(given) == {"speech_requeued" if tried < 5 else "speech_failed": 1}
    row = job(given, id_)
    assert (row["status"], row["error_code"], row["try_count"]) == ("failed", "worker_lost", 5)


def test_a_claim_of_a_lost_lease_keeps_the_budget(given: Fixture, user: UUID, sample: UUID) -> None:
    id_ = ready(given, user, sample)
    for _ in range(5):
        assert claim(given, id_, lease=0)["outcome"] == "claimed"
    assert claim(given, id_)["outcome"] == "exhausted"
    assert job(given, id_)["error_code"] == "worker_lost"


def test_a_renewed_lease_is_postponed_until_its_deadline(given: Fixture, user: UUID, sample: UUID) -> None:
    id_ = ready(given, user, sample)
    epoch = claim(given, id_, lease=1)["lease_epoch"]
    version = job(given, id_)["version"]
    assert given.one("select voice_clone.renew_speech_lease(%s, %s, 60) as held", id_, epoch)["held"]
    assert job(given, id_)["version"] == version, "no change that a client sees"
    age(given, id_, sweep_at="1 s")
    assert sweep(given) == {"speech_postponed": 1}
    age(given, id_, leased_at="11 min", sweep_at="1 s")
    assert sweep(given) == {"speech_requeued": 1}
    assert job(given, id_)["error_code"] == "deadline_exceeded"


def test_a_user_speaks_so_many_jobs_at_once_and_the_next_follows(
    given: Fixture, user: UUID, sample: UUID
) -> None:
    jobs = [ready(given, user, sample) for _ in range(3)]
    epoch = claim(given, jobs[0], cap=1)["lease_epoch"]
    given.superuser.execute("select pgmq.purge_queue('speech_jobs')")
    assert [claim(given, each, cap=1)["outcome"] for each in jobs[1:]] == ["user_busy"] * 2
    other = given.user()
    given.consents[other] = given.consent(other)
    theirs = ready(given, other, given.attempt(given.launchable(other, given.reflection(other)))["sample_id"])
    assert claim(given, theirs, cap=1)["outcome"] == "claimed", "another user's cap is another"
    given.superuser.execute("select pgmq.purge_queue('speech_jobs')")
    complete(given, jobs[0], epoch)
    assert sent(given) == [str(jobs[1])]
    assert claim(given, jobs[1], cap=1)["outcome"] == "claimed"
    given.superuser.execute("select pgmq.purge_queue('speech_jobs')")
    given.one("select voice_clone.delete_speech_job(%s, %s)", jobs[1], user)
    assert sent(given) == [str(jobs[2])]


# -- its user


def test_a_failed_job_is_retried_with_the_voice_or_a_new_attempt(
    given: Fixture, user: UUID, sample: UUID
) -> None:
    made = request(given, user, sample)
    retry = "select * from voice_clone.retry_speech(%s, %s, 'Ada')"
    with refused("VC007", "nothing_to_retry"):
        given.one(retry, made["id"], user)
    with refused("VC004"):
        given.one(retry, made["id"], given.user())
    fail(given, made["attempt_id"])
    claim(given, made["id"])
    again = given.one(retry, made["id"], user)
    assert (again["status"], again["retry_count"], again["error_code"]) == ("queued", 1, None)
    assert again["attempt_id"] != made["attempt_id"]
    given.enroll(again["attempt_id"])
    epoch = claim(given, made["id"])["lease_epoch"]
    given.one(
        "select voice_clone.fail_speech(%s, %s, 'inference_failed', 'No.', 'r', null)", made["id"], epoch
    )
    given.superuser.execute("select pgmq.purge_queue('speech_jobs')")
    third = given.one(retry, made["id"], user)
    assert third["attempt_id"] == again["attempt_id"], "its voice is there"
    assert sent(given) == [str(made["id"])]


def test_a_job_is_retried_so_often_and_not_once_its_text_is_gone(
    given: Fixture, user: UUID, sample: UUID
) -> None:
    id_ = ready(given, user, sample)
    retry = "select * from voice_clone.retry_speech(%s, %s, 'Ada')"
    fail_speech = "select voice_clone.fail_speech(%s, %s, 'inference_failed', 'No.', 'r', null)"
    for _ in range(5):
        given.one(fail_speech, id_, claim(given, id_)["lease_epoch"])
        given.one(retry, id_, user)
    given.one(fail_speech, id_, claim(given, id_)["lease_epoch"])
    with refused("VC007", "retry_budget_used"):
        given.one(retry, id_, user)
    age(given, id_, sweep_at="1 s")
    assert sweep(given) == {"speech_expired": 1}
    with refused("VC007", "speech_removed"):
        given.one(retry, id_, user)


def test_a_deleted_job_is_gone_with_its_speech(given: Fixture, user: UUID, sample: UUID) -> None:
    id_, waiting = ready(given, user, sample), request(given, user, sample)["id"]
    complete(given, id_, claim(given, id_)["lease_epoch"])
    delete = "select voice_clone.delete_speech_job(%s, %s) as deleted"
    assert not given.one(delete, id_, given.user())["deleted"]
    assert given.one(delete, id_, user)["deleted"]
    assert not given.one(delete, id_, user)["deleted"]
    assert folders(given) == [f"{user}/{id_}"]
    assert given.one(delete, waiting, user)["deleted"]
    assert folders(given) == [f"{user}/{id_}"], "nothing was spoken for the other one"


def test_a_speech_expires(given: Fixture, user: UUID, sample: UUID) -> None:
    id_ = ready(given, user, sample)
    complete(given, id_, claim(given, id_)["lease_epoch"])
    assert sweep(given) == {}
    row = job(given, id_)
    assert (row["expires_at"] - row["finished_at"]).total_seconds() == 24 * 3600
    age(given, id_, sweep_at="1 s")
    assert sweep(given) == {"speech_expired": 1}
    row = job(given, id_)
    assert (row["status"], row["text"], row["path"], row["sweep_at"]) == ("succeeded", None, None, None)
    assert folders(given) == [f"{user}/{id_}"]
    assert sweep(given) == {}


# -- what is revoked, deleted or erased


@pytest.mark.parametrize("ends", ["consent_revoked", "voice_deleted"])
def test_the_end_of_a_voice_ends_its_jobs_and_removes_what_they_spoke(
    given: Fixture, user: UUID, sample: UUID, ends: str
) -> None:
    done, running, queued = (ready(given, user, sample, text) for text in ("One.", "Two.", "Three."))
    complete(given, done, claim(given, done)["lease_epoch"])
    epoch = claim(given, running)["lease_epoch"]
    attempt = given.attempt(job(given, done)["attempt_id"])
    if ends == "consent_revoked":
        revoke(given, attempt["id"], user)
    else:
        given.one("select voice_clone.delete_voice(%s, %s)", attempt["voice_id"], user)
    rows = [job(given, each) for each in (done, running, queued)]
    assert [(row["status"], row["error_code"]) for row in rows] == [
        ("succeeded", None),
        ("failed", ends),
        ("failed", ends),
    ]
    assert {(row["text"], row["path"], row["lease_owner"]) for row in rows} == {(None, None, None)}
    assert all(row["removed_at"] for row in rows)
    assert folders(given) == sorted(f"{user}/{each}" for each in (done, running))
    with refused("VC002"):
        complete(given, running, epoch)
    assert claim(given, queued)["outcome"] == "nothing_to_do"


def test_a_revoked_sample_speaks_no_more(given: Fixture, user: UUID, sample: UUID) -> None:
    made = request(given, user, sample)
    revoke(given, made["attempt_id"], user)
    assert job(given, made["id"])["error_code"] == "consent_revoked"
    with refused("VC004"):
        request(given, user, sample)
    with refused("VC007", "speech_removed"):
        given.one("select * from voice_clone.retry_speech(%s, %s, 'Ada')", made["id"], user)


def test_a_deleted_user_leaves_a_record_without_a_text(given: Fixture, user: UUID, sample: UUID) -> None:
    id_ = ready(given, user, sample)
    complete(given, id_, claim(given, id_)["lease_epoch"])
    open_ = ready(given, user, sample)
    with given.superuser.transaction():
        given.superuser.execute("set local role supabase_auth_admin")
        given.superuser.execute("delete from auth.users where id = %s", (user,))
    for each in (id_, open_):
        row = job(given, each)
        assert (row["user_id"], row["text"], row["path"], row["sweep_at"]) == (None, None, None, None)
    assert str(user) in folders(given)


# -- the row


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("status = 'succeeded', path = 'p', bytes = 1", "VC001"),
        ("lease_epoch = -1", "VC001"),
        ("sample_id = gen_random_uuid()", "VC001"),
        ("user_id = gen_random_uuid()", "VC001"),
        ("lease_owner = 'x'", "23514"),
        ("try_count = 6", "23514"),
        ("text = null", "23514"),
        ("removed_at = now()", "23514"),
        ("user_id = null", "23514"),
    ],
)
def test_nobody_writes_what_cannot_be(
    given: Fixture, user: UUID, sample: UUID, change: str, state: str
) -> None:
    id_ = ready(given, user, sample)
    with pytest.raises(psycopg.Error) as caught:
        given.superuser.execute(
            f"update public.speech_jobs set {change} where id = %s".encode(),  # noqa: S608
            (id_,),
        )
    assert caught.value.sqlstate == state


def test_a_job_has_its_own_users_sample_and_attempt(given: Fixture, user: UUID, sample: UUID) -> None:
    attempt = job(given, ready(given, user, sample))["attempt_id"]
    insert = (
        "insert into public.speech_jobs (id, user_id, sample_id, attempt_id, provider, text, characters)"
        " values (gen_random_uuid(), %s, %s, %s, 'local', 'x', 1)"
    )
    other = given.user()
    given.consents[other] = given.consent(other)
    theirs = given.queued(other, None)
    for owner, of, by in ((other, sample, attempt), (user, sample, theirs)):
        with refused("VC004"):
            given.superuser.execute(insert.encode(), (owner, of, by))
    id_ = ready(given, user, sample)
    with refused("VC004"):
        given.superuser.execute("update public.speech_jobs set attempt_id = %s where id = %s", (theirs, id_))


def test_a_job_with_an_error_stops_no_other(given: Fixture, user: UUID, sample: UUID) -> None:
    broken, other = ready(given, user, sample), ready(given, user, sample)
    breaking = (
        "create function public.break_one() returns trigger language plpgsql as $$ begin"
        f" if new.id = '{broken}' then raise exception 'broken'; end if; return new; end $$;"
        "create trigger break_one before update on public.speech_jobs for each row execute function"
        " public.break_one()"
    )
    given.superuser.execute(breaking.encode())
    for each in (broken, other):
        age(given, each, sweep_at="1 s")
    assert situations.sweep(given) == {"speech_sent": 1, "errors": 1}
