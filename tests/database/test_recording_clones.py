"""Recordings that are cloned by themselves: whose, when, once, and who may ask for it."""

from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.test_employee_consents import refused
from tests.database.test_employee_voices import ADD, CLONE, Staffed
from tests.database.test_organizations import as_user
from tests.fixture import Fixture, Row

UPSERT = (
    "insert into storage.objects (bucket_id, name, version) values (%s, %s, %s)"
    " on conflict (bucket_id, name) do update set version = excluded.version"
)
QUEUE = "select voice_clone.queue_recording_clone(%s, %s, 'local', '', true, null, %s) as queued"
SET = "update public.organizations set clone_recordings = true where id = %s"
SPEAKS = "update public.organizations set recording_language = 'fr' where id = %s"


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    made = Staffed(given)
    given.superuser.execute(SET.encode(), (made.id,))
    return made


def store(
    given: Fixture,
    of: UUID,
    login: str = "supabase_storage_admin",
    version: str = "",
    name: str = "",
    bucket: str = "recordings",
    *,
    keep: bool = True,
) -> str:
    """As Storage does it; the version."""
    version = version or str(uuid4())
    with psycopg.connect(given.database.dsn(login)) as connection:
        connection.execute("set local role service_role")
        connection.execute(UPSERT.encode(), (bucket, name or f"{of}/{of}.wav", version))
        if not keep:
            connection.rollback()
    return version


def clones(given: Fixture) -> list[Row]:
    sql = "select * from voice_clone.recording_clones order by created_at"
    return given.superuser.execute(sql.encode()).fetchall()


def sent(given: Fixture) -> list[str]:
    return [row["message"]["id"] for row in given.messages("recording_clones")]


def prepared(given: Fixture, clone: UUID, acme: Staffed) -> None:
    """The sample of the object: read, inspected, ready."""
    path = f"{acme.employee}/{uuid4()}/sample.wav"
    given.one(ADD, clone, acme.employee, None, path, None)
    given.complete(clone, given.claim_sample(clone, inline=True)["lease_epoch"], path.replace("sample", "x"))


def begun(given: Fixture, clone: UUID) -> list[Row]:
    return given.service.execute("select * from voice_clone.begin_recording_clone(%s)", (clone,)).fetchall()


def test_each_version_of_a_recording_sends_one_message(given: Fixture, acme: Staffed) -> None:
    versions = [store(given, acme.employee), store(given, acme.employee)]
    store(given, acme.employee, version=versions[-1])
    rows = clones(given)
    assert [(row["employee_id"], row["object_version"]) for row in rows] == [
        (acme.employee, version) for version in versions
    ]
    assert sent(given) == [str(row["id"]) for row in rows]
    assert begun(given, rows[0]["id"]) == []
    assert [row["status"] for row in clones(given)] == ["superseded", "pending"]
    (found,) = begun(given, rows[1]["id"])
    assert (found["employee_id"], found["object_version"]) == (acme.employee, versions[1])


def test_an_organization_that_did_not_ask_for_it_gets_no_clones(given: Fixture) -> None:
    other = Staffed(given)
    store(given, other.employee)
    assert (clones(given), sent(given)) == ([], [])
    assert refused(given, ADD, uuid4(), other.employee, None, "x/y/sample.wav", None)[0] == "VC009"
    sample = given.recording(other.employee, other.admin)
    assert refused(given, CLONE, uuid4(), sample, other.employee, None, True, None)[0] == "VC009"


@pytest.mark.parametrize("login", ["authenticator", "postgres", "supabase_admin"])
def test_an_object_that_storage_did_not_write_sends_nothing(
    given: Fixture, acme: Staffed, login: str
) -> None:
    store(given, acme.employee, login)
    assert clones(given) == []


def test_another_path_or_bucket_and_a_write_that_is_rolled_back_send_nothing(
    given: Fixture, acme: Staffed
) -> None:
    of, other = acme.employee, uuid4()
    for name in (
        f"{of}/{of}.mp3",
        f"{of}/{other}.wav",
        f"{other}/{other}.wav",
        f"{of}.wav",
        f"x/{of}/{of}.wav",
    ):
        store(given, of, name=name)
    store(given, of, name=f"{'-' * 36}/{'-' * 36}.wav")
    store(given, of, bucket="voice-samples")
    store(given, of, keep=False)
    assert (clones(given), sent(given)) == ([], [])


