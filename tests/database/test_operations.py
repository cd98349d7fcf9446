"""Each function that another role may call runs beside every other one in a test of races."""

import re

import pytest

from tests.database import test_employee_races, test_recording_races
from tests.database.operations import OPERATIONS
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres
CALLABLE = """
    select n.nspname || '.' || p.proname as name, p.prosrc as body
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('voice_clone', 'operations') and p.provolatile = 'v'
      and p.prorettype <> 'trigger'::regtype and exists (
        select from aclexplode(p.proacl) a where a.grantee <> p.proowner and a.privilege_type = 'EXECUTE')
    order by 1"""
WRITES = re.compile(
    r"\b(insert|update|delete|perform|lock|execute)\b|:= voice_clone|voice_clone\.\w*(lock|sweep|confirm)"
)


def of_tables() -> str:
    """The text of every operation that is raced."""
    named = (*test_employee_races.OPERATIONS.values(), *test_recording_races.OPERATIONS.values())
    return "\n".join((*named, *(operation.sql for operation in OPERATIONS)))


def not_raced(given: Fixture) -> list[str]:
    written = of_tables()
    found = given.superuser.execute(CALLABLE).fetchall()
    return sorted(
        {each["name"] for each in found if WRITES.search(each["body"]) and f"{each['name']}(" not in written}
    )


def test_each_operation_that_writes_is_in_a_table_of_races(given: Fixture) -> None:
    assert not_raced(given) == [], "add it to operations.py, service_operations.py, or the races of employees"


def test_an_operation_that_is_in_no_table_is_named(given: Fixture) -> None:
    given.superuser.execute(
        "create function voice_clone.stir() returns void language plpgsql as"
        " $$ begin update public.voices set name = 'x'; end $$;"
        " grant execute on function voice_clone.stir() to voice_clone_backend"
    )
    assert not_raced(given) == ["voice_clone.stir"]
