"""The lifecycle, and the application's clients and triggers, on an adopted table `reflections`."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from scripts.local.supabase.postgres import Cluster
from tests.clusters import Database, cloned_database
from tests.database.access import grants, mutants, rows
from tests.database.access.scene import People
from tests.database.invariants import FIRST_MIRROR
from tests.fixture import Fixture
from tests.scripts.existing_projects import BARE, PROJECTS, VOICED, adopted, apply


@pytest.fixture(scope="module")
def every_adopted(projects: Cluster) -> Iterator[dict[str, Fixture]]:
    """One project of each kind, for tests that each have users of their own."""
    with ExitStack() as stack:
        worlds: dict[str, Fixture] = {}
        for name, sql in PROJECTS.items():
            database = stack.enter_context(cloned_database(projects))
            apply(database, sql)
            worlds[name] = stack.enter_context(adopted(database))
        yield worlds


def reflection(given: Fixture, user: UUID) -> UUID:
    return given.truth("insert into public.reflections (user_id) values (%s) returning id", user)["id"]


@pytest.mark.parametrize("name", PROJECTS)
def test_the_lifecycle_works_on_an_adopted_table(every_adopted: dict[str, Fixture], name: str) -> None:
    given = every_adopted[name]
    user = given.user()
    made = reflection(given, user)
    attempt = given.launchable(user, made)
    mirror = given.mirror(made)
    assert (mirror["cloneStatus"], mirror["attemptId"]) == ("ready", str(attempt))
    assert mirror["version"] == given.attempt(attempt)["version"]
    assert given.one("select * from voice_clone.start_session(%s, %s)", made, user)["attempt_id"] == attempt
    for caller, expected in ((user, [{"voice": mirror}]), (given.user(), [])):
        shown = "select voice from voice_clone.reflection_voice(%s, %s)"
        assert given.service.execute(shown, (made, caller)).fetchall() == expected
    given.superuser.execute("delete from public.reflections where id = %s", (made,))
    assert given.attempt(attempt)["cancel_reason"] == "reflection_deleted"


@pytest.mark.parametrize("name", PROJECTS)
def test_only_the_mirror_writes_its_keys_on_an_adopted_table(
    every_adopted: dict[str, Fixture], name: str
) -> None:
    given = every_adopted[name]
    user = given.user()
    made = reflection(given, user)
    given.queued(user, made)
    before = given.mirror(made)
    writes: list[LiteralString] = [
        """update public.reflections set voice = voice || '{"cloneStatus": "ready"}' where id = %s""",
        "update public.reflections set voice = '{}' where id = %s",
        """insert into public.reflections (user_id, voice)
           select user_id, '{"version": 9}' from public.reflections where id = %s""",
    ]
    for write in writes:
        with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
            given.superuser.execute(write, (made,))
    assert given.voice(made) == before


# Who touches how many rows of an owner's reflection: owner, stranger; None where it is refused.
READ_ID: LiteralString = "select from public.reflections where id = %(id)s"
READ_VOICE: LiteralString = "select voice from public.reflections where id = %(id)s"
CHANGE_VOICE: LiteralString = (
    """update public.reflections set voice = voice || '{"theme": "dark"}' where id = %(id)s"""
)
DELETE: LiteralString = "delete from public.reflections where id = %(id)s"
INSERT: LiteralString = "insert into public.reflections (user_id) values ((select auth.uid()))"


@pytest.mark.parametrize(
    ("name", "sql", "owner", "stranger", "anonymous"),
    [
        ("bare", READ_VOICE, 1, 0, 0),
        ("bare", CHANGE_VOICE, 0, 0, 0),
        ("bare", DELETE, 0, 0, 0),
        ("bare", INSERT, None, None, None),
        ("closed", READ_VOICE, 1, 0, None),
        ("closed", "select instructions from public.reflections", None, None, None),
        ("closed", CHANGE_VOICE, None, None, None),
        ("closed", DELETE, None, None, None),
        ("closed", INSERT, None, None, None),
        ("with a voice", READ_VOICE, 1, 0, 0),
        ("with a voice", CHANGE_VOICE, 1, 0, 0),
        ("with a voice", DELETE, 1, 0, 0),
        ("with a voice", INSERT, 1, 1, None),
        ("full", READ_VOICE, 1, 0, None),
        ("full", "select title from public.reflections where id = %(id)s", 1, 0, 1),
        ("full", CHANGE_VOICE, 1, 0, None),
        ("full", DELETE, 0, 0, None),
        ("full", INSERT, 1, 1, None),
    ],
)
def test_clients_of_an_adopted_table_do_what_its_application_lets_them(
    every_adopted: dict[str, Fixture],
    name: str,
    sql: LiteralString,
    owner: int | None,
    stranger: int | None,
    anonymous: int | None,
) -> None:
    given = every_adopted[name]
    user = given.user()
    made = reflection(given, user)
    given.mirror(made)
    found = [touched(given, caller, sql, made) for caller in (user, given.user(), None)]
    assert found == [owner, stranger, anonymous]


# Rights and, if every right is granted, rows: what the application's policies allow, and the one that we add.
EVERYTHING = "delete, insert, references, select, truncate, update"
ADOPTED_RIGHTS: dict[str, dict[str, str]] = {
    "bare": {"anon, authenticated, service_role, voice_clone_service": EVERYTHING},
    "closed": {
        "authenticated, voice_clone_service": "select (id, user_id, voice)",
        "service_role": EVERYTHING,
    },
    "with a voice": {"anon, authenticated, service_role, voice_clone_service": EVERYTHING},
    "full": {
        "anon": "select (id, title)",
        "authenticated, voice_clone_service": "delete, insert, select, update",
        "service_role": EVERYTHING,
    },
}
READS_ITS_OWN = """
             anon    owner   member   stranger  service  service_role
    select   none    own     none     none      none     all
    insert   none    none    none     none      none     all
    update   none    none    none     none      none     all
    give     none    none    none     none      none     all
    delete   none    none    none     none      none     all
