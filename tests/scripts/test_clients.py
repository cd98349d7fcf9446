"""The official clients work on the local stack as they come: supabase for Python, supabase-js."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import msgspec
import psycopg
import pytest
from postgrest.exceptions import APIError
from storage3._async.file_api import AsyncBucketProxy
from storage3.exceptions import StorageApiError
from supabase_auth.errors import AuthApiError

from backend.settings.supabase import SupabaseSettings
from backend.storage.client import Storage
from backend.web.http_client import HttpClient
from scripts.local.supabase.auth_and_data import node
from scripts.local.supabase.stack import Stack
from supabase import AsyncClientOptions, Client, ClientOptions, acreate_client, create_client
from tests.clusters import Database

SOUND = bytes(range(200)) * 2
# The client itself passes what its parts call deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*' parameter is deprecated")


Connect = Callable[[str], Client]


@pytest.fixture
def connect(stack: Stack) -> Iterator[Connect]:
    """A client with this key; the shared connections are closed at the end."""
    with httpx.Client(trust_env=False) as shared:
        yield lambda key: create_client(stack.supabase_url, key, ClientOptions(httpx_client=shared))


@pytest.fixture
def service(connect: Connect, stack: Stack) -> Client:
    return connect(stack.secret_key)


@pytest.fixture
def client(connect: Connect, stack: Stack) -> Client:
    return connect(stack.publishable_key)


def sign_up(client: Client) -> str:
    """The new user's id."""
    answer = client.auth.sign_up({"email": f"{uuid4()}@example.com", "password": uuid4().hex})
    assert answer.user is not None
    return answer.user.id


def insert_reflection(client: Client) -> dict[str, Any]:
    rows: Any = client.table("reflections").insert({"name": "Ada"}).execute().data
    return rows[0]


def test_people_sign_up_sign_in_and_refresh(client: Client) -> None:
    credentials = {"email": f"{uuid4()}@example.com", "password": uuid4().hex}
    made = client.auth.sign_up({"email": credentials["email"], "password": credentials["password"]})
    client.auth.sign_out()
    with pytest.raises(AuthApiError, match="Invalid login credentials"):
        client.auth.sign_in_with_password({"email": credentials["email"], "password": "wrong"})
    client.auth.sign_in_with_password({"email": credentials["email"], "password": credentials["password"]})
    refreshed = client.auth.refresh_session()
    assert made.user is not None
    assert refreshed.user is not None
    assert refreshed.user.id == made.user.id
    user = client.auth.get_user()
    assert user is not None
    assert user.user.created_at.tzinfo is not None


def test_tables_are_read_and_written_under_rls(
    connect: Connect, stack: Stack, client: Client, service: Client
) -> None:
    user = sign_up(client)
    row = insert_reflection(client)
    assert row["user_id"] == user
    client.table("reflections").update({"name": "Eve"}).eq("id", row["id"]).execute()
    assert client.table("reflections").select("name").execute().data == [{"name": "Eve"}]
    stranger = connect(stack.publishable_key)
    sign_up(stranger)
    assert stranger.table("reflections").select("*").execute().data == []
    found = service.table("reflections").select("name").eq("id", row["id"]).execute()
    assert found.data == [{"name": "Eve"}]


def test_a_client_writes_no_column_of_the_lifecycle(client: Client) -> None:
    sign_up(client)
    row = insert_reflection(client)
    with pytest.raises(APIError) as refused:
        client.table("reflections").update({"voice": {"cloneStatus": "ready"}}).eq("id", row["id"]).execute()
    assert refused.value.code == "42501"


def test_a_client_reads_the_columns_of_an_attempt_that_are_not_internal(client: Client) -> None:
    sign_up(client)
    attempts = client.table("voice_clone_attempts")
    assert attempts.select("id, status, runtime_status, preview_status, error_code").execute().data == []
    for columns in ("*", "id, lease_owner", "process_count"):
        with pytest.raises(APIError) as refused:
            attempts.select(columns).execute()
        assert refused.value.code == "42501"


def test_serving_requests_leaves_the_grants_as_the_migrations_made_them(
    stack: Stack, client: Client, database: Database
) -> None:
    """Default privileges would grant everything to anon if the migrations did not revoke it."""
    sign_up(client)
    client.table("reflections").select("*").execute()
    granted = (  # the stack adds Realtime, which is no migration of ours
        "select c.oid::regclass::text, c.relacl::text from pg_class c"
        " where c.relacl is not null and c.relnamespace::regnamespace::text <> 'realtime' order by 1"
    )
    with stack.cluster.connect() as served, psycopg.connect(database.superuser) as untouched:
        assert served.execute(granted).fetchall() == untouched.execute(granted).fetchall()


def test_functions_are_called_by_rpc_in_each_exposed_schema(client: Client, service: Client) -> None:
    sign_up(client)
    row = insert_reflection(client)
    gate: Any = client.rpc("voice_launch_gate", {"reflection_id": row["id"]}).execute().data
    assert gate["launchable"] is False
    metrics: Any = service.schema("operations").rpc("queue_metrics", {}).execute().data
    assert "voice_clone_process" in {entry["queue"] for entry in metrics}
    with pytest.raises(APIError) as refused:
        client.schema("operations").rpc("queue_metrics", {}).execute()
    assert refused.value.code == "42501"
    with pytest.raises(APIError) as unknown:
        service.schema("voice_clone").rpc("queue_metrics", {}).execute()
    assert unknown.value.code == "PGRST106"


