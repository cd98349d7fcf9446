"""Anchors: the head of the whole ledger, opened as the sweep does, and what its check finds."""

from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.test_consent_checks import tamper
from tests.fixture import Fixture, Row

EVERY: LiteralString = "select * from voice_clone.consent_anchors order by position"
BROKEN = "select coalesce(jsonb_agg(to_jsonb(b)), '[]') as found from voice_clone.broken_anchors(0, 100) b"
CHANGED: LiteralString = (
    "update public.voice_consents c set recorded_at = c.recorded_at - interval '1 day'"
    " from voice_clone.anchored_consents w where w.consent_id = c.id and w.anchor = 1"
)
# What an owner who knows the tables does: the entry, its chain, its anchor and the anchors after it.
REWRITTEN: list[LiteralString] = [
    CHANGED,
    "update public.voice_consents c set hash = voice_clone.consent_hash(c)",
    "update voice_clone.consent_chains k set hash = c.hash from public.voice_consents c"
    " where c.person_id = k.person_id and c.position = k.position",
    "update voice_clone.consent_anchors a set digest = voice_clone.anchor_digest(array("
    " select w.consent_id from voice_clone.anchored_consents w where w.anchor = a.position))",
    "update voice_clone.consent_anchors a set hash = voice_clone.anchor_hash(a) where position = 1",
    "update voice_clone.consent_anchors a set previous_hash = k.hash"
    " from voice_clone.consent_anchors k where k.position = a.position - 1",
    "update voice_clone.consent_anchors a set hash = voice_clone.anchor_hash(a) where position = 2",
]


def anchor(given: Fixture) -> int:
    return given.truth("select operations.anchor_consents() as anchor")["anchor"]


def anchors(given: Fixture) -> list[Row]:
    return given.superuser.execute(EVERY).fetchall()


def broken(given: Fixture) -> list[tuple[int, str]]:
    return [(each["position"], each["problem"]) for each in given.truth(BROKEN)["found"]]


