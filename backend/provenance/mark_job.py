"""The job of a worker that marks audio. It has no key: it sends what is to be signed to the service."""

import io
from collections.abc import Sequence
from typing import BinaryIO

import c2pa
import msgspec

from backend.provenance.frames import MOST_SIGNED, SIGNATURE, MarkJob

SETTINGS = {
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}


def handle(request: bytes, files: Sequence[BinaryIO]) -> bytes:
    job = msgspec.msgpack.decode(request, type=MarkJob)
    (service,) = files

    def sign(data: bytes) -> bytes:
        if len(data) > MOST_SIGNED:
            raise ValueError("more to sign than a claim has")
        service.write(len(data).to_bytes(4, "big") + data)
        signature = bytearray()
        while len(signature) < SIGNATURE and (part := service.read(SIGNATURE - len(signature))):
            signature += part
        return bytes(signature) if len(signature) == SIGNATURE else b""

    marked = io.BytesIO()
    context = c2pa.Context(settings=c2pa.Settings.from_dict(SETTINGS))
    with (
        c2pa.Signer.from_callback(sign, c2pa.C2paSigningAlg.ES256, job.chain) as signer,
        c2pa.Builder(job.definition, context) as builder,
    ):
        builder.sign(signer, job.content_type, io.BytesIO(job.audio), marked)
    return marked.getvalue()
