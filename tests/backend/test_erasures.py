"""A user erases what is held about them: the receipt, its signature, and a database that is busy."""

import base64
from pathlib import Path
from uuid import uuid4

import httpx
import jwt
from cryptography import x509

from backend.provenance.certificates import make_development_key_pair
from tests.backend.following import headers, serving
from tests.fixture import Fixture


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=60)


async def test_the_receipt_is_signed_and_only_its_user_reads_it(given: Fixture, tmp_path: Path) -> None:
    user, other = given.user(), given.user()
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    async with serving(tmp_path, given.database.service) as service, client(service.url) as http:
        asked = await http.delete("/v1/me", headers=headers(user))
        assert asked.status_code == 202
        receipt = asked.json()
        assert receipt["erasure"]["status"] == "partial"
        assert {place["place"] for place in receipt["erasure"]["places"]} == {
            "database",
            "provider",
            "storage",
        }
        header = jwt.get_unverified_header(receipt["signed"])
        certificate = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0]))
        claims = jwt.decode(receipt["signed"], certificate.public_key(), algorithms=["ES256"])  # type: ignore[arg-type]
        assert claims.pop("iat")
        assert claims == receipt["erasure"]
        again = await http.delete("/v1/me", headers=headers(user))
        assert again.json()["erasure"]["erasure_id"] == receipt["erasure"]["erasure_id"]
        path = f"/v1/me/erasures/{receipt['erasure']['erasure_id']}"
        assert (await http.get(path, headers=headers(user))).json()["erasure"]["kind"] == "user"
        for refused in (
            await http.get(path, headers=headers(other)),
            await http.get(f"/v1/me/erasures/{uuid4()}", headers=headers(user)),
        ):
            assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
        assert (await http.delete("/v1/me")).status_code == 401
        gate = await http.get(f"/v1/reflections/{reflection}/launch-gate", headers=headers(user))
        assert gate.json()["launchable"] is False
    assert str(user) not in service.child.output()


async def test_an_erasure_that_cannot_be_done_says_that_nothing_is_erased(
    given: Fixture, tmp_path: Path
) -> None:
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    async with serving(tmp_path, given.database.service) as service, client(service.url) as http:
        with given.superuser.transaction():
            given.superuser.execute("select from public.voice_clone_attempts for update")
            late = await http.delete("/v1/me", headers=headers(user))
        assert (late.status_code, late.json()["code"]) == (503, "not_erased")
        assert late.headers["retry-after"] == "1"
        assert given.attempt(attempt)["user_id"] == user
        assert (await http.delete("/v1/me", headers=headers(user))).status_code == 202
        assert "not_erased" in service.child.output()


async def test_the_schedule_is_that_of_the_live_settings(given: Fixture, tmp_path: Path) -> None:
    async with serving(tmp_path, given.database.service) as service, client(service.url) as http:
        kept = {each["name"]: each["seconds"] for each in (await http.get("/v1/retention")).json()}
        assert kept["deleted_voice"] == 30 * 86_400
        given.superuser.execute("update voice_clone.timeouts set value = null where name = 'deleted_voice'")
        kept = {each["name"]: each["seconds"] for each in (await http.get("/v1/retention")).json()}
        assert kept["deleted_voice"] is None


async def test_a_receipt_is_given_without_a_signature_while_the_key_is_away(
    given: Fixture, tmp_path: Path
) -> None:
    made = make_development_key_pair()
    (tmp_path / "chain.pem").write_text(made.chain)
    away = {"C2PA_CERTIFICATE_FILE": str(tmp_path / "chain.pem"), "C2PA_SIGN_COMMAND": "false"}
    user = given.user()
    async with (
        serving(tmp_path, given.database.service, **away) as service,
        client(service.url) as http,
    ):
        answer = await http.delete("/v1/me", headers=headers(user))
        assert (answer.status_code, answer.json()["signed"]) == (202, None)
        assert "receipt_not_signed" in service.child.output()