async def test_samples_go_up_and_come_down_by_signed_urls(stack: Stack) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        options = AsyncClientOptions(httpx_client=http)
        service = await acreate_client(stack.supabase_url, stack.secret_key, options)
        await take_a_sample_up_and_down(service.storage.from_("voice-samples"), http)


async def take_a_sample_up_and_down(bucket: AsyncBucketProxy, http: httpx.AsyncClient) -> None:
    path = f"{uuid4()}/take.wav"
    upload = await bucket.create_signed_upload_url(path)
    sent = await bucket.upload_to_signed_url(path, upload["token"], SOUND, {"content-type": "audio/wav"})
    assert sent.path == path
    with pytest.raises(StorageApiError, match="The resource already exists"):
        await bucket.upload_to_signed_url(path, upload["token"], SOUND, {"content-type": "audio/wav"})
    signed = await bucket.create_signed_url(path, 60)
    part = await http.get(signed["signedURL"] or "", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, SOUND[10:20])
    assert part.headers["content-range"] == "bytes 10-19/400"
    assert (await bucket.info(path))["size"] == 400
    assert [entry["name"] for entry in await bucket.list(path.split("/")[0])] == ["take.wav"]
    assert await bucket.download(path) == SOUND
    assert [row["name"] for row in await bucket.remove([path])] == [path]
    assert not await bucket.exists(path)
    with pytest.raises(StorageApiError, match="Object not found"):
        await bucket.create_signed_url(path, 60)


def test_direct_uploads_and_many_signatures(service: Client) -> None:
    bucket = service.storage.from_("voice-samples")
    path = f"{uuid4()}/take.wav"
    bucket.upload(path, SOUND, {"content-type": "audio/wav"})
    bucket.update(path, SOUND[:100], {"content-type": "audio/wav"})
    assert bucket.download(path) == SOUND[:100]
    signed = bucket.create_signed_urls([path, "absent.wav"], 60)
    assert [bool(entry["error"]) for entry in signed] == [False, True]
    with pytest.raises(StorageApiError, match="mime type text/plain is not supported"):
        bucket.upload(f"{uuid4()}/a.txt", b"text", {"content-type": "text/plain"})


async def test_supabase_js_works_unchanged(stack: Stack) -> None:
    script = Path(__file__).parent / "supabase_js.mjs"
    process = await asyncio.create_subprocess_exec(
        str(node()),
        str(script),
        stack.supabase_url,
        stack.publishable_key,
        stack.secret_key,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_an_upload_token_signed_by_the_service_opens_storage(stack: Stack) -> None:
    settings = SupabaseSettings(
        url=stack.supabase_url, secret_key=stack.secret_key, jwt_secret=stack.secrets.jwt_secret
    )
    async with HttpClient() as client, httpx.AsyncClient(trust_env=False) as http:
        storage = Storage(settings, client)
        first, second = (f"{uuid4()}/take one.wav" for _ in (1, 2))
        own = await storage.create_signed_upload_url("voice-samples", first)
        ours = storage.sign_upload_here("voice-samples", second)
        assert ours is not None
        signed = [own, ours]
        kinds = [
            {**jwt.decode(each.token, options={"verify_signature": False}), "url": "", "iat": 0, "exp": 0}
            for each in signed
        ]
        assert kinds[0] == kinds[1], "the second was signed by the service, and is what Storage signs"
        for each in signed:
            answer = await http.put(each.url, content=b"RIFF", headers={"content-type": "audio/wav"})
            assert answer.status_code == 200, answer.text
        elsewhere = signed[1].url.replace("take%20one", "take%20two")
        assert (await http.put(elsewhere, content=b"RIFF")).status_code == 400


async def test_supabase_js_receives_the_transitions_of_its_user_only(stack: Stack) -> None:
    """tests/scripts/realtime.mjs: private channels, a stranger's topic, a broadcast of each transition."""
    script = Path(__file__).with_name("realtime.mjs")
    with psycopg.connect(stack.cluster.dsn("postgres"), autocommit=True) as connection:
        running = await asyncio.create_subprocess_exec(
            *(node(), str(script), stack.supabase_url, stack.publishable_key),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert running.stdin is not None
        assert running.stdout is not None
        async with asyncio.timeout(60):
            user = (await running.stdout.readline()).decode().strip()  # once both are subscribed, or refused
            with connection.cursor() as cursor:
                cursor.execute(
                    "select id from voice_clone.sign_consent(%s, 'voice_clone', 'en', 'self', null, 1)",
                    [user],
                )
                (consent,) = cursor.fetchone() or (None,)
                cursor.execute(
                    "select * from voice_clone.open_attempt"
                    "(%s, %s, %s, null, 'local', '', %s, 'audio/wav', 1000, true)",
                    [uuid4(), user, consent, f"{user}/{uuid4()}/sample.wav"],
                )
            received = msgspec.json.decode(await running.stdout.read())
            assert await running.wait() == 0
    assert received["events"] == ["opened"]
    assert received["changes"]["status"] == "awaiting_upload"
