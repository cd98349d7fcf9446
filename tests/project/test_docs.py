"""The documents against the code, in both directions: error codes, routes, commands, settings."""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from backend.app.service import create_app
from backend.errors import VOICE_CLONE_ERRORS, AppError
from backend.settings import load_settings
from backend.web.logs import request_id
from backend.web.problems import problem
from scripts.__main__ import COMMANDS
from scripts.migrations import ROOT
from tests.documented import SETTINGS
from tests.project.documents import DOCUMENTS, code_of, inline_code, section, table_rows
from tests.project.error_codes import find_codes

README = ROOT / "README.md"
ERRORS = ROOT / "docs" / "errors.md"
ANSWERS = "What a request is answered with"
RAISED = "What the database raises"
# The framework's own refusals: their code is the status's phrase.
FRAMEWORK = {re.sub(r"\W+", "_", each.phrase.lower()): each for each in HTTPStatus if 400 <= each < 500}
EXAMPLES = ("acme", "upload_expired")  # files that a contributor creates


def documented_codes() -> dict[str, list[str]]:
    """Each code's cells. The table of SQLSTATEs repeats codes, so it is left out."""
    text = ERRORS.read_text().partition(f"## {RAISED}")[0]
    return {inline_code(cells[0])[0]: cells for cells in table_rows(text)}


def matches(code: str, pattern: str) -> bool:
    return code.startswith(pattern[:-1]) if pattern.endswith("*") else code == pattern


def test_every_error_code_of_the_sources_is_documented() -> None:
    documented = documented_codes()
    assert [
        pattern for pattern in find_codes(ROOT) if not any(matches(code, pattern) for code in documented)
    ] == []


def test_every_documented_error_code_is_in_the_sources() -> None:
    patterns = {*find_codes(ROOT), *FRAMEWORK}
    assert [
        code for code in documented_codes() if not any(matches(code, pattern) for pattern in patterns)
    ] == []


def test_each_error_code_has_one_row() -> None:
    text = ERRORS.read_text().partition(f"## {RAISED}")[0]
    assert len(table_rows(text)) == len(documented_codes())


def test_the_table_of_answers_has_the_statuses_of_the_sources() -> None:
    rows = {inline_code(cells[0])[0]: cells[1] for cells in table_rows(section(ERRORS, ANSWERS))}
    found = find_codes(ROOT)
    wrong = {
        code: sorted(found[code])
        for code, statuses in rows.items()
        if not found.get(code, set()) <= {int(status) for status in statuses.split(", ")}
    }
    assert wrong == {}


def test_the_table_of_sqlstates_has_what_the_service_makes_of_them() -> None:
    rows = {
        tuple(inline_code(" ".join(cells))): int(cells[2]) for cells in table_rows(section(ERRORS, RAISED))
    }
    assert rows == {(state, kind.code): kind.status for state, kind in VOICE_CLONE_ERRORS.items()}


def test_the_migrations_raise_no_other_sqlstate_of_ours() -> None:
    migrations = "\n".join(path.read_text() for path in (ROOT / "supabase" / "migrations").glob("*.sql"))
    assert set(re.findall(r"'(VC\d{3})'", migrations)) <= set(VOICE_CLONE_ERRORS)


def test_the_example_of_a_problem_has_the_fields_of_a_problem() -> None:
    example = json.loads(re.findall(r"```json\n(.*?)```", ERRORS.read_text(), re.DOTALL)[0])
    token = request_id.set("of the example")
    try:
        fields = problem(AppError(field="seconds", help="Record it again."))
    finally:
        request_id.reset(token)
    assert set(example) == set(fields)


