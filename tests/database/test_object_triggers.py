"""Objects that arrive for an open upload: which of them send a message, and to what end."""

from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.fixture import Fixture

OPEN = (
    "select * from voice_clone.open_attempt"
    "(%s, %s, %s, null, 'local', '', %s, 'audio/wav', 1000, true, null, %s, %s, %s)"
)
INSERT = "insert into storage.objects (bucket_id, name) values ('voice-samples', %s)"


@pytest.fixture
def user(given: Fixture) -> UUID:
    user = given.user()
    given.consents[user] = given.consent(user)
    return user


def open_one(given: Fixture, user: UUID, name: str | None = "Ada") -> tuple[UUID, str]:
    attempt = uuid4()
    path = f"{user}/{attempt}/sample.wav"
    details = (name, "en", "hello") if name else (None, None, None)
    given.one(OPEN, attempt, user, given.consents[user], path, *details)
    return attempt, path


def store(
    given: Fixture, path: str, login: str = "supabase_storage_admin", role: str = "service_role"
) -> None:
    """As Storage does it: its own login, in a role of the caller."""
    with psycopg.connect(given.database.dsn(login)) as connection:
        connection.execute(f"set local role {role}".encode())
        connection.execute(INSERT.encode(), (path,))


def sent(given: Fixture) -> list[str]:
    return [row["message"]["id"] for row in given.messages("uploads")]


def test_an_object_of_an_upload_with_a_name_sends_a_message(given: Fixture, user: UUID) -> None:
    attempt, path = open_one(given, user)
    store(given, path)
    assert sent(given) == [str(attempt)]
    found = given.one("select * from voice_clone.upload_to_finalize(%s)", attempt)
    assert (found["user_id"], found["name"], found["language"], found["transcript"]) == (
        user,
        "Ada",
        "en",
        "hello",
    )


def test_an_object_of_an_upload_without_a_name_waits_for_finalize(given: Fixture, user: UUID) -> None:
    attempt, path = open_one(given, user, None)
    store(given, path)
    assert sent(given) == []
    rows = given.service.execute("select * from voice_clone.upload_to_finalize(%s)", (attempt,)).fetchall()
    assert rows == []


@pytest.mark.parametrize("login", ["authenticator", "postgres", "supabase_admin"])
def test_an_object_that_storage_did_not_write_sends_nothing(given: Fixture, user: UUID, login: str) -> None:
    _, path = open_one(given, user)
    store(given, path, login)
    assert sent(given) == []


def test_an_object_at_another_path_or_for_an_attempt_that_ended_sends_nothing(
    given: Fixture, user: UUID
) -> None:
    attempt, path = open_one(given, user)
    store(given, path + ".wav")
    given.superuser.execute(
        "update public.voice_clone_attempts set status = 'cancelled' where id = %s", (attempt,)
    )
    store(given, path)
    assert sent(given) == []


def test_an_insert_that_is_rolled_back_sends_nothing(given: Fixture, user: UUID) -> None:
    """Storage tries an insert first, to see what the policies allow."""
    _, path = open_one(given, user)
    with psycopg.connect(given.database.dsn("supabase_storage_admin")) as connection:
        connection.execute("set local role service_role")
        connection.execute(INSERT.encode(), (path,))
        connection.rollback()
    assert sent(given) == []


def test_a_refusal_is_kept_with_the_attempt_until_it_is_queued(given: Fixture, user: UUID) -> None:
    attempt, path = open_one(given, user)
    store(given, path)
    (message,) = given.messages("uploads")
    refuse = "select voice_clone.refuse_upload(%s, 'sample_silent', 'Nobody speaks.', %s)"
    given.one(refuse, attempt, message["msg_id"])
    row = given.attempt(attempt)
    assert (row["status"], row["error_code"], sent(given)) == ("awaiting_upload", "sample_silent", [])
    given.queue(attempt, user)
    row = given.attempt(attempt)
    assert (row["status"], row["error_code"], row["error_message"]) == ("queued", None, None)
    given.one(refuse, attempt, None)
    assert given.attempt(attempt) == row
    assert (
        given.truth("select count(*) from voice_clone.uploads where attempt_id = %s", attempt)["count"] == 0
    )


def swept(given: Fixture) -> list[str]:
    """What the sweep sends, after the first messages were lost."""
    given.superuser.execute("select pgmq.purge_queue('uploads')")
    given.superuser.execute("update voice_clone.uploads set sweep_at = now() where sweep_at is not null")
    given.service.execute("select * from voice_clone.sweep(100)")
    return sent(given)


def test_a_lost_message_of_an_object_is_sent_again_until_it_is_read(given: Fixture, user: UUID) -> None:
    attempt, path = open_one(given, user)
    _, waits = open_one(given, user, None)
    assert swept(given) == [], "no object came"
    store(given, path)
    store(given, waits)
    assert swept(given) == [str(attempt)]
    later = given.truth("select min(sweep_at) > now() as later from voice_clone.uploads")["later"]
    assert later
    given.one("select voice_clone.refuse_upload(%s, 'sample_silent', 'Nobody speaks.', null)", attempt)
    assert swept(given) == [], "it was refused since it came"
    given.superuser.execute("update storage.objects set created_at = now() where name = %s", (path,))
    assert swept(given) == [str(attempt)]
    given.queue(attempt, user)
    assert swept(given) == []


OTHER = "authenticator"
MUTANTS: dict[str, tuple[str, str, Callable[[Fixture, UUID], None]]] = {
    "an object of any login": (
        "if session_user <> ", "if '' = ",
        lambda given, user: test_an_object_that_storage_did_not_write_sends_nothing(given, user, OTHER),
    ),
    "an object of an upload that waits for finalize": (
        "and u.name is not null", "", test_an_object_of_an_upload_without_a_name_waits_for_finalize,
    ),
    "a refused object that is sent for ever": (
        "a.error_code is null or o.created_at > a.updated_at", "true",
        test_a_lost_message_of_an_object_is_sent_again_until_it_is_read,
    ),
    "an object of any path": (
        "s.path = new.name and", "",
        test_an_object_at_another_path_or_for_an_attempt_that_ended_sends_nothing,
    ),
}  # fmt: skip


@pytest.mark.one_postgres
@pytest.mark.parametrize("name", MUTANTS)
def test_a_lost_guard_is_found(given: Fixture, user: UUID, name: str) -> None:
    old, new, test = MUTANTS[name]
    sweeps = name == "a refused object that is sent for ever"
    given.replace(f"voice_clone.{'has_unread_object' if sweeps else 'receive_object'}", old, new)
    with pytest.raises(AssertionError):
        test(given, user)
