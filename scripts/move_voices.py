"""Moving the voices of a provider: one in a transaction, so that a run may be interrupted and repeated."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
from msgspec import Struct
from postgrest import APIError

from backend.audio.inspection_frames import Inspection
from backend.domains.samples.preparation import require_movable
from backend.errors import InvalidInput
from backend.lifecycle.slots import place
from backend.providers.base import VoiceProvider
from backend.providers.places import is_here
from scripts.operations import Operations, Row, refusal

PAGE = 50
MOVED = {"already_moved": "moved", "move_in_progress": "moving"}
# A limit of the provider or of the user, or other work that holds the rows: the next run may succeed.
LATER = {"VC008": "too_many_unfinished", "55P03": "busy", "40P01": "busy", "40001": "busy", "57014": "busy"}
FULL = "provider_full"


class MovedVoice(Struct, frozen=True, kw_only=True):
    """A voice at the old provider, and its outcome; `code` is why it was refused, or waits."""

    voice_id: UUID
    user_id: UUID | None  # null of the voice of an employee
    employee_id: UUID | None
    region: str
    outcome: str
    code: str | None = None
    attempt_id: UUID | None = None
    moved_to: UUID | None = None


class Candidate(Struct, frozen=True, kw_only=True):
    voice_id: UUID
    user_id: UUID | None
    employee_id: UUID | None
    region: str
    account: str
    language: str
    measures: dict[str, Any] | None
    standing: str
    moved_to: UUID | None
    error_code: str | None  # of its latest move


class Moving(Struct, frozen=True, kw_only=True):
    """What a run does. Without `apply` it says what it would do."""

    source: str
    target: VoiceProvider
    providers: Mapping[str, VoiceProvider]
    preview_required: bool
    apply: bool
    switch_now: bool
    limit: int


def move_voices(project: Operations, run: Moving) -> Iterator[list[MovedVoice]]:
    """Page by page. After `limit` voices, or where the provider is full, the others wait for the next run."""
    after: UUID | None = None
    started, is_full = 0, False
    to_move = {"from": run.source, **place(run.target), "limit": PAGE}
    while rows := project.rows("voices_to_move", **to_move, after=after and str(after)):
        page = msgspec.convert(rows, list[Candidate])
        done: list[MovedVoice] = []
        for voice in page:
            wait = FULL if is_full else "limit" if started >= run.limit else None
            done.append(one(project, run, voice, wait))
            started += done[-1].outcome in ("queued", "switched")
            is_full = is_full or done[-1].code == FULL
        yield done
        after = page[-1].voice_id


def one(project: Operations, run: Moving, voice: Candidate, wait: str | None) -> MovedVoice:
    switch = run.switch_now or not is_here(run.providers, run.source, voice.region, voice.account)
    stands = standing(run, voice, switch=switch)
    if stands is not None:
        return stands
    if wait is not None:
        return outcome(voice, "later", code=wait)
    try:
        made = move(project, run, voice, switch=switch)
    except (psycopg.Error, APIError) as error:
        state, detail = refusal(error)
        code = code_of(state, detail)
        if state in LATER or code == FULL:
            return outcome(voice, "later", code=code)
        if not state.startswith("VC"):
            raise
        return outcome(voice, MOVED.get(code, "refused"), code=code)
    if voice.standing == "ready_beside":
        return outcome(voice, "switched", attempt_id=made["id"])
    return outcome(voice, "queued", attempt_id=made["id"], moved_to=made["voice_id"])


def standing(run: Moving, voice: Candidate, *, switch: bool) -> MovedVoice | None:
    """The outcome of a voice that this run does not move, or null."""
    if voice.standing in MOVED:
        return outcome(voice, MOVED[voice.standing])
    if voice.standing == "ready_beside" and not switch:
        return outcome(voice, "beside")
    if voice.standing not in ("movable", "ready_beside"):
        return outcome(voice, "refused", code=voice.standing)
    try:
        measures = None if voice.measures is None else msgspec.convert(voice.measures, Inspection)
        require_movable(voice.language, measures, run.target.limits)
    except InvalidInput as error:
        return outcome(voice, "refused", code=error.code)
    if run.apply:
        return None
    return outcome(
        voice, "switchable" if voice.standing == "ready_beside" else "movable", code=voice.error_code
    )


def outcome(voice: Candidate, name: str, **more: Any) -> MovedVoice:
    told = {name: getattr(voice, name) for name in ("voice_id", "user_id", "employee_id", "region")}
    return MovedVoice(**told, outcome=name, **{"moved_to": voice.moved_to, **more})


def move(project: Operations, run: Moving, voice: Candidate, *, switch: bool) -> Row:
    parameters = {
        "attempt": str(uuid4()),
        **place(run.target),
        "switch": switch,
        "preview_required": run.preview_required,
    }
    if voice.employee_id:
        (made,) = project.rows("move_employee_voice", **parameters, employee=str(voice.employee_id))
    else:
        user = voice.user_id and str(voice.user_id)
        (made,) = project.rows("move_voice", **parameters, voice=str(voice.voice_id), user=user)
    return made


def code_of(state: str, detail: str) -> str:
    """The code in the error's detail, as the service reads it; else by its SQLSTATE."""
    told = msgspec.json.decode(detail) if detail.startswith("{") else {}
    named = {"VC003": "consent_required", "VC004": "not_found", **LATER}
    return str(told.get("code") or named.get(state, state))
