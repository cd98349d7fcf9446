"""Each place that enforces a limit tells it: `limit`, and `window_seconds` where it is a rate.

The codes are found by their names and statuses, and the places by reading the sources, so that a new limit is
among them.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from backend import errors
from backend.web.error_codes import ErrorCode
from tests.documented import LIMITS

ROOT = Path(__file__).parents[2]
RATES = {"rate_limited", "too_many_attempts", "too_many_new_samples", "too_many_idempotency_keys"}
# Limits by their sentence only: the code has other reasons too.
SOMETIMES = {"invalid_name", "invalid_transcript", "invalid_text", "idempotency_key_invalid"}
# A part of a table that explains a provider's own refusal: what it enforces is not known here.
OF_PROVIDERS = re.compile(r"backend/providers/\w+/errors\.py")
RAISE = re.compile(r"raise exception\s.*?;\n", re.DOTALL)


class Site:
    def __init__(self, path: Path, node: ast.Call) -> None:
        self.where = f"{path.relative_to(ROOT)}:{node.lineno}"
        self.text = ast.unparse(node)

    def tells(self, name: str) -> bool:
        return bool(re.search(rf"'{name}':|\b{name}=", self.text))


@cache
def default_codes() -> dict[str, str]:
    """By the name of the class of an error."""
    return {
        name: kind.code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.AppError)
    }


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def codes_of(node: ast.Call, failures: dict[str, str]) -> Iterator[str]:
    """The codes with which this call makes an error."""
    name = called(node)
    given = [word.value for word in node.keywords if word.arg == "code"]
    if name in ("InputRefused", "ProviderError", "error", "_error"):
        given += node.args[:2]
    if not given and name in default_codes():
        yield default_codes()[name]
    for value in given:
        if isinstance(value, ast.Constant):
            yield str(value.value)
        elif isinstance(value, ast.Name) and value.id in failures:
            yield failures[value.id]


@cache
def sites() -> dict[str, list[Site]]:
    """Of each limit's code, the calls that make its errors."""
    trees = {path: ast.parse(path.read_text()) for path in (ROOT / "backend").rglob("*.py")}
    calls = [
        (path, node) for path, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.Call)
    ]
    failures = {
        target.id: str(node.value.args[1].value)
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and called(node.value) == "Failure"
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.args[1], ast.Constant)
    }  # fmt: skip
    found: dict[str, list[Site]] = {}
    for path, node in calls:
        if OF_PROVIDERS.search(str(path)):
            continue
        for code in codes_of(node, failures):
            if code in LIMITS:
                found.setdefault(code, []).append(Site(path, node))
    return found


@cache
def statements() -> dict[str, list[str]]:
    """Of each limit's code, the statements of SQL that raise it."""
    found: dict[str, list[str]] = {}
    for path in (ROOT / "supabase/migrations").glob("*.sql"):
        for text in RAISE.findall(path.read_text()):
            for code in LIMITS:
                if f"'{code}'" in text:
                    found.setdefault(code, []).append(f"{path.name}: {text}")
            if "VC008" in text and not any(f"'{code}'" in text for code in LIMITS):
                found.setdefault("throttled", []).append(f"{path.name}: {text}")
    return found


def test_each_place_that_enforces_a_limit_tells_it() -> None:
    python, sql = sites(), statements()
    silent = [site.where for found in python.values() for site in found if not site.tells(r"limit|required")]
    silent += [text for found in sql.values() for text in found if "'limit'" not in text]
    assert silent == []
    assert LIMITS - python.keys() - sql.keys() == set()


def test_each_limit_of_a_time_tells_the_time() -> None:
    told = {
        code
        for code in LIMITS
        if any("window_seconds" in site.text for site in sites().get(code, []))
        or any("window_seconds" in text for text in statements().get(code, []))
    }
    assert told == RATES


@pytest.mark.parametrize(
    ("planted", "is_silent"),
    [
        ("raise Throttled('Later.')", True),
        ("raise Throttled('Later.', extra={'limit': 3})", False),
        ("raise Conflict('Full.', code='too_many_webhooks')", True),
        ("raise call.error(TEXT_TOO_LONG)", True),
        ("raise call.error(TEXT_TOO_LONG, limit=9)", False),
        ("raise InputRefused('sample_too_long', 'Long.', {'seconds': 3})", True),
    ],
)
def test_a_silent_limit_is_found(planted: str, is_silent: bool) -> None:
    (call,) = [node for node in ast.walk(ast.parse(planted)) if isinstance(node, ast.Call)]
    codes = [*codes_of(call, {"TEXT_TOO_LONG": "text_too_long"})]
    assert [code for code in codes if code in LIMITS]
    assert Site(ROOT / "backend/x.py", call).tells(r"limit|required") != is_silent


def test_a_new_code_of_a_limit_is_one() -> None:
    assert {"body_too_large", "too_many_webhooks", "rate_limited", "provider_full", "text_too_long"} <= LIMITS
    assert not LIMITS & SOMETIMES
    assert {code.value for code in ErrorCode} >= LIMITS
