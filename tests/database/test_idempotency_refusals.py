"""A call that took over a key is not refused by the limit, and does not get the answer of the late one."""

from tests.database.situations import refused
from tests.database.test_idempotency import claim, keep_answer, set_time
from tests.fixture import Fixture


def test_a_key_that_is_taken_over_is_no_new_key(given: Fixture) -> None:
    user = given.user()
    given.superuser.execute(
        "insert into voice_clone.idempotency_keys (user_id, key, fingerprint, lease_expires_at)"
        " select %s, n::text, '', now() from generate_series(1, 1001) n",
        (user,),
    )
    assert claim(given, user, "7", b"")["epoch"] == 2
    with refused("VC008", "too_many_idempotency_keys"):
        claim(given, user, "new")


def test_the_answer_of_a_call_that_lost_its_key_is_not_kept(given: Fixture) -> None:
    user = given.user()
    set_time(given, "idempotency_lease", "0")
    slow = claim(given, user)
    claim(given, user)
    keep_answer(given, slow)
    assert claim(given, user)["status"] is None
