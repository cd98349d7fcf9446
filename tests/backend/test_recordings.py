"""Recordings over HTTP: signed callbacks, the fetch from Twilio's media host, assignment by an admin."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID, uuid4

import httpx
import jwt
import pytest

from backend.domains.recordings.callbacks import started_at
from backend.domains.recordings.signatures import Form, is_signed, sign
from tests.backend.conftest import Served, served
from tests.backend.storages import JWT_SECRET, SECRET_KEY, embedded_storage
from tests.backend.test_draining import drain
from tests.backend.test_guarded_http import recorded
from tests.database.test_recordings import call_of, employee, sid
from tests.fixture import Fixture
from tests.simulators import Simulator

ACCOUNT = f"AC{1:032x}"
TOKEN = f"sim-{7:032x}"
PUBLIC = "https://voice.example.com/api"
PATH = "/twilio/voice/recording"
BUCKET = "recordings"


# As a worker leaves its recording that dies between the upload and the end of its step.
DIED: LiteralString = """
update voice_clone.recordings set status = 'processing', lease_owner = 'dead',
  leased_at = now() - interval '1 h', lease_expires_at = now(), stored_at = null, bytes = null,
  sweep_at = now()
"""


class World:
    """The service with Twilio set up, its Storage and its database."""

    def __init__(self, given: Fixture, providers: Simulator, service: Served, storage: str) -> None:
        self.given, self.providers, self.service, self.storage = given, providers, service, storage
        self.url = f"{str(service.http.base_url).rstrip('/')}{PATH}"

    async def callback(self, call: str, query: str = "", **changes: Any) -> dict[str, Any]:
        given = {"auth_token": TOKEN, "account_sid": ACCOUNT, "signed_url": f"{PUBLIC}{PATH}{query}"}
        return await asyncio.to_thread(
            self.providers.send_recording, f"{self.url}{query}", call_sid=call, **{**given, **changes}
        )

    def recording(self, sid: str) -> dict[str, Any]:
        return self.given.truth("select * from voice_clone.recordings where recording_sid = %s", sid)

    def count(self) -> int:
        return self.given.truth("select count(*) from voice_clone.recordings")["count"]

    async def stored(self, of: UUID) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as http:
            key = {"apikey": SECRET_KEY, "authorization": f"Bearer {SECRET_KEY}"}
            return await http.get(f"{self.storage}/storage/v1/object/{BUCKET}/{of}/{of}.wav", headers=key)

    async def put(self, of: UUID, content: bytes) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            key = {"apikey": SECRET_KEY, "authorization": f"Bearer {SECRET_KEY}", "x-upsert": "true"}
            url = f"{self.storage}/storage/v1/object/{BUCKET}/{of}/{of}.wav"
            done = await http.post(url, content=content, headers=key | {"content-type": "audio/wav"})
            assert done.is_success

    async def fetch(self) -> None:
        await drain(self.service, "recordings")

    async def fetch_again(self) -> None:
        """As the sweep does when the wait of a recording is over."""
        self.given.superuser.execute(
            "update voice_clone.recordings set not_before = now(), sweep_at = now() where status = 'pending'"
        )
        self.given.one("select count(*) from voice_clone.sweep(100)")
        await self.fetch()

    def ask(self, user: UUID, method: str, path: str, **body: Any) -> Any:
        claims = {
            "sub": str(user), "role": "authenticated", "aud": "authenticated",
            "iss": f"{self.storage}/auth/v1", "exp": int(time.time()) + 600,
        }  # fmt: skip
        token = {"authorization": f"Bearer {jwt.encode(claims, JWT_SECRET)}"}
        return self.service.http.request(method, path, headers=token, **body)


@asynccontextmanager
async def world_of(given: Fixture, providers: Simulator, logs: Path, **settings: str) -> AsyncIterator[World]:
    providers.reset()
    known = {
        "PUBLIC_URL": PUBLIC,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_API_URL": f"{providers.url}/twilio",
        "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        **settings,
    }
    async with (
        embedded_storage(logs / "storage", given.database.dsn("supabase_storage_admin")) as storage,
        served(logs, given.database.service, storage.url, **known) as service,
    ):
        yield World(given, providers, service, storage.url)


@pytest.fixture
async def world(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(given, providers, tmp_path) as made:
        yield made


async def test_a_recording_is_fetched_once_and_stored_as_its_employees(world: World) -> None:
    of, organization = employee(world.given)
    sent = await world.callback(call_of(world.given, of), times=2)
    assert sent["statuses"] == [204, 204]
    assert world.recording(sent["recording_sid"])["status"] == "pending"
    await world.fetch()
    found = world.recording(sent["recording_sid"])
    audio = await world.stored(of)
    assert (found["status"], found["employee_id"], found["org_id"]) == ("stored", of, organization)
    assert (audio.headers["content-type"], audio.content[:4]) == ("audio/wav", b"RIFF")
    assert found["bytes"] == len(audio.content)
    assert (await world.callback(found["call_sid"], recording_sid=found["recording_sid"]))["statuses"] == [
        204
    ]
    await world.fetch()
    assert len(world.providers.calls("twilio", "recording")) == 1
    assert TOKEN not in world.service.child.output()


async def test_what_a_worker_stored_before_it_died_is_not_stored_again(world: World) -> None:
    """Another version of the object would be another recording to clone."""
    of, _ = employee(world.given)
    version = "select version from storage.objects where bucket_id = %s and name = %s"
    sent = await world.callback(call_of(world.given, of))
    await world.fetch()
    before = world.given.truth(version, BUCKET, f"{of}/{of}.wav")
    with world.given.superuser.transaction():
        world.given.superuser.execute("set local session_replication_role = replica")
        world.given.superuser.execute(DIED)
    await world.fetch_again()
    found = world.recording(sent["recording_sid"])
    assert (found["status"], found["lease_epoch"]) == ("stored", 2)
    assert world.given.truth(version, BUCKET, f"{of}/{of}.wav") == before
    with world.given.superuser.transaction():
        world.given.superuser.execute("set local session_replication_role = replica")
        world.given.superuser.execute(DIED)
    await world.put(of, b"RIFF" + bytes(len((await world.stored(of)).content) - 4))
    changed = world.given.truth(version, BUCKET, f"{of}/{of}.wav")
    await world.fetch_again()
    assert world.given.truth(version, BUCKET, f"{of}/{of}.wav") not in (before, changed)


async def test_a_late_callback_of_an_older_recording_does_not_replace_the_newer_one(world: World) -> None:
    of, _ = employee(world.given)
    call = call_of(world.given, of)
    newer = await world.callback(call, start_time="Fri, 20 Nov 2026 10:00:00 +0000", text="The newer call.")
    await world.fetch()
    audio = (await world.stored(of)).content
    older = await world.callback(call, start_time="Fri, 20 Nov 2026 09:00:00 +0000", text="The older one.")
    await world.fetch()
    assert world.recording(older["recording_sid"])["status"] == "superseded"
    assert world.recording(newer["recording_sid"])["status"] == "stored"
    assert (await world.stored(of)).content == audio
    newest = await world.callback(call, start_time="Fri, 20 Nov 2026 11:00:00 +0000", text="The newest call.")
    await world.fetch()
    assert world.recording(newest["recording_sid"])["status"] == "stored"
    assert (await world.stored(of)).content != audio


async def test_an_unmatched_recording_is_assigned_by_an_admin_of_the_organization_that_the_callback_names(
    world: World,
) -> None:
    admin, stranger = world.given.user(), world.given.user()
    of, organization = employee(world.given, admin)
    sent = await world.callback(sid("CA"), f"?organization_id={organization}")
    await world.fetch()
    assert world.providers.calls("twilio", "recording") == [], "it stays at Twilio"
    for who, count in ((admin, 1), (stranger, 0)):
        listed = await world.ask(who, "GET", "/api/recordings?status=unmatched")
        assert (listed.status_code, len(listed.json())) == (200, count)
    recording = world.recording(sent["recording_sid"])["id"]
    path, body = f"/api/recordings/{recording}/assign", {"employee_id": str(of)}
    refused = await world.ask(stranger, "POST", path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    assigned = await world.ask(admin, "POST", path, json=body)
    assert (assigned.status_code, assigned.json()) == (202, {"status": "pending"})
    await world.fetch()
    (found,) = (await world.ask(admin, "GET", "/api/recordings?status=stored")).json()
    assert (found["id"], found["employee_id"]) == (str(recording), str(of))
    assert (await world.stored(of)).status_code == 200


async def test_a_recording_that_is_not_there_yet_is_tried_again(world: World) -> None:
    of, _ = employee(world.given)
    sent = await world.callback(call_of(world.given, of), missing=2)
    await world.fetch()
    for tries in (1, 2):
        found = world.recording(sent["recording_sid"])
        assert (found["status"], found["error_code"]) == ("pending", "recording_not_found")
        assert (found["process_count"], found["not_before"] > found["updated_at"]) == (tries, True)
        await world.fetch_again()
    assert world.recording(sent["recording_sid"])["status"] == "stored"


@pytest.mark.parametrize("fault", ["throttled", "unavailable", "internal_error", "wrong_key", "reset"])
async def test_an_outage_of_twilio_uses_up_no_try(world: World, fault: str) -> None:
    of, _ = employee(world.given)
    world.providers.fault("twilio", "recording", fault)
    sent = await world.callback(call_of(world.given, of))
    await world.fetch()
    found = world.recording(sent["recording_sid"])
    assert (found["status"], found["error_code"]) == ("pending", "twilio_unavailable")
    assert (found["process_count"], found["waiting_since"] is not None) == (0, True)
    await world.fetch_again()
    assert world.recording(sent["recording_sid"])["status"] == "stored"


async def test_a_redirect_is_final_and_the_credentials_go_nowhere_else(world: World) -> None:
    of, _ = employee(world.given)
    async with recorded() as elsewhere:
        location = f"http://127.0.0.1:{elsewhere.port}/"
        world.providers.fault("twilio", "recording", "redirect", message=location)
        sent = await world.callback(call_of(world.given, of))
        await world.fetch()
        assert elsewhere.connections == 0
    found = world.recording(sent["recording_sid"])
    assert (found["status"], found["error_code"]) == ("failed", "redirect_refused")
    assert (await world.stored(of)).status_code == 400


async def test_what_is_no_recording_is_refused(world: World) -> None:
    of, _ = employee(world.given)
    for fault, code in (("oversize", "recording_too_large"), ("garbled", "recording_unreadable")):
        world.providers.fault("twilio", "recording", fault)
        sent = await world.callback(call_of(world.given, of))
        await world.fetch()
        found = world.recording(sent["recording_sid"])
        assert (found["status"], found["error_code"]) == ("failed", code)
    assert (await world.stored(of)).status_code == 400


@pytest.mark.parametrize(
    ("setting", "value"),
    [("ALLOWED_PRIVATE_NETWORKS", ""), ("TWILIO_API_URL", "https://2130706433"),
     ("TWILIO_API_URL", "https://[::ffff:127.0.0.1]"), ("TWILIO_API_URL", "https://localhost")],
)  # fmt: skip
async def test_no_credentials_leave_for_a_private_address(
    given: Fixture, providers: Simulator, tmp_path: Path, setting: str, value: str
) -> None:
    settings = {"ALLOWED_PRIVATE_NETWORKS": "", setting: value}
    async with world_of(given, providers, tmp_path, **settings) as world:
        of, _ = employee(given)
        media = {"media_url": value} if setting == "TWILIO_API_URL" else {}
        sent = await world.callback(call_of(given, of), **media)
        assert sent["statuses"] == [204]
        await world.fetch()
        found = world.recording(sent["recording_sid"])
        assert (found["status"], found["error_code"]) == ("failed", "address_refused")
        assert providers.calls("twilio", "recording") == []


async def test_a_callback_that_is_not_signed_for_this_address_is_refused(world: World) -> None:
    call = sid("CA")
    refused = [
        await world.callback(call, auth_token=f"sim-{8:032x}"),
        await world.callback(call, signed_url=world.url),
        await world.callback(call, signed_url=f"{PUBLIC}{PATH}?organization_id={uuid4()}"),
        await world.callback(call, account_sid=f"AC{2:032x}"),
    ]
    assert [each["statuses"] for each in refused] == [[403]] * 4
    http = world.service.http
    assert (await http.post(PATH, data={"CallSid": call})).status_code == 403
    for signature in (b"", b"x", "é".encode("latin-1")):
        headers = [(b"x-twilio-signature", signature)]
        answer = await http.post(PATH, data={"CallSid": call}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "signature_refused")
    assert world.count() == 0
    assert TOKEN not in world.service.child.output()


async def test_no_forwarded_header_changes_the_address_that_was_signed(world: World) -> None:
    form = {"CallSid": sid("CA")}
    forged = "https://attacker.example.com"
    headers = {
        "x-twilio-signature": sign(TOKEN, f"{forged}{PATH}", [*form.items()]),
        "host": "attacker.example.com",
        "x-forwarded-host": "attacker.example.com",
        "x-forwarded-proto": "https",
        "x-original-url": f"{forged}{PATH}",
    }
    assert (await world.service.http.post(PATH, data=form, headers=headers)).status_code == 403


async def test_a_signed_callback_that_names_another_host_or_account_is_refused(world: World) -> None:
    recording = sid("RE")
    own = f"{world.providers.url}/twilio"
    host, port = own.removeprefix("http://").removesuffix("/twilio").split(":")
    for base in (
        "https://api.twilio.com",
        f"{world.providers.url}.example.com/twilio",
        f"http://media.{host}:{port}/twilio",
        f"http://{host}.:{port}/twilio",
        f"{own}@127.0.0.1",
        f"http://ada:secret@{host}:{port}/twilio",
        f"http://example.com\\@{host}:{port}/twilio",
        f"http://{host}:{int(port) + 1}/twilio",
        f"http://{host}/twilio",
        f"https://{host}:{port}/twilio",
        f"HTTP://{host}:{port}/twilio",
        f"{own}/..",
        f"{own}/%2e%2e",
        *(f"http://{same}:{port}/twilio" for same in ("2130706433", "0x7f000001", "0177.0.0.1", "127.1")),
        f"http://[::ffff:127.0.0.1]:{port}/twilio",
        f"http://[64:ff9b::7f00:1]:{port}/twilio",
        "http://169.254.169.254/latest/meta-data",
        f"http://0.0.0.0:{port}/twilio",
        f"http://localhost:{port}/twilio",
        "file:///etc/passwd?",
        "",
    ):
        sent = await world.callback(sid("CA"), media_url=base)
        assert sent["statuses"] == [422], base
    account = f"{world.providers.url}/twilio/2010-04-01/Accounts/AC{2:032x}/Recordings/{recording}"
    fields = {"RecordingUrl": account}
    assert (await world.callback(sid("CA"), recording_sid=recording, fields=fields))["statuses"] == [422]
    assert world.count() == 0


async def test_a_form_is_bounded_and_read_strictly(world: World) -> None:
    too_large = await world.service.http.post(PATH, data={"a": "a" * 70_000})
    assert (too_large.status_code, too_large.json()["code"]) == (413, "body_too_large")
    for content in (b"a=%ff", b"\xff=a", b"&".join([b"a=b"] * 101)):
        answer = await world.service.http.post(PATH, content=content)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
    for fields in ({"CallSid": "CA1"}, {"RecordingSid": "RE../../x"}, {"RecordingChannels": "x"}):
        assert (await world.callback(sid("CA"), fields=fields))["statuses"] == [422]
    assert world.count() == 0


async def test_a_recording_that_has_not_ended_or_failed_makes_no_row(world: World) -> None:
    for status in ("in-progress", "absent", "failed"):
        assert (await world.callback(sid("CA"), status=status))["statuses"] == [204]
    assert world.count() == 0


async def test_without_twilio_there_is_no_such_route(
    given: Fixture, providers: Simulator, tmp_path: Path
) -> None:
    settings = {"TWILIO_ACCOUNT_SID": "", "TWILIO_AUTH_TOKEN": ""}
    async with world_of(given, providers, tmp_path, **settings) as world:
        answer = await world.service.http.post(PATH, data={"CallSid": "x"})
        assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")


FORM: Form = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
    ("Caller", "+14158675309"),
]
DOCUMENTED = "RSOYDt4T1cUTdK1PDd93/VVr8B8="  # Twilio's own example


def test_the_signature_is_that_of_twilios_own_example() -> None:
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert sign("12345", url, FORM) == DOCUMENTED
    assert is_signed(DOCUMENTED, "12345", url.replace(".com/", ".com:443/"), FORM)
    assert not is_signed(DOCUMENTED, "12345", url.replace(".com/", ".com:8443/"), FORM)
    assert not is_signed(DOCUMENTED, "12345", url, [*FORM, ("A", "b")])
    explicit = sign("12345", url.replace(".com/", ".com:443/"), FORM)
    assert is_signed(explicit, "12345", url, FORM)


def test_a_field_with_several_values_is_signed_with_each_of_them_in_order() -> None:
    form = [("a", "2"), ("b", "x"), ("a", "1"), ("a", "2")]
    assert sign("t", "https://x.test/", form) == sign("t", "https://x.test/a1a2bx", [])


def test_a_time_that_cannot_be_is_left_out() -> None:
    assert started_at("Fri, 20 Nov 2026 09:00:00 +0000") is not None
    for text in (None, "", "yesterday", "Fri, 20 Nov 2999 09:00:00 +0000", "Fri, 20 Nov 1926 09:00:00 +0000"):
        assert started_at(text) is None
