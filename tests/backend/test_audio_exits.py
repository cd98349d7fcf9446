"""Each way out of the service for synthetic audio has its mark. A new way out fails here until it is known.

Speech is made by `synthesize` of a provider. It leaves in an answer, or by way of a bucket that clients read.
"""

import ast
import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from litestar import Response
from litestar.routes import HTTPRoute
from msgspec import Struct

from backend.app.queues import ALL_QUEUES
from backend.app.service import create_app
from backend.settings import load_settings
from scripts.migrations import ROOT
from tests.project.test_docs import SETTINGS

# Who may name what makes speech: the providers themselves, the one function that marks, and who calls it.
CANARIES = "backend/lifecycle/canaries.py"
MAKES_SPEECH = {
    "synthesize": "backend/lifecycle/synthesis/speaking.py",
    "speak": "backend/lifecycle/synthesis/speaking.py",
}
SPEAKS_MARKED = {
    "backend/lifecycle/preview.py",
    "backend/lifecycle/speech_jobs.py",
    "backend/domains/speech/routes.py",
}
# Answers that are no JSON of a struct. Each is marked, or no audio.
OTHER_ANSWERS = {
    "POST /api/generate": "marked",
    "GET /v1/provenance/{digest}": "a manifest",
    "GET /metrics": "text",
    "GET /v1/voice-clone-attempts/{attempt_id}/events": "text",
}
# What Storage gets, and who puts it there.
STORED = {
    ("backend/domains/anchors/publishing.py", "ANCHOR_BUCKET"): "a signature",
    ("backend/domains/employees/employee_files.py", "EMPLOYEE_FILE_BUCKET"): "JSON",
    ("backend/lifecycle/preview.py", "PREVIEW_BUCKET"): "marked",
    ("backend/lifecycle/speech_jobs.py", "SPEECH_BUCKET"): "marked",
    ("backend/domains/samples/preparation.py", "bucket"): "what a person recorded",
    ("backend/storage/client.py", "self._bucket"): "JSON",
}
# What is handed out as a signed address.
SIGNED = {
    ("backend/domains/reflections/routes.py", "PREVIEW_BUCKET"): "marked",
    ("backend/domains/employees/voice_routes.py", "PREVIEW_BUCKET"): "marked",
    ("backend/domains/speech/jobs.py", "SPEECH_BUCKET"): "marked",
    ("backend/storage/samples.py", "SAMPLE_BUCKET"): "what a person recorded, to a provider",
}
BUCKETS = {
    "voice-previews": "marked",
    "speeches": "marked",
    "voice-samples": "what a person recorded",
    "deep-fakes": "JSON",
    "recordings": "what a person recorded",
    "local-voices": "JSON",
    "reference-voices": "JSON",
    "consent-anchors": "a signature",
}
# The steps of queues that speak; the others store no audio that was synthesized.
SPEAKING_QUEUES = {"voice_preview", "speech_jobs"}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Each call in the sources: where it is, and the name of what it calls."""
    for folder in ("backend", "queue_consumers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = node.func
                    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                    yield str(path.relative_to(ROOT)), name, node


def test_speech_is_made_in_one_place_which_marks_it() -> None:
    made = {
        (name, where)
        for where, name, _ in calls()
        if name in MAKES_SPEECH and not where.startswith("backend/providers/")
    }
    assert made == {*MAKES_SPEECH.items(), ("synthesize", CANARIES)}
    assert {where for where, name, _ in calls() if name == "speak_marked"} == SPEAKS_MARKED


def test_what_a_canary_says_is_thrown_away() -> None:
    """It has no mark, because nobody hears it."""
    thrown_away = [
        statement.value.value
        for statement in ast.walk(ast.parse((ROOT / CANARIES).read_text()))
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Await)
    ]
    (spoken,) = [node for where, name, node in calls() if (name, where) == ("synthesize", CANARIES)]
    assert ast.dump(spoken) in {ast.dump(each) for each in thrown_away}


def test_a_manifest_beside_its_audio_is_kept_before_it_leaves() -> None:
    """Where speech leaves in a format that a caller chose; elsewhere it is a WAV, which holds its mark."""
    choosing = {where for where, name, node in calls() if name == "speak_marked" and len(node.args) > 3}
    assert choosing == {where for where, name, _ in calls() if name == "keep_manifest"}


def test_every_object_that_is_stored_is_known_to_be_marked_or_no_speech() -> None:
    stored = {
        (where, ast.unparse(node.args[0]))
        for where, name, node in calls()
        if name == "upload" and "storage" in ast.unparse(node.func)
    }
    assert stored == set(STORED)


def test_every_signed_address_is_of_something_marked_or_no_speech() -> None:
    signed = {
        (where, ast.unparse(node.args[0]))
        for where, name, node in calls()
        if name == "signed_url" and "storage" in ast.unparse(node.func)
    }
    assert signed == set(SIGNED)


def test_every_bucket_is_known_to_hold_marked_audio_or_no_speech() -> None:
    created = (ROOT / "supabase/migrations/20261122002498_buckets.sql").read_text()
    declared = re.findall(r"^\s*\('([a-z-]+)',", created, re.MULTILINE)
    assert set(declared) == set(BUCKETS)
    assert {bucket for (_, bucket), kind in SIGNED.items() if kind == "marked"} == {
        "PREVIEW_BUCKET",
        "SPEECH_BUCKET",
    }


def test_every_queue_whose_step_speaks_is_known() -> None:
    speaking = {
        queue.name
        for queue in ALL_QUEUES
        if queue.step and f"{queue.step.__module__.replace('.', '/')}.py" in SPEAKS_MARKED
    }
    assert speaking == SPEAKING_QUEUES


def test_every_answer_is_json_or_known_to_be_marked() -> None:
    assert {each for each, kind in answers() if not is_json(kind)} == set(OTHER_ANSWERS)


def answers() -> Iterator[tuple[str, Any]]:
    """Each route, and the type of its answer."""
    for route in create_app(load_settings(SETTINGS)).routes:
        if isinstance(route, HTTPRoute) and not route.path_format.startswith("/schema"):
            for method in route.methods - {"OPTIONS", "HEAD"}:
                handler = route.route_handler_map[method][0]
                yield f"{method} {route.path_format}", handler.parsed_fn_signature.return_type.annotation


def is_json(kind: Any) -> bool:
    """No answer, or one of structs, lists and dicts of them."""
    if get_origin(kind) is Response or get_origin(kind) in (list, Union, UnionType):
        return all(map(is_json, get_args(kind)))
    kind = get_origin(kind) or kind
    return kind in (None, NoneType) or (isinstance(kind, type) and issubclass(kind, Struct | dict))
