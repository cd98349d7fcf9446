"""The whole path of an organization: invitation, consent, recording, clone, row, speech, revocation."""

import asyncio
import io
import secrets
import wave
from typing import Any

import httpx
import pytest

from backend.providers.wav import pcm_wav
from scripts.local.main_job import Client, DemoError
from scripts.local.product import TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN
from tests.end_to_end.conftest import Product, person

SILENT_SECONDS = 2.0
LONG = (
    "This call is recorded. I work in the workshop behind the harbour,"
    " and on most days I mend the engines of small boats before the tide comes in."
)


async def hired(admin: Client, product: Product) -> tuple[str, str]:
    """An organization and an employee, made as supabase-js would."""
    await admin.gateway("POST", "/rest/v1/organizations", json={"name": "Acme"})
    (organization,) = (await admin.gateway("GET", "/rest/v1/organizations?select=id")).json()
    answer = await admin.gateway(
        "POST",
        "/rest/v1/employees",
        json={"org_id": organization["id"], "full_name": "Bo Lind", "phone": "+15550100"},
        headers={"prefer": "return=representation"},
    )
    return organization["id"], answer.json()[0]["id"]


async def as_server(product: Product, path: str, **request: Any) -> None:
    """A POST of the application's server, with the secret key."""
    key = product.stack.secret_key
    headers = {"apikey": key, "authorization": f"Bearer {key}", **request.pop("headers", {})}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        done = await http.post(product.stack.supabase_url + path, headers=headers, **request)
        assert done.is_success, done.text


async def record(product: Product, employee: str, recording: bytes) -> None:
    path = f"/storage/v1/object/recordings/{employee}/{employee}.wav"
    headers = {"content-type": "audio/wav", "x-upsert": "true"}
    await as_server(product, path, content=recording, headers=headers)


async def consented(product: Product, admin: Client, employee: str) -> dict[str, str]:
    """Invited by the admin, and signed by whoever has the link: the header that the link stands for."""
    invited = await admin.service("POST", f"/v1/employees/{employee}/consent-invitations", json={})
    link = {"Invitation-Token": invited.json()["token"]}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as anyone:
        consent = f"{product.stack.api_url}/v1/employees/{employee}/consent"
        assert (await anyone.post(consent, json={"version": 1}, headers=link)).status_code == 201
    return link


def with_silence(wav: bytes, seconds: float) -> bytes:
    """Before the sound: what cleaning cuts off."""
    with wave.open(io.BytesIO(wav)) as file:
        pcm, rate = file.readframes(file.getnframes()), file.getframerate()
    return pcm_wav(bytes(2 * round(seconds * rate)) + pcm, rate)


def seconds_of(wav: bytes) -> float:
    with wave.open(io.BytesIO(wav)) as file:
        return file.getnframes() / file.getframerate()


async def refused(call: Any) -> str:
    with pytest.raises(DemoError) as raised:
        await call
    return str(raised.value)


