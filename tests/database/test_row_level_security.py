"""Who may do what, as a table: actor × object × operation → what happens.

`own` and `other` say whose row is touched. The answer is the number of rows touched, or `denied`.
"""

import json
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from tests.fixture import Fixture

DENIED = "denied"
TABLES = ("reflections", "consents", "samples", "attempts", "voices", "sessions")
READS = {
    "reflections": "select from public.reflections where id = %(reflection)s",
    "consents": "select from public.voice_consents where user_id = %(owner)s and position = 1",
    "samples": "select from public.voice_samples where user_id = %(owner)s",
    "attempts": "select from public.voice_clone_attempts where id = %(attempt)s",
    "voices": "select from public.voices where attempt_id = %(attempt)s",
    "sessions": "select from public.voice_sessions where attempt_id = %(attempt)s",
}
WRITES = {
    "insert a reflection for the owner": "insert into public.reflections (name) values ('mine')",
    "insert a reflection for another": "insert into public.reflections (user_id, name)"
    " values (%(owner)s, 'x')",
    "rename the reflection": "update public.reflections set name = 'new' where id = %(reflection)s",
    "write the mirror": "update public.reflections set voice = '{\"version\": 99}' where id = %(reflection)s",
    "give the reflection away": "update public.reflections set user_id = %(stranger)s"
    " where id = %(reflection)s",
    "sign a consent by hand": "insert into public.voice_consents (user_id, statement_id,"
    " subject_kind, position,"
    " previous_hash, hash) select %(owner)s, id, 'self', 9, '', '' from"
    " public.voice_consent_statements limit 1",
    "change a consent": "update public.voice_consents set subject_kind = 'self'",
    "insert a sample": "insert into public.voice_samples (user_id, consent_id, path, content_type, bytes)"
    " select user_id, id, 'x', 'audio/wav', 1 from public.voice_consents limit 1",
    "write a lifecycle column": "update public.voice_clone_attempts set status = 'ready' where"
    " id = %(attempt)s",
    "delete the attempt": "delete from public.voice_clone_attempts where id = %(attempt)s",
    "rename the voice": "update public.voices set name = 'x' where attempt_id = %(attempt)s",
    "start a session by hand": "insert into public.voice_sessions (reflection_id, user_id,"
    " attempt_id, voice_id)"
    " select reflection_id, user_id, id, voice_id from public.voice_clone_attempts where id = %(attempt)s",
    "read the events": "select from voice_clone.events",
    "read the enrollments": "select from voice_clone.enrollments",
    "read the edges": "select from voice_clone.edges",
    "read the times": "select from voice_clone.timeouts",
    "change a time": "update voice_clone.timeouts set value = '0'",
    "run the sweep": "select from voice_clone.sweep(10)",
    "run the sweep as an operator": "select from operations.sweep(10)",
    "read the idempotency keys": "select from voice_clone.idempotency_keys",
    "claim an idempotency key": "select from voice_clone.claim_idempotency_key(%(owner)s, 'k', '')",
    "forget idempotency keys": "select voice_clone.delete_expired_idempotency_keys(10)",
    "run the sweep of enrollments": "select from voice_clone.sweep_enrollments(10)",
    "read the slots": "select from voice_clone.slots",
    "change a slot": "update voice_clone.slots set slots = 0",
    "set the slots": "select voice_clone.set_slots('qwen', 'beijing', 1)",
    "count the voices held": "select voice_clone.count_enrolled_voices('qwen', 'beijing', 1)",
    "begin a clean-up": "select from voice_clone.begin_cleanup(%(attempt)s)",
    "end a clean-up": "select voice_clone.end_cleanup(%(attempt)s, 'closed', null, null, null)",
    "read the legacy events": "select from voice_clone.legacy_events",
    "receive a legacy event": "select voice_clone.receive_legacy_event("
    "'voice_clone_outbox', 'e', %(reflection)s, '{}'::jsonb)",
    "read the legacy events as an operator": "select from operations.legacy_events('refused')",
    "follow an attempt": "select from voice_clone.events_after(array[%(attempt)s]::uuid[], '{8}', 1)",
    "are there more events": "select voice_clone.has_more_events(%(attempt)s, %(owner)s, 0)",
    "notify followers": "select voice_clone.notify_followers()",
    "read a queue": "select from pgmq.q_voice_clone_process",
    "read the deferred messages": "select from voice_clone.deferred_messages",
    "send to a queue": "select pgmq.send('voice_clone_process', '{}'::jsonb, 0)",
    "call a transition": "select voice_clone.attach_voice(%(attempt)s, 1, %(attempt)s, 'v', 'm', 'r',"
    " null, null, false)",
    "look at a verification": "select from voice_clone.verification_work(%(attempt)s)",
    "settle a verification": "select voice_clone.record_verification(%(attempt)s, true, null, 'c', 'm')",
    "retry a voice": "select from voice_clone.retry_attempt(%(reflection)s, %(owner)s)",
    "retry a voice elsewhere": "select from voice_clone.retry_elsewhere(gen_random_uuid(), %(reflection)s,"
    " %(owner)s, %(attempt)s, 'qwen', '', true)",
    "reset a voice": "select from voice_clone.reset_attempt(%(reflection)s, %(owner)s)",
    "look up whose a voice is": "select from voice_clone.find_custom_voice(%(owner)s, 'local', 'x', null)",
    "use a custom voice": "select from voice_clone.use_custom_voice(gen_random_uuid(), %(owner)s,"
    " %(reflection)s, 'local', '', 'x', null, 'm', 'n', 'en', true)",
    "attach a custom voice": "select from voice_clone.attach_custom_voice(%(attempt)s, 1, null, null, false)",
    "restore a voice": "select from voice_clone.restore_attempt(%(reflection)s, %(owner)s)",
    "call the mirror": "select voice_clone.mirror_reflections(array[%(reflection)s]::uuid[])",
    "read the orphans": "select from operations.orphans()",
    "list the orphans": "select from voice_clone.orphans()",
    "find unknown voices": "select from voice_clone.unaccounted_voices('qwen', '', '{}', '{}')",
    "list the kept voices": "select from voice_clone.undeleted_voices('qwen', '')",
    "ask the gate": "select public.voice_launch_gate(%(reflection)s)",
    "read the sample's object": "select from storage.objects where name = %(path)s",
    "write the sample's object": "update storage.objects set name = 'stolen' where name = %(path)s",
    "add an object of one's own": "insert into storage.objects (bucket_id, name)"
    " values ('voice-samples', %(owner)s::text || '/mine.wav')",
    "read an embedded voice": "select from storage.objects where bucket_id = 'local-voices'",
}
# actor: anon, owner, stranger, backend (the service's own login), service_role
READ_TABLE = {
    "anon": dict.fromkeys(TABLES, DENIED),
    "owner": dict.fromkeys(TABLES, 1),
    "stranger": dict.fromkeys(TABLES, 0),
    "backend": dict.fromkeys(TABLES, 0),
    "service_role": dict.fromkeys(TABLES, 1),
}
# fmt: off
WRITE_TABLE = {
    #                                      anon     owner    stranger  backend  service_role
    "insert a reflection for the owner":   (DENIED, 1,       1,        DENIED,  "23502"),
    "insert a reflection for another":     (DENIED, DENIED,  DENIED,   DENIED,  1),
    "rename the reflection":               (DENIED, 1,       0,        0,       1),
    "write the mirror":                    (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "give the reflection away":            (DENIED, DENIED,  DENIED,   DENIED,  1),
    "sign a consent by hand":              (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "change a consent":                    (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "insert a sample":                     (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "write a lifecycle column":            (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "delete the attempt":                  (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "rename the voice":                    (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "start a session by hand":             (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "read the events":                     (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "read the enrollments":                (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "read the edges":                      (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "read the times":                      (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "change a time":                       (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "run the sweep":                       (DENIED, DENIED,  DENIED,   0,       DENIED),
    "run the sweep as an operator":        (DENIED, DENIED,  DENIED,   DENIED,  0),
    "read the idempotency keys":           (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "claim an idempotency key":            (DENIED, DENIED,  DENIED,   1,       DENIED),
    "forget idempotency keys":             (DENIED, DENIED,  DENIED,   1,       DENIED),
    "run the sweep of enrollments":        (DENIED, DENIED,  DENIED,   1,       DENIED),
    "read the slots":                      (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "change a slot":                       (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "set the slots":                       (DENIED, DENIED,  DENIED,   1,       DENIED),
    "count the voices held":               (DENIED, DENIED,  DENIED,   1,       DENIED),
    "begin a clean-up":                    (DENIED, DENIED,  DENIED,   "VC004", DENIED),
    "end a clean-up":                      (DENIED, DENIED,  DENIED,   "VC004", DENIED),
    "read the legacy events":              (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "receive a legacy event":              (DENIED, DENIED,  DENIED,   1,       DENIED),
    "read the legacy events as an operator": (DENIED, DENIED, DENIED,  DENIED,  0),
    "follow an attempt":                   (DENIED, DENIED,  DENIED,   1,       DENIED),
    "are there more events":               (DENIED, DENIED,  DENIED,   1,       DENIED),
    "notify followers":                    (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "read a queue":                        (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "read the deferred messages":          (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "send to a queue":                     (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "call a transition":                   (DENIED, DENIED,  DENIED,   "VC002", DENIED),
    "look at a verification":              (DENIED, DENIED,  DENIED,   1,       DENIED),
    "settle a verification":               (DENIED, DENIED,  DENIED,   "VC001", DENIED),
    "retry a voice":                       (DENIED, DENIED,  DENIED,   "VC007", DENIED),
    "retry a voice elsewhere":             (DENIED, DENIED,  DENIED,   "VC007", DENIED),
    "reset a voice":                       (DENIED, DENIED,  DENIED,   1,       DENIED),
    "look up whose a voice is":            (DENIED, DENIED,  DENIED,   1,       DENIED),
    "use a custom voice":                  (DENIED, DENIED,  DENIED,   1,       DENIED),
    "attach a custom voice":               (DENIED, DENIED,  DENIED,   "VC002", DENIED),
    "restore a voice":                     (DENIED, DENIED,  DENIED,   "VC007", DENIED),
    "call the mirror":                     (DENIED, DENIED,  DENIED,   1,       DENIED),
    "read the orphans":                    (DENIED, DENIED,  DENIED,   DENIED,  0),
    "list the orphans":                    (DENIED, DENIED,  DENIED,   0,       DENIED),
    "find unknown voices":                 (DENIED, DENIED,  DENIED,   0,       DENIED),
    "list the kept voices":                (DENIED, DENIED,  DENIED,   0,       DENIED),
    "ask the gate":                        (DENIED, 1,       1,        1,       DENIED),
    "read the sample's object":            (0,      1,       0,        0,       1),
    "write the sample's object":           (0,      0,       0,        0,       1),
    "add an object of one's own":          (DENIED, DENIED,  DENIED,   DENIED,  1),
    "read an embedded voice":              (0,      0,       0,        0,       1),
}
# fmt: on
ACTORS = ("anon", "owner", "stranger", "backend", "service_role")


class Scene:
    """An owner with a launched voice, whose sample and embedded voice lie in Storage, and a stranger."""

    def __init__(self, given: Fixture) -> None:
        self.given = given
        self.owner, self.stranger = given.user(), given.user()
        self.reflection = given.reflection(self.owner)
        self.attempt = given.launchable(self.owner, self.reflection)
        given.one("select * from voice_clone.start_session(%s, %s)", self.reflection, self.owner)
        self.path = f"{self.owner}/{self.attempt}/sample.wav"
        for bucket, name in (("voice-samples", self.path), ("local-voices", "local-voice-x.json")):
            given.superuser.execute(
                "insert into storage.buckets (id, name) values (%(bucket)s, %(bucket)s)", {"bucket": bucket}
            )
            given.superuser.execute(
                "insert into storage.objects (bucket_id, name) values (%s, %s)", (bucket, name)
            )

    def try_as(self, actor: str, sql: str) -> int | str:
        """Rows touched, `denied`, or the SQLSTATE; rolled back either way."""
        service = actor == "backend"
        database = self.given.database
        with psycopg.connect(database.service if service else database.superuser) as connection:
            if not service:
                self._become(connection, actor)
            parameters = {
                name: getattr(self, name) for name in ("owner", "stranger", "reflection", "attempt", "path")
            }
            try:
                touched = connection.execute(sql.encode(), parameters).rowcount
            except errors.InsufficientPrivilege:
                return DENIED
            except psycopg.Error as error:
                return str(error.sqlstate)
            finally:
                connection.rollback()
            return touched

    def _become(self, connection: psycopg.Connection, actor: str) -> None:
        users: dict[str, UUID] = {"owner": self.owner, "stranger": self.stranger}
        role = "authenticated" if actor in users else actor
        claims = {"role": role, **({"sub": str(users[actor])} if actor in users else {})}
        connection.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            (role, json.dumps(claims)),
        )


@pytest.fixture
def scene(given: Fixture) -> Scene:
    return Scene(given)


def test_each_actor_reads_what_is_theirs_alone(scene: Scene) -> None:
    found = {actor: {table: scene.try_as(actor, READS[table]) for table in TABLES} for actor in ACTORS}
    assert found == READ_TABLE


def test_each_actor_does_what_is_theirs_alone(scene: Scene) -> None:
    found = {
        operation: tuple(scene.try_as(actor, sql) for actor in ACTORS) for operation, sql in WRITES.items()
    }
    assert found == WRITE_TABLE


def test_every_table_of_ours_has_row_level_security(given: Fixture) -> None:
    bare = given.superuser.execute("""
        select c.oid::regclass::text from pg_class c
        where c.relkind in ('r', 'p') and not c.relrowsecurity
          and (c.relnamespace in ('public'::regnamespace, 'voice_clone'::regnamespace)
            or c.relnamespace = 'pgmq'::regnamespace and c.relname ~ '^[qa]_voice')
    """).fetchall()
    assert bare == []


def test_no_function_of_ours_may_be_called_by_everyone(given: Fixture) -> None:
    """Each definer function has an empty search path and no grant to public."""
    loose = given.superuser.execute("""
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace::regnamespace::text in ('voice_clone', 'operations', 'public')
          and (has_function_privilege('anon', p.oid, 'execute')
            or not coalesce(p.proconfig @> array['search_path=""'], false))
    """).fetchall()
    assert loose == []


def test_the_service_owns_nothing_and_is_no_superuser(given: Fixture) -> None:
    role = given.truth(
        "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles"
        " where rolname = 'voice_clone_service'"
    )
    assert not any(role.values())
    owned = given.truth(
        "select count(*) from pg_shdepend where refobjid = 'voice_clone_service'::regrole and deptype = 'o'"
    )
    assert owned["count"] == 0
