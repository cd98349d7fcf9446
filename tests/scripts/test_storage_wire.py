"""The Storage server responds like the hosted one, request by request and word for word."""

import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest

from scripts.local.supabase.stack import Stack
from tests.scripts.conftest import Person

BUCKET = "voice-samples"
SOUND = bytes(range(200)) * 2
STORAGE = "/storage/v1"

Send = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def send(stack: Stack, http: httpx.AsyncClient) -> Send:
    """A request with the service-role key, unless other headers are given."""

    async def request(method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {stack.secrets.service_role_key}"} | options.pop("headers", {})
        return await http.request(method, f"{STORAGE}{path}", headers=headers, **options)

    return request


@pytest.fixture
async def stored(send: Send) -> str:
    """The name of an existing object."""
    name = f"{uuid4()}/take.wav"
    answer = await send(
        "POST", f"/object/{BUCKET}/{name}", content=SOUND, headers={"content-type": "audio/wav"}
    )
    assert answer.status_code == 200, answer.text
    return name


def refusal(status: str, error: str, message: str, code: str) -> dict[str, str]:
    return {"statusCode": status, "error": error, "message": message, "code": code}


NO_KEY = refusal("404", "not_found", "Object not found", "NoSuchKey")
NO_BUCKET = refusal("404", "Bucket not found", "Bucket not found", "NoSuchBucket")
DUPLICATE = refusal("409", "Duplicate", "The resource already exists", "KeyAlreadyExists")
TOO_LARGE = refusal(
    "413", "Payload too large", "The object exceeded the maximum allowed size", "EntityTooLarge"
)
WRONG_TYPE = refusal("415", "invalid_mime_type", "mime type text/plain is not supported", "InvalidMimeType")
EXPIRED = refusal("400", "InvalidJWT", '"exp" claim timestamp check failed', "InvalidJWT")
OTHER_PATH = refusal("400", "InvalidSignature", "Invalid signature", "InvalidSignature")


def assert_refused(answer: httpx.Response, expected: dict[str, str]) -> None:
    assert (answer.status_code, answer.json()) == (400, expected)


async def sign_upload(send: Send, name: str, **headers: str) -> dict[str, str]:
    answer = await send("POST", f"/object/upload/sign/{BUCKET}/{name}", json={}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def file_part(content: bytes = SOUND, kind: str = "audio/wav") -> dict[str, Any]:
    return {"data": {"cacheControl": "3600"}, "files": {"file": ("take.wav", content, kind)}}


async def test_a_signed_upload_url_names_path_and_lifetime(send: Send, stack: Stack) -> None:
    name = f"{uuid4()}/take.wav"
    signed = await sign_upload(send, name)
    assert signed["url"] == f"/object/upload/sign/{BUCKET}/{name}?token={signed['token']}"
    claims = jwt.decode(signed["token"], stack.secrets.jwt_secret, algorithms=["HS256"])
    assert claims == {
        "url": f"{BUCKET}/{name}",
        "upsert": False,
        "scope": "upload",
        "iat": claims["iat"],
        "exp": claims["iat"] + 7200,
    }


@pytest.mark.parametrize("raw", [False, True], ids=["multipart", "raw body"])
async def test_a_signed_upload_needs_no_key_and_works_once(
    send: Send, http: httpx.AsyncClient, raw: bool
) -> None:
    name = f"{uuid4()}/take.wav"
    signed = await sign_upload(send, name)
    body: dict[str, Any] = file_part()
    if raw:
        body = {"content": SOUND, "headers": {"content-type": "audio/wav"}}
    first = await http.put(STORAGE + signed["url"], **body)
    assert (first.status_code, first.json()) == (200, {"Key": f"{BUCKET}/{name}"})
    assert_refused(await http.put(STORAGE + signed["url"], **body), DUPLICATE)
    assert (await send("GET", f"/object/{BUCKET}/{name}")).content == SOUND


async def test_an_upload_with_upsert_replaces(send: Send, http: httpx.AsyncClient, stored: str) -> None:
    signed = await sign_upload(send, stored, **{"x-upsert": "true"})
    answer = await http.put(STORAGE + signed["url"], **file_part(b"other"))
    assert answer.status_code == 200
    assert (await send("GET", f"/object/{BUCKET}/{stored}")).content == b"other"


async def test_an_upload_is_refused_with_the_reason(send: Send, http: httpx.AsyncClient) -> None:
    name, other = f"{uuid4()}/take.wav", f"{uuid4()}/take.wav"
    signed, elsewhere = await sign_upload(send, name), await sign_upload(send, other)
    target = f"{STORAGE}/object/upload/sign/{BUCKET}/{name}"
    assert_refused(await http.put(target, params={"token": elsewhere["token"]}, **file_part()), OTHER_PATH)
    broken = await http.put(target, params={"token": "broken"}, **file_part())
    assert_refused(broken, refusal("400", "InvalidJWT", "Invalid Compact JWS", "InvalidJWT"))
    assert_refused(await http.put(STORAGE + signed["url"], **file_part(kind="text/plain")), WRONG_TYPE)
    assert_refused(
        await http.put(STORAGE + signed["url"], **file_part(bytes(10 * 1024 * 1024 + 1))), TOO_LARGE
    )
    assert_refused(await send("GET", f"/object/info/{BUCKET}/{name}"), NO_KEY)
    assert (await http.put(STORAGE + signed["url"], **file_part())).status_code == 200


async def test_an_expired_upload_token_is_refused(send: Send, stack: Stack, http: httpx.AsyncClient) -> None:
    past = int(time.time()) - 10
    claims = {"url": f"{BUCKET}/x.wav", "upsert": False, "scope": "upload", "iat": past - 7200, "exp": past}
    token = jwt.encode(claims, stack.secrets.jwt_secret, algorithm="HS256")
    url = f"{STORAGE}/object/upload/sign/{BUCKET}/x.wav"
    assert_refused(await http.put(url, params={"token": token}, **file_part()), EXPIRED)


async def test_signing_an_upload_where_something_is_tells_so(send: Send, stored: str) -> None:
    assert_refused(await send("POST", f"/object/upload/sign/{BUCKET}/{stored}", json={}), DUPLICATE)


@pytest.mark.parametrize(
    "name", ["a/%2E%2E/b.wav", "%2E%2E/b.wav", "a%2F..%2F..%2Fb.wav", "ä.wav", "a%00.wav"]
)
async def test_a_name_that_leads_elsewhere_is_refused(send: Send, name: str) -> None:
    path = f"{STORAGE}/object/upload/sign/{BUCKET}/{name}"
    answer = await send("POST", path.removeprefix(STORAGE), json={})
    assert answer.status_code in {400, 404}
    assert "url" not in answer.json()


async def test_a_signed_download_serves_whole_and_in_ranges(
    send: Send, stack: Stack, http: httpx.AsyncClient, stored: str
) -> None:
    signed = (await send("POST", f"/object/sign/{BUCKET}/{stored}", json={"expiresIn": 60})).json()
    path, _, token = signed["signedURL"].partition("?token=")
    assert path == f"/object/sign/{BUCKET}/{stored}"
    claims = jwt.decode(token, stack.secrets.jwt_secret, algorithms=["HS256"])
    lifetime = {"iat": claims["iat"], "exp": claims["iat"] + 60}
    assert claims == {"url": f"{BUCKET}/{stored}", "scope": "download", **lifetime}

    url = STORAGE + signed["signedURL"]
    whole = await http.get(url)
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, SOUND, "audio/wav")
    assert whole.headers["etag"]
    part = await http.get(url, headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, SOUND[:10])
    assert part.headers["content-range"] == "bytes 0-9/400"
    head = await http.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "400")
    assert (await http.get(url, headers={"range": "bytes=-5"})).content == SOUND[-5:]
    assert (await http.get(url, headers={"range": "bytes=395-"})).content == SOUND[395:]
    invalid = refusal("400", "invalid_range", "invalid range provided", "InvalidRange")
    assert_refused(await http.get(url, headers={"range": "bytes=400-"}), invalid)
    assert (await http.get(url, headers={"if-none-match": whole.headers["etag"]})).status_code == 304


