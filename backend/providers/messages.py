"""What a provider said in an error, fit for operators: one line, bounded, without secrets and without people.

Such a message is a text from outside. It may be of any length, hold control characters, and repeat what was
sent: the key, a signed URL, the words to speak. A client never gets it; it is for the log and for
`likeness attempts show`.
"""

import re
import unicodedata
from collections.abc import Iterable

from backend.web.logs import REDACTED, SECRET_TEXT

LONGEST = 300  # characters that are kept
LONGEST_READ = 4_000  # characters that are searched; the rest is not read
MAX_BODY = 16_000  # bytes of an answer that is not the provider's JSON
QUOTE = 12  # so many characters in a row that were sent are a quotation of it

ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)|\x9b[0-?]*[ -/]*[@-~]?")
TAG = re.compile(r"<(?:script|style)\b.*?(?:</|$)|<[^<>]*(?:>|$)", re.DOTALL | re.IGNORECASE)
BREAKS = {"Cc": " ", "Cf": "", "Cs": "", "Co": "", "Zl": " ", "Zp": " "}  # by category: what no text needs
PRIVATE = (
    (
        re.compile(
            r"[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>]*|\bwww\.[^\s\"'<>]+|\bdata:[^\s\"'<>]*", re.IGNORECASE
        ),
        "[url]",
    ),
    (re.compile(r"[^\s@<>\"'(),:;]{1,64}@[^\s@<>\"'(),:;]{1,255}"), "[e-mail]"),
    (SECRET_TEXT, REDACTED),
    # The name of a secret, and what follows it.
    (
        re.compile(
            r"\b([\w-]{0,32}(?:key|token|secret|password)[\"']?(?: provided)?\s*[:=]\s*)[\"']?[^\s\"']{6,}",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    # A key, a token, an id: long, of letters and digits.
    (re.compile(r"(?<![\w+/=-])(?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])[\w+/=-]{20,}"), REDACTED),
    (
        re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f:]*", re.IGNORECASE),
        "[address]",
    ),
    (
        re.compile(r"\+\d[\d ().-]{5,}\d|\b\d{9,}\b|\(?\b\d{2,4}\)?[ -]\d{3,4}[ -]\d{3,4}\b"),
        "[number]",
    ),
)


def for_operators(said: object, sent: Iterable[str | None] = ()) -> str | None:
    """One line, at most LONGEST characters, that does not repeat `sent`. None where nothing was said."""
    if not isinstance(said, str):
        return None
    text = said[:LONGEST_READ]
    text = without_controls(ESCAPE.sub("", text))
    for quoted in sent:
        text = without_quotation(text, without_controls(quoted or ""))
    for pattern, replacement in PRIVATE:
        text = pattern.sub(replacement, text)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 1]}…"
    return text or None


def without_controls(text: str) -> str:
    """The text in one line, each run of white space as one space."""
    return " ".join("".join(BREAKS.get(unicodedata.category(each), each) for each in text).split())


def without_quotation(text: str, sent: str) -> str:
    """`text` without the parts of `sent` that it repeats."""
    size = min(QUOTE, len(sent))
    if size < 3:  # a text so short says nothing of its author
        return text
    parts = {sent[start : start + size] for start in range(len(sent) - size + 1)}
    kept, start = [], 0
    while start < len(text):
        end = start
        while text[end : end + size] in parts:
            end += 1
        if end > start:
            start = end + size - 1
            kept.append("[quoted]")
        else:
            kept.append(text[start])
            start += 1
    return "".join(kept)


def of_page(body: bytes) -> str | None:
    """The words of an answer that is not the provider's JSON, such as the page of a gateway."""
    try:
        return TAG.sub(" ", body[:MAX_BODY].decode())
    except UnicodeDecodeError:
        return None