"""
ADOPTED_ROWS: dict[str, str] = {
    "bare": READS_ITS_OWN,
    "closed": READS_ITS_OWN,
    # Its policy is for every role, and compares the user; no token of anon has one.
    "with a voice": """
             anon    owner   member   stranger  service  service_role
    select   own     own     none     none      none     all
    insert   own     own     own      own       none     all
    update   own     own     none     none      none     all
    give     none    none    none     none      none     all
    delete   own     own     none     none      none     all
""",
    "full": """
             anon    owner   member   stranger  service  service_role
    select   all     own     none     none      none     all
    insert   none    own     own      own       none     all
    update   none    own     none     none      none     all
    give     none    none    none     none      none     all
    delete   none    none    none     none      none     all
""",
}
# Changes of policies that let nobody reach other rows: they are for everyone, or anon reads all.
UNCHANGED = {
    "with a voice": ('"Owners read their reflections" on public.reflections to ',),
    "full": (
        '"Never an untitled one"',
        '"Owners read their own" on public.reflections to ',
        "for select to anon",
    ),
}
REFLECTIONS = "public.reflections"


@pytest.mark.parametrize("name", PROJECTS)
def test_each_role_has_the_rights_and_reaches_the_rows_of_an_adopted_table_that_are_written(
    every_adopted: dict[str, Fixture], name: str
) -> None:
    people = People(every_adopted[name])
    for user in (people.owner, people.other):
        reflection(people.given, user)
    with psycopg.connect(people.database.superuser) as connection:
        found = grants.rows(connection, grants.queries.relations, REFLECTIONS)
        rights = grants.collapsed({row["role"]: row["rights"] for row in found if row["rights"]})
    with rows.everything_granted(people) as connection:
        table = next(table for table in rows.tables(connection) if table.name == REFLECTIONS)
        outcomes = rows.Probe(connection, people, table).outcomes()
        assert (rights, shown(outcomes)) == (
            ADOPTED_RIGHTS[name],
            ADOPTED_ROWS[name].split()[len(rows.ACTORS) :],
        )
        every = [*mutants.of_policies(connection), *mutants.of_new_policies([REFLECTIONS])]
        survivors: list[str] = []
        for relation, statement in every:
            if relation == REFLECTIONS:
                with connection.transaction(force_rollback=True):
                    connection.execute(statement.encode())
                    if rows.Probe(connection, people, table).outcomes() == outcomes:
                        survivors.append(statement)
    unexplained = [each for each in survivors if not any(part in each for part in UNCHANGED.get(name, ()))]
    assert unexplained == []


def shown(outcomes: rows.Outcomes) -> list[str]:
    return [word for command, reached in outcomes.items() for word in (command, *reached)]


def touched(given: Fixture, caller: UUID | None, sql: LiteralString, made: UUID) -> int | None:
    """How many rows, as a signed-in caller or as anon; None where it is refused. Rolled back."""
    claims = {"role": "anon" if caller is None else "authenticated", "sub": caller and str(caller)}
    with given.superuser.transaction(force_rollback=True):
        given.superuser.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            (claims["role"], json.dumps(claims)),
        )
        try:
            with given.superuser.transaction():
                return given.superuser.execute(sql, {"id": made}).rowcount
        except errors.InsufficientPrivilege:
            return None


def test_triggers_of_the_application_run_when_the_mirror_writes(every_adopted: dict[str, Fixture]) -> None:
    """They name objects without a schema; one is refused because it writes the mirror's keys."""
    given = every_adopted["full"]
    user = given.user()
    made = reflection(given, user)
    given.queued(user, made)
    history = "select count(*) from public.reflection_history"
    before = given.truth(history)["count"]
    assert given.mirror(made)["cloneStatus"] == "queued"
    assert given.mirror(made)["theme"] == "light"
    changed = given.truth("select changes, updated_at from public.reflections where id = %s", made)
    assert (changed["changes"], changed["updated_at"] is not None) == (1, True)
    assert given.truth(history)["count"] == before + 1
    with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
        given.superuser.execute("update public.reflections set title = 'forge' where id = %s", (made,))