def test_a_code_is_found_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "module.py").write_text(
        'class Odd(AppError):\n    code = "of_a_class"\n'
        'KNOWN = "of_a_constant"\n'
        "def refuse(text, code): ...\n"
        'refuse("", "of_a_parameter")\n'
        'raise InvalidInput("", code="of_a_keyword" if odd else KNOWN)\n'
        'raise Conflict("", code=f"of_{state}")\n'
        'ROWS = [("of_a_row", "What went wrong."), {"code": "of_a_dict"}]\n'
        'FULL = Failure(ErrorKind.REJECTED, "of_a_provider", "It is full.")\n'
    )
    (tmp_path / "supabase" / "migrations").mkdir(parents=True)
    (tmp_path / "supabase" / "migrations" / "1_odd.sql").write_text(
        "create function voice_clone.fail(p_attempt uuid, p_error_code text) returns void;\n"
        "raise exception 'no' using errcode = 'VC008', detail = '{\"code\": \"of_a_detail\"}';\n"
        "perform voice_clone.fail(a.id, 'of_a_call');\n"
        "v_code text := case when v_lost then 'of_a_case' else 'of_an_else' end;\n"
        "return voice_clone.decide(e.id, 'of_a_pair', 'There is no such row.');\n"
    )
    assert find_codes(tmp_path) == {
        "of_a_class": set(),
        "of_a_constant": {422},
        "of_a_parameter": set(),
        "of_a_keyword": {422},
        "of_*": {409},
        "of_a_row": set(),
        "of_a_dict": set(),
        "of_a_provider": {422},
        "of_a_detail": {429},
        "of_a_call": set(),
        "of_a_case": set(),
        "of_an_else": set(),
        "of_a_pair": set(),
    }


def test_readme_lists_every_route_of_the_service_and_no_other() -> None:
    routes = service_routes()
    listed = [route for cells in table_rows(section(README, "Routes")) for route in expand(cells[0], routes)]
    assert sorted(listed) == sorted(routes)


def service_routes() -> set[tuple[str, str]]:
    """(method, path) with a parameter as {}; without those of the OpenAPI description."""
    app = create_app(load_settings({**SETTINGS, "OPERATIONS_PAGE": "true"}))
    return {
        (method, re.sub(r"\{.*?\}", "{}", route.path_format))
        for route in app.routes
        for method in route.methods - {"OPTIONS", "HEAD"}  # pyright: ignore[reportAttributeAccessIssue]
        if not route.path_format.startswith("/schema")
    }


def expand(cell: str, routes: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """`GET|DELETE /a/{id}`, `…/b`: a method or a start that is left out is the previous one's."""
    methods, path = "", ""
    for text in inline_code(cell):
        *stated, place = text.replace("\\|", "|").split(" ")
        methods = stated[0] if stated else methods
        place = re.sub(r"\{.*?\}", "{}", place)
        for method in methods.split("|"):
            if place.startswith("…"):
                start, end = path.rpartition("/")[0], place[1:]
                found = [each for verb, each in routes if verb == method and each.endswith(end)]
                (place,) = [each for each in found if each.startswith(start) and each != path]
            yield method, place
        path = place


def targets() -> set[str]:
    """The targets that `make help` lists."""
    return set(re.findall(r"^([a-z-]+):.*?## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_lists_every_command_and_every_target_and_no_other() -> None:
    cells = [row[0] for row in table_rows(section(README, "Commands"))]
    listed = {code for cell in cells for code in inline_code(cell)}
    assert listed == {f"make {name}" for name in targets()} | {f"likeness {name}" for name in COMMANDS}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_only_commands_that_exist(path: Path) -> None:
    code = "\n".join(code_of(path))
    makes = re.findall(r"^(?:\w+=\S+ )*make ([a-z][a-z-]*)", code, re.MULTILINE)
    commands = re.findall(r"(?:python -m scripts|\blikeness) ([a-z][a-z-]*)", code)
    assert set(makes) <= targets()
    assert set(commands) <= set(COMMANDS)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_only_settings_and_constants_that_exist(path: Path) -> None:
    settings = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", path.read_text()))
    assert named <= settings | constants()


def constants() -> set[str]:
    """Of the modules: `ALL_QUEUES = …`."""
    sources = [
        path.read_text() for folder in ("backend", "scripts") for path in (ROOT / folder).rglob("*.py")
    ]
    return {name for text in sources for name in re.findall(r"^([A-Z_]+)(?:: .*)? = ", text, re.MULTILINE)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_only_files_that_exist(path: Path) -> None:
    text = path.read_text()
    links = {path.parent / link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)}
    folders = r"`((?:backend|docs|queue_consumers|scripts|supabase|tests)/[\w./-]+)`"
    named = {ROOT / name for name in re.findall(folders, text) if not any(each in name for each in EXAMPLES)}
    assert [str(each) for each in links | named if not each.exists()] == []