async def test_a_signed_download_past_its_time_is_refused(
    send: Send, stack: Stack, http: httpx.AsyncClient, stored: str
) -> None:
    past = int(time.time()) - 10
    claims = {"url": f"{BUCKET}/{stored}", "scope": "download", "iat": past - 60, "exp": past}
    token = jwt.encode(claims, stack.secrets.jwt_secret, algorithm="HS256")
    url = f"{STORAGE}/object/sign/{BUCKET}/{stored}"
    assert_refused(await http.get(url, params={"token": token}), EXPIRED)


async def test_an_upload_token_does_not_download(
    send: Send, stack: Stack, http: httpx.AsyncClient, stored: str
) -> None:
    token = (await sign_upload(send, stored, **{"x-upsert": "true"}))["token"]
    answer = await http.get(f"{STORAGE}/object/sign/{BUCKET}/{stored}", params={"token": token})
    expected = refusal("400", "InvalidSignature", "Token is not scoped for download", "InvalidSignature")
    assert_refused(answer, expected)


async def test_info_describes_and_absence_is_told(send: Send, http: httpx.AsyncClient, stored: str) -> None:
    info = (await send("GET", f"/object/info/{BUCKET}/{stored}")).json()
    expected = {"name": stored, "bucket_id": BUCKET, "size": 400, "content_type": "audio/wav", "metadata": {}}
    assert info.items() >= expected.items()
    assert info.keys() - expected.keys() == {
        "id", "version", "cache_control", "etag", "last_modified", "created_at",
    }  # fmt: skip
    assert_refused(await send("GET", f"/object/info/{BUCKET}/absent.wav"), NO_KEY)
    head = await send("HEAD", f"/object/{BUCKET}/absent.wav")
    assert (head.status_code, head.content) == (400, b"")
    assert_refused(await send("POST", f"/object/sign/{BUCKET}/absent.wav", json={"expiresIn": 60}), NO_KEY)
    assert_refused(await http.get(f"{STORAGE}/object/{BUCKET}/{stored}"), NO_BUCKET)


