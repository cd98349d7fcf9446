"""Enough of PL/pgSQL to find statements, conditions and their parts in the body of a function."""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

TOKEN = re.compile(
    r"(?P<space>\s+|--[^\n]*|/\*.*?\*/)"
    r"|(?P<text>'(?:[^']|'')*'|\$(\w*)\$.*?\$\3\$)"
    r'|(?P<word>[a-zA-Z_][\w$]*|"[^"]+")'
    r"|(?P<sign>:=|::|<=|>=|<>|\|\||.)",
    re.DOTALL,
)
OPENING = {"(": 1, "[": 1, ")": -1, "]": -1}
ENDS_OF_CLAUSE = {
    ";", "group", "order", "limit", "for", "returning", "union", "then", "loop", "having", "on",
    "window", "do",
}  # fmt: skip


class Token(Struct, frozen=True):
    """`depth`: how many parentheses are open around it."""

    text: str
    start: int
    end: int
    depth: int


def tokens(body: str) -> list[Token]:
    found: list[Token] = []
    depth = 0
    for each in TOKEN.finditer(body):
        if each.lastgroup == "space" or each["space"] is not None:
            continue
        turn = OPENING.get(each[0], 0)
        depth += min(turn, 0)
        text = each[0].lower() if each["word"] else each[0]
        found.append(Token(text, each.start(), each.end(), depth))
        depth += max(turn, 0)
    return found


def statement_end(found: Sequence[Token], start: int) -> int:
    """The index of the semicolon."""
    return next(at for at in range(start, len(found)) if found[at].text == ";")


def condition_before(found: Sequence[Token], at: int) -> Sequence[Token]:
    """The condition of the `if` whose first statement is at this index; empty for another statement."""
    if at == 0 or found[at - 1].text != "then":
        return ()
    cases = 0
    for start in range(at - 2, -1, -1):
        word = found[start].text
        cases += {"end": 1, "case": -1}.get(word, 0)
        if cases == 0 and word in {"if", "elsif"}:
            return found[start + 1 : at - 1]
        if word in {";", "when"} and cases == 0:
            return ()
    return ()


def clauses(found: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """What follows each `where`, up to its end."""
    for at, token in enumerate(found):
        if token.text != "where":
            continue
        end = at + 1
        cases = 0
        while end < len(found):
            word, depth = found[end].text, found[end].depth
            cases += (word == "case") - (word == "end")
            if depth < token.depth or (depth == token.depth and cases == 0 and word in ENDS_OF_CLAUSE):
                break
            end += 1
        yield found[at + 1 : end]


def split(part: Sequence[Token], word: str) -> list[Sequence[Token]]:
    """The parts between this word at the outermost level; the `and` of `between` separates nothing."""
    if not part:
        return []
    parts, start, cases, between = list[Sequence[Token]](), 0, 0, False
    outermost = min(each.depth for each in part)
    for at, token in enumerate(part):
        cases += (token.text == "case") - (token.text == "end")
        if token.depth > outermost or cases:
            continue
        between = between or token.text == "between"
        if token.text == word:
            if between and word == "and":
                between = False
                continue
            parts.append(part[start:at])
            start = at + 1
    return [each for each in (*parts, part[start:]) if each]
