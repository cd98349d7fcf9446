"""Verifying anchors: what the database has, what was signed, and what was published."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from msgspec import Struct, convert

from backend.domains.anchors.anchors import Anchor, SignedAnchor, read_anchor
from backend.errors import AppError
from backend.provenance.jws import NotSigned
from backend.settings.sections import sound_section
from backend.settings.supabase import SupabaseSettings
from backend.storage.buckets import ANCHOR_BUCKET
from backend.storage.client import Storage, StorageProfiles, StorageRefused
from backend.web.upstreams import Upstreams
from scripts.operations import Operations
from scripts.trust import trust_files

PAGE = 100  # anchors checked in one statement
DOWNLOADS = 8  # at once
BUCKET = "bucket"  # instead of the name of a file
NO_STORAGE = "`--anchors bucket` needs SUPABASE_URL, SUPABASE_SECRET_KEY and how tokens are verified"


class AnchorProblem(Struct, frozen=True, kw_only=True):
    """`position` is null for a published copy that cannot be read."""

    position: int | None
    problem: str


class AnchorReport(Struct, frozen=True, kw_only=True):
    """`compared`: published copies, or null where none was given. `signers`: SHA-256 of each certificate.

    `is_signer_known`: null where no certificate was given to compare with.
    """

    anchors: int
    unsigned: int
    compared: int | None
    signers: list[str]
    is_signer_known: bool | None
    problems: list[AnchorProblem]


class StoredAnchor(Struct):
    anchor: Anchor
    signed: str | None
    problem: str | None


def verify_anchors(project: Operations, published: str | None, trust: Path | None) -> AnchorReport:
    """`published`: a file of one JWS a line, or `bucket`."""
    trusted = trusted_certificates(trust)
    copies = None if published is None else list(published_copies(published))
    check = Check(trusted)
    for stored in stored_anchors(project):
        check.stored(stored)
    for copy in copies or []:
        check.published(copy)
    return AnchorReport(
        anchors=len(check.hashes),
        unsigned=check.unsigned,
        compared=None if copies is None else len(copies),
        signers=sorted(check.signers),
        is_signer_known=None if not trusted else not check.is_unknown,
        problems=check.problems,
    )


class Check:
    """What was found so far; anchors come in the order of their positions."""

    def __init__(self, trusted: Sequence[x509.Certificate]) -> None:
        self._trusted = trusted
        self.problems: list[AnchorProblem] = []
        self.hashes: dict[int, str] = {}
        self.signers: set[str] = set()
        self.unsigned = 0
        self.is_unknown = False

    def stored(self, stored: StoredAnchor) -> None:
        anchor = stored.anchor
        before = self.hashes.get(anchor.position - 1, "00")
        self.hashes[anchor.position] = anchor.hash
        if stored.problem:
            self._add(anchor.position, stored.problem)
        elif not anchor.is_sound() or anchor.previous_hash != before:
            self._add(anchor.position, "it was changed, or the anchor before it")
        if stored.signed is None:
            self.unsigned += 1
        elif (signed := self._read(anchor.position, stored.signed)) and signed.anchor != anchor:
            self._add(anchor.position, "it is not what was signed")

    def published(self, copy: str) -> None:
        signed = self._read(None, copy)
        if signed is None:
            return
        position = signed.anchor.position
        if position not in self.hashes:
            self._add(position, "it was published, and the database does not have it")
        elif self.hashes[position] != signed.anchor.hash:
            self._add(position, "it is not what was published")

    def _read(self, position: int | None, text: str) -> SignedAnchor | None:
        try:
            signed = read_anchor(text)
        except NotSigned as error:
            self._add(position, f"its signature proves nothing: {error}")
            return None
        self.signers.add(signed.statement.certificates[0].fingerprint(hashes.SHA256()).hex())
        if self._trusted and not signed.statement.is_of(self._trusted):
            self.is_unknown = True
            self._add(signed.anchor.position, "it was signed by another key than that of a given certificate")
        return signed

    def _add(self, position: int | None, problem: str) -> None:
        found = AnchorProblem(position=position, problem=problem)
        if found not in self.problems:
            self.problems.append(found)


def stored_anchors(project: Operations) -> Iterator[StoredAnchor]:
    after = 0
    while page := project.rows("consent_anchors", after=after, limit=PAGE):
        for row in page:
            yield convert(row, StoredAnchor)
        after = page[-1]["anchor"]["position"]
        if len(page) < PAGE:
            return


def trusted_certificates(trust: Path | None) -> list[x509.Certificate]:
    """Of the file, or of the files that the service signs and verifies marks with."""
    found: list[x509.Certificate] = []
    for path in trust_files(trust):
        try:
            found += x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError) as error:
            raise typer.BadParameter(f"{path} has no certificates in PEM: {error}") from None
    return found


def published_copies(published: str) -> Iterator[str]:
    if published == BUCKET:
        yield from asyncio.run(download(os.environ))
        return
    try:
        yield from filter(None, Path(published).read_text().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"a file of published anchors is needed: {error}") from None


async def download(environ: Mapping[str, str]) -> list[str]:
    settings = sound_section(SupabaseSettings, environ)
    if settings is None:
        raise typer.BadParameter(NO_STORAGE)
    places = asyncio.Semaphore(DOWNLOADS)
    async with Upstreams() as upstreams:
        objects = StorageProfiles(Storage(settings, upstreams.storage), ANCHOR_BUCKET)

        async def read(name: str) -> str:
            async with places:
                return (await objects.get(name) or b"").decode(errors="replace")

        try:
            return list(await asyncio.gather(*(read(name) for name in await objects.list())))
        except (AppError, StorageRefused) as error:
            raise typer.BadParameter(f"Storage does not give the published anchors: {error}") from None