async def test_an_employee_is_cloned_with_their_consent_and_gone_without_it(
    product: Product, prepared: bytes
) -> None:
    await product.start("service")
    await product.start("consumers")
    async with person(product) as ada, httpx.AsyncClient(timeout=60, trust_env=False) as anyone:
        admin = ada.client
        _, employee = await hired(admin, product)
        clone, voice = f"/api/employees/{employee}/clone-voice", f"/v1/employees/{employee}/voice"
        assert "consent_required" in await refused(admin.service("POST", clone))
        link = await consented(product, admin, employee)
        consent = f"{product.stack.api_url}/v1/employees/{employee}/consent"
        assert "recording_not_stored" in await refused(admin.service("POST", clone))
        silent_start = with_silence(prepared, SILENT_SECONDS)
        await record(product, employee, silent_start)
        attempt = (await admin.service("POST", clone)).json()["attempt_id"]
        row = await product.until(
            "select e.*, a.preview_status from public.employees e join public.voice_clone_attempts a"
            " on a.employee_id = e.id and a.is_active"
            " where e.id = %s and a.preview_status = 'rendered' and e.voice ->> 'previewStatus' = 'rendered'",
            employee,
        )
        made = product.providers.voices("elevenlabs")
        assert [(each["voice_id"], each["removes_noise"]) for each in made] == [(row["voice_id"], True)]
        assert made[0]["sample_seconds"] == pytest.approx(seconds_of(silent_start), abs=0.01), (
            "what removes the noise itself gets the recording as it was made"
        )
        said = f"{made[0]['label']} {made[0]['description']}"
        assert not {"Bo", "Lind", "5550100", employee} & set(said.split()), "nothing of the person"
        file = (
            "select from storage.objects where bucket_id = 'deep-fakes' and name = %s || '/' || %s || '.json'"
        )
        await product.until(file, employee, employee)
        await admin.service("POST", f"{voice}/preview/complete")
        shown = (await admin.service("GET", voice)).json()
        assert shown["gate"] == {"launchable": True, "blockers": []}
        assert shown["voice"]["attemptId"] == attempt
        assert (await anyone.get(shown["preview_url"])).status_code == 200
        attempts = (await admin.service("GET", f"/v1/employees/{employee}/voice-clone-attempts")).json()
        assert [(each["attempt_id"], each["status"]) for each in attempts] == [(attempt, "ready")]
        speech = {"voice_id": str(product.attempt(attempt)["voice_id"]), "text": "Please call me back."}
        spoken = await admin.service("POST", "/api/generate", json=speech)
        assert spoken.headers["content-type"].startswith("audio/")
        async with person(product) as stranger:
            for call in (
                stranger.client.service("GET", voice),
                stranger.client.service("POST", clone),
                stranger.client.service("POST", "/api/generate", json=speech),
            ):
                assert "404" in await refused(call)
        assert (await anyone.delete(consent, headers=link)).status_code == 200
        assert "404" in await refused(admin.service("POST", "/api/generate", json=speech))
        await product.until(
            "select from public.employees where id = %s and voice_id is null"
            " and voice ->> 'cloneStatus' = 'none'", employee,
        )  # fmt: skip
        await product.until(
            "select from voice_clone.enrollments where attempt_id = %s and status = 'removed'", attempt
        )
        assert product.providers.voices("elevenlabs") == []
        await product.until(
            "select where not exists (select from storage.objects"
            " where bucket_id in ('recordings', 'deep-fakes') and name like %s || '/%%')", employee,
        )  # fmt: skip


async def test_a_recorded_call_becomes_a_voice_that_speaks_without_a_request(product: Product) -> None:
    """The call's callback, the fetch, the object, its trigger and the clone: nobody asks for any of them."""
    await product.start("service")
    await product.start("consumers")
    call = f"CA{secrets.token_hex(16)}"
    async with person(product) as ada:
        admin = ada.client
        organization, employee = await hired(admin, product)
        await consented(product, admin, employee)
        wanted = {"clone_recordings": True, "recording_language": "de"}
        await admin.gateway("PATCH", f"/rest/v1/organizations?id=eq.{organization}", json=wanted)
        await as_server(product, "/rest/v1/calls", json={"employee_id": employee, "call_sid": call})
        sent = await asyncio.to_thread(
            product.providers.send_recording,
            f"{product.stack.api_url}/twilio/voice/recording",
            call_sid=call,
            account_sid=TWILIO_ACCOUNT_SID,
            auth_token=TWILIO_AUTH_TOKEN,
            text=LONG,
        )
        assert sent["statuses"] == [204]
        attempt = await product.until(
            "select id, language, voice_id, source from public.voice_clone_attempts"
            " where employee_id = %s and is_active and preview_status = 'rendered'",
            employee,
            seconds=60,
        )
        assert (attempt["language"], attempt["source"]) == ("de", "recording")
        voice = f"/v1/employees/{employee}/voice"
        await admin.service("POST", f"{voice}/preview/complete")
        shown = (await admin.service("GET", voice)).json()
        assert shown["gate"] == {"launchable": True, "blockers": []}
        assert shown["recording_clone"]["status"] == "queued"
        speech = {"voice_id": str(attempt["voice_id"]), "text": "Bitte rufen Sie mich an."}
        spoken = await admin.service("POST", "/api/generate", json=speech)
        assert spoken.headers["content-type"].startswith("audio/")
