"""Over HTTP: an admin invites; the employee reads, signs and revokes with the link; no secret is logged."""

from pathlib import Path
from uuid import UUID, uuid4

import httpx

from tests.backend.following import headers, serving
from tests.fixture import Fixture

PAGE = "https://acme.example/consent"


def linked(token: str) -> dict[str, str]:
    return {"Invitation-Token": token}


async def test_an_employee_is_invited_signs_and_revokes_without_an_account(
    given: Fixture, tmp_path: Path
) -> None:
    admin, member = given.user(), given.user()
    organization = given.organization(admin)
    given.add_member(organization, member)
    employee = given.employee(organization)
    path = f"/v1/employees/{employee}"
    settings = {"CONSENT_PAGE_URL": PAGE}
    async with (
        serving(tmp_path, given.database.service, **settings) as service,
        httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as http,
    ):
        await who_may_invite(http, path, given.user(), member, admin)
        made = await http.post(f"{path}/consent-invitations", json={}, headers=headers(admin))
        assert made.status_code == 201
        token = made.json()["token"]
        assert made.json()["link"] == f"{PAGE}#employee={employee}&token={token}"
        read = await http.get(f"{path}/consent?locale=de", headers=linked(token))
        assert "Anrufe" in read.json()["body"]
        signed = await http.post(
            f"{path}/consent", json={"locale": "de", "version": 1}, headers=linked(token)
        )
        assert (signed.status_code, signed.json()["method"], signed.json()["locale"]) == (
            201, "invitation", "de",
        )  # fmt: skip
        assert UUID(signed.json()["organization_id"]) == organization
        await problems(http, path, token, given, organization)
        revoked = [await http.delete(f"{path}/consent", headers=linked(token)) for _ in "ab"]
        assert {answer.status_code for answer in revoked} == {200}
        assert revoked[0].json() == revoked[1].json()
        assert revoked[0].json()["consent_id"] == signed.json()["consent_id"]
        read = await http.get(f"{path}/consent", headers=linked(token))
        assert read.json()["revoked_at"]
        logged = service.child.output()
        assert token not in logged
        assert "Bo Lind" not in logged


async def who_may_invite(
    http: httpx.AsyncClient, path: str, stranger: UUID, member: UUID, admin: UUID
) -> None:
    answers = [
        await http.post(f"{path}/consent-invitations", json={}, headers=headers(user))
        for user in (stranger, member)
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (404, "not_found"),
        (403, "admin_required"),
    ]
    too_long = await http.post(
        f"{path}/consent-invitations", json={"expires_in_hours": 1000}, headers=headers(admin)
    )
    assert too_long.status_code == 422


async def problems(http: httpx.AsyncClient, path: str, used: str, given: Fixture, organization: UUID) -> None:
    """One problem for every link that does not sign."""
    other = f"/v1/employees/{given.employee(organization)}"
    answers = [
        await http.post(f"{path}/consent", json={"version": 1}, headers=linked(used)),
        await http.post(f"{other}/consent", json={"version": 1}, headers=linked(used)),
        await http.get(f"{other}/consent", headers=linked(used)),
        await http.delete(f"{other}/consent", headers=linked(used)),
        await http.post(f"{path}/consent", json={"version": 1}, headers=linked("A" * 43)),
        await http.post(f"{path}/consent", json={"version": 1}, headers=linked("x" * 5000)),
        await http.post(f"{path}/consent", json={"version": 1}),
        await http.get(f"/v1/employees/{uuid4()}/consent", headers=linked(used)),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {
        (404, "invitation_invalid")
    }
    wrong_language = await http.get(f"{path}/consent?locale=xx", headers=linked(used))
    assert wrong_language.status_code == 200  # what was signed is shown as it was signed


async def test_an_employee_signs_as_the_user_who_is_signed_in(given: Fixture, tmp_path: Path) -> None:
    admin, signer = given.user(), given.user()
    employee = given.employee(given.organization(admin), f"{signer}@example.org")
    given.superuser.execute("update auth.users set email_confirmed_at = now()")
    path = f"/v1/employees/{employee}"
    settings = {"RATE_LIMIT_REFUSALS": "3", "CLIENT_ADDRESS": "peer"}
    async with (
        serving(tmp_path, given.database.service, **settings) as service,
        httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as http,
    ):
        made = await http.post(f"{path}/consent-invitations", json={}, headers=headers(admin))
        assert made.json()["link"] is None
        link = linked(made.json()["token"])
        wrong = await http.post(f"{path}/consent", json={"version": 1}, headers=headers(admin) | link)
        assert (wrong.status_code, wrong.json()["code"]) == (403, "not_the_employee")
        refused = await http.post(
            f"{path}/consent", json={"version": 1}, headers=link | {"Authorization": "Bearer nonsense"}
        )
        assert refused.status_code == 401
        language = await http.post(
            f"{path}/consent", json={"locale": "xx", "version": 1}, headers=headers(signer) | link
        )
        assert (language.status_code, language.json()["code"]) == (422, "statement_not_found")
        outdated = await http.post(f"{path}/consent", json={"version": 7}, headers=headers(signer) | link)
        assert (outdated.status_code, outdated.json()["code"]) == (409, "statement_outdated")
        signed = await http.post(f"{path}/consent", json={"version": 1}, headers=headers(signer) | link)
        assert signed.json()["method"] == "account"
        revoked = await http.delete(f"/v1/consents/{signed.json()['consent_id']}", headers=headers(signer))
        assert revoked.status_code == 200
        guesses = [
            (await http.get(f"{path}/consent", headers=linked("B" * 43))).status_code for _ in range(8)
        ]
        assert guesses[0] == 404
        assert guesses[-1] == 429
