"""Every error code in the sources, found by their position in the code; none is listed here.

In Python a code is the value of `code` (of a class, a keyword, a parameter, a dict's key), or a snake_case
string directly before its message. In SQL it is the value of `code` in a detail, what is assigned to a name
that ends in `code`, what is passed as such a parameter, or such a pair again.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import backend.app.service  # noqa: F401 - imports every module that defines an error
from backend.errors import VOICE_CLONE_ERRORS, AppError
from backend.providers.base import ErrorKind, ProviderError
from backend.providers.problems import as_app_error

CODE = re.compile(r"[a-z]+(_[a-z]+)*\*?")
PAIRED = re.compile(r"[a-z]+(_[a-z]+)+")

# A code, and the HTTP status that follows from where it stands. One that ends in `*` is the start of several.
Found = tuple[str, int | None]


def find_codes(root: Path) -> dict[str, set[int]]:
    modules = [ast.parse(path.read_text()) for path in sorted((root / "backend").rglob("*.py"))]
    nodes = [node for module in modules for node in ast.walk(module)]
    migrations = [path.read_text() for path in sorted((root / "supabase" / "migrations").glob("*.sql"))]
    codes: dict[str, set[int]] = {}
    for code, status in (*python_codes(nodes), *sql_codes("\n".join(migrations))):
        codes.setdefault(code, set()).update({status} if status else set())
    return codes


def python_codes(nodes: list[ast.AST]) -> Iterator[Found]:
    parameters = {name: names for node in nodes for name, names in signatures(node)}
    constants = {name: text for node in nodes for name, text in named_strings(node)}
    statuses = {kind.__name__: kind.status for kind in error_classes(AppError)}

    def strings(value: ast.expr | None) -> list[str]:
        return list(possible_codes(value, constants))

    for node in nodes:
        match node:
            case ast.ClassDef(name=name):
                yield from ((code, statuses.get(name)) for code in strings(fields(node).get("code")))
            case ast.Call():
                name = called(node)
                found = [
                    code
                    for value in code_arguments(node, parameters.get(name, []))
                    for code in strings(value)
                ]
                found += before_messages(node.args)
                for code in found:
                    yield from (
                        provider_codes(node, code) if name == "Failure" else [(code, statuses.get(name))]
                    )
            case ast.Tuple(elts=elements):
                yield from ((code, None) for code in before_messages(elements))
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "code":
                        yield from ((code, None) for code in strings(value))


def error_classes(kind: type[AppError]) -> Iterator[type[AppError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from error_classes(each)


def named_strings(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Constants, such as `REFUSED = "verification_refused"`."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))) if name.isupper():
            yield name, text


def signatures(node: ast.AST) -> Iterator[tuple[str, list[str]]]:
    """The positional parameters of a function, or of a class's constructor."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            if node.name != "__init__":
                yield node.name, [each.arg for each in node.args.args]
        case ast.ClassDef():
            constructors = [
                each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"
            ]
            names = (
                [each.arg for each in constructors[0].args.args[1:]] if constructors else list(fields(node))
            )
            yield node.name, names


def fields(node: ast.ClassDef) -> dict[str, ast.expr | None]:
    """What a class assigns or declares by name."""
    found: dict[str, ast.expr | None] = {}
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            found[each.target.id] = each.value
        elif isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            found[each.targets[0].id] = each.value
    return found


def called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def code_arguments(node: ast.Call, parameters: list[str]) -> Iterator[ast.expr]:
    yield from (keyword.value for keyword in node.keywords if keyword.arg == "code")
    yield from (value for name, value in zip(parameters, node.args, strict=False) if name == "code")


def before_messages(elements: Iterable[ast.expr]) -> Iterator[str]:
    for first, second in pairwise(elements):
        if isinstance(first, ast.Constant) and PAIRED.fullmatch(str(first.value)) and is_message(second):
            yield str(first.value)


def is_message(node: ast.expr) -> bool:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return any(isinstance(part, ast.Constant) and " " in str(part.value) for part in parts)


def possible_codes(node: ast.expr | None, constants: dict[str, str]) -> Iterator[str]:
    """What an expression can be; of an f-string its constant start."""
    match node:
        case ast.Constant(value=str(text)) if CODE.fullmatch(text):
            yield text
        case ast.Name(id=name) if name in constants:
            yield constants[name]
        case ast.IfExp(body=one, orelse=other):
            yield from (*possible_codes(one, constants), *possible_codes(other, constants))
        case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]) if CODE.fullmatch(start.rstrip("_")):
            yield f"{start}*"


def provider_codes(row: ast.Call, code: str) -> Iterator[Found]:
    """A row of a provider's error table: its code, and the code and status of the problem that it becomes."""
    kind = row.args[0]
    assert isinstance(kind, ast.Attribute)
    problem = as_app_error(ProviderError(ErrorKind[kind.attr], code, "", provider=""))
    yield code, None
    yield problem.code, problem.status


def sql_codes(text: str) -> Iterator[Found]:
    """A statement of plpgsql at a time, so that a detail's code is seen beside its errcode."""
    functions = dict(code_parameters(text))
    for statement in re.split(r";\s*$", text, flags=re.MULTILINE):
        state = re.search(r"errcode = '(VC\d{3})'", statement)
        kind = VOICE_CLONE_ERRORS[state[1]] if state else None
        found = [*literal_codes(statement), *passed_codes(statement, functions)]
        yield from ((code, kind.status if kind else None) for code in found)
        if kind and not found:
            yield kind.code, kind.status


def literal_codes(statement: str) -> Iterator[str]:
    yield from re.findall(r"\"code\": \"(\w+)\"", statement)
    yield from re.findall(r"'code', '(\w+)'", statement)
    yield from re.findall(r"'([a-z]+(?:_[a-z]+)+)',\s+'[A-Z][^']* ", statement)
    assigned = r"\b(?!errcode)\w*code(?: text)? :?= (case .*?\bend|'\w+')"
    for value in re.findall(assigned, statement, re.DOTALL):
        yield from re.findall(r"(?:then |else |^)'(\w+)'", value)


def code_parameters(text: str) -> Iterator[tuple[str, int]]:
    """Functions with a parameter whose name ends in `code`, and its place."""
    for name, parameters in re.findall(r"^create function voice_clone\.(\w+)\(([^)]*)\)", text, re.MULTILINE):
        names = [each.split()[0] for each in parameters.split(",") if each.strip()]
        yield from ((name, place) for place, each in enumerate(names) if each.endswith("code"))


def passed_codes(statement: str, functions: dict[str, int]) -> Iterator[str]:
    """The constants that a call passes as a code."""
    for name, inside in re.findall(r"voice_clone\.(\w+)\(((?:[^()']|'[^']*'|\([^()]*\))*)\)", statement):
        arguments = re.findall(r"(?:[^,()']|'[^']*'|\([^()]*\))+", inside)
        if name in functions and functions[name] < len(arguments):
            yield from re.findall(r"^'(\w+)'$", arguments[functions[name]].strip())
