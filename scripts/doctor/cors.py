"""CORS, as a browser asks before a page calls: the project's Data API and Storage, and the service."""

from collections.abc import Iterator, Sequence

from backend.checks.findings import Finding, good
from backend.checks.requests import Answer, Unreachable, send

MOST_ORIGINS = 5
EXAMPLE = "https://app.example"  # a page's origin, where none is named
PROJECT = [  # what a page calls at the project: the path, the method and the headers
    ("Data API", "/rest/v1/reflections", "POST", "apikey,authorization,content-type,prefer"),
    ("Storage", "/storage/v1/object/upload/sign/voice-samples/sample.wav", "PUT", "content-type,x-upsert"),
]
SERVICE = ("service", "/v1/consents", "POST", "authorization,content-type,idempotency-key")


def check_preflights(project_url: str, service_url: str, origins: Sequence[str]) -> Iterator[Finding]:
    """Without CORS_ORIGINS no page of another origin calls the service, so it is not asked; a page still
    calls the project."""
    asked = [(name, project_url, *rest) for name, *rest in PROJECT]
    if origins and service_url:
        name, *rest = SERVICE
        asked.append((name, service_url, *rest))
    for origin in [each for each in origins if each != "*"][:MOST_ORIGINS] or [EXAMPLE]:
        yield from check_origin(origin, asked)


def check_origin(origin: str, asked: Sequence[tuple[str, ...]]) -> Iterator[Finding]:
    """An address that does not answer is not judged, because others say it."""
    called: list[str] = []
    for name, url, path, method, headers in asked:
        try:
            answer = preflight(f"{url}{path}", origin, method, headers)
        except Unreachable:
            continue
        if lacking := lacks(answer, origin, method, headers):
            yield Finding(
                part="cors",
                found=f"a page of {origin} cannot call the {name} at {url}: {lacking} (HTTP {answer.status})",
                remedy=remedy(name),
            )
        else:
            called.append(name)
    if called:
        yield good("cors", f"pages of {origin} call {', '.join(called)}")


def preflight(url: str, origin: str, method: str, headers: str) -> Answer:
    asks = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": headers,
    }
    return send("OPTIONS", url, asks)


def lacks(answer: Answer, origin: str, method: str, headers: str) -> str:
    """What the browser would miss; empty where it goes on."""
    if not 200 <= answer.status < 300:
        return "the preflight is refused"
    if answer.headers.get("access-control-allow-origin") not in ("*", origin):
        return "the origin is not allowed"
    if method not in listed(answer, "methods") | {"GET", "POST", "HEAD"} and "*" not in listed(
        answer, "methods"
    ):
        return f"{method} is not allowed"
    # The star does not stand for `authorization`.
    allowed = {each.lower() for each in listed(answer, "headers")}
    missing = [
        each
        for each in headers.split(",")
        if each not in allowed and ("*" not in allowed or each == "authorization")
    ]
    return f"the header {missing[0]} is not allowed" if missing else ""


def listed(answer: Answer, what: str) -> set[str]:
    value = answer.headers.get(f"access-control-allow-{what}", "")
    return {each.strip() for each in value.split(",") if each.strip()}


def remedy(name: str) -> str:
    if name == "service":
        return (
            "Start the service with this CORS_ORIGINS, and let a proxy in front of it pass OPTIONS and"
            " the headers access-control-… through"
        )
    return (
        "Let the proxy or gateway in front of the project pass OPTIONS and the headers access-control-…"
        " through"
    )
