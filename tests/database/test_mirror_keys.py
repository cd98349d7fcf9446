"""The guard of the mirror is about the mirror's keys alone."""

from uuid import UUID

from tests.fixture import Fixture


def test_what_the_mirror_does_not_write_is_written_by_others(given: Fixture) -> None:
    reflection: UUID = given.reflection(given.user())
    theme = """update public.reflections set voice = voice || '{"theme": "dark"}' where id = %s"""
    given.superuser.execute(theme.encode(), (reflection,))
    assert given.voice(reflection)["theme"] == "dark"
