"""The job of a worker that marks audio. It has no key: it sends what is to be signed to the service."""

import io
from collections.abc import Sequence
from typing import BinaryIO

import c2pa
import msgspec
from msgspec import structs

from backend.provenance.encoding import encoded
from backend.provenance.formats import FORMATS
from backend.provenance.frames import BESIDE, MOST_SIGNED, SIGNATURE, Marked, MarkJob
from backend.provenance.stamp_bytes import NotStamped, put_in

SETTINGS = {
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}


def handle(request: bytes, files: Sequence[BinaryIO]) -> bytes:
    job = msgspec.msgpack.decode(request, type=MarkJob)
    (service,) = files

    token = bytearray()

    def sign(data: bytes) -> bytes:
        if len(data) > MOST_SIGNED:
            raise ValueError("more to sign than a claim has")
        service.write(len(data).to_bytes(4, "big") + data)
        signature = read(service, SIGNATURE)
        token.extend(read(service, int.from_bytes(read(service, 4), "big")))
        return signature if len(signature) == SIGNATURE else b""

    speech, content_type, is_inside = Marked(audio=job.audio), job.content_type, True
    if job.format is not None:
        wanted = FORMATS[job.format]
        speech, is_inside = encoded(job.audio, wanted, job.tags), wanted.holds_mark
        content_type = wanted.content_type if is_inside else BESIDE
    target = io.BytesIO()
    context = c2pa.Context(settings=c2pa.Settings.from_dict(SETTINGS))
    with (
        c2pa.Signer.from_callback(sign, c2pa.C2paSigningAlg.ES256, job.chain) as signer,
        c2pa.Builder(job.definition, context) as builder,
    ):
        if is_inside:
            builder.sign(signer, content_type, io.BytesIO(speech.audio), target)
            marked, reason = stamped(target.getvalue(), bytes(token))
            made = structs.replace(speech, audio=marked, not_stamped=reason)
        else:
            builder.set_no_embed()
            manifest = builder.sign(signer, content_type, io.BytesIO(speech.audio), target)
            marked, reason = stamped(manifest, bytes(token))
            made = structs.replace(speech, manifest=marked, not_stamped=reason)
    return msgspec.msgpack.encode(made)


def read(service: BinaryIO, size: int) -> bytes:
    """Less where the service has closed the socket."""
    received = bytearray()
    while len(received) < size and (part := service.read(size - len(received))):
        received += part
    return bytes(received)


def stamped(manifest: bytes, token: bytes) -> tuple[bytes, str]:
    """With the token, or as it was and why not. An empty token: no authority was asked, or none answered."""
    if not token:
        return manifest, ""
    try:
        return put_in(manifest, token), ""
    except NotStamped as error:
        return manifest, str(error)