def test_an_object_is_cloned_once(given: Fixture, acme: Staffed) -> None:
    store(given, acme.employee)
    (message,) = given.messages("recording_clones")
    clone = UUID(message["message"]["id"])
    prepared(given, clone, acme)
    assert given.one(QUEUE, clone, acme.employee, message["msg_id"])["queued"]
    assert not given.one(QUEUE, clone, acme.employee, None)["queued"]
    attempt = given.attempt(clone)
    assert (attempt["status"], attempt["employee_id"], attempt["sample_id"]) == (
        "queued", acme.employee, clone,
    )  # fmt: skip
    assert (sent(given), begun(given, clone)) == ([], [])
    shown = given.one("select * from voice_clone.employee_voice(%s, %s)", acme.employee, acme.member)
    assert shown["recording_clone"]["attempt_id"] == str(clone)


def test_without_a_consent_the_reason_can_be_read(given: Fixture, acme: Staffed) -> None:
    other = given.employee(acme.id)
    store(given, other)
    (row,) = clones(given)
    assert refused(given, ADD, row["id"], other, None, "x/y/sample.wav", None)[0] == "VC003"
    given.one(
        "select voice_clone.end_recording_clone(%s, 'refused', 'consent_required', 'No.', null)", row["id"]
    )
    shown = given.one("select * from voice_clone.employee_voice(%s, %s)", other, acme.member)
    assert (shown["recording_clone"]["status"], shown["recording_clone"]["error_code"]) == (
        "refused", "consent_required",
    )  # fmt: skip
    assert begun(given, row["id"]) == []


def test_a_lost_message_is_sent_again_until_it_is_too_late(given: Fixture, acme: Staffed) -> None:
    store(given, acme.employee)
    (row,) = clones(given)
    for _ in range(2):
        given.superuser.execute("select pgmq.purge_queue('recording_clones')")
        given.superuser.execute("update voice_clone.recording_clones set sweep_at = now()")
        given.service.execute("select * from voice_clone.sweep(100)")
        assert sent(given) == [str(row["id"])]
    given.one("select voice_clone.postpone_recording_clone(%s, 'storage_unavailable', 'Away.')", row["id"])
    assert begun(given, row["id"])
    given.superuser.execute("update voice_clone.recording_clones set created_at = now() - interval '25 h'")
    assert begun(given, row["id"]) == []
    (ended,) = clones(given)
    assert (ended["status"], ended["error_code"], ended["sweep_at"]) == (
        "refused", "storage_unavailable", None,
    )  # fmt: skip


def test_the_rows_go_with_the_employee(given: Fixture, acme: Staffed) -> None:
    store(given, acme.employee)
    given.superuser.execute("delete from public.employees where id = %s", (acme.employee,))
    assert clones(given) == []


@pytest.mark.parametrize("sql", [SET, SPEAKS])
def test_only_an_admin_asks_for_it(given: Fixture, sql: str) -> None:
    acme = Staffed(given)
    given.superuser.execute("grant update on public.organizations to authenticated")
    given.superuser.execute("create policy x on public.organizations to authenticated using (true)")
    for user in (acme.member, given.user()):
        with as_user(given, user) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.encode(), (acme.id,))
    with as_user(given, acme.admin) as connection:
        connection.execute(sql.encode(), (acme.id,))
    given.superuser.execute(sql.encode(), (acme.id,))


Test = Callable[[Fixture, Staffed], None]
MUTANTS: dict[str, tuple[str, str, str, Test]] = {
    "an object of any login": (
        "receive_recording_object", "or session_user <>", "or '' =",
        lambda given, acme: test_an_object_that_storage_did_not_write_sends_nothing(given, acme, "postgres"),
    ),
    "an organization that did not ask": (
        "receive_recording_object", "and o.clone_recordings", "",
        lambda given, _: test_an_organization_that_did_not_ask_for_it_gets_no_clones(given),
    ),
    "anyone who clones without a user": (
        "require_cloner", "and o.clone_recordings", "",
        lambda given, _: test_an_organization_that_did_not_ask_for_it_gets_no_clones(given),
    ),
    "an object that is cloned twice": (
        "queue_recording_clone", "set status = 'queued'", "set status = c.status",
        test_an_object_is_cloned_once,
    ),
    "an older version that is cloned": (
        "begin_recording_clone", "> (c.created_at, c.id)", "is null",
        test_each_version_of_a_recording_sends_one_message,
    ),
    "a member who asks for it": (
        "protect_recording_settings", "auth.uid() is not null", "false",
        lambda given, _: test_only_an_admin_asks_for_it(given, SPEAKS),
    ),
}  # fmt: skip


@pytest.mark.one_postgres
@pytest.mark.parametrize("name", MUTANTS)
def test_a_lost_guard_is_found(given: Fixture, acme: Staffed, name: str) -> None:
    function, old, new, test = MUTANTS[name]
    given.replace(f"voice_clone.{function}", old, new)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception)):
        test(given, acme)