VOICES: list[Any] = [
    None,
    {},
    {"theme": "dark", "version": "v2"},
    {"version": 1_700_000_000_000},
    {"cloneStatus": "ready", "provider": "qwen", "voiceId": "v-1", "version": 7},
]


def test_the_voices_of_an_adopted_table_stay_until_the_lifecycle_writes_them(project: Database) -> None:
    apply(project, VOICED)
    with psycopg.connect(project.superuser, autocommit=True) as superuser, superuser.cursor() as cursor:
        owners = [uuid4() for _ in VOICES]
        cursor.executemany("insert into auth.users (id) values (%s)", [(owner,) for owner in owners])
        cursor.executemany(
            "insert into public.reflections (user_id, name, voice) values (%s, 'Ada', %s)",
            [
                (owner, None if voice is None else Jsonb(voice))
                for owner, voice in zip(owners, VOICES, strict=True)
            ],
        )
        superuser.execute("""insert into public.reflections (voice) values ('{"cloneStatus": "ready"}')""")
        before = superuser.execute("select id, user_id, voice from public.reflections order by id").fetchall()
    with adopted(project) as given:
        after = given.superuser.execute("select id, user_id, voice from public.reflections order by id")
        assert [tuple(row.values()) for row in after] == before
        for made, owner, voice in before:
            if owner is not None:
                attempt = given.queued(owner, made)
                mirror = given.mirror(made)
                assert mirror["attemptId"] == str(attempt)
                shown = (voice or {}).get("version", 0)
                assert not isinstance(shown, int) or mirror["version"] > shown
                assert mirror.get("theme") == (voice or {}).get("theme")
        imported = given.superuser.execute("select error from operations.import_legacy_voices(null, 10)")
        assert [row["error"] for row in imported] == ["the reflection has no owner (VC004)"]


def test_the_rows_of_an_adopted_table_show_the_first_mirror_without_being_written(project: Database) -> None:
    apply(project, BARE)
    where = (
        "select id, xmin::text, ctid::text, pg_relation_filenode('public.reflections')"
        " from public.reflections"
    )
    with psycopg.connect(project.superuser, autocommit=True) as superuser:
        superuser.execute("insert into public.reflections default values")
        before = superuser.execute(where).fetchall()
    with adopted(project) as given:
        after = given.superuser.execute(where.encode()).fetchall()
        assert [tuple(row.values()) for row in after] == before
        assert given.voice(before[0][0]) == FIRST_MIRROR
        added = given.truth("insert into public.reflections default values returning voice")
        assert added["voice"] == FIRST_MIRROR
        default = (
            "select pg_get_expr(adbin, adrelid) as text from pg_attrdef"
            " where adrelid = 'public.reflections'::regclass"
        )
        assert "'{}'::jsonb" in {
            row["text"] for row in given.superuser.execute(default.encode()).fetchall()
        }, "it does not need the schema that an uninstall removes"


@pytest.mark.parametrize(
    ("name", "expected"), [("bare", "Voice"), ("closed", "Voice"), ("with a voice", "Ada"), ("full", "Voice")]
)
def test_a_voice_is_called_as_its_reflection_where_that_has_a_name(
    every_adopted: dict[str, Fixture], name: str, expected: str
) -> None:
    given = every_adopted[name]
    user = given.user()
    made = reflection(given, user)
    if name == "with a voice":
        given.superuser.execute("update public.reflections set name = ' Ada' where id = %s", (made,))
    elif name == "closed":
        given.superuser.execute(
            """update public.reflections set name = '{"en": "Ada"}' where id = %s""", (made,)
        )
    attempt = given.one(
        "select * from voice_clone.use_custom_voice"
        "(gen_random_uuid(), %s, %s, 'local', '', 'x', null, 'm', null, 'en', true)", user, made,
    )  # fmt: skip
    assert attempt["name"] == expected
