"""Speaks what the embedded Auth cannot: links by e-mail, and providers of identities.

As GoTrue documents it, with the implicit flow: tokens, or the error, are in the fragment of `redirect_to`.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode, urlsplit

import jwt
from aiohttp import web

from tests.serving import serving

SECRET = "a secret of more than thirty-two letters"
USER = {"id": "5f0c7a52-6a0e-4a49-9d7e-0f3a3f8f3b11", "aud": "authenticated", "email": "ada@example.org"}
HEADERS = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "*",
    "access-control-allow-methods": "*",
}


class IdentityServer:
    """`allowed`: the only origin that it redirects to. `refuses`: the next sign-in with a provider."""

    def __init__(self) -> None:
        self.url = ""
        self.allowed = ""
        self.refuses = False
        self.links: dict[str, str] = {}
        self._given: set[str] = set()

    def tokens(self) -> str:
        claims = {
            "sub": USER["id"],
            "aud": "authenticated",
            "role": "authenticated",
            "exp": time.time() + 3600,
        }
        token = jwt.encode({**claims, "iss": f"{self.url}/auth/v1"}, SECRET, "HS256")
        self._given.add(token)
        return urlencode(
            {"access_token": token, "refresh_token": "r", "expires_in": 3600, "token_type": "bearer"}
        )

    async def settings(self, _: web.Request) -> web.Response:
        external = {"email": True, "phone": False, "anonymous_users": False, "github": True, "google": False}
        return web.json_response({"external": external, "disable_signup": False}, headers=HEADERS)

    async def authorize(self, request: web.Request) -> web.Response:
        if request.query["provider"] != "github":
            return web.json_response({"code": 400, "error_code": "validation_failed"}, status=400)
        refused, self.refuses = self.refuses, False
        fragment = urlencode({"error": "access_denied", "error_code": "bad_oauth_callback"})
        return self.back(request.query["redirect_to"], fragment if refused else self.tokens())

    async def send_link(self, request: web.Request) -> web.Response:
        back = self.back(request.query["redirect_to"], self.tokens())
        self.links[(await request.json())["email"]] = back.headers["location"]
        return web.json_response({}, headers=HEADERS)

    async def mail(self, request: web.Request) -> web.Response:
        return web.json_response({"link": self.links[request.match_info["email"]]}, headers=HEADERS)

    async def user(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._given:
            return web.json_response({"code": 403, "error_code": "bad_jwt"}, status=403, headers=HEADERS)
        return web.json_response(USER, headers=HEADERS)

    async def rows(self, _: web.Request) -> web.Response:
        return web.json_response([], headers=HEADERS)

    async def preflight(self, _: web.Request) -> web.Response:
        return web.Response(status=204, headers=HEADERS)

    def back(self, address: str, fragment: str) -> web.Response:
        parts = urlsplit(address)
        assert f"{parts.scheme}://{parts.netloc}" == self.allowed, "redirected to another origin"
        return web.Response(status=302, headers={"location": f"{address}#{fragment}"})


@asynccontextmanager
async def identity_server() -> AsyncIterator[IdentityServer]:
    server = IdentityServer()
    routes = [
        web.get("/auth/v1/settings", server.settings),
        web.get("/auth/v1/authorize", server.authorize),
        web.post("/auth/v1/otp", server.send_link),
        web.get("/auth/v1/user", server.user),
        web.get("/mails/{email}", server.mail),
        web.get("/rest/v1/{table}", server.rows),
        web.options("/{path:.*}", server.preflight),
    ]
    async with serving(routes) as server.url:
        yield server