def age(given: Fixture, seconds: int) -> None:
    """As if the entries that wait had been recorded so long ago."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update voice_clone.anchored_consents set recorded_at = recorded_at - make_interval(secs => %s)"
            " where anchor is null", (seconds,),
        )  # fmt: skip


def sweep(given: Fixture) -> None:
    given.one("select count(*) from voice_clone.sweep(100)")


def state(given: Fixture) -> Row:
    return given.one("select * from voice_clone.consent_anchors_state()")


def two_anchors(given: Fixture) -> None:
    for _ in range(2):
        given.consent(given.user())
        given.consent(given.user())
        anchor(given)


def publish(given: Fixture, publication: UUID, code: str | None = None) -> None:
    claim = given.one("select * from voice_clone.claim_anchor(%s)", publication)
    given.one(
        "select voice_clone.record_publication(%s, %s, 'a.b.c', '{bucket}', %s, null)",
        publication, claim["lease_epoch"], code,
    )  # fmt: skip


def publication(given: Fixture, position: int = 1) -> Row:
    return given.truth("select * from voice_clone.anchor_publications where anchor = %s", position)


def test_an_anchor_covers_what_none_covered_before(given: Fixture) -> None:
    assert anchor(given) == 0, "nothing waits"
    for number in (2, 3):
        for _ in range(number):
            given.consent(given.user())
        anchor(given)
    first, second = anchors(given)
    assert [(each["entries"], each["total"]) for each in (first, second)] == [(2, 2), (3, 5)]
    assert (first["previous_hash"], second["previous_hash"]) == (b"\0", first["hash"])
    assert anchor(given) == 0
    assert broken(given) == []


def test_an_entry_that_commits_late_is_in_the_next_anchor(given: Fixture) -> None:
    """Its time is earlier than that of the anchor that could not see it."""
    with psycopg.connect(given.database.service) as other:
        other.execute("select 1")
        user = given.user()
        other.execute("select voice_clone.sign_consent(%s, 'voice_clone', 'en', 'self', null, 1)", (user,))
        given.consent(given.user())
        anchor(given)
        other.commit()
    anchor(given)
    assert [each["entries"] for each in anchors(given)] == [1, 1]
    assert broken(given) == []


def test_one_anchor_is_opened_at_a_time(given: Fixture) -> None:
    given.consent(given.user())
    with psycopg.connect(given.database.superuser) as other:
        other.execute("select operations.anchor_consents()")
        assert anchor(given) == 0, "another transaction opens it"
    assert len(anchors(given)) == 1


def test_the_sweep_anchors_what_has_waited_for_the_interval(given: Fixture) -> None:
    given.consent(given.user())
    sweep(given)
    assert anchors(given) == []
    assert 0 <= state(given)["waiting_seconds"] < 3600
    age(given, 3601)
    given.consent(given.user())
    sweep(given)
    assert [each["entries"] for each in anchors(given)] == [2], "with it, all that wait"
    (message,) = given.messages("consent_anchors")
    assert message["message"]["id"] == str(publication(given)["id"])
    publish(given, publication(given)["id"])
    assert state(given) | {"waiting_seconds": None} == {
        "waiting_seconds": None, "anchors": 1, "unpublished": 0, "error_code": None, "broken": 0,
    }  # fmt: skip
    assert state(given)["waiting_seconds"] == 0


def test_no_interval_means_no_anchor(given: Fixture) -> None:
    given.superuser.execute("update voice_clone.timeouts set value = null where name = 'consent_anchor'")
    given.consent(given.user())
    age(given, 10**6)
    sweep(given)
    assert (anchors(given), state(given)["waiting_seconds"]) == ([], None)
    metrics = given.service.execute("select metric from voice_clone.metric_samples()").fetchall()
    assert {"metric": "likeness_broken_consents"} in metrics
    assert {"metric": "likeness_consent_anchor_age_seconds"} not in metrics


def test_where_many_wait_full_anchors_follow_each_other(given: Fixture) -> None:
    given.replace("voice_clone.anchor_limit", "1000", "2")
    user = given.user()
    for _ in range(5):
        given.consent(user)
    age(given, 3601)
    for _ in range(4):
        sweep(given)
    assert [each["entries"] for each in anchors(given)] == [2, 2, 1]
    assert broken(given) == []


@pytest.mark.parametrize(
    ("statements", "position", "problem"),
    [
        (REWRITTEN[:3], 1, "its entries were changed, taken out or added"),
        (REWRITTEN[:4], 1, "it was changed"),
        (REWRITTEN[:5], 2, "the anchor before it was changed"),
        (["delete from voice_clone.consent_anchors where position = 1"], 2,
         "the anchor before it is missing"),
        (["update voice_clone.consent_anchors set total = 9 where position = 2"], 2, "it was changed"),
        (["update voice_clone.anchored_consents set anchor = null where anchor = 1"], 1,
         "its entries were changed, taken out or added"),
        (["delete from voice_clone.anchored_consents where anchor = 2",
          "delete from public.voice_consents c where not exists ("
          " select from voice_clone.anchored_consents w where w.consent_id = c.id)"], 2,
         "its entries were changed, taken out or added"),
    ],
)  # fmt: skip
def test_a_change_by_the_owner_of_the_tables_is_found(
    given: Fixture, statements: list[LiteralString], position: int, problem: str
) -> None:
    two_anchors(given)
    assert broken(given) == []
    tamper(given, *statements)
    assert (position, problem) in broken(given)


def test_an_owner_who_rewrites_all_of_it_is_found_by_no_hash(given: Fixture) -> None:
    """Which is why anchors are signed and published."""
    two_anchors(given)
    before = [each["hash"] for each in anchors(given)]
    tamper(given, *REWRITTEN)
    assert broken(given) == []
    assert [each["hash"] for each in anchors(given)] != before


def test_an_entry_that_was_added_later_with_an_earlier_time_is_found(given: Fixture) -> None:
    two_anchors(given)
    given.consent(given.user())
    tamper(
        given,
        "update public.voice_consents c set recorded_at = c.recorded_at - interval '2 hours'"
        " from voice_clone.anchored_consents w where w.consent_id = c.id and w.anchor is null",
    )
    anchor(given)
    assert broken(given) == [(3, "one of its entries says that it is older than it is")]


def test_an_entry_that_no_anchor_will_cover_is_found(given: Fixture) -> None:
    given.consent(given.user())
    tamper(given, "delete from voice_clone.anchored_consents")
    found = given.one("select broken from voice_clone.check_consents(null, 10)")["broken"]
    assert [each["problem"] for each in found] == ["no anchor will cover it"]


@pytest.mark.parametrize(
    "change",
    [
        "update voice_clone.consent_anchors set total = 9",
        "delete from voice_clone.consent_anchors",
        "truncate voice_clone.consent_anchors cascade",
        "delete from voice_clone.anchored_consents",
        "update voice_clone.anchored_consents set anchor = null",
        "update voice_clone.anchored_consents set consent_id = gen_random_uuid() where anchor is null",
        "update voice_clone.anchored_consents set recorded_at = now() where anchor is null",
    ],
)
def test_nobody_changes_an_anchor_by_mistake(given: Fixture, change: str) -> None:
    two_anchors(given)
    given.consent(given.user())
    with pytest.raises(psycopg.Error, match="append-only"):
        given.superuser.execute(change.encode())


def test_anchors_stay_valid_when_a_person_is_erased(given: Fixture) -> None:
    user, deleted = given.user(), given.user()
    for each in (user, deleted):
        given.consent(each)
    organization = given.organization(admin := given.user())
    employee = given.employee(organization)
    given.employee_consent(employee, admin)
    anchor(given)
    before = anchors(given)
    given.one("select voice_clone.request_erasure(%s)", user)
    given.superuser.execute("select operations.erase('employee', %s)", (employee,))
    given.superuser.execute("delete from auth.users where id = %s", (deleted,))
    anchor(given)
    assert anchors(given)[:1] == before
    assert broken(given) == []
    assert given.one("select broken from voice_clone.check_consents(null, 100)")["broken"] == []
    named = given.truth(
        "select count(*) from public.voice_consents c join voice_clone.anchored_consents w"
        " on w.consent_id = c.id where c.user_id = any (%s)", [user, deleted],
    )  # fmt: skip
    assert named["count"] == 0


def test_the_sweep_counts_what_is_broken_for_the_metric(given: Fixture) -> None:
    two_anchors(given)
    tamper(given, *REWRITTEN[:3])
    for _ in range(2):
        given.superuser.execute("update voice_clone.consent_checks set due_at = now()")
        for _ in range(3):
            given.truth("select voice_clone.sweep_consents(10)")
        assert state(given)["broken"] == len(broken(given)) > 0
    sql = "select value from voice_clone.metric_samples() where metric = 'likeness_broken_consents'"
    assert given.one(sql)["value"] == len(broken(given))


def test_a_publication_has_one_worker_and_is_sent_until_it_succeeds(given: Fixture) -> None:
    given.consent(given.user())
    anchor(given)
    id_ = publication(given)["id"]
    claim = "select * from voice_clone.claim_anchor(%s)"
    record = "select voice_clone.record_publication(%s, %s, 'a.b.c', '{bucket}', %s, null)"
    first = given.one(claim, id_)
    assert first["outcome"] == "claimed"
    assert given.one(claim, id_)["outcome"] == "busy"
    given.superuser.execute(
        "update voice_clone.anchor_publications set lease_expires_at = now(), sweep_at = now()"
    )
    given.superuser.execute("select pgmq.purge_queue('consent_anchors')")
    sweep(given)
    assert len(given.messages("consent_anchors")) == 1
    second = given.one(claim, id_)
    with pytest.raises(psycopg.Error) as lost:
        given.one(record, id_, first["lease_epoch"], None)
    assert lost.value.sqlstate == "VC002"
    given.one(record, id_, second["lease_epoch"], "webhook_refused")
    assert (state(given)["unpublished"], state(given)["error_code"]) == (1, "webhook_refused")
    assert publication(given)["sweep_at"] is not None
    publish(given, id_)
    assert given.one(claim, id_)["outcome"] == "nothing_to_do"
    assert given.one(claim, uuid4())["outcome"] == "gone"


MUTANTS = {
    "a lease that another worker took": (
        "record_publication", "and x.lease_epoch = p_epoch", "",
        test_a_publication_has_one_worker_and_is_sent_until_it_succeeds,
    ),
    "a claim without a lease": (
        "claim_anchor", "p.lease_expires_at > now()", "false",
        test_a_publication_has_one_worker_and_is_sent_until_it_succeeds,
    ),
    "an anchor that covers all entries": (
        "open_consent_anchor", "where w.anchor is null", "where true",
        test_an_anchor_covers_what_none_covered_before,
    ),
    "an anchor without the one before": (
        "open_consent_anchor", "coalesce(k.hash, '\\x00')", "'\\x00'",
        test_an_anchor_covers_what_none_covered_before,
    ),
    "two anchors at once": (
        "open_consent_anchor", "not pg_try_advisory_xact_lock(hashtextextended('consent_anchors', 0))",
        "set_config('lock_timeout', '100', true) is null", test_one_anchor_is_opened_at_a_time,
    ),
    "a check that ends with the chains": (
        "sweep_consents", "voice_clone.broken_anchors(k.after_anchor, v_anchors) b",
        "voice_clone.broken_anchors(999, v_anchors) b", test_the_sweep_counts_what_is_broken_for_the_metric,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_found(given: Fixture, mutant: str) -> None:
    function, old, new, test = MUTANTS[mutant]
    given.replace(f"voice_clone.{function}", old, new)
    with pytest.raises((Exception, pytest.fail.Exception)):  # a statement fails, or the test
        test(given)
