"""The job of a worker that reads the mark of a file. The file is hostile until it has shown otherwise."""

import io
from collections.abc import Sequence
from typing import Any, BinaryIO

import c2pa
import msgspec

from backend.provenance.formats import container_of
from backend.provenance.frames import BESIDE, EXPLANATIONS, SignedBy, Verification, VerifyJob

CHANGED = ("assertion.dataHash.mismatch", "assertion.bmffHash.mismatch")
UNTRUSTED = "signingCredential.untrusted"  # the signature holds; who signed is not known


def handle(request: bytes, _files: Sequence[BinaryIO]) -> bytes:
    job = msgspec.msgpack.decode(request, type=VerifyJob)
    return msgspec.json.encode(examine(job.audio, job.anchors, job.manifest))


def examine(audio: bytes, anchors: str, manifest: bytes | None) -> Verification:
    content_type = container_of(audio) if manifest is None else BESIDE
    if content_type is None:
        return said("unreadable")
    context = c2pa.Context(settings=c2pa.Settings.from_dict(reading(anchors)))
    try:
        with c2pa.Reader(content_type, io.BytesIO(audio), manifest_data=manifest, context=context) as reader:
            store = msgspec.json.decode(reader.json())
    except c2pa.C2paError as error:
        return said("unmarked" if str(error).startswith("ManifestNotFound") else "unreadable")
    return found(store)


def reading(anchors: str) -> dict[str, Any]:
    """C2PA's settings. It refuses an empty list of roots."""
    never = {"remote_manifest_fetch": False, "ocsp_fetch": False}
    if not anchors.strip():
        return {"verify": {**never, "verify_trust": False}}
    return {"verify": {**never, "verify_trust": True}, "trust": {"user_anchors": anchors}}


def found(store: dict[str, Any]) -> Verification:
    results = store.get("validation_results", {}).get("activeManifest", {})
    failures = sorted({each["code"] for each in results.get("failure", ())} - {UNTRUSTED})
    if not failures and store.get("validation_state") in ("Valid", "Trusted"):
        verdict = "valid"
    elif failures and set(failures) <= set(CHANGED):
        verdict = "edited"
    else:
        return said("invalid", failures=failures)
    manifest = store["manifests"][store["active_manifest"]]
    return said(
        verdict,
        failures=failures,
        **claims(manifest, is_trusted(results)),
        stamped_at=stamped_at(manifest, results),
    )


def is_trusted(results: dict[str, Any]) -> bool:
    return any(each["code"] == "signingCredential.trusted" for each in results.get("success", ()))


def stamped_at(manifest: dict[str, Any], results: dict[str, Any]) -> str | None:
    is_stamped = any(each["code"] == "timeStamp.validated" for each in results.get("success", ()))
    return text(manifest.get("signature_info", {}).get("time")) if is_stamped else None


def claims(manifest: dict[str, Any], trusted: bool) -> dict[str, Any]:
    """What the signed manifest says; another generator than ours may leave out any of it."""
    signature = manifest.get("signature_info", {})
    created: dict[str, Any] = {}
    for assertion in manifest.get("assertions", ()):
        if assertion.get("label", "").startswith("c2pa.actions"):
            actions = assertion.get("data", {}).get("actions", ())
            created = next((each for each in actions if each.get("action") == "c2pa.created"), {})
    agent = created.get("softwareAgent")
    agent = agent if isinstance(agent, dict) else {"name": agent}
    generators = manifest.get("claim_generator_info") or [{}]
    return {
        "signed_by": SignedBy(
            name=text(signature.get("common_name")),
            organization=text(signature.get("issuer")),
            is_trusted=trusted,
        ),
        "generator": text(generators[0].get("name")),
        "source_type": (text(created.get("digitalSourceType")) or "").rpartition("/")[2] or None,
        "provider": text(agent.get("name")),
        "model": text(agent.get("version")),
        "made_at": text(created.get("when")),
    }


def text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None


def said(verdict: Any, **values: Any) -> Verification:
    return Verification(verdict=verdict, explanation=EXPLANATIONS[verdict], **values)
