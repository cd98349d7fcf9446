"""The routes that the app has, with what each takes: a new route is in every test that goes through them."""

import re
from typing import Any, get_args

import msgspec
from litestar.routes import HTTPRoute

from backend.app.service import create_app
from backend.settings import load_settings

UUID_TEXT = "11111111-1111-4111-8111-111111111111"


class Route(msgspec.Struct, frozen=True):
    method: str
    path: str
    body: Any  # the struct of its JSON, if it has one
    queries: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()

    def address(self, reflection: str, parameter: str | None = None) -> str:
        """With an own reflection, or with the same hostile text for each parameter."""

        def value(found: re.Match[str]) -> str:
            if parameter is not None:
                return parameter
            return reflection if found[1] == "reflection_id" else UUID_TEXT

        return re.sub(r"\{(\w+):\w+\}", value, self.path)


def routes() -> list[Route]:
    settings = load_settings({
        "DATABASE_URL": "postgresql://voice_clone_service:secret@127.0.0.1/postgres",
        "SUPABASE_URL": "https://project.supabase.co",
        "SUPABASE_SECRET_KEY": "sb_secret_0123456789",
        "SUPABASE_JWT_SECRET": "a secret of at least thirty-two characters",
        "INTERNAL_TOKEN": "a token of at least thirty-two characters",
    })  # fmt: skip
    app = create_app(settings)
    documented = app.openapi_schema.to_schema()["paths"]
    found = []
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            place = documented.get(re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path), {})
            for handler in route.route_handlers:
                field = handler.parsed_fn_signature.parameters.get("data")
                body = field.annotation if field else None
                for method in sorted(handler.http_methods - {"OPTIONS"}):
                    takes = place.get(method.lower(), {}).get("parameters", [])
                    names = {
                        kind: tuple(each["name"] for each in takes if each["in"] == kind)
                        for kind in ("query", "header")
                    }
                    found.append(Route(method, route.path, body, names["query"], names["header"]))
    return found


def fields(kind: Any) -> dict[str, Any]:
    """A valid value for each field of a request's struct."""
    kind = next((each for each in (kind, *get_args(kind)) if hasattr(each, "__struct_fields__")), None)
    if kind is None:
        return {}
    return {field.encode_name: valid(field.encode_name, field.type) for field in msgspec.structs.fields(kind)}


def valid(name: str, kind: Any) -> Any:
    if name.endswith(("_id", "Id")):
        return UUID_TEXT
    known = {
        "language": "en",
        "content_type": "audio/wav",
        "bytes": 9,
        "format": "wav",
        "locale": "en",
        "provider": "local",
    }
    if name in known:
        return known[name]
    return {"kind": "self"} if name == "subject" else "x" if str in (kind, *get_args(kind)) else 1
