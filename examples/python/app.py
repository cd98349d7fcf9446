"""Clone a voice from a file, follow the clone, and let it speak. See README.md."""

import asyncio
import json
import mimetypes
import os
import sys
from pathlib import Path
from uuid import UUID

import httpx
from likeness_client import AuthenticatedClient
from likeness_client.api.clone import finalize_upload, open_upload
from likeness_client.api.consents import list_statements, sign_consent
from likeness_client.api.reflections import (
    complete_preview,
    get_launch_gate,
    get_reflection_voice,
    start_session,
)
from likeness_client.api.speech import generate_speech
from likeness_client.models import (
    FinalizeUpload,
    NewConsent,
    NewSpeech,
    NewUpload,
    Problem,
)

from supabase import AsyncClient, acreate_client

SERVICE = os.environ["LIKENESS_URL"]


async def main(sample: bytes, content_type: str) -> bytes:
    supabase = await acreate_client(os.environ["SUPABASE_URL"], os.environ["SUPABASE_PUBLISHABLE_KEY"])
    session = (
        await supabase.auth.sign_in_with_password(
            {"email": os.environ["EMAIL"], "password": os.environ["PASSWORD"]}
        )
    ).session
    made = await supabase.table("reflections").insert({"name": "Ada"}).execute()
    reflection = UUID(made.data[0]["id"])
    async with AuthenticatedClient(base_url=SERVICE, token=session.access_token) as service:
        await clone(supabase, service, reflection, sample, content_type)
        return await speak(service, reflection)


async def clone(
    supabase: AsyncClient, service: AuthenticatedClient, reflection: UUID, sample: bytes, content_type: str
) -> None:
    """Sign, upload, finalize; then follow the attempt until its preview can be heard."""
    statement = next(s for s in answer(await list_statements.asyncio(client=service)) if s.locale == "en")
    print(statement.body)
    consent = answer(await sign_consent.asyncio(client=service, body=NewConsent(version=statement.version)))
    new = NewUpload(
        consent_id=consent.consent_id,
        content_type=content_type,
        bytes_=len(sample),
        reflection_id=reflection,
    )
    upload = answer(await open_upload.asyncio(client=service, body=new))
    bucket = supabase.storage.from_("voice-samples")
    await bucket.upload_to_signed_url(upload.path, upload.token, sample, {"content-type": content_type})
    details = FinalizeUpload(voice_id=upload.voice_id, name="My voice", language="en")
    attempt = answer(await finalize_upload.asyncio(client=service, body=details))
    print(f"attempt {attempt.attempt_id}: {attempt.status.value}")
    await follow(service, attempt.attempt_id)


async def follow(service: AuthenticatedClient, attempt: UUID) -> None:
    """Server-sent events, from the first one, until the preview is rendered."""
    http = service.get_async_httpx_client()
    async with http.stream("GET", f"/v1/voice-clone-attempts/{attempt}/events", timeout=120) as events:
        async for line in events.aiter_lines():
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                print(*event["events"])
                if "failed" in (event["changes"].get("status"), event["changes"].get("preview_status")):
                    sys.exit(event["changes"].get("error_message") or "The clone failed.")
                if event["changes"].get("preview_status") == "rendered":
                    return


async def speak(service: AuthenticatedClient, reflection: UUID) -> bytes:
    """The preview is heard, the gate is open, a session starts, and the voice speaks."""
    shown = answer(await get_reflection_voice.asyncio(reflection, client=service))
    async with httpx.AsyncClient() as http:
        clip = await http.get(shown.preview_url)
    print(f"preview: {len(clip.content)} bytes")
    answer(await complete_preview.asyncio(reflection, client=service))
    gate = answer(await get_launch_gate.asyncio(reflection, client=service))
    if not gate.launchable:
        sys.exit(f"not launchable: {', '.join(blocker.value for blocker in gate.blockers)}")
    session = answer(await start_session.asyncio(reflection, client=service))
    spoken = await generate_speech.asyncio(
        client=service, body=NewSpeech(voice_id=session.voice_id, text="Hello. This is my new voice.")
    )
    return answer(spoken).payload.read()


def answer(found):
    """The answer, or an end with the problem."""
    if isinstance(found, Problem):
        sys.exit(f"{found.code.value}: {found.detail}")
    return found


if __name__ == "__main__":
    recording, speech = Path(sys.argv[1]), Path(sys.argv[2])
    kind = mimetypes.guess_type(recording)[0] or "audio/wav"
    speech.write_bytes(asyncio.run(main(recording.read_bytes(), kind)))
    print(f"{speech}: {speech.stat().st_size} bytes")
