"""The operator's page: who may look and act, what is read, how often, and what a hostile value does."""

import asyncio
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from structlog.testing import capture_logs

from backend.page.operations.access import role_of
from backend.page.operations.overview import Kept
from backend.page.operations.routes import FOLDER, SHARED_FILES
from tests.backend.conftest import INTERNAL_TOKEN, NOBODY, served
from tests.backend.following import SECRET, serving
from tests.backend.test_erasures import client
from tests.database.situations import fail
from tests.fixture import Fixture

KEY = "sb_secret_of_this_very_test"
READS = ("/operations/access", "/operations/state", "/operations/series", f"/operations/attempts/{uuid4()}")
COMMANDS: dict[str, dict[str, Any]] = {
    f"/operations/attempts/{uuid4()}/retry": {},
    "/operations/dead-letters/redrive": {"ids": [1]},
    "/operations/sweep": {},
}
HOSTILE = "<img src=x onerror=alert(1)>"


def with_key(key: str = KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def as_user(user: UUID, role: object = None, secret: str = SECRET) -> dict[str, str]:
    claims = {
        "sub": str(user), "role": "authenticated", "aud": "authenticated", "iss": f"{NOBODY}/auth/v1",
        "exp": time.time() + 600, "user_metadata": {"likeness_role": "operator"},
        "app_metadata": {"provider": "email", "likeness_role": role} if role else {"provider": "email"},
    }  # fmt: skip
    return with_key(jwt.encode(claims, secret))


async def codes(http: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, str]:
    """What each route answers: ok, or the code of the problem."""
    found: dict[str, str] = {}
    for path in READS:
        answer = await http.get(path, headers=headers)
        found[path] = "ok" if answer.is_success else answer.json()["code"]
    for path, body in COMMANDS.items():
        answer = await http.post(path, headers=headers, json=body)
        found[path] = "ok" if answer.is_success else answer.json()["code"]
    return found


async def test_only_operators_look_and_only_those_who_may_act_act(given: Fixture, tmp_path: Path) -> None:
    unknown = [READS[-1], next(iter(COMMANDS))]  # of attempts that are not there
    everything = dict.fromkeys([*READS, *COMMANDS], "ok") | dict.fromkeys(unknown, "not_found")
    nothing = dict.fromkeys([*READS, *COMMANDS])
    async with (
        serving(tmp_path, given.database.service, OPERATIONS_PAGE="true", RATE_LIMIT_SIGN_INS="0") as service,
        client(service.url) as http,
    ):
        assert await codes(http, with_key()) == everything
        assert await codes(http, as_user(given.user(), "operator")) == everything
        assert await codes(http, as_user(given.user(), "viewer")) == {
            **everything,
            **dict.fromkeys(COMMANDS, "operator_required"),
        }
        for role in (None, "admin", ["operator"], {"operator": True}):
            refused = await codes(http, as_user(given.user(), role))
            assert refused == dict.fromkeys(nothing, "operator_required"), role
        assert await codes(http, {}) == dict.fromkeys(nothing, "token_missing")
        for key in (KEY[:-1], f"{KEY}x", INTERNAL_TOKEN):
            assert await codes(http, with_key(key)) == dict.fromkeys(nothing, "token_malformed"), key
        forged = as_user(given.user(), "operator", secret="another secret of thirty-two letters")
        assert await codes(http, forged) == dict.fromkeys(nothing, "token_signature_refused")
        lines = service.child.output()
        assert KEY not in lines
        assert '"operator": "secret key"' in lines or '"operator":"secret key"' in lines, (
            "commands are logged"
        )


def test_a_role_is_read_from_app_metadata_alone() -> None:
    assert role_of('{"app_metadata": {"likeness_role": "viewer"}}') == "viewer"
    for claims in (
        "{}",
        '{"user_metadata": {"likeness_role": "operator"}}',
        '{"likeness_role": "operator"}',
        '{"app_metadata": {"likeness_role": "Operator"}}',
        '{"app_metadata": null}',
        '{"app_metadata": "operator"}',
    ):
        assert role_of(claims) is None, claims


async def test_refused_sign_ins_are_limited_also_where_addresses_are_not_known(
    given: Fixture, tmp_path: Path
) -> None:
    settings = {"OPERATIONS_PAGE": "true", "RATE_LIMIT_SIGN_INS": "3"}
    async with serving(tmp_path, given.database.service, **settings) as service, client(service.url) as http:
        for _ in range(3):
            assert (await http.get("/operations/access", headers=with_key("wrong"))).status_code == 401
        for key in ("wrong", KEY):
            answer = await http.get("/operations/access", headers=with_key(key))
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
            assert int(answer.headers["retry-after"]) > 0


async def test_one_address_does_not_use_up_the_sign_ins_of_another(given: Fixture, tmp_path: Path) -> None:
    settings = {"OPERATIONS_PAGE": "true", "RATE_LIMIT_SIGN_INS": "1", "CLIENT_ADDRESS": "x-real-ip"}
    async with serving(tmp_path, given.database.service, **settings) as service, client(service.url) as http:
        bad, good = {"x-real-ip": "192.0.2.1"}, {"x-real-ip": "192.0.2.2"}
        statuses = [
            (await http.get("/operations/access", headers={**with_key("wrong"), **bad})).status_code
            for _ in range(2)
        ]
        assert statuses == [401, 429]
        assert (await http.get("/operations/access", headers={**with_key(), **good})).status_code == 200


async def test_without_the_setting_there_is_no_such_route(tmp_path: Path) -> None:
    async with served(tmp_path, "postgresql://127.0.0.1:1/x") as service:
        for path in ("/operations", "/operations/page/operations.js", *READS):
            answer = await service.http.get(path, headers=with_key())
            assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found"), path


async def test_the_document_is_not_kept_cannot_be_framed_and_has_no_secret(tmp_path: Path) -> None:
    async with served(tmp_path, "postgresql://127.0.0.1:1/x", OPERATIONS_PAGE="true") as service:
        document = await service.http.get("/operations")
        assert document.headers["cache-control"] == "no-store"
        assert KEY not in document.text
        assert "<script>" not in document.text
        files = [*(each.name for each in FOLDER.iterdir() if each.name != "operations.html"), *SHARED_FILES]
        for answer in [document, *[await service.http.get(f"/operations/page/{name}") for name in files]]:
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "form-action 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        for name in ("operations.html", "main.js", "..%2Froutes.py"):
            assert (await service.http.get(f"/operations/page/{name}")).status_code == 404


async def test_answers_are_not_kept_and_no_other_page_may_send_commands(
    given: Fixture, tmp_path: Path
) -> None:
    async with (
        serving(tmp_path, given.database.service, OPERATIONS_PAGE="true") as service,
        client(service.url) as http,
    ):
        answer = await http.get("/operations/state", headers=with_key())
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers, "what a browser adds by itself opens nothing"
        foreign = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        asked = {**foreign, "access-control-request-headers": "authorization, content-type"}
        preflight = await http.options("/operations/sweep", headers=asked)
        assert "access-control-allow-origin" not in preflight.headers
        form = {"content-type": "application/x-www-form-urlencoded", "origin": "https://evil.example"}
        assert (await http.post("/operations/sweep", headers=form, content="a=b")).status_code == 401


@pytest.mark.parametrize("ids", [[], list(range(101)), ["x"], [1.5], "1", None])
async def test_letters_are_bounded_before_any_work(given: Fixture, tmp_path: Path, ids: object) -> None:
    async with (
        serving(tmp_path, given.database.service, OPERATIONS_PAGE="true") as service,
        client(service.url) as http,
    ):
        answer = await http.post("/operations/dead-letters/redrive", headers=with_key(), json={"ids": ids})
        assert answer.status_code == 422, answer.text


async def test_what_stands_still_is_explained_and_commands_help(given: Fixture, tmp_path: Path) -> None:
    user = given.user()
    reflection, other = given.reflection(user), given.reflection(user)
    dead, failed = given.queued(user, reflection), given.queued(user, other)
    given.truth(
        "select voice_clone.dead_letter_messages('voice_clone_process',"
        " (select array_agg(msg_id) from pgmq.q_voice_clone_process where message ->> 'id' = %s),"
        " (select array_agg(message) from pgmq.q_voice_clone_process where message ->> 'id' = %s),"
        " '{16}', %s)",
        str(dead), str(dead), [HOSTILE],
    )  # fmt: skip
    fail(given, failed)
    async with (
        serving(tmp_path, given.database.service, OPERATIONS_PAGE="true") as service,
        client(service.url) as http,
    ):
        http.headers.update(with_key())
        state = (await http.get("/operations/state")).json()
        (stuck,) = state["stuck"]
        assert (stuck["id"], stuck["finding"]) == (str(dead), "dead_letter")
        assert "likeness dead-letters redrive" in stuck["explanation"]
        (letter,) = state["dead_letters"]
        assert (letter["subject"], letter["reason"]) == (str(dead), HOSTILE)
        assert "message" not in letter
        shown = await http.get(f"/operations/attempts/{dead}")
        assert shown.status_code == 200, shown.text + service.child.output()[-3000:]
        assert shown.json()["finding"]["finding"] == "dead_letter"
        assert HOSTILE in shown.text
        series = (await http.get("/operations/series")).json()
        assert [each["id"] for each in series["failed"]] == [str(failed)]
        reached = {(status, count) for _, _, status, _, _, count in series["reached"]}
        assert reached >= {("awaiting_upload", 2), ("queued", 2), ("failed", 1)}

        sent = await http.post("/operations/dead-letters/redrive", json={"ids": [letter["id"], 999]})
        assert [each["id"] for each in sent.json()] == [letter["id"]]
        again = await http.post("/operations/dead-letters/redrive", json={"ids": [letter["id"]]})
        assert again.json() == [], "a letter is sent once"
        retried = await http.post(f"/operations/attempts/{failed}/retry")
        assert retried.json()["status"] == "queued"
        twice = await http.post(f"/operations/attempts/{failed}/retry")
        assert (twice.status_code, twice.json()["code"]) == (409, "nothing_to_retry")
        state = (await http.get("/operations/state")).json()
        assert (state["stuck"], state["dead_letters"]) == ([], []), (
            "the answer after a command shows its effect"
        )
        found = (await http.get(f"/operations/attempts/{failed}")).json()
        assert [each["events"][0] for each in found["events"]][-1] == "retried"
        assert found["explanation"]
        assert str(user) not in service.child.output()


async def test_a_retry_uses_up_the_budget_of_its_user(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    fail(given, attempt)
    given.superuser.execute(
        "update public.voice_clone_attempts set user_retry_count = user_retry_budget where id = %s",
        (attempt,),
    )
    with pytest.raises(Exception, match="retried"):
        given.one("select * from operations.retry_attempt(%s)", attempt)


async def test_many_pages_cost_one_read_and_a_failed_read_is_not_kept() -> None:
    reads = 0
    now = 0.0

    async def make() -> int:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        if reads == 2:
            raise RuntimeError("the database is away")
        return reads

    kept = Kept(make, 5, clock=lambda: now)
    assert set(await asyncio.gather(*(kept.read() for _ in range(10)))) == {b"1"}
    now = 4.9
    assert await kept.read() == b"1"
    now = 5.0
    with pytest.raises(RuntimeError):
        await kept.read()
    assert await kept.read() == b"3"
    kept.forget()
    assert await kept.read() == b"4"


async def test_the_page_says_that_the_database_is_away(tmp_path: Path) -> None:
    with capture_logs():
        async with served(tmp_path, "postgresql://127.0.0.1:1/x", OPERATIONS_PAGE="true") as service:
            assert (await service.http.get("/operations/access", headers=with_key())).status_code == 200
            for path in READS[1:]:
                answer = await service.http.get(path, headers=with_key())
                assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
