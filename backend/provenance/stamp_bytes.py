"""The bytes of time stamps: what is stamped, the question, the answer, and the place of its token in a mark.

DER of RFC 3161, and CBOR of COSE, as far as these few structures need them. It runs in the service, and in
the worker that marks.

docs/decisions/0096-time-stamps.md
"""

import secrets
from typing import NamedTuple

GRANTED = {0, 1}  # 1: with modifications
SEQUENCE, INTEGER, OCTETS = 0x30, 0x02, 0x04
VERSION_1, SEND_CERTIFICATES = bytes.fromhex("020101"), bytes.fromhex("0101ff")
PADDING = b"\xa1\x63pad\x59"  # CBOR: a map of one entry, whose value has a length of two bytes
SHA256 = bytes.fromhex("300d06096086480165030402010500")  # the algorithm's identifier


class NotStamped(Exception):  # noqa: N818 - the authority is away, or answers something else
    """The message is for the log."""


class Element(NamedTuple):
    """Of DER: its tag, its content, and all of its bytes."""

    tag: int
    content: bytes
    whole: bytes


def countersigned(claim: bytes, signature: bytes) -> bytes:
    """What is stamped: COSE's structure of a countersignature, with the claim's protected header.

    `claim` is COSE's structure of the signature: an array of its name, that header, nothing, and the claim.
    """
    name = text("Signature1")
    at = 1 + len(name)
    if not claim.startswith(b"\x84" + name) or len(claim) == at:
        raise NotStamped("the claim is no COSE structure")
    header = claim[at : end_of_octets(claim, at)]
    return b"\x84" + text("CounterSignature") + header + octets(b"") + octets(octets(signature))


def query_of(digest: bytes) -> bytes:
    imprint = der(SEQUENCE, SHA256 + der(OCTETS, digest))
    nonce = der(INTEGER, b"\x01" + secrets.token_bytes(8))  # positive
    return der(SEQUENCE, VERSION_1 + imprint + nonce + SEND_CERTIFICATES)


def token_of(reply: bytes) -> bytes:
    """Of a TimeStampResp: a status, and the token. Raises NotStamped."""
    try:
        answer = element(reply)
        status = element(answer.content)
        code = int.from_bytes(element(status.content).content, "big")
        token = element(answer.content[len(status.whole) :]) if code in GRANTED else None
    except (IndexError, ValueError) as error:
        raise NotStamped("the answer is no time stamp") from error
    if token is None or token.tag != SEQUENCE:
        raise NotStamped(f"refused with status {code}")
    return token.whole


def der(tag: int, content: bytes) -> bytes:
    """Of less than 128 bytes."""
    return bytes([tag, len(content)]) + content


def element(data: bytes) -> Element:
    tag, length, at = data[0], data[1], 2
    if length >= 0x80:
        count = length & 0x7F
        length, at = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if at + length > len(data):
        raise ValueError("cut off")
    return Element(tag, data[at : at + length], data[: at + length])


def text(value: str) -> bytes:
    """CBOR, as are the next two; of less than 24 letters."""
    return bytes([0x60 + len(value)]) + value.encode()


def octets(value: bytes) -> bytes:
    size = len(value)
    if size < 24:
        return bytes([0x40 + size]) + value
    return (b"\x58" + bytes([size]) if size < 256 else b"\x59" + size.to_bytes(2, "big")) + value


def end_of_octets(data: bytes, at: int) -> int:
    size = data[at] & 0x1F
    if size < 24:
        return at + 1 + size
    width = 1 << (size - 24)
    return at + 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")


def put_in(manifest: bytes, token: bytes) -> bytes:
    """The manifest, or the file that holds it, with the token in place of padding: its length stays.

    The header that it goes into is not signed, and no hash covers it. Raises NotStamped without room for it.
    """
    start, size = padding(manifest)
    stamp = text("sigTst2") + b"\xa1" + text("tstTokens") + b"\x81\xa1" + text("val") + octets(token)
    left = size - len(stamp)
    if left < 256:  # its length would take other bytes
        raise NotStamped(f"a token of {len(token)} bytes does not fit")
    end = start + len(PADDING) + 2 + size
    return manifest[:start] + b"\xa2" + stamp + text("pad") + octets(bytes(left)) + manifest[end:]


def padding(manifest: bytes) -> tuple[int, int]:
    """Where the header that holds nothing but padding begins, and the bytes of the padding."""
    start = manifest.find(PADDING)
    while start >= 0:
        zeros = start + len(PADDING) + 2
        size = int.from_bytes(manifest[zeros - 2 : zeros], "big")
        if size and manifest[zeros : zeros + size] == bytes(size):
            return start, size
        start = manifest.find(PADDING, start + 1)
    raise NotStamped("the signature has no room")