async def test_a_request_without_authorization_says_what_is_missing(http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{STORAGE}/object/sign/{BUCKET}/x.wav", json={"expiresIn": 60})
    message = "headers must have required property 'authorization'"
    assert_refused(answer, refusal("400", "Error", message, "InvalidRequest"))


async def test_removal_answers_with_the_rows_that_went(send: Send, stack: Stack, stored: str) -> None:
    listed = await send("POST", f"/object/list/{BUCKET}", json={"prefix": stored.split("/")[0]})
    assert [entry["name"] for entry in listed.json()] == ["take.wav"]
    version = (await send("GET", f"/object/info/{BUCKET}/{stored}")).json()["version"]
    file = stack.directory / "storage" / version
    assert file.read_bytes() == SOUND
    removed = await send("DELETE", f"/object/{BUCKET}", json={"prefixes": [stored, "absent.wav"]})
    assert [(row["name"], row["bucket_id"]) for row in removed.json()] == [(stored, BUCKET)]
    assert not file.exists()
    again = await send("DELETE", f"/object/{BUCKET}", json={"prefixes": [stored]})
    assert (again.status_code, again.json()) == (200, [])


async def test_listing_shows_folders_and_files_one_level_down(send: Send) -> None:
    folder = uuid4().hex
    for name in ("a.wav", "b.wav", "deep/c.wav"):
        await send(
            "POST", f"/object/{BUCKET}/{folder}/{name}", content=b"x", headers={"content-type": "audio/wav"}
        )
    body = {"prefix": folder, "limit": 10, "offset": 0, "sortBy": {"column": "name", "order": "asc"}}
    listed = (await send("POST", f"/object/list/{BUCKET}", json=body)).json()
    assert [(entry["name"], entry["id"] is None) for entry in listed] == [
        ("a.wav", False), ("b.wav", False), ("deep", True),
    ]  # fmt: skip
    body["sortBy"] = {"column": "name", "order": "desc"}
    page = (await send("POST", f"/object/list/{BUCKET}", json=body | {"limit": 2, "offset": 1})).json()
    assert [entry["name"] for entry in page] == ["b.wav", "a.wav"]


async def test_buckets_are_made_once_and_found(send: Send) -> None:
    name = f"bucket-{uuid4().hex[:8]}"
    body = {"id": name, "name": name, "public": True, "file_size_limit": "1MB", "allowed_mime_types": None}
    made = await send("POST", "/bucket", json=body)
    assert (made.status_code, made.json()) == (200, {"name": name})
    expected = refusal("409", "Duplicate", "The resource already exists", "BucketAlreadyExists")
    assert_refused(await send("POST", "/bucket", json=body), expected)
    assert (await send("GET", f"/bucket/{name}")).json()["file_size_limit"] == 1_000_000
    assert_refused(await send("GET", "/bucket/absent"), NO_BUCKET)


async def test_only_an_empty_bucket_is_deleted(send: Send) -> None:
    name = f"bucket-{uuid4().hex[:8]}"
    await send("POST", "/bucket", json={"name": name})
    await send("POST", f"/object/{name}/a.txt", content=b"hello", headers={"content-type": "text/plain"})
    refused = await send("DELETE", f"/bucket/{name}")
    assert refused.json()["message"] == "The bucket you tried to delete is not empty"
    await send("DELETE", f"/object/{name}", json={"prefixes": ["a.txt"]})
    gone = await send("DELETE", f"/bucket/{name}")
    assert (gone.status_code, gone.json()) == (200, {"message": "Successfully deleted"})
    assert_refused(await send("DELETE", f"/bucket/{name}"), NO_BUCKET)


async def test_a_public_bucket_is_open_to_all(send: Send, http: httpx.AsyncClient) -> None:
    name = f"bucket-{uuid4().hex[:8]}"
    await send("POST", "/bucket", json={"name": name, "public": True})
    await send("POST", f"/object/{name}/a.txt", content=b"hello", headers={"content-type": "text/plain"})
    assert (await http.get(f"{STORAGE}/object/public/{name}/a.txt")).content == b"hello"
    assert_refused(await http.get(f"{STORAGE}/object/public/{BUCKET}/a.txt"), NO_BUCKET)


async def test_a_foreign_token_is_refused(http: httpx.AsyncClient) -> None:
    token = jwt.encode({"role": "service_role"}, "another project's secret, long enough", algorithm="HS256")
    headers = {"authorization": f"Bearer {token}"}
    answer = await http.get(f"{STORAGE}/bucket/{BUCKET}", headers=headers)
    assert_refused(answer, refusal("403", "Unauthorized", "signature verification failed", "AccessDenied"))
    unsigned = jwt.encode({"role": "service_role"}, "", algorithm="none")
    headers = {"authorization": f"Bearer {unsigned}"}
    answer = await http.get(f"{STORAGE}/bucket/{BUCKET}", headers=headers)
    assert answer.json()["code"] == "AccessDenied"


@pytest.mark.parametrize("key", ["secret_key", "service_role_key"])
@pytest.mark.parametrize("header", ["authorization", "apikey"])
async def test_either_kind_of_secret_key_is_the_service_role(
    stack: Stack, http: httpx.AsyncClient, key: str, header: str
) -> None:
    value = getattr(stack.secrets, key)
    headers = {header: f"Bearer {value}" if header == "authorization" else value}
    assert (await http.get(f"{STORAGE}/bucket/{BUCKET}", headers=headers)).status_code == 200


@pytest.mark.parametrize("actor", ["anon", "owner", "stranger"])
async def test_rows_decide_who_reads_what(
    send: Send, stack: Stack, http: httpx.AsyncClient, ada: Person, bob: Person, actor: str
) -> None:
    name = f"{ada.id}/{uuid4()}.wav"
    await send("POST", f"/object/{BUCKET}/{name}", content=SOUND, headers={"content-type": "audio/wav"})
    token = {"anon": stack.publishable_key, "owner": ada.access_token, "stranger": bob.access_token}[actor]
    headers = {"authorization": f"Bearer {token}", "apikey": stack.publishable_key}
    answer = await http.get(f"{STORAGE}/object/{BUCKET}/{name}", headers=headers)
    if actor == "owner":
        assert (answer.status_code, answer.content) == (200, SOUND)
    else:
        assert_refused(answer, NO_KEY)
    writing = await http.post(f"{STORAGE}/object/upload/sign/{BUCKET}/{name}-2", json={}, headers=headers)
    message = "new row violates row-level security policy"
    assert_refused(writing, refusal("403", "Unauthorized", message, "AccessDenied"))


async def test_a_browser_may_call_from_anywhere(http: httpx.AsyncClient) -> None:
    headers = {
        "origin": "https://app.example.com",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,apikey,x-upsert,content-type",
    }
    for path in (f"{STORAGE}/object/{BUCKET}/x.wav", "/rest/v1/reflections", "/auth/v1/token"):
        answer = await http.options(path, headers=headers)
        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "authorization" in answer.headers["access-control-allow-headers"].lower()
        refused = await http.post(path, headers={"origin": "https://app.example.com"}, json={})
        assert refused.is_client_error
        assert refused.headers.get_list("access-control-allow-origin") == ["*"], "it may read the refusal"
